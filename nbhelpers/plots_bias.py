"""Plots of who is told well and who is not: groups, agreement, disturbed radiographs.

Each function returns a figure and its alternative text.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbhelpers.figures import COLOURS
from nbhelpers.plots_data import SEX_COLOURS, SEX_WORDS, year_axis
from nbhelpers.subgroups import ALL

COLUMNS = 4  # of the panels of disturbances


def by_group(table: pd.DataFrame, metric: str, label: str) -> tuple[Figure, str]:
    """A metric of `subgroups.error_table` by group, with 95 % intervals; all cases as a line."""
    part = table[(table["metric"] == metric) & ~table["too_few"]]
    part = part[part["value"].notna()].reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(7.0, 1.0 + 0.26 * len(part)))
    value = part["value"].to_numpy(float)
    bars = [value - part["lower"].to_numpy(float), part["upper"].to_numpy(float) - value]
    places = np.arange(len(part))
    axes.errorbar(value, places, xerr=bars, fmt="o", markersize=4, capsize=2, color=COLOURS[0])
    whole = part[part["group"] == ALL]
    if len(whole):
        axes.axvline(whole["value"].iloc[0], color=COLOURS[7], linewidth=1)
    names = [f"{row.group}, n = {int(row.n):,}" for row in part.itertuples()]
    axes.set(yticks=places, yticklabels=names, ylim=(len(part) - 0.5, -0.5), xlabel=label)
    named = part[part["group"] != ALL]
    low, high = named.loc[named["value"].idxmin()], named.loc[named["value"].idxmax()]
    return figure, (
        f"{label} by group, from {low['value']:.1f} ({low['group']}) to {high['value']:.1f} "
        f"({high['group']})."
    )


def bland_altman(errors: pd.DataFrame, agreement: pd.DataFrame) -> tuple[Figure, str]:
    """Predicted minus true over their mean, with the mean difference and the limits of agreement.

    `agreement`: what `agreement.bland_altman` gives.
    """
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    middle = (errors["age_months"] + errors["predicted_months"]) / 2
    for sex, word in SEX_WORDS.items():
        of = (errors["sex"] == sex).to_numpy()
        axes.scatter(
            middle[of],
            errors.loc[of, "error_months"],
            s=9,
            alpha=0.4,
            linewidths=0,
            color=SEX_COLOURS[sex],
            label=f"{word}, n = {of.sum():,}",
        )
    lines = agreement.set_index("metric")["value"]
    for name in ("mean_difference", "lower_limit", "upper_limit"):
        axes.axhline(
            lines[name], color=COLOURS[7], linewidth=1 if name == "mean_difference" else 0.8
        )
        axes.text(240, lines[name], f"{lines[name]:+.1f}", ha="right", va="bottom", fontsize=8)
    year_axis(axes)
    axes.set_xlabel("mean of predicted and true, months and years")
    axes.set_ylabel("predicted minus true, months")
    axes.legend(markerscale=2, loc="lower left")
    return figure, (
        f"Predicted minus true months: mean {lines['mean_difference']:+.1f}, 95 % of the cases "
        f"between {lines['lower_limit']:.1f} and {lines['upper_limit']:.1f}."
    )


def stress_curves(table: pd.DataFrame) -> tuple[Figure, str]:
    """MAE against the strength of each disturbance, of `stress.stress`, a panel a kind."""
    kinds = list(dict.fromkeys(table["kind"]))
    rows = -(-len(kinds) // COLUMNS)
    figure, panels = plt.subplots(rows, COLUMNS, figsize=(8.6, 1.95 * rows), sharey=True)
    panels = np.asarray(panels).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        of_kind = table[table["kind"] == kind]
        for number, (model, part) in enumerate(of_kind.groupby("model", sort=False)):
            part = part.sort_values("strength")
            colour = COLOURS[number]
            axes.plot(
                part["strength"], part["mae"], marker="o", markersize=3, color=colour, label=model
            )
            axes.fill_between(
                part["strength"], part["lower"], part["upper"], alpha=0.15, color=colour
            )
        axes.set_title(kind, fontsize=9)
        axes.set_xlabel(of_kind["unit"].iloc[0], fontsize=8)
    panels[0].set_ylim(0, 1.1 * table["mae"].max())
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("MAE, months", fontsize=8)
    panels[0].legend(fontsize=7)
    worst = table.loc[table["mae"].idxmax()]
    return figure, (
        f"Mean absolute error on disturbed radiographs, {len(kinds)} kinds; the largest is "
        f"{worst['mae']:.1f} months, {worst['kind']} of {worst['strength']:g} {worst['unit']}."
    )
