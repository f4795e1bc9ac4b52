"""Figures of scores: predictions beside the truth, ensembles, intervals, other radiographs.

Each function returns a figure and its alternative text.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nbhelpers.images.radiograph import read_image
from nbhelpers.plots.style import (
    BINS_MONTHS,
    COLOURS,
    by_sex,
    draw_picture,
    draw_points,
    year_axis,
)
from nbhelpers.plots.tables import CLEAR, METRICS, UNITS, model_name

TRAIN, HERE = COLOURS[0], COLOURS[1]
STEP = {"element": "step", "stat": "probability", "alpha": 0.35}
SHOWN, COLUMNS = 12, 6  # pictures of the gallery, and in a row of it
CASES_A_ROW = 4  # of the largest errors
AGE_STEP_MONTHS = 24
FEW_POINTS = 200  # up to so many, points are drawn large and hardly transparent


def ages(train_months: pd.Series, here_months: pd.Series) -> tuple[Figure, str]:
    """Bone ages here and in train, as shares of the cases."""
    figure, axes = plt.subplots(figsize=(7.0, 3.2))
    parts = {"train": (train_months, TRAIN), "here": (here_months.dropna(), HERE)}
    for name, (months, colour) in parts.items():
        label = f"{name}, n = {len(months):,}"
        sns.histplot(x=months, bins=BINS_MONTHS, color=colour, label=label, ax=axes, **STEP)
    year_axis(axes)
    axes.set_ylabel("share of cases")
    axes.legend()
    means = " and ".join(
        f"{name} {months.mean():.0f} months on average" for name, (months, _) in parts.items()
    )
    return figure, f"Bone ages of the radiographs here beside those of training: {means}."


def image_statistics(train: pd.DataFrame, here: pd.DataFrame) -> tuple[Figure, str]:
    """How statistics of pictures are spread here and in train, a panel each of five columns."""
    figure, panels = plt.subplots(2, 3, figsize=(7.6, 4.2))
    *panels, legend = panels.ravel()
    for axes, name in zip(panels, train, strict=True):
        bins = np.histogram_bin_edges(pd.concat([train[name], here[name]]), 30)
        for table, colour in ((train, TRAIN), (here, HERE)):
            sns.histplot(x=table[name], bins=bins, color=colour, ax=axes, **STEP)
        axes.set(title=name, xlabel="", ylabel="", yticks=[])
    legend.set_axis_off()
    patches = [
        Patch(color=colour, alpha=0.5, label=f"{name}, n = {len(table):,}")
        for name, table, colour in (("train", train, TRAIN), ("here", here, HERE))
    ]
    legend.legend(handles=patches, loc="center")
    middles = ", ".join(
        f"{name} {train[name].median():.3g} and {here[name].median():.3g}" for name in train
    )
    return figure, f"Statistics of prepared pictures, medians of train and here: {middles}."


def scores_beside(scores: pd.DataFrame, order: list[str], metric: str) -> tuple[Figure, str]:
    """A metric of every model on the test split and here, with 95 % intervals.

    `scores`: `model`, `split`, `value`, `lower`, `upper`, `n` of two splits; `order`: of models.
    """
    models = [model for model in order if model in set(scores["model"])]
    names, unit = [model_name(model) for model in models], METRICS[metric].heading
    figure, axes = plt.subplots(figsize=(7.0, 1.4 + 0.42 * len(models)))
    by_split = scores.groupby("split", sort=False)
    for (split, part), colour, shift in zip(by_split, (TRAIN, HERE), (-0.1, 0.1), strict=True):
        label = f"{split}, n = {part['n'].max():,}"
        part = part.set_index("model").loc[models]
        draw_points(axes, part, names, shift, color=colour, label=label)
    axes.set_xlabel(unit)
    figure.legend(loc="outside upper center", ncols=2)
    first = scores[scores["model"] == models[0]].set_index("split")["value"]
    values = " and ".join(f"{value:.3g} on {split}" for split, value in first.items())
    return figure, f"Scores of {len(models)} models, {unit}; {names[0]}: {values}."


def gallery(cases: pd.DataFrame, pictures: np.ndarray, months: np.ndarray) -> tuple[Figure, str]:
    """Prepared pictures at even steps of predicted months, with the prediction and the label."""
    order = np.argsort(months, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))]
    rows = -(-len(chosen) // COLUMNS)
    figure, panels = plt.subplots(rows, COLUMNS, figsize=(7.6, 1.75 * rows), squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for axes, row in zip(panels.ravel(), chosen, strict=False):
        case = cases.iloc[row]
        label = "" if pd.isna(case["age_months"]) else f", label {case['age_months'] / 12:.1f}"
        draw_picture(axes, pictures[row], f"{case['case_id']}\n{months[row] / 12:.1f}{label} y")
    return figure, (
        f"{len(chosen)} prepared radiographs, predicted from {months.min() / 12:.1f} to "
        f"{months.max() / 12:.1f} years."
    )


def error_correlation(table: pd.DataFrame) -> tuple[Figure, str]:
    """Correlation of the members' errors, members by members."""
    table = table.rename(index=model_name, columns=model_name)
    side = 1.6 + 0.75 * len(table)
    look = {"annot": True, "fmt": ".2f", "vmax": 1, "square": True}
    figure, _ = _heatmap(table, (side + 1.2, side), "correlation of errors", **look)
    pairs = table.where(np.triu(np.ones(table.shape, bool), 1)).stack()
    lowest, highest = (" with ".join(pair) for pair in (pairs.idxmin(), pairs.idxmax()))
    return figure, (
        f"Errors of the members correlate from {pairs.min():.2f} ({lowest}) to "
        f"{pairs.max():.2f} ({highest})."
    )


