"""The one vocabulary of names, units and formats, and scores as tables and sentences.

A score that `METRICS` names reads alike everywhere; what `SHOWN` lists stands in the tables of the
notebooks, the index and the model card. Scores have `metric`, `n`, `value`, `lower` and `upper`,
null where they are not defined. Sentences are lines of a Markdown list, written from tables alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nbhelpers.evaluation.conformal import TOLD_LEVEL
from nbhelpers.evaluation.scores import ALL, DERIVED, TRIVIAL


@dataclass(frozen=True)
class Metric:
    """How a score is called and written.

    Attributes:
        name: as it stands in a sentence.
        unit: a key of `FORMATS`; `%` is a share of the cases, 0 to 1 in files.
        sign: "+" where a value above 0 shows its sign.
    """

    name: str
    unit: str = ""
    sign: str = ""

    @property
    def heading(self) -> str:
        """The name, with its unit where figures do not carry it."""
        return f"{self.name}, {self.unit}" if self.unit.startswith("months") else self.name


# Unit -> what a value is multiplied by, and how many decimals it is shown with.
FORMATS = {"months": (1, 1), "months²": (1, 1), "%": (100, 1), "ratio": (1, 2), "": (1, 3)}
METRICS = {
    "mae": Metric("mean absolute error", "months"),
    "rmse": Metric("RMSE", "months"),
    "mse": Metric("mean squared error", "months²"),
    "r2": Metric("R²"),
    "median_error": Metric("median error", "months"),
    "within_6": Metric("within 6 months", "%"),
    "within_12": Metric("within 12 months", "%"),
    "within_24": Metric("within 24 months", "%"),
    "over_12": Metric("off by more than 12 months", "%"),
    "over_24": Metric("off by more than 24 months", "%"),
    "signed_error": Metric("predicted minus true", "months", "+"),
    "difference": Metric("difference in mean absolute error", "months", "+"),
    "slope": Metric("slope of true on predicted months"),
    "coverage": Metric("inside the interval", "%"),
    "qwk": Metric("quadratic weighted kappa"),
    "accuracy": Metric("accuracy", "%"),
    "macro_precision": Metric("precision, mean of stages"),
    "macro_recall": Metric("recall, mean of stages"),
    "macro_f1": Metric("F1, mean of stages"),
    "precision": Metric("precision"),
    "recall": Metric("recall"),
    "f1": Metric("F1"),
    "ratio": Metric("energy over area", "ratio"),
    "energy_share": Metric("share of the energy", "%"),
    "area_share": Metric("share of the area", "%"),
    "hit": Metric("maximum inside", "%"),
    "chance": Metric("inside by chance", "%"),
    "likeness": Metric("rank correlation", "ratio"),
}
# Of a task, in their order: the first ranks the models, three stand where models are many.
SHOWN = {
    "age": ("mae", "rmse", "r2", "median_error", "within_6", "within_12", "within_24", "mse"),
    "stage": ("qwk", "accuracy", "macro_f1", "macro_precision", "macro_recall"),
}
SIMPLEST = {"age": "mean age by sex", "stage": "majority stage"}  # of the trivial predictors
TASKS = {"age": "Bone age", "stage": "Developmental stage"}
MODELS = {
    "cnn": "Custom CNN",
    "hog": "HOG and XGBoost",
    "vgg16": "VGG16",
    "efficientnet": "EfficientNet",
    "efficientnet_sam": "EfficientNet with SAM",
    "mobilenet": "MobileNet",
    "inception": "Inception",
    "convnext": "ConvNeXt",
    "ensemble_equal": "Equal ensemble",
    "ensemble_weighted": "Weighted ensemble",
    "ensemble_linear": "Linear ensemble",
    "ensemble_ridge": "Ridge ensemble",
    "ensemble_ridge_sex": "Ridge ensemble with sex",
    "ensemble_logistic": "Logistic ensemble",
}
# Kinds of intervals around ages and of sets of stages, see `evaluation.conformal`.
KINDS = {
    "plain": "the same for all",
    "scaled": "scaled by difficulty",
    "mondrian": "by sex and stage",
    "by stage": "by stage",
}
HYPERPARAMETERS = {"first_width": "first channels", "convolutions": "convolutions a block"}
SEXES = {"female": "girls", "male": "boys"}
TOO_FEW, UNDEFINED, NOT_REACHED = "too few", "–", "not reached"
SWITCH = "on or off"  # the unit of corruptions without strengths between
CLEAR = 0.05  # p below which a finding is called clear
YOUNG_MONTHS = 36  # below which the data have few cases


def model_name(model: str) -> str:
    """What a reader knows a model as; models without an entry in `MODELS` keep their name."""
    base, end, of = model.partition(" (")
    return MODELS.get(base, base) + end + of


def network_name(network: str) -> str:
    """As `model_name`, of a network with its task: "cnn age" is "Custom CNN, age"."""
    model, _, task = network.rpartition(" ")
    return f"{model_name(model)}, {task}" if task in TASKS else network


def hyperparameter_name(name: str) -> str:
    """What a hyperparameter of the search is called."""
    return HYPERPARAMETERS.get(name, name.replace("_", " "))


def number(value: float, metric: str) -> str:
    """A value of a metric in its format, without its unit."""
    factor, decimals = FORMATS[METRICS[metric].unit]
    return f"{factor * value:{METRICS[metric].sign}z.{decimals}f}"


def value_and_interval(score: Mapping, metric: str) -> tuple[str, str]:
    """A score as "9.0" and its 95 % interval as "8.6 to 9.7", or "" where it has none."""
    value, lower, upper = (score[key] for key in ("value", "lower", "upper"))
    if pd.isna(value):
        return TOO_FEW if score.get("too_few") else UNDEFINED, ""
    percent = " %" if METRICS[metric].unit == "%" else ""
    if pd.isna(lower) or pd.isna(upper):
        return number(value, metric) + percent, ""
    interval = f"{number(lower, metric)} to {number(upper, metric)}{percent}"
    return number(value, metric) + percent, interval


def score_text(score: Mapping, metric: str) -> str:
    """A score with its interval as a table shows it: "9.0 (8.6 to 9.7)"."""
    value, interval = value_and_interval(score, metric)
    return f"{value} ({interval})" if interval else value


def score_words(score: Mapping, metric: str) -> str:
    """A score in a sentence: "9.0 months or 0.75 years (95 % interval 8.6 to 9.7, n = 300)"."""
    value, interval = value_and_interval(score, metric)
    if METRICS[metric].unit == "months":
        value += " months"
        if not METRICS[metric].sign:
            value += f" or {score['value'] / 12:.2f} years"
    sizes = [score[key] for key in ("n", "n_female", "n_male") if key in score]
    n = " and ".join(f"{size:,.0f}" for size in sizes)
    certain = f"95 % interval {interval}, " if interval else ""
    return f"{value} ({certain}n = {n})"


def wide(scores: pd.DataFrame, index: str, columns: str | list[str]) -> pd.DataFrame:
    """Scores as text, a row and a column for each value of two columns, in their order.

    Metrics and models get their names; groups down the side get their number of cases.
    """
    texts = [score_text(row, row["metric"]) for row in scores.to_dict("records")]
    table = scores.assign(text=texts).pivot(index=index, columns=columns, values="text")
    table = table.reindex(index=scores[index].unique())
    if isinstance(columns, str):
        table = table.reindex(columns=scores[columns].unique())
    words = {name: metric.heading for name, metric in METRICS.items()}
    words |= {model: model_name(model) for model in scores.get("model", ())}
    if index == "group":
        table.insert(0, "cases", scores.drop_duplicates(index).set_index(index)["n"])
    none = [None] * table.columns.nlevels
    return table.rename(index=words, columns=words).rename_axis(index=None, columns=none)


def score_table(
    scores: pd.DataFrame, task: str, split: str, metrics: tuple[str, ...] = ()
) -> pd.DataFrame:
    """One row a metric (empty: all of `SHOWN`), one column a model: the score on a split."""
    part = scores[(scores["task"] == task) & (scores["split"] == split)]
    by_metric = part.set_index("metric", drop=False)
    shown = [metric for metric in metrics or SHOWN[task] if metric in by_metric.index]
    table = wide(by_metric.loc[shown].reset_index(drop=True), "metric", "model")
    return table.rename_axis(columns=f"{split} split, n = {part['n'].max():,}")


def class_table(scores: pd.DataFrame, model: str, split: str, names: list[str]) -> pd.DataFrame:
    """Precision, recall and F1 of every stage."""
    part = scores[(scores["model"] == model) & (scores["split"] == split)]
    of_stage = part["metric"].str.extract(r"^(precision|recall|f1)_(\d)$")
    part = part.assign(metric=of_stage[0], stage=of_stage[1]).dropna(subset="metric")
    return wide(part, "stage", "metric").rename(lambda stage: names[int(stage)])


def group_table(scores: pd.DataFrame, metrics: tuple[str, ...] = ()) -> pd.DataFrame:
    """Of one model: one row a group, one column a metric (empty: all there are)."""
    return wide(scores[scores["metric"].isin(metrics or METRICS)], "group", "metric")


def by_group(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of some models: one row a group, one column a model."""
    table = wide(scores[scores["metric"] == metric], "group", "model")
    return table.rename_axis(columns=METRICS[metric].heading)


