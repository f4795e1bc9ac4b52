"""Figures of scores: predictions against the truth, ensembles, intervals, other radiographs.

Each function returns a figure and its alternative text.
"""

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbhelpers.evaluation.scores import FEWEST, RANKED_BY, TRIVIAL
from nbhelpers.images.radiograph import read_image
from nbhelpers.metrics import score_mean
from nbhelpers.models.ensembles import Combination
from nbhelpers.plots import style
from nbhelpers.plots.tables import CLEAR, METRICS, UNITS, group_name, model_name, number

STEP = {"element": "step", "stat": "percent"}
# Of train and here: a grey area, and a line.
LOOKS = ({"color": style.GREY, "alpha": 0.4, "linewidth": 0}, {"color": style.OTHER, "fill": False})
SHOWN, COLUMNS = 12, 6  # pictures of the gallery, and in a row of it
CASES_A_ROW = 4  # of the largest errors
FEW_STEPS = 30  # of a training, up to which each is a point


def ages(train_months: pd.Series, here_months: pd.Series) -> tuple[Figure, str]:
    """Bone ages here and in train, as shares of the cases."""
    figure, axes = plt.subplots(figsize=(7.0, 3.2))
    parts = {"train": train_months, "here": here_months.dropna()}
    for (name, months), look in zip(parts.items(), LOOKS, strict=True):
        label = f"{name}, n = {len(months):,}"
        sns.histplot(x=months, bins=style.BINS_MONTHS, label=label, ax=axes, **STEP, **look)
    style.year_axis(axes)
    axes.set_ylabel("share of cases, %")
    axes.legend()
    means = " and ".join(
        f"{name} {months.mean():.0f} months (n = {len(months):,})" for name, months in parts.items()
    )
    return figure, f"Bone ages of the radiographs here and of those in train, on average: {means}."


def image_statistics(train: pd.DataFrame, here: pd.DataFrame) -> tuple[Figure, str]:
    """How statistics of pictures are spread here and in train, a panel each of five columns."""
    figure, panels = plt.subplots(2, 3, figsize=(7.4, 4.2))
    *panels, legend = panels.ravel()
    parts = {"train": train, "here": here}
    for axes, name in zip(panels, train, strict=True):
        bins = np.histogram_bin_edges(pd.concat([train[name], here[name]]), 30)
        for (part, table), look in zip(parts.items(), LOOKS, strict=True):
            label = f"{part}, n = {len(table):,}"
            sns.histplot(x=table[name], bins=bins, label=label, ax=axes, **STEP, **look)
        axes.set(xlabel=name, ylabel="", yticks=[])
    legend.set_axis_off()
    legend.legend(*axes.get_legend_handles_labels(), loc="center")
    figure.supylabel("share of pictures", fontsize=10)
    middles = ", ".join(
        f"{name} {train[name].median():.3g} and {here[name].median():.3g}" for name in train
    )
    return figure, f"Statistics of prepared pictures, medians in train and here: {middles}."


def scores_beside(scores: pd.DataFrame, order: list[str], metric: str) -> tuple[Figure, str]:
    """A metric of every model on the test split and here, with 95 % intervals.

    What predictors give that look at no picture stands in the text, so that the axis serves models.
    `scores`: `model`, `split`, `value`, `lower`, `upper`, `n` of two splits; `order`: of models.
    """
    present = [model for model in order if model in set(scores["model"])]
    models = [model for model in present if not model.startswith(TRIVIAL)]
    names, unit = [model_name(model) for model in models], METRICS[metric].heading
    figure, axes = plt.subplots(figsize=(7.0, 1.4 + 0.4 * len(models)))
    looks = {"color": style.INK}, {"color": style.OTHER, "marker": "D"}
    for (split, part), look in zip(scores.groupby("split", sort=False), looks, strict=True):
        look = look | {"label": f"{split}, n = {part['n'].max():,}"}
        shift = 0.15 if "marker" in look else -0.15
        style.draw_points(axes, part.set_index("model").loc[models], names, shift, **look)
    axes.set_xlabel(unit)
    figure.legend(loc="outside upper center", ncols=2)
    trivial = next(one for one in present if one not in models)
    rows = scores[scores["model"] == trivial].itertuples()
    values = " and ".join(f"{number(row.value, metric)} on {row.split}" for row in rows)
    return figure, (
        f"Scores of {len(models)} models on two sets of radiographs, {unit}, with 95 % intervals. "
        f"Always predicting the {trivial.removeprefix(TRIVIAL)} gives {values}."
    )


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
        style.draw_picture(axes, pictures[row], f"{case['case_id']}\n{months[row] / 12:.1f}{label}")
    return figure, (
        f"{len(chosen)} of {len(order):,} prepared radiographs, evenly spaced by predicted bone "
        f"age, {months.min() / 12:.1f} to {months.max() / 12:.1f} years; above each, "
        "the prediction and the label, years."
    )


