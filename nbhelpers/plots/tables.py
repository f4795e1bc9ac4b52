"""Scores as tables and in words, each with its interval and n.

Scores of many models by group as tables to read: a value with its interval, or "too few".

What the errors by group show, in words: one sentence a finding, with its n and 95 % interval.

Each function gives lines of a Markdown list, written from the tables alone. Where a group is too
small for a figure the line says so, or there is none.

How small an error the labels themselves allow: one reader's noise, and rounding.

A label is one reading, rounded. A model that knew each child's bone age exactly would still differ
from it, by what the reader was off and by what was rounded away.

What others published on bone age: figures to stand beside, never to be ranked with, one's own.

An error depends on whose labels it is measured against: the same model scores about two months
better against the mean of six raters than against one reader.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nbhelpers.bias.corruptions import DISTURBANCES
from nbhelpers.bias.subgroups import TOO_FEW
from nbhelpers.data.stages import SEXES
from nbhelpers.evaluation.conformal import TOLD_LEVEL
from nbhelpers.evaluation.scores import ALL
from nbhelpers.plots.data import SEX_WORDS

OFFICIAL = "official test set: 200 cases, mean of six raters"
VALIDATION = "RSNA validation set: 1,425 cases, one reader"
HALABI = "Halabi et al., Radiology 2019;290:498-503"
FIGURES = (
    ("human raters, each against the mean of six", "4.8 to 7.0", OFFICIAL, HALABI),
    ("winner of the 2017 challenge: InceptionV3, 500 pixels", "4.27", OFFICIAL, HALABI),
    ("the same model", "6.8", VALIDATION, "16 Bit, its makers"),
    (
        "Deeplasia: three EfficientNets, 512 and 1,024 pixels",
        "3.87",
        OFFICIAL,
        "Pediatric Radiology, doi:10.1007/s00247-023-05789-1",
    ),
)


def ages() -> pd.DataFrame:
    """Mean absolute errors, months, a row a system: `months`, `measured on`, `source`."""
    columns = ["system", "months", "measured on", "source"]
    return pd.DataFrame(FIGURES, columns=columns).set_index("system")


RATER_SD_MONTHS = 0.58 * 12  # of one rater (Martin 2022)
DRAWS = 200_000
SEED = 0


def rounding_shares(age_months: np.ndarray) -> dict[int, float]:
    """Which share of the labels seems rounded to 12, 6 and 1 months, out of their remainders.

    Labels that fall on a year or half a year by chance, as one in 12 and one in 6 would, are taken
    off again.
    """
    whole = np.round(np.asarray(age_months, float)).astype(int)
    on_year, on_half = (whole % 12 == 0).mean(), (whole % 12 == 6).mean()
    # With a, b and c the shares rounded to 12, 6 and 1 months: on half a year fall b / 2 + c / 12,
    # on a year a + b / 2 + c / 12, elsewhere 10 c / 12.
    to_month = min(1.0, (1 - on_year - on_half) * 12 / 10)
    to_half = min(1.0 - to_month, max(0.0, 2 * (on_half - to_month / 12)))
    return {12: max(0.0, 1 - to_month - to_half), 6: to_half, 1: to_month}


def smallest_error(age_months: np.ndarray, rater_sd_months: float = RATER_SD_MONTHS) -> dict:
    """Mean absolute error of a model that knows the truth, months: `rounding`, `rater`, `both`.

    Simulated: a true age, a reading with the rater's normal error, rounded as often as the labels
    `[n]` are. The rater's error is taken as independent of the child; where raters agree with
    each other in their error, the floor is higher than what a model can be held to.
    """
    shares = rounding_shares(age_months)
    random = np.random.default_rng(SEED)
    truth = random.uniform(24, 204, DRAWS)
    steps = random.choice(list(shares), DRAWS, p=list(shares.values()))
    noise = random.normal(0, rater_sd_months, DRAWS)

    def error(reading: np.ndarray) -> float:
        return float(np.abs(reading - truth).mean())

    def rounded(reading: np.ndarray) -> np.ndarray:
        return np.round(reading / steps) * steps

    return {
        "rounding": error(rounded(truth)),
        "rater": error(truth + noise),
        "both": error(rounded(truth + noise)),
    }


CLEAR = 0.05  # p below which a finding is called clear
YOUNG_MONTHS = 36  # below which the data have few cases


def measured(row: Mapping, unit: str, digits: int = 1, factor: float = 1, sign: str = "") -> str:
    """A value with its interval and n: "9.1 months (95 % interval 8.6 to 9.7, n = 50)"."""
    value, *ends = (f"{factor * row[key]:{sign}.{digits}f}" for key in ("value", "lower", "upper"))
    n = row["n"] if "n" in row else f"{row['n_female']:,.0f} and {row['n_male']:,.0f}"
    n = n if isinstance(n, str) else f"{n:,.0f}"
    return f"{value} {unit} (95 % interval {' to '.join(ends)}, n = {n})"


def overall(told: pd.DataFrame, model: str) -> list[str]:
    """MAE and the share far off; `told`: `subgroups.error_table` of the model."""
    lines = []
    if (row := _row(told, ALL, "mae")) is not None:
        lines.append(f"- {model}, test split: off by {measured(row, 'months')} on average.")
    if (row := _row(told, ALL, "over_24")) is not None:
        lines.append(f"- Off by more than two years: {measured(row, '% of the cases', 1, 100)}.")
    return lines or [f"- {model}, test split: too few cases to tell."]


def groups(tests: pd.DataFrame) -> list[str]:
    """Groups told worse or better than all others; `tests`: `subgroups.group_tests`."""
    clear = tests[tests["p_holm"] < CLEAR].sort_values("value")
    return [
        f"- {row['group'].capitalize()}: error {measured(row, 'months', sign='+')} against all "
        f"others, p = {row['p_holm']:.3f} after Holm's correction."
        for _, row in clear.iterrows()
    ] or ["- No group differs clearly from the others after Holm's correction."]


def sexes(gaps: pd.DataFrame, told: pd.DataFrame) -> list[str]:
    """The gap of `subgroups.sex_gap`, and how many ages intervals hold, by sex."""
    lines = []
    for _, row in gaps[gaps["metric"] == "mae"].iterrows():
        start = f"- Error of girls minus boys, {row['adjustment']}: "
        if row["verdict"] == TOO_FEW:
            lines.append(f"{start}too few to tell, n = {row['n_female']:,} and {row['n_male']:,}.")
            continue
        lines.append(
            f"{start}{measured(row, 'months', 2, sign='+')}; equality within "
            f"{row['margin_months']:g} months: {row['verdict']}."
        )
    for sex in SEXES:
        if (row := _row(told, sex, "coverage")) is not None:
            lines.append(
                f"- Intervals meant to hold {100 * TOLD_LEVEL:.0f} % of the ages hold those of "
                f"{measured(row, '% of the ' + SEX_WORDS[sex], 1, 100)}."
            )
    return lines


def sex_told(changed: Mapping[str, Mapping]) -> list[str]:
    """What another or no sex adds to the error: by words, what `metrics.compare_errors` gives."""
    return [
        f"- Told {words}, the model's error changes by {measured(row, 'months', sign='+')}."
        for words, row in changed.items()
    ]


def regression(slopes: pd.DataFrame) -> list[str]:
    """The slope of the error on true age, of `agreement.error_slopes`."""
    row = slopes[slopes["metric"] == "on_truth"].iloc[0]
    if np.isnan(row["value"]):
        return ["- Regression to the mean: too few cases to tell."]
    return [
        f"- Regression to the mean: with each year of true age, predicted minus true changes by "
        f"{measured(row, 'months', 1, 12, '+')}."
    ]


def balance(correlation: Mapping) -> list[str]:
    """Cases in train and error, of `subgroups.balance_correlation`."""
    value, n = correlation["value"], correlation["n_groups"]
    if np.isnan(value):
        return ["- Balance: too few groups to relate their number in train to their error."]
    told = f"rank correlation {value:+.2f}, p = {correlation['p']:.2f}, n = {n} groups"
    if correlation["p"] >= CLEAR:
        return [f"- Balance: no clear link of a group's cases in train with its error ({told})."]
    word = "smaller" if value < 0 else "larger"
    return [
        f"- Groups of sex and age with more cases in train tend to {word} errors ({told}); this is "
        "no proof of a cause."
    ]


def disturbances(table: pd.DataFrame) -> list[str]:
    """What hurts each model most, of `stress.stress`."""
    lines = []
    for model, part in table.groupby("model", sort=False):
        row = part.loc[part["difference"].idxmax()]
        much = f" of {row['strength']:g} ({row['unit']})"
        if DISTURBANCES[row["kind"]].is_switch:
            much = " (on or off)"
        lines.append(
            f"- What hurts {model} most is {row['kind']}{much}: "
            f"{row['difference']:+.1f} months (95 % interval {row['difference_lower']:+.1f} to "
            f"{row['difference_upper']:+.1f}, n = {row['n']:,})."
            if row["difference_lower"] > 0
            else f"- No disturbance clearly hurts {model} (n = {row['n']:,})."
        )
    return lines


def limits(errors: pd.DataFrame) -> list[str]:
    """What these data cannot tell; `errors`: `scores.case_errors` of the split."""
    young = int((errors["age_months"] < YOUNG_MONTHS).sum())
    return [
        "- What cannot be said: the data hold no ancestry, no diagnosis, no hospital, and of the "
        f"{len(errors):,} test cases {young:,} are under three years; a gap may come from the "
        "readers' labels as well as from a model."
    ]


def _row(told: pd.DataFrame, group: str, metric: str) -> pd.Series | None:
    chosen = (told["group"] == group) & (told["metric"] == metric) & told["value"].notna()
    return told[chosen].iloc[0] if chosen.any() else None


UNDEFINED, NOT_REACHED = "–", "not reached"
WORDS = {
    "mae": "mean absolute error, months",
    "signed_error": "predicted minus true, months",
    "over_12": "off by more than 12 months, %",
    "over_24": "off by more than 24 months, %",
    "qwk": "quadratic weighted kappa",
    "coverage": "share inside the interval, %",
    "accuracy": "accuracy, %",
}
SWITCH = "on or off"  # the unit of disturbances without strengths between
PERCENT = ("over_12", "over_24", "coverage", "accuracy")


def in_words(row: pd.Series) -> str:
    """A row of `subgroups.error_table` or `stage_table`, as "9.1 (8.6 to 9.7)"."""
    if row["too_few"]:
        return TOO_FEW
    if np.isnan(row["value"]):
        return UNDEFINED
    factor, digits = 1, 2
    if row["metric"] in ("mae", "signed_error"):
        digits = 1
    elif row["metric"] in PERCENT:
        factor, digits = 100, 1 if row["metric"].startswith("over") else 0
    value, lower, upper = (
        f"{factor * row[name]:.{digits}f}" for name in ("value", "lower", "upper")
    )
    return value if lower == "nan" else f"{value} ({lower} to {upper})"


def by_sex(told: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Of `subgroups.error_table` of some models: a row a model, a column a metric and sex.

    A sex that has no case is "too few", a metric that a model lacks is "–".
    """
    part = told[told["metric"].isin(metrics) & told["group"].isin(SEXES)]
    table = _texts(part, "model", ["metric", "group"])
    columns = pd.MultiIndex.from_product([metrics, SEXES])
    table = table.reindex(index=told["model"].unique(), columns=columns).astype(object)
    present = set(part["group"])
    for metric, sex in columns:
        table[metric, sex] = table[metric, sex].fillna(UNDEFINED if sex in present else TOO_FEW)
    cases = told[told["metric"] == "mae"].drop_duplicates("group").set_index("group")["n"]
    named = {sex: f"{SEX_WORDS[sex]}, n = {cases.get(sex, 0):,}" for sex in SEXES}
    return table.rename(columns=WORDS | named).rename_axis(index=None, columns=[None, None])


