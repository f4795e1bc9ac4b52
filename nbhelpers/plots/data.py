"""Plots of the data: who is in the set, how labels are rounded, how grey levels are spread.

Sheets of radiographs: before and after each step, and those on which no hand was found.

Each function returns a figure and its alternative text.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbhelpers.images.geometry import to_original
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots.style import COLOURS

SHOWN_CASES = 10


def steps_sheet(cases: pd.DataFrame, preparation: Preparation) -> tuple[Figure, str]:
    """Ten training cases at even steps of age: as they came, the crop, upright, stretched."""
    train = cases[cases["split"] == "train"].sort_values("age_months", kind="stable")
    chosen = train.iloc[np.linspace(0, len(train) - 1, SHOWN_CASES).round().astype(int)]
    rows = ("as it came", "the hand found", "upright, cropped", "stretched")
    figure, grid = plt.subplots(len(rows), SHOWN_CASES, figsize=(11.0, 5.2), squeeze=False)
    edge = preparation.image_size - 0.5
    corners = np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)])
    for column, (_, case) in enumerate(chosen.iterrows()):
        pixels = read_image(Path(case["image_path"]))
        cropped, affine, _ = prepare_image(pixels, replace(preparation, stretch_contrast=False))
        stretched = prepare_image(pixels, preparation)[0]
        for axes, picture in zip(
            grid[:, column], (pixels, pixels, cropped, stretched), strict=True
        ):
            axes.imshow(picture, vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        side = preparation.image_size - 0.5
        corners = to_original(
            np.array([(-0.5, -0.5), (side, -0.5), (side, side), (-0.5, side)]), affine
        )
        grid[1, column].fill(*corners.T, fill=False, edgecolor=COLOURS[1], linewidth=1.5)
        grid[1, column].set(xlim=grid[0, column].get_xlim(), ylim=grid[0, column].get_ylim())
        sex = {"female": "girl", "male": "boy"}.get(case["sex"], "?")
        grid[0, column].set_title(f"{sex}\n{case['age_months'] / 12:.1f} y", fontsize=9)
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(name, fontsize=9)
    low, high = chosen["age_months"].iloc[[0, -1]] / 12
    alt = f"Ten radiographs from {low:.1f} to {high:.1f} years, before and after each step."
    return figure, alt


def not_found_sheet(
    cases: pd.DataFrame, not_found: pd.DataFrame, prepared: np.ndarray, count: int = 8
) -> tuple[Figure, str]:
    """Prepared pictures of cases on which no hand was found."""
    rows = np.flatnonzero(cases["case_id"].isin(not_found["case_id"]).to_numpy())[:count]
    figure, grid = plt.subplots(1, len(rows), figsize=(1.4 * len(rows), 1.7), squeeze=False)
    for axes, row in zip(grid[0], rows, strict=True):
        axes.imshow(prepared[row], vmin=0, vmax=255)
        axes.set_title(cases["case_id"].iloc[row], fontsize=9)
        axes.axis("off")
    return figure, f"{len(rows)} of {len(not_found)} radiographs on which no hand was found."


SEX_COLOURS = {"female": COLOURS[1], "male": COLOURS[0]}
SEX_WORDS = {"female": "girls", "male": "boys"}
BINS_MONTHS = np.arange(0, 241, 12)


def year_axis(axes: plt.Axes) -> None:
    """Ticks of a horizontal axis in months every two years, with the years below them."""
    ticks = np.arange(0, 241, 24)
    axes.set_xticks(ticks, [f"{tick}\n{tick // 12} y" for tick in ticks])
    axes.set_xlim(0, 240)
    axes.set_xlabel("bone age, months and years")


def count_table(cases: pd.DataFrame, stage_names: tuple[str, ...]) -> pd.DataFrame:
    """Counts of girls, boys and stages, and the ages, for every split."""
    stage = cases["stage"].map(dict(enumerate(stage_names))).astype(object)
    groups = cases.groupby("split", sort=False)
    counts = pd.crosstab(cases["split"], stage.fillna("no stage"))
    ordered = [name for name in (*stage_names, "no stage") if name in counts.columns]
    ages = groups["age_months"].agg(["mean", "std"]).round(1)
    ages.columns = ["mean months", "SD months"]
    sexes = pd.crosstab(cases["split"], cases["sex"].fillna("unknown sex")).rename(
        columns=SEX_WORDS
    )
    table = pd.concat([groups.size().rename("cases"), sexes, ages, counts[ordered]], axis=1)
    table["mean years"] = (table["mean months"] / 12).round(1)
    return table


def ages_by_sex(cases: pd.DataFrame) -> tuple[Figure, str]:
    """Histogram of bone age, a curve a sex."""
    figure, axes = plt.subplots()
    for sex, word in SEX_WORDS.items():
        ages = cases.loc[cases["sex"] == sex, "age_months"].dropna()
        axes.hist(
            ages,
            bins=BINS_MONTHS,
            histtype="stepfilled",
            alpha=0.35,
            color=SEX_COLOURS[sex],
            label=f"{word}, n = {len(ages):,}",
        )
        axes.hist(ages, bins=BINS_MONTHS, histtype="step", color=SEX_COLOURS[sex])
    year_axis(axes)
    axes.set_ylabel("radiographs a year of age")
    axes.legend()
    medians = cases.groupby("sex")["age_months"].median()
    told = ", ".join(f"{SEX_WORDS[sex]} {medians[sex]:.0f}" for sex in medians.index)
    return figure, f"Histograms of bone age by sex. Median months: {told}."


def label_rounding(cases: pd.DataFrame) -> tuple[Figure, str, dict[str, float]]:
    """How often a label is a multiple of 12, of 6 or of 3 months, and the ages within a year."""
    months = cases["age_months"].dropna()
    shares = {f"multiples_of_{step}": float((months % step == 0).mean()) for step in (3, 6, 12)}
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    rest = (months % 12).round().astype(int) % 12
    share = rest.value_counts(normalize=True).reindex(range(12), fill_value=0.0)
    colours = [COLOURS[0] if rest % 6 == 0 else COLOURS[7] for rest in range(12)]
    axes.bar(share.index, 100 * share, color=colours)
    axes.set_xticks(range(12))
    axes.set_xlabel("months past the whole year")
    axes.set_ylabel("share of labels, %")
    alt = f"{100 * shares['multiples_of_6']:.0f} % of the labels are whole or half years."
    return figure, alt, shares


def sizes(geometry: pd.DataFrame) -> tuple[Figure, str]:
    """Width and height of the radiographs, in pixels."""
    figure, axes = plt.subplots(figsize=(5.5, 4.2))
    width, height = geometry["original_width"], geometry["original_height"]
    axes.scatter(width, height, s=12, alpha=0.35, color=COLOURS[0], linewidths=0)
    axes.set_xlim(0, 1.08 * width.max())
    axes.set_ylim(0, 1.08 * height.max())
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
    alt = (
        f"Widths run from {width.min()} to {width.max()} pixels, heights from {height.min()} to "
        f"{height.max()}."
    )
    return figure, alt


def grey_levels(cases: pd.DataFrame, prepared: np.ndarray, sample: int = 200) -> tuple[Figure, str]:
    """How many grey levels lie between the 2nd and 98th percentile, before and after preparing."""
    rows = np.unique(np.linspace(0, len(cases) - 1, sample).astype(int))
    before = [_spread(read_image(Path(cases["image_path"].iloc[row]))) for row in rows]
    after = [_spread(prepared[row]) for row in rows]
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    bins = np.arange(0, 261, 10)
    for values, label, colour in (
        (before, "as it came", COLOURS[7]),
        (after, "prepared", COLOURS[0]),
    ):
        axes.hist(values, bins=bins, alpha=0.55, label=label, color=colour)
    axes.set_xlabel("grey levels between the 2nd and the 98th percentile")
    axes.set_ylabel("radiographs")
    axes.legend()
    alt = (
        f"Of {len(rows)} radiographs the median one spreads over {np.median(before):.0f} grey "
        f"levels as it came and {np.median(after):.0f} when prepared."
    )
    return figure, alt


def _spread(pixels: np.ndarray) -> float:
    low, high = np.percentile(pixels, [2, 98])
    return float(high - low)


def split_ages(cases: pd.DataFrame) -> tuple[Figure, str]:
    """Cumulative ages of every split: the curves should lie on each other."""
    labelled = cases.dropna(subset=["age_months"])
    order = [split for split in labelled["split"].unique() if split != "unlabelled"]
    figure, axes = plt.subplots()
    for split in order:
        part = labelled.loc[labelled["split"] == split, "age_months"]
        sns.ecdfplot(x=part, ax=axes, label=f"{split}, n = {len(part):,}")
    year_axis(axes)
    axes.set_ylabel("share of the split")
    axes.legend()
    means = labelled.groupby("split")["age_months"].mean()
    told = ", ".join(f"{split} {means[split]:.1f}" for split in order)
    return figure, f"Cumulative bone age of each split. Mean months: {told}."


def excluded_table(excluded: list[dict[str, str]]) -> pd.DataFrame:
    """Cases left out, with the reason."""
    return pd.DataFrame(excluded, columns=["case_id", "image_path", "reason"])


def facts(cases: pd.DataFrame, stage_names: tuple[str, ...]) -> dict[str, object]:
    """Counts and moments of the labelled cases, for the text and the results file."""
    ages = cases["age_months"].dropna()
    stage = cases["stage"].dropna().astype(int)
    largest = stage.mode().iloc[0]
    return {
        "boys": int((cases["sex"] == "male").sum()),
        "girls": int((cases["sex"] == "female").sum()),
        "mean_months": float(ages.mean()),
        "sd_months": float(ages.std()),
        "largest_stage": stage_names[largest],
        "largest_share": float((stage == largest).mean()),
    }