def by_sex(scores: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Of `subgroups.error_table` of some models: a row a model, a column a metric and sex.

    A sex that has no case is "too few", a metric that a model lacks is "–".
    """
    part = scores[scores["metric"].isin(metrics) & scores["group"].isin(SEXES)]
    headings = [METRICS[metric].heading for metric in metrics]
    table = wide(part, "model", ["metric", "group"]).reindex(
        index=[model_name(model) for model in scores["model"].unique()],
        columns=pd.MultiIndex.from_product([headings, SEXES]),
    )
    table = table.astype(object)  # a column of which nothing is known holds no text yet
    cases = scores[scores["metric"] == "mae"].drop_duplicates("group").set_index("group")["n"]
    for place in table.columns[~table.columns.isin(cases.index, level=1)]:
        table[place] = TOO_FEW
    names = {sex: f"{name}, n = {cases.get(sex, 0):,}" for sex, name in SEXES.items()}
    return table.fillna(UNDEFINED).rename(columns=names)


def by_kind(tips: pd.DataFrame) -> pd.DataFrame:
    """Of `stress.tipping_strength`: a row a kind and direction, a column a model.

    The row's name ends in the strongest that was tried.
    """
    switch = tips["unit"] == SWITCH
    tried = ", tried to " + tips["strongest"].map("{:g}".format)
    text = tips["strength"].map("{:.3g}".format).mask(switch, "on")
    shown = tips.assign(
        text=text.mask(tips["strength"].isna(), NOT_REACHED),
        corruption=tips["kind"] + ", " + tips["unit"] + tried.mask(switch, ""),
        model=tips["model"].map(model_name),
    )
    table = shown.pivot(index="corruption", columns="model", values="text")
    table = table.reindex(index=shown["corruption"].unique(), columns=shown["model"].unique())
    return table.rename_axis(index=None, columns="error grown by 10 % at")


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


def calibration_table(calibration: pd.DataFrame) -> pd.DataFrame:
    """Of `external.calibration` at some places: a row a measure, a column a place."""
    sizes = calibration.groupby("place", sort=False)["n"].max()
    names = {place: f"{place}, n = {n:,}" for place, n in sizes.items()}
    return wide(calibration, "metric", "place").rename(columns=names)


def score(scores: pd.DataFrame, model: str, split: str, metric: str) -> str:
    """A model's score on a split, in words: value, unit, interval and n."""
    chosen = (scores["model"] == model) & (scores["split"] == split)
    return score_words(scores[chosen & (scores["metric"] == metric)].iloc[0], metric)


def verdict(scores: pd.DataFrame, model: str, task: str) -> str:
    """How far a model errs on the test split, and the simplest predictor: two sentences."""
    metric, simplest = SHOWN[task][0], SIMPLEST[task]
    own, other = (score(scores, name, "test", metric) for name in (model, TRIVIAL + simplest))
    said = (
        f"On the test split the {METRICS[metric].name} of {model_name(model)} is {own}; always "
        f"predicting the {simplest} gives {other}."
    )
    if task == "age":
        kappa = score(scores, model + DERIVED, "test", "qwk")
        said += f" The stages that its months fall into have a weighted kappa of {kappa}."
    return said


def headline(scores: pd.DataFrame, model: str, task: str) -> tuple[str, str]:
    """What stands on a run's card: the measure, and the model's score with its interval."""
    metric = SHOWN[task][0]
    chosen = scores[(scores["model"] == model) & (scores["split"] == "test")]
    row = chosen[chosen["metric"] == metric].iloc[0]
    return f"{METRICS[metric].heading}, test split", score_text(row, metric)


def calibration_words(calibration: pd.DataFrame, level: float) -> list[str]:
    """What the table says of the last place, as sentences of a list; `level` of its intervals."""
    last = calibration[calibration["place"] == calibration["place"].iloc[-1]].set_index("metric")
    aims = {"signed_error": 0.0, "slope": 1.0, "coverage": level}
    lines = []
    for metric, row in last.iterrows():
        aim, name = aims[metric], METRICS[metric].name
        clear = row["lower"] > aim or row["upper"] < aim
        verdict = "clearly not" if clear else "not clearly different from"
        target, _ = value_and_interval({"value": aim, "lower": None, "upper": None}, metric)
        lines.append(
            f"- {name[0].upper()}{name[1:]}: {score_words(row, metric)}, {verdict} {target}."
        )
    return lines


def comparison_words(model: str, other: str, task: str, difference: Mapping) -> str:
    """What `scores.compare_models` found on the test split, as a sentence."""
    scale, unit = (1, "months") if task == "age" else (100, "percentage points")
    what = "mean absolute error" if task == "age" else "share of wrong stages"
    value, lower, upper = (scale * difference[key] for key in ("value", "lower", "upper"))
    word = "lower" if value < 0 else "higher"
    clear = "" if lower * upper > 0 else ", which does not exclude zero"
    return (
        f"The {what} of {model_name(model)} is {abs(value):.2f} {unit} {word} than that of "
        f"{model_name(other)} (difference {value:+.2f}, 95 % paired bootstrap interval "
        f"{lower:+.2f} to {upper:+.2f}, test split, n = {difference['n']:,}){clear}."
    )


def overall(scores: pd.DataFrame, model: str) -> list[str]:
    """MAE and the share far off; `scores`: `subgroups.error_table` of the model."""
    rows = _defined(scores, ALL)
    if "mae" not in rows.index:
        return [f"- {model_name(model)}, test split: too few cases to say."]
    return [
        f"- {model_name(model)}, test split: mean absolute error "
        f"{score_words(rows.loc['mae'], 'mae')}.",
        f"- Off by more than two years: {score_words(rows.loc['over_24'], 'over_24')}.",
    ]


def groups(tests: pd.DataFrame) -> list[str]:
    """Groups predicted worse or better than all others; `tests`: `subgroups.group_tests`."""
    clear = tests[tests["p_holm"] < CLEAR].sort_values("value")
    return [
        f"- {row['group'].capitalize()}: error {score_words(row, 'difference')} against all "
        f"others, p = {row['p_holm']:.3f} after Holm's correction."
        for row in clear.to_dict("records")
    ] or ["- No group differs clearly from the others after Holm's correction."]


def sexes(gaps: pd.DataFrame, scores: pd.DataFrame) -> list[str]:
    """The gap of `subgroups.sex_gap`, and how many ages intervals hold, by sex."""
    lines = []
    for row in gaps[gaps["metric"] == "mae"].to_dict("records"):
        found = (
            f"too few to say, n = {row['n_female']:,} and {row['n_male']:,}."
            if np.isnan(row["value"])
            else f"{score_words(row, 'difference')}; equality within "
            f"{row['margin_months']:g} months: {row['verdict']}."
        )
        lines.append(f"- Error of girls minus boys, {row['adjustment']}: {found}")
    for sex, name in SEXES.items():
        rows = _defined(scores, sex)
        if "coverage" in rows.index:
            lines.append(
                f"- Intervals meant to hold {100 * TOLD_LEVEL:.0f} % of the ages hold, of the "
                f"{name}, {score_words(rows.loc['coverage'], 'coverage')}."
            )
    return lines


def other_sex(changed: Mapping[str, Mapping]) -> list[str]:
    """What another or no sex adds to the error: by name, what `metrics.compare_errors` gives."""
    return [
        f"- Given {name}, the model's error changes by {score_words(row, 'difference')}."
        for name, row in changed.items()
    ]


def regression(slopes: pd.DataFrame) -> list[str]:
    """The slope of the error on true age, of `agreement.error_slopes`."""
    row = slopes[slopes["metric"] == "on_truth"].iloc[0]
    if np.isnan(row["value"]):
        return ["- Regression to the mean: too few cases to say."]
    a_year = {key: 12 * row[key] for key in ("value", "lower", "upper")} | {"n": row["n"]}
    return [
        "- Regression to the mean: with each year of true age, predicted minus true changes by "
        f"{score_words(a_year, 'signed_error')}."
    ]


def balance(correlation: Mapping) -> list[str]:
    """Cases in train and error, of `subgroups.balance_correlation`."""
    value, p = correlation["value"], correlation["p"]
    if np.isnan(value):
        return ["- Balance: too few groups to relate their number in train to their error."]
    figures = f"rank correlation {value:+.2f}, p = {p:.2f}, n = {correlation['n_groups']} groups"
    if p >= CLEAR:
        return [f"- Balance: no clear link of a group's cases in train with its error ({figures})."]
    word = "smaller" if value < 0 else "larger"
    return [
        f"- Groups of sex and age with more cases in train tend to {word} errors ({figures}); this "
        "is no proof of a cause."
    ]


def corruptions(table: pd.DataFrame) -> list[str]:
    """What hurts each model most, of `stress.stress`."""
    lines = []
    for model, part in table.groupby("model", sort=False):
        row = part.loc[part["difference"].idxmax()]
        if row["difference_lower"] <= 0:
            lines.append(f"- No corruption clearly hurts {model_name(model)} (n = {row['n']:,}).")
            continue
        strength = "" if row["unit"] == SWITCH else f"{row['strength']:g}, "
        change = {key: row[f"difference_{key}"] for key in ("lower", "upper")}
        change |= {"value": row["difference"], "n": row["n"]}
        lines.append(
            f"- What hurts {model_name(model)} most is {row['kind']} ({strength}{row['unit']}): "
            f"{score_words(change, 'difference')}."
        )
    return lines


def limits(errors: pd.DataFrame) -> list[str]:
    """What these data cannot show; `errors`: `scores.case_errors` of the split."""
    young = int((errors["age_months"] < YOUNG_MONTHS).sum())
    return [
        "- What cannot be said: the data hold no ancestry, no diagnosis, no hospital, and of the "
        f"{len(errors):,} test cases {young:,} are under three years; a gap may come from the "
        "readers' labels as well as from a model."
    ]


def _defined(scores: pd.DataFrame, group: str) -> pd.DataFrame:
    """By metric, the scores of a group that have a value."""
    return scores[(scores["group"] == group) & scores["value"].notna()].set_index("metric")
