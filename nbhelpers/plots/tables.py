"""The one vocabulary of names, units and formats, and scores as tables and sentences.

A score that `METRICS` names reads alike everywhere; what `SHOWN` lists stands in the tables of the
notebooks, the index and the model card. Scores have `metric`, `n`, `value`, `lower` and `upper`,
null where they are not defined. Sentences are lines of a Markdown list, written from tables alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nbhelpers.evaluation.conformal import OLDEST_MONTHS
from nbhelpers.evaluation.scores import ALL, DERIVED, FEWEST, RANKED_BY, TRIVIAL
from nbhelpers.metrics import LOWER_IS_BETTER


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
    "median_error": Metric("median absolute error", "months"),
    "within_6": Metric("within 6 months", "%"),
    "within_12": Metric("within 12 months", "%"),
    "within_24": Metric("within 24 months", "%"),
    "over_12": Metric("off by more than 12 months", "%"),
    "over_24": Metric("off by more than 24 months", "%"),
    "signed_error": Metric("predicted minus true", "months", "+"),
    "difference": Metric("difference in mean absolute error", "months", "+"),
    "slope": Metric("slope of true on predicted months"),
    "coverage": Metric("inside the interval", "%"),
    "width": Metric("width of the interval", "months"),
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
    "more": Metric("excess of the network examined", "ratio", "+"),
    "likeness": Metric("rank correlation", "ratio"),
}
# Of a task, in their order: that of `RANKED_BY` first. `LEADING` stand where models are many.
LEADING = {"age": ("mae", "rmse", "r2"), "stage": ("qwk", "accuracy", "macro_f1")}
SHOWN = {
    "age": ("mae", "rmse", "r2", "median_error", "within_6", "within_12", "within_24", "mse"),
    "stage": ("qwk", "accuracy", "macro_f1", "macro_precision", "macro_recall"),
}
SIMPLEST = {"age": "median age by sex", "stage": "majority stage"}  # of the trivial predictors
TASKS = {"age": "Bone age", "stage": "Developmental stage"}
MODELS = {
    "cnn": "Custom CNN",
    "hog": "HOG and XGBoost",
    "vgg16": "VGG16",
    "efficientnet": "EfficientNet",
    "mobilenet": "MobileNet",
    "efficientnet_sam": "EfficientNet with SAM",
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
# Size in a coverage table -> what has it, its unit, and how many decimals it is shown with.
SIZES = {"width_months": ("intervals", "months wide", 1), "mean_stages": ("sets", "stages", 2)}
# Kind -> up to how many quantiles all stages share one, and what that is called.
LEFT = {
    "mondrian": (2, "too few cases, so by sex alone"),
    "by stage": (1, "too few cases, so the same for all"),
}
UNITS = {"age": "months", "stage": "kappa"}  # of differences
HYPERPARAMETERS = {"first_width": "first channels", "convolutions": "convolutions a block"}
SEXES = {"female": "girls", "male": "boys"}
TOO_FEW, UNDEFINED, NOT_REACHED = "too few", "–", "not reached"
SWITCH = "on or off"  # the unit of corruptions without strengths between
NUMBERED = ("exponent", "quality")  # units that stand before their number
# What follows the scores of a model and of the simplest predictor where the model is not clearly
# better.
NO_BETTER = ", so the model is no better than a predictor that looks at no picture"
AS_GOOD = ", which may be as good as the model"
CLEAR = 0.05  # p below which a finding is called clear
SHORT = 0.025  # chance of so few held below which a group falls short: one side of 95 %


def model_name(model: str) -> str:
    """What a reader knows a model as; models without an entry in `MODELS` keep their name."""
    base, end, of = model.partition(" (")
    return MODELS.get(base, base) + end + of


def network_name(network: str) -> str:
    """As `model_name`, of a network with its task: "cnn age" is "Custom CNN, age"."""
    model, _, task = network.rpartition(" ")
    return f"{model_name(model)}, {task}" if task in TASKS else network


def group_name(group: str) -> str:
    """A group of cases as figures name it: "female, 5 to 10 years" is "girls, 5 to 10 years"."""
    sex, comma, of = group.partition(",")
    return SEXES.get(sex, sex) + comma + of


def hyperparameter_name(name: str) -> str:
    """What a hyperparameter of the search is called."""
    return HYPERPARAMETERS.get(name, name.replace("_", " "))


def number(value: float, metric: str) -> str:
    """A value of a metric in its format, without its unit."""
    factor, decimals = FORMATS[METRICS[metric].unit]
    return f"{factor * value:{METRICS[metric].sign}z.{decimals}f}"


def value_and_interval(score: Mapping, metric: str) -> tuple[str, str]:
    """A score as "9.0" and its 95 % interval as "8.6 to 9.7", or "" where it has none.

    One that is not defined is "too few" of fewer than `FEWEST` cases, else a dash.
    """
    value, lower, upper = (score[key] for key in ("value", "lower", "upper"))
    if pd.isna(value):
        return TOO_FEW if score["n"] < FEWEST else UNDEFINED, ""
    percent = " %" if METRICS[metric].unit == "%" else ""
    known = not (pd.isna(lower) or pd.isna(upper))
    interval = f"{number(lower, metric)} to {number(upper, metric)}{percent}" if known else ""
    return number(value, metric) + percent, interval


def score_text(score: Mapping, metric: str) -> str:
    """A score with its interval as a table shows it: "9.0 (8.6 to 9.7)"."""
    value, interval = value_and_interval(score, metric)
    return f"{value} ({interval})" if interval else value


def score_words(score: Mapping, metric: str) -> str:
    """A score in a sentence: "9.0 months (95 % interval 8.6 to 9.7, n = 300; 0.75 years)"."""
    value, interval = value_and_interval(score, metric)
    if METRICS[metric].unit == "months" and not pd.isna(score["value"]):
        value += " months"
    sizes = [score[key] for key in ("n", "n_female", "n_male") if key in score]
    n = " and ".join(f"{size:,.0f}" for size in sizes)
    told = f"95 % interval {interval}, n = {n}" if interval else f"n = {n}"
    if value.endswith("months") and not METRICS[metric].sign:
        told += f"; {score['value'] / 12:.2f} years"
    return f"{value} ({told})"


def _pivot(table: pd.DataFrame, index: str, columns: str, cases: bool = False) -> pd.DataFrame:
    """`text` by two columns in their order; with the number of cases of each row."""
    wide = table.pivot(index=index, columns=columns, values="text")
    wide = wide.reindex(index=table[index].unique(), columns=table[columns].unique())
    if cases:
        wide.insert(0, "cases", table.drop_duplicates(index).set_index(index)["n"])
    return wide.rename_axis(index=None, columns=None)


def wide(scores: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    """Scores as text, a row and a column for each value of two columns, in their order.

    Metrics and models get their names; groups down the side get their number of cases.
    """
    texts = [score_text(row, row["metric"]) for row in scores.to_dict("records")]
    table = _pivot(scores.assign(text=texts), index, columns, cases=index == "group")
    words = {name: metric.heading for name, metric in METRICS.items()}
    words |= {model: model_name(model) for model in scores.get("model", ())}
    return table.rename(index=words, columns=words)


def score_table(
    scores: pd.DataFrame, task: str, split: str, metrics: tuple[str, ...] = ()
) -> pd.DataFrame:
    """One row a metric (empty: all of `SHOWN`), one column a model: the score on a split."""
    part = scores[(scores["task"] == task) & (scores["split"] == split)]
    part = part.sort_values("model", key=lambda of: of.str.startswith("trivial"), kind="stable")
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


def group_table(scores: pd.DataFrame, metrics: Collection[str] = ()) -> pd.DataFrame:
    """Of one model: one row a group, one column a metric (empty: all there are)."""
    return wide(scores[scores["metric"].isin(metrics or METRICS)], "group", "metric")


def by_kind(tips: pd.DataFrame) -> pd.DataFrame:
    """Of `stress.tipping_strengths`: one row per kind and direction, one column per model.

    The row's name ends in the strongest that was tried.
    """
    texts, names = [], []
    for tip in tips.itertuples():
        value, lower, upper = (_tipping_text(tip, end) for end in ("strength", "lower", "upper"))
        name = f"{tip.kind}, {tip.unit}"
        if tip.unit == SWITCH:
            value = value if value == NOT_REACHED else "on"
        else:
            value = value if lower == value == upper else f"{value} ({lower} to {upper})"
            name += f", tried to {tip.strongest:g}"
        texts.append(value)
        names.append(name)
    shown = tips.assign(text=texts, corruption=names, model=tips["model"].map(model_name))
    return _pivot(shown, "corruption", "model").rename_axis(columns="strength at 10 % more error")


def _tipping_text(tip: tuple, end: str) -> str:
    strength = getattr(tip, end)
    if np.isnan(strength):
        return NOT_REACHED
    # What lies between none and the weakest tried has no more digits than that.
    if abs(strength - tip.strongest) > abs(tip.weakest - tip.strongest):
        return f"weaker than {tip.weakest:.3g}"
    return f"{strength:.3g}"


def coverage_table(coverage: pd.DataFrame, index: str) -> pd.DataFrame:
    """Coverage of one level: a row a `group` or `model`, one column per kind of intervals or sets.

    A cell is the share inside with its 95 % interval, and the mean width or number of stages.
    """
    size = next(name for name in SIZES if name in coverage)
    _, unit, digits = SIZES[size]
    shares = 100 * coverage[["coverage", "lower", "upper"]]
    cells = shares.assign(size=coverage[size]).to_numpy()
    texts = ["{:.1f} ({:.1f} to {:.1f}); {:.{d}f}".format(*cell, d=digits) for cell in cells]
    table = _pivot(coverage.assign(text=texts), index, "kind", cases=True)
    table = table.rename(index=model_name, columns=KINDS)
    return table.rename_axis(columns=f"test cases inside, %; {unit} on average")


def kind_words(kind: str, quantiles: int | None) -> str:
    """What a kind of intervals or sets is called, and what is left of it where cases were few.

    `quantiles`: how many it has; None where that is not known or not the same for all.
    """
    told = KINDS.get(kind, kind)
    if kind not in LEFT or not quantiles:
        return told
    most, left = LEFT[kind]
    return f"{told}: {left if quantiles <= most else f'{quantiles} quantiles'}"


def kept_table(coverage: pd.DataFrame) -> pd.DataFrame:
    """Of one kind and level: one row per group, those that fall short beyond chance first.

    A group of fewer than `FEWEST` cases gets no verdict; a promise fails where there is one.
    """
    size = next(name for name in SIZES if name in coverage)
    _, unit, digits = SIZES[size]
    few, low, level = coverage["n"] < FEWEST, falls_short(coverage), coverage["level"].iloc[0]
    words = [TOO_FEW, "promise fails", f"below {100 * level:.0f} %"]
    notes = np.select([few, low & coverage["promised"], low], words, "")
    shares = 100 * coverage[["coverage", "lower", "upper"]]
    table = coverage.round({size: digits}).assign(**shares, note=notes, holds=~low)
    held = f"held, % (promised {100 * level:.0f})"
    words = {"n": "cases", size: unit, "note": "", "coverage": held}
    return plain(table.sort_values("holds", kind="stable"), ["group"], words, 1)


def falls_short(coverage: pd.DataFrame) -> pd.Series:
    """Whether each row of `conformal.coverage` is held less often than chance explains.

    So few or fewer would be held in less than 2.5 % of draws, were the level kept there.
    """
    return (coverage["chance"] < SHORT) & (coverage["n"] >= FEWEST)


def coverage_words(own: pd.DataFrame) -> str:
    """Of one kind and level: the groups where its promise fails first, and what is held of all."""
    row, large, low = own[own["group"] == ALL].iloc[0], own["n"] >= FEWEST, falls_short(own)
    failed, others = (_shares(own[low & of]) for of in (own["promised"], ~own["promised"]))
    others = others and f"without a promise, fewer are held in {others}; "
    size = next(name for name in SIZES if name in own)
    what, unit, digits = SIZES[size]
    if endless := (own[size] == OLDEST_MONTHS).sum():
        unit += f", in {endless} of {len(own)} groups all ages for lack of calibration cases"
    share = score_words({**row, "value": row["coverage"]}, "coverage")
    return (
        f"The promise of {100 * row['level']:.0f} % fails in {failed or 'no group beyond chance'}"
        f" (groups judged: {(large & own['promised']).sum()}; with fewer than {FEWEST} test cases: "
        f"{(~large).sum()}); {others}{what} "
        f"({kind_words(row['kind'], row['quantiles'])}) held {share} of all and are on average "
        f"{row[size]:.{digits}f} {unit}."
    )


def _shares(coverage: pd.DataFrame) -> str:
    shares = zip(coverage["group"], 100 * coverage["coverage"], strict=True)
    return ", ".join(f"{group} ({share:.0f} %)" for group, share in shares)


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


def gap_words(gaps: pd.DataFrame) -> str:
    """What `subgroups.sex_gap` found at equal ages, as a sentence."""
    told = []
    for row in gaps[gaps["adjustment"] == "standardised"].to_dict("records"):
        if pd.isna(row["value"]):
            return "There are too few girls and boys of equal age to compare."
        errors = "signed" if row["metric"] == "signed_error" else "absolute"
        told.append(
            f"{score_words(row, 'difference')} in {errors} errors (equality within "
            f"{row['margin_months']:g} months: {row['verdict']})"
        )
    return f"At equal ages, girls minus boys is {' and '.join(told)}."


def bias_words(tests: pd.DataFrame, signed: pd.DataFrame, gaps: pd.DataFrame, model: str) -> str:
    """For whom a model errs: `clear_words`, `furthest_words` and `gap_words`, in that order."""
    return f"{clear_words(tests)} {furthest_words(signed, model)} {gap_words(gaps)}"


def clear_words(tests: pd.DataFrame) -> str:
    """Which groups differ from all others after Holm's correction, the first three by name.

    tests: `group`, `error` ("signed" or "absolute"), `n`, `value` (months more than that of all
    others) and `p_holm`.
    """
    clear = tests[tests["p_holm"] < CLEAR].sort_values("p_holm", kind="stable")
    if clear.empty:
        return f"None of {len(tests)} group comparisons is clear after Holm's correction."
    words = {"signed": ("predicted {} months {}", "older", "younger")}
    words["absolute"] = ("absolute error {} months {}", "larger", "smaller")
    named = []
    for row in clear[:3].itertuples():
        text, more, less = words[row.error]
        found = text.format(f"{abs(row.value):.1f}", more if row.value > 0 else less)
        named.append(f"{row.group}, {found} than the others (n = {row.n:,})")
    named += [f"{len(clear) - 3} more of {len(tests)} comparisons"] * (len(clear) > 3)
    return f"Clear after Holm's correction, among groups that overlap: {'; '.join(named)}."


def furthest_words(signed: pd.DataFrame, model: str) -> str:
    """In which stage signed errors of a model lie furthest from 0: the stage as true, as predicted.

    signed: `group` ("post-puberty (true)"), `n`, `value`, `lower`, `upper`; NaN where too few.
    """
    known = signed.dropna().set_index("group")
    stages = known.filter(like="(true)", axis=0)["value"].abs()
    if stages.empty:
        return "Every stage has too few cases to say whether it is predicted too old or too young."
    both = [stages.idxmax(), stages.idxmax().replace("(true)", "(predicted)")]
    rows = known[known.index.isin(both)].iterrows()
    each = [f"{group}: {score_words(row, 'signed_error')}" for group, row in rows]
    return (
        f"Of the true stages with at least {FEWEST} cases (here {len(stages)}), predicted "
        f"minus true of {model} is furthest from 0 in {'; '.join(each)}; the first interval is not "
        "corrected for that choice."
    )


def worst_corruption(table: pd.DataFrame) -> str:
    """What adds most to the error of any model, of `stress.stress`: a sentence."""
    row = table.loc[table["difference"].idxmax()]
    named = corruption_words(row["kind"], row["strength"], row["unit"])
    added = {key: row[f"difference_{key}"] for key in ("lower", "upper")}
    words = score_words(added | {"value": row["difference"], "n": row["n"]}, "difference")
    return (
        f"Of {table['kind'].nunique()} corruptions at the strengths tried, {named} "
        f"adds most to the error of {model_name(row['model'])}: {words}; the interval is not "
        "corrected for that choice."
    )


def corruption_words(kind: str, strength: float, unit: str) -> str:
    """A corruption and how strong it is: `shift (30 % of the side)`, `jpeg (quality 5)`."""
    if unit == SWITCH:
        return kind
    before, _, after = unit.rpartition(" in ")  # as in "SD in grey levels"
    if unit in NUMBERED:
        before, after = unit, ""
    return f"{kind} ({f'{before} {strength:g} {after}'.strip()})"


def calibration_table(calibration: pd.DataFrame) -> pd.DataFrame:
    """Of scores at some places (column `place`): one row per measure, one column per place."""
    sizes = calibration.groupby("place", sort=False)["n"].max()
    names = {place: f"{place}, n = {n:,.0f}" for place, n in sizes.dropna().items()}
    return wide(calibration, "metric", "place").rename(columns=names).fillna("")


def score(scores: pd.DataFrame, model: str, split: str, metric: str) -> str:
    """A model's score on a split, in words: value, unit, interval and n."""
    return score_words(_row(scores, model, split, metric), metric)


