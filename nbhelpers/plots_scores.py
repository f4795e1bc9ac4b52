"""Plots of scores: predicted against true, errors by age and sex, confusion, learning.

Functions that plot return a figure and its alternative text.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbhelpers.figures import COLOURS
from nbhelpers.images import read_image
from nbhelpers.plots_data import SEX_COLOURS, SEX_WORDS, year_axis

FEW_POINTS = 200  # up to so many, points are drawn large and hardly transparent


def predicted_against_true(errors: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """Predicted over true months, a point a case, with the line where both are equal."""
    figure, axes = plt.subplots(figsize=(6.2, 5.4))
    axes.plot([0, 240], [0, 240], color=COLOURS[7], linewidth=1, zorder=0)
    words, colours = {**SEX_WORDS, "unknown": "sex unknown"}, {**SEX_COLOURS, "unknown": COLOURS[7]}
    for sex, part in errors.groupby(errors["sex"].fillna("unknown")):
        axes.scatter(
            part["age_months"],
            part["predicted_months"],
            s=10 if len(errors) > FEW_POINTS else 30,
            alpha=0.4 if len(errors) > FEW_POINTS else 0.8,
            linewidths=0,
            color=colours[sex],
            label=f"{words[sex]}, n = {len(part):,}",
        )
    year_axis(axes)
    axes.set(ylim=(0, 240), yticks=np.arange(0, 241, 24), ylabel="predicted, months", title=title)
    axes.legend(markerscale=2)
    error = errors["error_months"]
    alt = (
        f"Predicted against true months of {len(errors):,} cases: mean absolute error "
        f"{error.abs().mean():.1f}, mean error {error.mean():+.1f} months."
    )
    return figure, alt


def errors_by_age(errors: pd.DataFrame, step_months: int = 24) -> tuple[Figure, str]:
    """Box plot of predicted minus true months, by true age and sex."""
    known = errors[errors["sex"].notna()]
    start = (known["age_months"] // step_months * step_months).astype(int)
    shown = known.assign(
        years=[f"{low // 12}–{(low + step_months) // 12}" for low in start], start=start
    ).sort_values(["start", "sex"])
    figure, axes = plt.subplots(figsize=(7.6, 3.8))
    sns.boxplot(
        shown.assign(sex=shown["sex"].map(SEX_WORDS)),
        x="years",
        y="error_months",
        hue="sex",
        hue_order=list(SEX_WORDS.values()),
        palette={SEX_WORDS[sex]: colour for sex, colour in SEX_COLOURS.items()},
        ax=axes,
        fliersize=2,
        linewidth=0.9,
    )
    axes.axhline(0, color=COLOURS[7], linewidth=1)
    axes.set(xlabel="true bone age, years", ylabel="predicted minus true, months")
    axes.legend(title=None)
    means = shown.groupby("years", sort=False)["error_months"].mean()
    alt = (
        f"Errors by age: the mean error runs from {means.max():+.1f} months at {means.idxmax()} "
        f"years to {means.min():+.1f} at {means.idxmin()} years."
    )
    return figure, alt


def confusion(counts: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """A confusion matrix: counts, coloured by the share of each true stage."""
    share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = plt.subplots(figsize=(6.6, 4.6))
    sns.heatmap(
        100 * share,
        annot=counts.to_numpy(),
        fmt=",d",
        cmap="Blues",
        vmin=0,
        vmax=100,
        ax=axes,
        cbar_kws={"label": "share of the true stage, %"},
    )
    axes.set(xlabel="predicted stage", ylabel="true stage", title=title)
    plt.setp(axes.get_xticklabels(), rotation=25, ha="right")
    plt.setp(axes.get_yticklabels(), rotation=0)
    right = np.trace(counts.to_numpy()) / max(counts.to_numpy().sum(), 1)
    return (
        figure,
        f"Confusion matrix of {counts.to_numpy().sum():,} cases, {100 * right:.0f} % right.",
    )


def largest_errors(worst: pd.DataFrame, prepared: np.ndarray) -> tuple[Figure, str]:
    """The radiographs of the largest errors, as they came above and as the model saw them below.

    Where `image_path` is null the place above stays empty.
    """
    figure, grid = plt.subplots(2, len(worst), figsize=(1.35 * len(worst), 3.2), squeeze=False)
    for (above, below), case, picture in zip(grid.T, worst.itertuples(), prepared, strict=True):
        if case.image_path:
            above.imshow(read_image(Path(case.image_path)), vmin=0, vmax=255)
        below.imshow(picture, vmin=0, vmax=255)
        above.set_title(
            f"{case.case_id}\n{case.age_months / 12:.1f} y → {case.predicted_months / 12:.1f} y",
            fontsize=8,
        )
        for axes in (above, below):
            axes.axis("off")
    told = ", ".join(f"{error:+.0f}" for error in worst["error_months"])
    return figure, f"The {len(worst)} radiographs with the largest errors, months: {told}."


def learning_curve(history: pd.DataFrame, unit: str) -> tuple[Figure, str]:
    """Training and tuning loss by epoch or round; the kept one is marked."""
    steps = history.columns[0]
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    axes.plot(history[steps], history["train_loss"], label="train", color=COLOURS[7])
    axes.plot(history[steps], history["tuning_loss"], label="tuning", color=COLOURS[0])
    best = history.loc[history["tuning_loss"].idxmin()]
    axes.scatter([best[steps]], [best["tuning_loss"]], color=COLOURS[1], zorder=3, label="kept")
    top = np.quantile(history[["train_loss", "tuning_loss"]].to_numpy(), 0.98)
    axes.set(xlabel=steps, ylabel=f"loss, {unit}", ylim=(0, 1.1 * top))
    axes.legend()
    alt = f"Learning curve: best tuning loss {best['tuning_loss']:.2f} {unit} at {steps} "
    return figure, alt + f"{best[steps]:.0f} of {len(history)}."