def added_by_member(added: pd.DataFrame, task: str) -> tuple[Figure, str]:
    """What the ensemble loses without each member, with intervals; members that help are right."""
    shown = added.sort_values("value", ascending=False)[["value", "lower", "upper"]]
    shown.index = shown.index.map(model_name)
    figure, axes = plt.subplots(figsize=(7.0, 1.2 + 0.4 * len(shown)))
    draw_points(axes, shown, shown.index, color=COLOURS[0])
    axes.axvline(0, color=COLOURS[7], linewidth=1)
    axes.set_xlabel(f"what the ensemble loses without the member, {UNITS[task]}")
    each = ", ".join(f"{name} {value:+z.2f}" for name, value in shown["value"].items())
    return figure, f"What the ensemble loses without each member, {UNITS[task]}: {each}."


def against_best(table: pd.DataFrame, task: str) -> tuple[Figure, str]:
    """How much each model differs from the best, with the interval of each pair alone.

    `table`: as `scores.against_best` gives it.
    """
    best, clear = model_name(table["best"].iloc[0]), table["p_holm"] < CLEAR
    names = table["model"].map(model_name).tolist()
    figure, axes = plt.subplots(figsize=(7.6, 1.6 + 0.34 * len(table)))
    groups = {"clear after Holm's correction": (clear, COLOURS[0])}
    groups["may be chance"] = (~clear, COLOURS[7])
    for label, (rows, colour) in groups.items():
        shown = table[["value", "lower", "upper"]].where(rows)
        draw_points(axes, shown, names, color=colour, label=label)
    axes.axvline(0, color=COLOURS[7], linewidth=1)
    axes.set_xlabel(f"model minus {best}, {UNITS[task]}; intervals of one pair, not corrected")
    figure.legend(loc="outside upper center", ncols=2)
    each = ", ".join(
        f"{name} {value:+z.2f}" for name, value in zip(names, table["value"], strict=True)
    )
    return figure, (
        f"Differences of {len(table)} models to {best}, the best on calibration, {UNITS[task]}: "
        f"{each}. {clear.sum()} are clear after Holm's correction."
    )


def coverage_by_group(table: pd.DataFrame, level: float) -> tuple[Figure, str]:
    """Coverage of intervals or sets, all of one kind and level, by group; the promise as a line."""
    shares = 100 * table.rename(columns={"coverage": "value"})[["value", "lower", "upper"]]
    names = [f"{group}, n = {n:,}" for group, n in zip(table["group"], table["n"], strict=True)]
    figure, axes = plt.subplots(figsize=(7.6, 1.2 + 0.28 * len(table)))
    draw_points(axes, shares, names, color=COLOURS[0])
    axes.axvline(100 * level, color=COLOURS[7], linewidth=1)
    axes.set_xlabel(f"cases inside, %; the line is the promised {100 * level:.0f} %")
    least = shares["value"].argmin()
    return figure, (
        f"Share of cases held by their {100 * level:.0f} % interval or set: "
        f"{shares['value'].iloc[0]:.1f} % of {table['group'].iloc[0]}, least of {names[least]}: "
        f"{shares['value'].iloc[least]:.1f} %."
    )