def error_correlation(table: pd.DataFrame) -> tuple[Figure, str]:
    """Correlation of the errors of each pair of members, the lowest first."""
    pairs = table.where(np.triu(np.ones(table.shape, bool), 1)).stack().dropna().sort_values()
    names = [" with ".join(map(model_name, pair)) for pair in pairs.index]
    label = "correlation of errors on calibration"
    figure, axes = style.dots(pairs.to_frame("value"), names, label)
    axes.set_xlim(min(0, pairs.min()), 1.02)
    return figure, (
        f"How the members' errors on calibration correlate: lowest {names[0]} ({pairs.min():.2f}), "
        f"highest {names[-1]} ({pairs.max():.2f})."
    )


def ranking(found: pd.Series, task: str) -> tuple[Figure, str]:
    """Every model's score on calibration as a point, the best at the top; `found`: in order."""
    metric, names = METRICS[RANKED_BY[task]], found.index.map(model_name)
    figure, _ = style.dots(found.to_frame("value"), names, f"{metric.heading}, calibration")
    ends = [f"{names[at]} ({found.iloc[at]:.3g})" for at in (0, -1)]
    return figure, f"Models on calibration, {metric.heading}: from {ends[0]} to {ends[1]}."


def weights(made: dict[str, Combination]) -> tuple[Figure, str]:
    """The weight of each member, a row, in each ensemble, a marker; none of logistic ones."""
    linear = {name: one for name, one in made.items() if len(one.weights) == 1}
    members = [*map(model_name, next(iter(linear.values())).members)]
    figure, axes = plt.subplots(figsize=(7.0, 1.6 + 0.12 * len(linear) * (len(members) + 2)))
    for place, (name, one) in enumerate(linear.items()):
        label = model_name(name)
        if one.task == "age":
            label += f": intercept {one.intercept[0]:+z.1f}, boys {one.sex[0]:+z.1f} months"
        shown = pd.DataFrame({"value": one.weights[0]})
        shift = 0.12 * (place - (len(linear) - 1) / 2)
        style.draw_points(axes, shown, members, shift, label=label, **style.model_look(name))
    axes.axvline(0, color=style.GREY, linewidth=1)
    axes.set_xlabel("weight")
    figure.legend(loc="outside lower left")
    alt = f"Weights of {len(members)} members in {len(linear)} ensembles, fitted on calibration."
    return figure, alt


def added_by_member(added: pd.DataFrame, task: str) -> tuple[Figure, str]:
    """How much worse the ensemble is without each member; members that help are on the right."""
    shown = added.sort_values("value", ascending=False).rename(model_name)
    change = "Increase in error" if task == "age" else "Loss of kappa"
    label = f"{change.lower()} when the member is removed, {UNITS[task]}"
    figure, _ = style.dots(shown, shown.index, label, line=0)
    each = ", ".join(f"{name} {value:+z.2f}" for name, value in shown["value"].items())
    return figure, (
        f"{change} of the best ensemble when a member is removed, {UNITS[task]}, on calibration, "
        f"with 95 % intervals: {each}."
    )