def by_group(told: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Of one metric, of some models: a row a group with its number of cases, a column a model."""
    part = told[told["metric"] == metric]
    table = _texts(part, "group", "model")
    table = table.reindex(index=part["group"].unique(), columns=part["model"].unique())
    table.insert(0, "cases", part.drop_duplicates("group").set_index("group")["n"])
    return table.rename_axis(index=None, columns=WORDS[metric])


def by_kind(tips: pd.DataFrame) -> pd.DataFrame:
    """Of `stress.tipping_strength`: a row a kind and direction, a column a model.

    The row's name ends in the strongest that was tried.
    """
    strength = ["" if np.isnan(value) else f"{value:.3g}" for value in tips["strength"]]
    named = [
        f"{row.kind}, {row.unit}" + ("" if row.unit == SWITCH else f", tried to {row.strongest:g}")
        for row in tips.itertuples()
    ]
    shown = tips.assign(text=[text or NOT_REACHED for text in strength], disturbance=named)
    shown.loc[(shown["unit"] == SWITCH) & shown["strength"].notna(), "text"] = "on"
    table = shown.pivot(index="disturbance", columns="model", values="text")
    table = table.reindex(index=shown["disturbance"].unique(), columns=shown["model"].unique())
    return table.rename_axis(index=None, columns="error grown by 10 % at")


def _texts(part: pd.DataFrame, index: str, columns: str | list[str]) -> pd.DataFrame:
    told = part.assign(text=[in_words(row) for _, row in part.iterrows()])
    return told.pivot(index=index, columns=columns, values="text")


def plain(
    table: pd.DataFrame, index: list[str], words: dict[str, str], digits: int
) -> pd.DataFrame:
    """Any table with `lower` and `upper`: rows named by `index`, columns by `words`.

    words: what a column is called, by its name; that which has the interval stands last, as "9.1
    (8.6 to 9.7)", or as "too few" where it is NaN.
    """
    *others, value = words
    texts = [
        TOO_FEW if np.isnan(ends[0]) else "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*ends, d=digits)
        for ends in table[[value, "lower", "upper"]].to_numpy(float)
    ]
    made = table[[*index, *others]].assign(**{value: texts}).set_index(index)
    return made.rename(columns=words).rename_axis(index=[None] * len(index))


IN_MONTHS = ("mae", "rmse", "median_error", "signed_error")
GROUP_METRICS = {
    "mae": "mean absolute error, months",
    "signed_error": "predicted minus true, months",
    "accuracy": "accuracy",
    "qwk": "quadratic weighted kappa",
}
CALIBRATION = {
    "signed_error": "predicted minus true, months",
    "slope": "slope of true on predicted months",
    "coverage": "share of labels inside their interval",
}
SHOWN_METRICS = {
    "age": {
        "mae": "mean absolute error, months",
        "rmse": "root mean squared error, months",
        "mse": "mean squared error, months²",
        "r2": "R²",
        "median_error": "median absolute error, months",
        "within_6": "share within 6 months",
        "within_12": "share within 12 months (1 year)",
        "within_24": "share within 24 months (2 years)",
    },
    "stage": {
        "accuracy": "accuracy",
        "qwk": "quadratic weighted kappa",
        "macro_precision": "precision, mean of stages",
        "macro_recall": "recall, mean of stages",
        "macro_f1": "F1, mean of stages",
    },
}

# Of many models side by side.
MAIN_METRICS = {"age": ("mae", "rmse", "r2"), "stage": ("qwk", "accuracy", "macro_f1")}


def score_table(
    scores: pd.DataFrame, task: str, split: str, metrics: tuple[str, ...] = ()
) -> pd.DataFrame:
    """One row a metric, one column a model: the value and its 95 % interval on a split.

    `metrics` are those to show; empty: all of `SHOWN_METRICS`.
    """
    words = {name: words for name, words in SHOWN_METRICS[task].items() if name in metrics}
    words = words or SHOWN_METRICS[task]
    part = scores[(scores["task"] == task) & (scores["split"] == split)]
    part = part[part["metric"].isin(list(words))]
    told = part.assign(text=[_with_interval(row, row.metric) for row in part.itertuples()])
    table = told.pivot(index="metric", columns="model", values="text")
    table = table.reindex(index=list(words), columns=part["model"].drop_duplicates())
    title = f"{split} split, n = {part['n'].max():,}"
    return table.rename(index=words).rename_axis(index=None, columns=title)


def class_table(scores: pd.DataFrame, model: str, split: str, names: list[str]) -> pd.DataFrame:
    """Precision, recall and F1 of every stage, with 95 % intervals."""
    part = scores[(scores["model"] == model) & (scores["split"] == split)].set_index("metric")
    rows = {
        name: {
            metric: _with_interval(part.loc[f"{metric}_{stage}"], metric)
            for metric in ("precision", "recall", "f1")
        }
        for stage, name in enumerate(names)
    }
    return pd.DataFrame(rows).T


def group_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Of `subgroups.scores_by_group`: one row a group, n and the metrics with 95 % intervals."""
    told = scores.assign(text=[_with_interval(row, row.metric) for row in scores.itertuples()])
    table = told.pivot(index="group", columns="metric", values="text")
    table = table.reindex(index=scores["group"].unique(), columns=scores["metric"].unique())
    table.insert(0, "n", scores.drop_duplicates("group").set_index("group")["n"])
    return table.rename(columns=GROUP_METRICS).rename_axis(index=None, columns=None)


def score(scores: pd.DataFrame, model: str, split: str, metric: str) -> str:
    """A score in words: value, unit, interval and n."""
    chosen = (scores["model"] == model) & (scores["split"] == split)
    row = scores[chosen & (scores["metric"] == metric)].iloc[0]
    value, lower, upper = (_digits(row[key], metric) for key in ("value", "lower", "upper"))
    unit = f" months or {row['value'] / 12:.2f} years" if metric in IN_MONTHS else ""
    return f"{value}{unit} (95 % interval {lower} to {upper}, n = {row['n']:,})"


def calibration_table(calibration: pd.DataFrame) -> pd.DataFrame:
    """Of `external.calibration` at some places: a row a measure, a column a place, intervals."""
    told = calibration.assign(
        text=[_with_interval(row, row.metric) for row in calibration.itertuples()]
    )
    sizes = calibration.groupby("place", sort=False)["n"].max()
    table = told.pivot(index="metric", columns="place", values="text")
    table = table.reindex(index=calibration["metric"].unique(), columns=sizes.index)
    names = {place: f"{place}, n = {n:,}" for place, n in sizes.items()}
    return table.rename(index=CALIBRATION, columns=names).rename_axis(index=None, columns=None)


def calibration_words(calibration: pd.DataFrame, level: float) -> list[str]:
    """What the table says of the last place, as sentences of a list; `level` of its intervals."""
    last = calibration[calibration["place"] == calibration["place"].iloc[-1]].set_index("metric")
    aims = {"signed_error": 0.0, "slope": 1.0, "coverage": level}
    said = []
    for metric in last.index:
        row, aim = last.loc[metric], aims[metric]
        clear = row["lower"] > aim or row["upper"] < aim
        verdict = "clearly not" if clear else "not clearly different from"
        said.append(
            f"- {CALIBRATION[metric].capitalize()}: {_with_interval(row, metric)}, {verdict} "
            f"{_digits(aim, metric)} (n = {row['n']:,})."
        )
    return said


def comparison_words(model: str, other: str, task: str, difference: dict) -> str:
    """What `scores.compare_models` found on the test split, as one sentence of a list."""
    scale, unit = (1, "months") if task == "age" else (100, "percentage points")
    what = "mean absolute error" if task == "age" else "share of wrong stages"
    value, lower, upper = (scale * difference[key] for key in ("value", "lower", "upper"))
    word = "lower" if value < 0 else "higher"
    clear = "" if lower * upper > 0 else ", which does not exclude zero"
    return (
        f"- Its {what} is {abs(value):.2f} {unit} {word} than that of {other} (difference "
        f"{value:+.2f}, 95 % paired bootstrap interval {lower:+.2f} to {upper:+.2f}, "
        f"test split, n = {difference['n']:,}){clear}."
    )


def _with_interval(row, metric: str) -> str:
    if pd.isna(row.value):
        return "not defined"
    if pd.isna(row.lower):
        return _digits(row.value, metric)
    value, lower, upper = (_digits(x, metric) for x in (row.value, row.lower, row.upper))
    return f"{value} ({lower} to {upper})"


def _digits(value: float, metric: str) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.1f}" if metric in (*IN_MONTHS, "mse") else f"{value:.3f}"