def predicted_against_true(errors: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """Predicted over true months, a point a case, with the line where both are equal."""
    look = {"s": 10, "alpha": 0.4} if len(errors) > FEW_POINTS else {"s": 30, "alpha": 0.8}
    look |= {"linewidth": 0, **by_sex(errors)}
    figure, axes = plt.subplots(figsize=(6.2, 5.4))
    axes.plot([0, 240], [0, 240], color=COLOURS[7], linewidth=1, zorder=0)
    sns.scatterplot(errors, x="age_months", y="predicted_months", ax=axes, **look)
    year_axis(axes)
    ends = min(0, errors["predicted_months"].min()), max(240, errors["predicted_months"].max())
    axes.set(ylim=ends, yticks=BINS_MONTHS[::2], ylabel="predicted, months", title=title)
    axes.legend(markerscale=2)
    error = errors["error_months"]
    return figure, (
        f"Predicted against true months of {len(errors):,} cases: mean absolute error "
        f"{error.abs().mean():.1f}, mean error {error.mean():+.1f} months."
    )


def errors_by_age(errors: pd.DataFrame) -> tuple[Figure, str]:
    """Box plot of predicted minus true months, by true age and sex."""
    known = errors[errors["sex"].notna()].sort_values("age_months")
    start = (known["age_months"] // AGE_STEP_MONTHS * AGE_STEP_MONTHS // 12).astype(int)
    years = start.map(lambda year: f"{year}–{year + AGE_STEP_MONTHS // 12}")
    figure, axes = plt.subplots(figsize=(7.6, 3.8))
    look = {"fliersize": 2, "linewidth": 0.9, **by_sex(known)}
    sns.boxplot(x=years, y=known["error_months"], ax=axes, **look)
    axes.axhline(0, color=COLOURS[7], linewidth=1)
    axes.set(xlabel="true bone age, years", ylabel=METRICS["signed_error"].heading)
    means = known.groupby(years, sort=False)["error_months"].mean()
    return figure, (
        f"Errors by age: the mean error runs from {means.max():+.1f} months at {means.idxmax()} "
        f"years to {means.min():+.1f} at {means.idxmin()} years."
    )


def confusion(counts: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """A confusion matrix: counts, coloured by the share of each true stage."""
    share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    look = {"annot": counts.to_numpy(), "fmt": ",d", "vmax": 100}
    figure, axes = _heatmap(100 * share, (6.6, 4.6), "share of the true stage, %", **look)
    axes.set(xlabel="predicted stage", ylabel="true stage", title=title)
    total = counts.to_numpy().sum()
    right = 100 * np.trace(counts.to_numpy()) / max(total, 1)
    return figure, f"Confusion matrix of {total:,} cases, {right:.0f} % right."


def largest_errors(worst: pd.DataFrame, prepared: np.ndarray) -> tuple[Figure, str]:
    """The radiographs of the largest errors: as they came, and beside it as the model saw them.

    Where `image_path` is null the place of the radiograph as it came stays empty.
    """
    rows = -(-len(worst) // CASES_A_ROW)
    figure, grid = plt.subplots(
        rows,
        2 * CASES_A_ROW,
        figsize=(9.2, 1.8 * rows),
        layout="none",  # titles are wider than a picture and would push the others apart
        gridspec_kw={"wspace": 0.05, "hspace": 0.4},
    )
    for axes in grid.ravel():
        axes.set_axis_off()
    pairs = grid.reshape(-1, 2)
    for (left, right), case, picture in zip(pairs, worst.itertuples(), prepared, strict=False):
        ages = f"{case.age_months / 12:.1f} y → {case.predicted_months / 12:.1f} y"
        if case.image_path:
            draw_picture(left, _squared(read_image(Path(case.image_path))))
        draw_picture(right, picture)
        left.set_title(f"{case.case_id}\n{ages}", fontsize=8, fontweight="normal")
    each = ", ".join(f"{error:+.0f}" for error in worst["error_months"])
    return figure, f"The {len(worst)} radiographs with the largest errors, months: {each}."


def learning_curve(history: pd.DataFrame, unit: str) -> tuple[Figure, str]:
    """Training and tuning loss by epoch or round; the kept one is marked."""
    steps = history.columns[0]
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.plot(history[steps], history["train_loss"], label="train", color=COLOURS[7])
    axes.plot(history[steps], history["tuning_loss"], label="tuning", color=COLOURS[0])
    best = history.loc[history["tuning_loss"].idxmin()]
    axes.scatter([best[steps]], [best["tuning_loss"]], color=COLOURS[1], zorder=3, label="kept")
    top = np.quantile(history[["train_loss", "tuning_loss"]].to_numpy(), 0.98)
    axes.set(xlabel=steps, ylabel=f"loss, {unit}", ylim=(0, 1.1 * top))
    axes.legend()
    alt = f"Learning curve: best tuning loss {best['tuning_loss']:.2f} {unit} at {steps} "
    return figure, alt + f"{best[steps]:.0f} of {len(history)}."


def _heatmap(
    table: pd.DataFrame, size: tuple[float, float], label: str, **look: object
) -> tuple[Figure, plt.Axes]:
    """A table in colours, with its names readable at the left and below."""
    figure, axes = plt.subplots(figsize=size)
    look = {"cmap": "Blues", "vmin": 0} | look
    sns.heatmap(table, ax=axes, cbar_kws={"label": label}, **look)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(axis="y", rotation=0)
    plt.setp(axes.get_xticklabels(), rotation=30, ha="right")
    return figure, axes


def _squared(pixels: np.ndarray) -> np.ndarray:
    """A radiograph with white beside it, so that all are drawn on one square."""
    side = max(pixels.shape)
    room = [((side - length) // 2, side - length - (side - length) // 2) for length in pixels.shape]
    return np.pad(pixels, room, constant_values=255)
