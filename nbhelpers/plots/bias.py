"""Plots of who is told well and who is not: groups, agreement, disturbed radiographs.

Each function returns a figure and its alternative text.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbhelpers.evaluation.scores import ALL
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots.data import SEX_COLOURS, SEX_WORDS, year_axis
from nbhelpers.plots.style import COLOURS

COLUMNS = 4  # of the panels of disturbances
MARKERS = "os^Dv<>P"  # one a model, as colours are
HIGHEST = 5  # times the smallest MAE, up to which panels show
CASES_A_ROW = 4  # of the worst cases


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
    axes.set(yticks=places, yticklabels=names, ylim=(max(len(part), 1) - 0.5, -0.5), xlabel=label)
    named = part[part["group"] != ALL]
    if named.empty:
        return figure, f"{label} by group: every group is too small."
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
    known = [
        name
        for name in ("mean_difference", "lower_limit", "upper_limit")
        if lines[name] == lines[name]
    ]
    for name in known:
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
    """MAE against the strength of each disturbance, of `stress.stress`: a panel a kind.

    A line a model; of one model alone with its 95 % interval, where several would hide each other.
    Panels end at `HIGHEST` times the smallest MAE, which a line may leave: one harm that is beyond
    all others would flatten them.
    """
    kinds, models = (list(dict.fromkeys(table[name])) for name in ("kind", "model"))
    rows = -(-len(kinds) // COLUMNS)
    figure, panels = plt.subplots(rows, COLUMNS, figsize=(9.2, 2.0 * rows + 0.4), sharey=True)
    panels = np.asarray(panels).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        of_kind = table[table["kind"] == kind]
        for number, model in enumerate(models):
            part = of_kind[of_kind["model"] == model].sort_values("strength")
            look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % 8]}
            axes.plot(
                part["strength"], part["mae"], markersize=3, linewidth=1.2, label=model, **look
            )
            if len(models) == 1:
                ends = part["lower"], part["upper"]
                axes.fill_between(part["strength"], *ends, alpha=0.15, color=COLOURS[0])
        axes.set_title(kind, fontsize=9)
        axes.set_xlabel(of_kind["unit"].iloc[0], fontsize=8)
        axes.tick_params(labelsize=8)
        if of_kind["strength"].nunique() == 2:
            axes.set_xticks(sorted(of_kind["strength"].unique()), ["off", "on"])
    ends = table["upper" if len(models) == 1 else "mae"].max(), HIGHEST * table["mae"].min()
    panels[0].set_ylim(0, 1.05 * min(ends))
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("MAE, months", fontsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=min(len(names), 6), fontsize=9)
    worst = table.loc[table["mae"].idxmax()]
    return figure, (
        f"Mean absolute error of {', '.join(models)} on disturbed radiographs, {len(kinds)} kinds; "
        f"the largest is {worst['mae']:.1f} months, {worst['model']} under {worst['kind']} of "
        f"{worst['strength']:g} {worst['unit']}."
    )


def worst_cases(worst: pd.DataFrame, prepared: np.ndarray) -> tuple[Figure, str]:
    """The radiographs of the largest errors: as they came, and as the model saw them.

    Args:
        worst: `n` rows of `scores.largest_errors`.
        prepared: uint8 `[n, side, side]`.

    Where `image_path` is null the place of the radiograph as it came stays empty.
    """
    rows = -(-len(worst) // CASES_A_ROW)
    figure, grid = plt.subplots(
        rows,
        2 * CASES_A_ROW,
        figsize=(9.2, 1.8 * rows),
        squeeze=False,
        layout="none",  # texts are wider than a picture and would push the others apart
        gridspec_kw={"wspace": 0.05, "hspace": 0.4},
    )
    for axes in grid.ravel():
        axes.set_axis_off()
    pairs = grid.reshape(-1, 2)
    for (left, right), case, picture in zip(pairs, worst.itertuples(), prepared, strict=False):
        if case.image_path:
            left.imshow(_squared(read_image(Path(case.image_path))), vmin=0, vmax=255)
        right.imshow(picture, vmin=0, vmax=255)
        told = f"{case.age_months / 12:.1f} y told as {case.predicted_months / 12:.1f} y"
        left.set_title(f"{case.case_id}\n{told}", fontsize=8, fontweight="normal")
    told = ", ".join(f"{error:+.0f}" for error in worst["error_months"])
    return figure, f"The {len(worst)} radiographs with the largest errors, months: {told}."


def _squared(pixels: np.ndarray) -> np.ndarray:
    """A radiograph with white beside it, so that all are drawn on one square."""
    side = max(pixels.shape)
    room = [((side - length) // 2, side - length - (side - length) // 2) for length in pixels.shape]
    return np.pad(pixels, room, constant_values=255)
