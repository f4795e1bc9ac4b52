"""Plots of scores: predicted against true, errors by age and sex, confusion, learning.

Plots of ensembles: how members err together, what each adds, who differs, what intervals hold.

Plots of radiographs from elsewhere beside those of training, and of the scores on both.

Functions that plot return a figure and its alternative text.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbhelpers.evaluation.scores import ALL
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots.data import BINS_MONTHS, SEX_COLOURS, SEX_WORDS, year_axis
from nbhelpers.plots.style import COLOURS

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
    """How the statistics of `external.statistics` are spread here and in train, a panel each."""
    # It loads Keras, which notebooks without networks do without.
    from nbhelpers.evaluation.external import STATISTICS

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
