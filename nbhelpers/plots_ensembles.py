"""Plots of ensembles: how members err together, what each adds, who differs, what intervals hold.

Functions that plot return a figure and its alternative text.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbhelpers.figures import COLOURS
from nbhelpers.subgroups import ALL

KIND_WORDS = {"plain": "plain", "scaled": "scaled by difficulty", "mondrian": "by sex and stage"}
SET_WORDS = {"plain": "one limit", "by stage": "a limit for each stage"}
CLEAR = 0.05  # below this corrected p a difference is called clear


def error_correlation(table: pd.DataFrame) -> tuple[Figure, str]:
    """Correlation of the members' errors, members by members."""
    side = 1.6 + 0.75 * len(table)
    figure, axes = plt.subplots(figsize=(side + 1.2, side))
    sns.heatmap(
        table,
        annot=True,
        fmt=".2f",
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        ax=axes,
        cbar_kws={"label": "correlation of errors"},
    )
    axes.set(xlabel="", ylabel="")
    plt.setp(axes.get_xticklabels(), rotation=25, ha="right")
    plt.setp(axes.get_yticklabels(), rotation=0)
    pairs = table.where(np.triu(np.ones(table.shape, bool), 1)).stack()
    lowest, highest = pairs.idxmin(), pairs.idxmax()
    return figure, (
        f"Errors of the members correlate from {pairs.min():.2f} ({' with '.join(lowest)}) to "
        f"{pairs.max():.2f} ({' with '.join(highest)})."
    )


def added_by_member(added: pd.DataFrame, unit: str, scale: float = 1.0) -> tuple[Figure, str]:
    """What the ensemble loses without each member, with intervals; members that help are right."""
    shown = added.sort_values("value")
    figure, axes = plt.subplots(figsize=(7.0, 1.2 + 0.4 * len(shown)))
    places = np.arange(len(shown))
    value, lower, upper = (scale * shown[key].to_numpy() for key in ("value", "lower", "upper"))
    axes.errorbar(
        value, places, xerr=[value - lower, upper - value], fmt="o", color=COLOURS[0], capsize=3
    )
    axes.axvline(0, color=COLOURS[7], linewidth=1)
    axes.set(yticks=places, yticklabels=shown.index, ylim=(-0.6, len(shown) - 0.4))
    axes.set_xlabel(f"loss without the member, more than with it, {unit}")
    told = ", ".join(
        f"{row.Index} {scale * row.value:+.2f}" for row in shown.iloc[::-1].itertuples()
    )
    return figure, f"What the ensemble loses without each member, {unit}: {told}."


def all_pairs(pairs: pd.DataFrame, unit: str, scale: float = 1.0) -> tuple[Figure, str]:
    """Differences of all pairs at a glance: row minus column, faint where it may be chance."""
    models = list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    square = pd.DataFrame(np.nan, index=models, columns=models)
    clear = pd.DataFrame(False, index=models, columns=models)
    for row in pairs.itertuples():
        square.loc[row.a, row.b], square.loc[row.b, row.a] = scale * row.value, -scale * row.value
        clear.loc[row.a, row.b] = clear.loc[row.b, row.a] = row.p_holm < CLEAR
    text = square.map(lambda value: "" if np.isnan(value) else f"{value:+.2f}")
    text = text.where(clear | (text == ""), text + "\n≈")
    limit = max(1e-9, float(np.nanmax(np.abs(square.to_numpy()))))
    side = 1.4 + 0.72 * len(models)
    figure, axes = plt.subplots(figsize=(side + 1.6, side))
    sns.heatmap(
        square.where(clear, 0.25 * square),
        annot=text,
        fmt="",
        annot_kws={"fontsize": 8},
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        square=True,
        ax=axes,
        cbar_kws={"label": f"row minus column, {unit}"},
    )
    axes.set(xlabel="", ylabel="")
    plt.setp(axes.get_xticklabels(), rotation=35, ha="right")
    plt.setp(axes.get_yticklabels(), rotation=0)
    sure = int((pairs["p_holm"] < CLEAR).sum())
    return figure, (
        f"Differences of all {len(pairs)} pairs of {len(models)} models, {unit}: {sure} are clear "
        "after Holm's correction, the others are marked ≈."
    )


def coverage_by_group(
    table: pd.DataFrame, level: float, words: dict[str, str] = KIND_WORDS
) -> tuple[Figure, str]:
    """Coverage of the intervals or sets of one level, by group and kind; the promise as a line.

    `words` are those of the kinds: `KIND_WORDS` or `SET_WORDS`.
    """
    part = table[np.isclose(table["level"], level)]
    groups = list(dict.fromkeys(part["group"]))
    figure, axes = plt.subplots(figsize=(7.6, 1.6 + 0.42 * len(groups)))
    for number, (kind, label) in enumerate(words.items()):
        rows = part[part["kind"] == kind].set_index("group").loc[groups]
        value, lower, upper = (100 * rows[key].to_numpy() for key in ("coverage", "lower", "upper"))
        lower, upper = np.fmin(value, lower), np.fmax(value, upper)
        places = np.arange(len(groups)) + 0.22 * (number - 1)
        bars = [value - lower, upper - value]
        axes.errorbar(value, places, xerr=bars, fmt="o", markersize=4, capsize=2, label=label)
    axes.axvline(100 * level, color=COLOURS[7], linewidth=1)
    sizes = part.drop_duplicates("group").set_index("group")["n"]
    labels = [f"{group}, n = {sizes[group]:,}" for group in groups]
    axes.set(yticks=np.arange(len(groups)), yticklabels=labels, xlabel="cases inside, %")
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.12), ncols=3)
    every = part[part["group"] == ALL].set_index("kind")["coverage"]
    told = ", ".join(f"{words[kind]} {100 * share:.1f} %" for kind, share in every.items())
    return figure, f"Share of cases held by their {100 * level:.0f} % interval or set: {told}."
