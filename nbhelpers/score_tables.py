"""Scores as tables and in words, each with its interval and n."""

import pandas as pd

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
    """Of `shift.calibration` at some places: one row a measure, one column a place, intervals."""
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
    """What `evaluation.compare_models` found on the test split, as one sentence of a list."""
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
