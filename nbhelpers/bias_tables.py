"""Scores of many models by group as tables to read: a value with its interval, or "too few"."""

import numpy as np
import pandas as pd

from nbhelpers.intervals import SEXES
from nbhelpers.plots_data import SEX_WORDS
from nbhelpers.sex_gap import TOO_FEW

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


def faults(compared: pd.DataFrame) -> pd.DataFrame:
    """Of `visible_faults.compare`: a row a note, shares in per cent with their intervals."""
    parts = {
        "worst": ("worst", "lower", "upper"),
        "others": ("others", "others_lower", "others_upper"),
    }
    table = pd.DataFrame(index=compared["note"].rename(None))
    for name, columns in parts.items():
        n = compared[f"n_{name}"].max()
        shares = 100 * compared[list(columns)].to_numpy(float)
        table[f"the {n:,} {name}, %" if name == "worst" else f"the {n:,} others, %"] = [
            UNDEFINED if np.isnan(row).any() else "{:.0f} ({:.0f} to {:.0f})".format(*row)
            for row in shares
        ]
    return table
