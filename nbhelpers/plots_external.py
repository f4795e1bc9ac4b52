"""Plots of radiographs from elsewhere beside those of training, and of the scores on both.

Each function returns a figure and its alternative text.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbhelpers.figures import COLOURS
from nbhelpers.plots_data import BINS_MONTHS, year_axis
from nbhelpers.shift import STATISTICS

HERE, TRAIN = COLOURS[1], COLOURS[0]
BINS = 30
SHOWN = 12  # pictures of the gallery
COLUMNS = 6


def ages(train_months: pd.Series, here_months: pd.Series) -> tuple[Figure, str]:
    """Bone ages here and in train, as shares of the cases."""
    figure, axes = plt.subplots(figsize=(7.0, 3.2))
    parts = {"train": (train_months, TRAIN), "here": (here_months.dropna(), HERE)}
    for name, (months, colour) in parts.items():
        _hist(axes, months, BINS_MONTHS, colour, f"{name}, n = {len(months):,}")
    year_axis(axes)
    axes.set_ylabel("share of cases")
    axes.legend()
    told = " and ".join(
        f"{name} {months.mean():.0f} months on average" for name, (months, _) in parts.items()
    )
    return figure, f"Bone ages of the radiographs here beside those of training: {told}."


def image_statistics(train: pd.DataFrame, here: pd.DataFrame) -> tuple[Figure, str]:
    """How the statistics of `shift` are spread here and in train, a panel each."""
    figure, panels = plt.subplots(2, 3, figsize=(7.6, 4.6))
    for axes, (name, meaning) in zip(panels.ravel(), STATISTICS.items(), strict=False):
        both = np.concatenate([train[name], here[name]])
        bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), BINS)
        for table, colour in ((train, TRAIN), (here, HERE)):
            _hist(axes, table[name], bins, colour, "")
        axes.set_title(name)
        axes.set_xlabel(meaning.replace(" of ", "\nof ", 1), fontsize=8)
        axes.set_yticks([])
    legend = panels[1, 2]
    legend.set_axis_off()
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour, alpha=0.5) for colour in (TRAIN, HERE)]
    legend.legend(handles, [f"train, n = {len(train):,}", f"here, n = {len(here):,}"], loc="center")
    middles = ", ".join(
        f"{name} {train[name].median():.3g} and {here[name].median():.3g}" for name in STATISTICS
    )
    return figure, f"Statistics of prepared pictures, medians of train and here: {middles}."


def scores_beside(scores: pd.DataFrame, order: list[str], unit: str) -> tuple[Figure, str]:
    """The score of every model on the test split and here, with 95 % intervals.

    `scores`: `model`, `split`, `value`, `lower`, `upper`, `n` of two splits; `order`: of models.
    """
    models = [model for model in order if model in set(scores["model"])]
    splits = list(dict.fromkeys(scores["split"]))
    figure, axes = plt.subplots(figsize=(7.0, 1.4 + 0.42 * len(models)))
    for number, (split, colour) in enumerate(zip(splits, (TRAIN, HERE), strict=True)):
        part = scores[scores["split"] == split].set_index("model").loc[models]
        places = np.arange(len(models)) + 0.2 * (number - 0.5)
        value = part["value"].to_numpy(float)
        bars = [value - part["lower"].fillna(part["value"]), part["upper"].fillna(part["value"])]
        axes.errorbar(
            value,
            places,
            xerr=[bars[0], bars[1] - value],
            fmt="o",
            color=colour,
            capsize=2,
            label=f"{split}, n = {part['n'].max():,}",
        )
    axes.set(yticks=np.arange(len(models)), yticklabels=models, xlabel=unit)
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.0 + 0.5 / len(models)), ncols=2)
    first = scores[scores["model"] == models[0]].set_index("split")["value"]
    told = " and ".join(f"{value:.3g} on {split}" for split, value in first.items())
    return figure, f"Scores of {len(models)} models, {unit}; {models[0]}: {told}."


def gallery(cases: pd.DataFrame, pictures: np.ndarray, months: np.ndarray) -> tuple[Figure, str]:
    """Prepared pictures at even steps of the months that a model says, with those and the label."""
    order = np.argsort(months, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))]
    rows = -(-len(chosen) // COLUMNS)
    figure, panels = plt.subplots(rows, COLUMNS, figsize=(7.6, 1.75 * rows), squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for axes, row in zip(panels.ravel(), chosen, strict=False):
        axes.imshow(pictures[row], vmin=0, vmax=255)
        label = cases["age_months"].iloc[row]
        told = "" if pd.isna(label) else f", label {label / 12:.1f}"
        title = f"{cases['case_id'].iloc[row]}\n{months[row] / 12:.1f}{told} y"
        axes.set_title(title, fontsize=7.5, fontweight="normal")
    return figure, (
        f"{len(chosen)} prepared radiographs, from {months.min() / 12:.1f} to "
        f"{months.max() / 12:.1f} years as the model says."
    )


def _hist(axes: plt.Axes, values: pd.Series, bins: np.ndarray, colour: str, label: str) -> None:
    weights = np.full(len(values), 1 / max(1, len(values)))
    options = {"bins": bins, "weights": weights, "color": colour}
    axes.hist(values, histtype="stepfilled", alpha=0.35, label=label, **options)
    axes.hist(values, histtype="step", **options)