def _row(scores: pd.DataFrame, model: str, split: str, metric: str) -> pd.Series:
    chosen = (scores["model"] == model) & (scores["split"] == split)
    return scores[chosen & (scores["metric"] == metric)].iloc[0]


def verdict(scores: pd.DataFrame, model: str, task: str) -> str:
    """How far a model errs on the test split, and the simplest predictor: two sentences."""
    words = error_words(scores, model, task)
    said = f"On the test split the model *{model_name(model)}* has a {words}."
    if task == "age":
        kappa = score(scores, model + DERIVED, "test", "qwk")
        said += f" The stages that its months fall into have a weighted kappa of {kappa}."
    return said


def error_words(scores: pd.DataFrame, model: str, task: str, split: str = "test") -> str:
    """How far a model errs, and whether the simplest predictor errs more, to follow "has a"."""
    metric = RANKED_BY[task]
    own, other = (_row(scores, name, split, metric) for name in (model, TRIVIAL + SIMPLEST[task]))
    better = (own["value"] < other["value"]) == (metric in LOWER_IS_BETTER)
    said = ""
    if not better or own["value"] == other["value"]:
        said = NO_BETTER
    elif own["lower"] <= other["value"] <= own["upper"]:
        said = AS_GOOD
    return (
        f"{METRICS[metric].name} of {score_words(own, metric)}; always predicting the "
        f"{SIMPLEST[task]} gives {score_words(other, metric)}{said}"
    )