def against_best(table: pd.DataFrame, task: str) -> tuple[Figure, str]:
    """How much each model differs from the best, with the interval of each pair alone.

    Models that predict best are at the top. `table`: as `scores.against_best` gives it.
    """
    table = table.sort_values("value", ascending=task == "age", kind="stable")
    best, clear = model_name(table["best"].iloc[0]), table["p_holm"] < CLEAR
    better = (table["value"] < 0) == (task == "age")
    names = table["model"].map(model_name).tolist()
    figure, axes = plt.subplots(figsize=(7.4, 1.4 + 0.3 * len(table)))
    groups = {"clear after Holm's correction": (clear, {})}
    groups["may be chance"] = (~clear, {"color": style.GREY, "markerfacecolor": "white"})
    for label, (rows, look) in groups.items():
        shown = table[["value", "lower", "upper"]].where(rows)
        style.draw_points(axes, shown, names, label=label, **look)
    axes.axvline(0, color=style.GREY, linewidth=1)
    axes.set_xlabel(f"model minus {best}, {UNITS[task]}\nintervals of each pair, not corrected")
    figure.legend(loc="outside upper center", ncols=2)
    ends = [f"{names[at]} {table['value'].iloc[at]:+z.2f}" for at in (0, -1)]
    n = f"{table['n'].max():,}"
    return figure, (
        f"{len(table)} models against {best}, the best on calibration, on {n} test cases, with 95 "
        f"% intervals of each pair: from {ends[0]} to {ends[1]} {UNITS[task]}; after "
        f"Holm's correction {(clear & better).sum()} are clearly better, {(clear & ~better).sum()} "
        "clearly worse."
    )


def coverage_by_group(table: pd.DataFrame, level: float) -> tuple[Figure, str]:
    """Coverage of intervals or sets, all of one kind and level, by group; the promise as a line."""
    shares = 100 * table.rename(columns={"coverage": "value"})[["value", "lower", "upper"]]
    groups = zip(table["group"].map(group_name), table["n"], strict=True)
    names = [f"{group}, n = {n:,}" for group, n in groups]
    label = f"cases inside, %; the line is the promised {100 * level:.0f} %"
    figure, _ = style.dots(shares, names, label, line=100 * level)
    least = shares["value"].argmin()
    return figure, (
        f"Share of test cases inside their {100 * level:.0f} % interval or set, with 95 % "
        f"intervals: {shares['value'].iloc[0]:.1f} % of {names[0]}; lowest for {names[least]}: "
        f"{shares['value'].iloc[least]:.1f} %."
    )


