"""What the errors by group show, in words: one sentence a finding, with its n and 95 % interval.

Each function gives lines of a Markdown list, written from the tables alone. Where a group is too
small for a figure the line says so, or there is none.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nbhelpers.disturbances import named
from nbhelpers.intervals import SEXES, TOLD_LEVEL
from nbhelpers.plots_data import SEX_WORDS
from nbhelpers.sex_gap import TOO_FEW
from nbhelpers.subgroups import ALL

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
    """Groups told worse or better than all others; `tests`: `error_groups.group_tests`."""
    clear = tests[tests["p_holm"] < CLEAR].sort_values("value")
    return [
        f"- {row['group'].capitalize()}: error {measured(row, 'months', sign='+')} against all "
        f"others, p = {row['p_holm']:.3f} after Holm's correction."
        for _, row in clear.iterrows()
    ] or ["- No group differs clearly from the others after Holm's correction."]


def sexes(gaps: pd.DataFrame, told: pd.DataFrame) -> list[str]:
    """The gap of `sex_gap.sex_gap`, and how many ages intervals hold, by sex."""
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
    """What another or no sex adds to the error: by words, what `paired.compare_errors` gives."""
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
    """Cases in train and error, of `error_groups.balance_correlation`."""
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


def worst(compared: pd.DataFrame) -> list[str]:
    """Notes that stand on the worst cases more or less often, of `visible_faults.compare`."""
    above = compared["lower"] > compared["others_upper"]
    below = compared["upper"] < compared["others_lower"]
    lines = [
        f'- "{row["note"].capitalize()}" stands on {100 * row["worst"]:.0f} % of the worst (95 % '
        f"interval {100 * row['lower']:.0f} to {100 * row['upper']:.0f}, n = {row['n_worst']:,}), "
        f"on {100 * row['others']:.0f} % of the others ({100 * row['others_lower']:.0f} to "
        f"{100 * row['others_upper']:.0f}, n = {row['n_others']:,})."
        for _, row in compared[above | below].iterrows()
    ]
    return lines or [
        f"- No note stands clearly more or less often on the worst (n = "
        f"{compared['n_worst'].max():,}) than on the others (n = {compared['n_others'].max():,}); "
        "with so few, only a large difference would show."
    ]


def disturbances(table: pd.DataFrame) -> list[str]:
    """What hurts each model most, of `stress.stress`."""
    lines = []
    for model, part in table.groupby("model", sort=False):
        row = part.loc[part["difference"].idxmax()]
        much = f" of {row['strength']:g} ({row['unit']})"
        if named(row["kind"]).is_switch:
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
    """What these data cannot tell; `errors`: `evaluation.case_errors` of the split."""
    young = int((errors["age_months"] < YOUNG_MONTHS).sum())
    return [
        "- What cannot be said: the data hold no ancestry, no diagnosis, no hospital, and of the "
        f"{len(errors):,} test cases {young:,} are under three years; a gap may come from the "
        "readers' labels as well as from a model."
    ]


def _row(told: pd.DataFrame, group: str, metric: str) -> pd.Series | None:
    chosen = (told["group"] == group) & (told["metric"] == metric) & told["value"].notna()
    return told[chosen].iloc[0] if chosen.any() else None