def seeds(
    each: pd.Series, interval: tuple, scores: pd.DataFrame, model: str, task: str
) -> tuple[str, dict[str, float]]:
    """What a mean over seeds gains over a fit alone, in words and as figures; else nothing.

    Args:
        each, interval: what `scores.over_seeds` gives of the test split.
    """
    if each.empty:
        return "", {}
    own = _row(scores, model, "test", RANKED_BY[task])
    places, months = (2, " months") if task == "age" else (3, "")
    mean, sd, ends = each.mean(), each.std(), " to ".join(f"{end:.{places}f}" for end in interval)
    words = (
        f" One of its {len(each)} fits, which differ only in the seed, has {mean:.{places}f}"
        f"{months} on average (95 % interval over seeds and cases {ends}, n = {own['n']:,}; SD "
        f"over seeds {sd:.{places}f}); averaging them changes that by "
        f"{own['value'] - mean:+z.{places}f}."
    )
    names = ("mean over seeds", "lower", "upper", "SD over seeds")
    single = zip(names, (mean, *interval, sd), strict=True)
    return words, {f"one fit, {name}": value for name, value in single} | {**each}


def headline(scores: pd.DataFrame, model: str, task: str, split: str = "test") -> tuple[str, str]:
    """What stands on a run's card: the measure, and the model's score with its interval."""
    metric, where = SHOWN[task][0], "test split" if split == "test" else split
    value = score_text(_row(scores, model, split, metric), metric)
    return f"{METRICS[metric].heading}, {where}", value


def comparison_words(model: str, other: str, task: str, difference: Mapping) -> str:
    """What `scores.compare_models` found on the test split, as a sentence."""
    metric, months = RANKED_BY[task], " months" if task == "age" else ""
    value, lower, upper = (difference[key] for key in ("value", "lower", "upper"))
    model, other, n = model_name(model), model_name(other), f"n = {difference['n']:,}"
    if value == lower == upper == 0:
        return f"On the test split {model} predicts the same {task}s as {other} ({n})."
    better = "better" if (value < 0) == (metric in LOWER_IS_BETTER) else "worse"
    clearly = "" if lower * upper > 0 else "not clearly "
    ends = f"95 % paired bootstrap interval {lower:+.2f} to {upper:+.2f}, "
    return (
        f"On the test split {model} is {clearly}{better} than {other}: the difference in "
        f"{METRICS[metric].name} is {value:+z.2f}{months} "
        f"({ends if np.isfinite(lower) else ''}{n})."
    )