def predicted_against_true(errors: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """Predicted against true months, one point per case, with the line where both are equal."""
    figure, axes = plt.subplots(figsize=(6.2, 5.4))
    axes.plot([0, 240], [0, 240], color=style.GREY, linewidth=1, linestyle="-", zorder=0)
    style.cases_by_sex(axes, errors["age_months"], errors["predicted_months"], errors)
    style.year_axis(axes)
    ends = min(0, errors["predicted_months"].min()), max(240, errors["predicted_months"].max())
    axes.set(ylim=ends, yticks=style.BINS_MONTHS[::2], ylabel="predicted bone age, months")
    axes.set(xlabel="true bone age, months and years", title=title)
    axes.legend()
    error = errors["error_months"]
    return figure, (
        f"{title}: predicted against true bone age of {len(errors):,} cases, equal on the line. "
        f"The mean absolute error is {error.abs().mean():.1f} months, the mean error "
        f"{error.mean():+.1f} months."
    )


def errors_by_age(errors: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """Predicted minus true months against true age, one point per case, with means of each sex.

    Means with their 95 % interval, of up to ten equal groups of age, each of `FEWEST` cases or
    more.
    """
    figure, axes = plt.subplots(figsize=(7.0, 4.0))
    style.cases_by_sex(axes, errors["age_months"], errors["error_months"], errors)
    axes.axhline(0, color=style.GREY, linewidth=1)
    for sex, colour in style.SEX_COLOURS.items():
        part = errors.loc[errors["sex"] == sex, ["age_months", "error_months"]].to_numpy(float)
        if (count := min(10, len(part) // FEWEST)) > 1:
            groups = np.array_split(part[part[:, 0].argsort()], count)
            rows = [(of[:, 0].mean(), *score_mean(of[:, 1])) for of in groups]
            months, _, means, *ends = np.transpose(rows)
            axes.plot(months, means, color=colour, linestyle="-")
            axes.fill_between(months, *ends, alpha=0.25, facecolor=colour)
    style.year_axis(axes)
    axes.set(xlabel="true bone age, months and years", ylabel=METRICS["signed_error"].heading)
    axes.set_title(title)
    axes.legend()
    bands = ["below 8 years", "from 8 to 14 years", "from 14 years"]
    ages = pd.cut(errors["age_months"], [0, 96, 168, np.inf], right=False, labels=bands)
    means = errors.groupby(ages, observed=True)["error_months"].mean()
    return figure, (
        f"{title}: errors by true age; lines are means of {FEWEST} or more girls or boys of "
        "similar age, bands their 95 % intervals. The mean error is "
        f"{', '.join(f'{value:+.1f} months {band}' for band, value in means.items())}."
    )


def confusion(counts: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """A confusion matrix: counts, coloured by the share of each true stage."""
    sizes, total = counts.sum(axis=1), counts.to_numpy().sum()
    share = counts.div(sizes.clip(lower=1), axis=0)
    share.index = [f"{stage}, n = {n:,}" for stage, n in sizes.items()]
    share.columns = [textwrap.fill(stage, 11) for stage in counts]
    figure, axes = plt.subplots(figsize=(7.0, 3.8))
    look = {"annot": counts.to_numpy(), "fmt": ",d", "cmap": "Blues", "vmin": 0, "vmax": 1}
    sns.heatmap(share, ax=axes, cbar=False, **look)
    axes.set(xlabel="predicted stage", ylabel="true stage", title=title)
    axes.tick_params(rotation=0, labelcolor=style.INK)
    right = 100 * np.trace(counts.to_numpy()) / max(total, 1)
    return figure, (
        f"{title}: cases by true and predicted stage, the darker the larger their share of the "
        f"true stage. {right:.0f} % of {total:,} are correct."
    )


def largest_errors(worst: pd.DataFrame, prepared: np.ndarray) -> tuple[Figure, str]:
    """The radiographs with the largest errors: the original, and next to it the prepared picture.

    Where `image_path` is null, the place of the original stays empty.
    """
    shape = -(-len(worst) // CASES_A_ROW), 2 * CASES_A_ROW
    # Without a layout: titles are wider than a picture and would push the others apart.
    figure, grid = plt.subplots(*shape, figsize=(7.6, 1.6 * shape[0]), layout="none")
    figure.subplots_adjust(wspace=0.06, hspace=0.55)
    for axes in grid.ravel():
        axes.set_axis_off()
    pairs = grid.reshape(-1, 2)
    for (left, right), case, picture in zip(pairs, worst.itertuples(), prepared, strict=False):
        ages = f"{case.age_months / 12:.1f} → {case.predicted_months / 12:.1f} years"
        style.draw_picture(right, picture)
        if case.image_path:
            style.draw_picture(left, _squared(read_image(Path(case.image_path))))
        title = f"{case.case_id}: {case.error_months:+.0f} months\n{ages}"
        left.set_title(title, fontsize=8, fontweight="normal", loc="left")
    return figure, (
        f"The {len(worst)} test radiographs with the largest errors, original and prepared; "
        "above each, its error and its bone age, true → predicted."
    )


def learning_curve(history: pd.DataFrame, unit: str) -> tuple[Figure, str]:
    """Training and tuning loss by epoch or round; the one kept is marked."""
    steps = history.columns[0]
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    look = {"marker": "o" if len(history) <= FEW_STEPS else "", "markersize": 4}
    axes.plot(history[steps], history["train_loss"], "--", label="train", color=style.SOFT, **look)
    axes.plot(history[steps], history["tuning_loss"], "-", label="tuning", color=style.INK, **look)
    best = history.loc[history["tuning_loss"].idxmin()]
    ring = {"fillstyle": "none", "markersize": 10, "markeredgewidth": 2, "zorder": 3}
    axes.plot(*best[[steps, "tuning_loss"]], "o", color=style.COLOURS[3], label="kept", **ring)
    top = np.quantile(history[["train_loss", "tuning_loss"]].to_numpy(), 0.98)
    axes.set(xlabel=steps, ylabel=f"loss, {unit}", ylim=(0, 1.1 * top))
    style.whole_steps(axes, history[steps])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)  # above, clear of the curves
    alt = f"Training and tuning loss, {unit}; {steps} {best[steps]:.0f} of {len(history)} is kept, "
    return figure, alt + f"with the lowest tuning loss, {best['tuning_loss']:.2f}."


def _squared(pixels: np.ndarray) -> np.ndarray:
    """A radiograph padded with white, so that all are drawn on one square."""
    side = max(pixels.shape)
    room = [((side - length) // 2, side - length - (side - length) // 2) for length in pixels.shape]
    return np.pad(pixels, room, constant_values=255)
