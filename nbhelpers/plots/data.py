"""Figures and tables of the data: who is in the set, how its labels and pictures are.

Functions that plot return a figure and its alternative text.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.figure import Figure

from nbhelpers.images.doubts import MARKED
from nbhelpers.images.geometry import to_original
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots import style
from nbhelpers.plots.style import BINS_MONTHS, COLOURS, by_sex, draw_picture, year_axis
from nbhelpers.plots.tables import SEXES

SHOWN_CASES = 10


def show_steps(cases: pd.DataFrame, preparation: Preparation) -> None:
    """Ten training cases at even steps of age: as they came, the crop, upright, stretched."""
    train = cases[cases["split"] == "train"].sort_values("age_months", kind="stable")
    chosen = train.iloc[np.linspace(0, len(train) - 1, SHOWN_CASES).round().astype(int)]
    rows = ("as it came", "frame of the hand", "upright, cropped", "stretched")
    figure, grid = plt.subplots(len(rows), SHOWN_CASES, figsize=(11.0, 5.2), squeeze=False)
    edge = preparation.image_size - 0.5
    square = np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)])
    for column, case in zip(grid.T, chosen.itertuples(), strict=True):
        pixels = read_image(Path(case.image_path))
        cropped, affine, _ = prepare_image(pixels, replace(preparation, stretch_contrast=False))
        stretched = prepare_image(pixels, preparation)[0]
        for axes, picture in zip(column, (pixels, pixels, cropped, stretched), strict=True):
            draw_picture(axes, picture)
        column[1].fill(*to_original(square, affine).T, fill=False, edgecolor=COLOURS[1], lw=1.5)
        column[1].set(xlim=column[0].get_xlim(), ylim=column[0].get_ylim())
        sex = {"female": "girl", "male": "boy"}.get(case.sex, "?")
        column[0].set_title(f"{sex}\n{case.age_months / 12:.1f} y", fontsize=9)
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(name, fontsize=9)
    low, high = chosen["age_months"].iloc[[0, -1]] / 12
    style.show(
        figure, f"Ten radiographs from {low:.1f} to {high:.1f} years, before and after each step."
    )


def count_table(cases: pd.DataFrame, stage_names: tuple[str, ...]) -> pd.DataFrame:
    """Counts of girls, boys and stages, and the ages, for every split."""
    stage = cases["stage"].map(dict(enumerate(stage_names))).astype(object)
    groups = cases.groupby("split", sort=False)
    counts = pd.crosstab(cases["split"], stage.fillna("no stage"))
    ordered = [name for name in (*stage_names, "no stage") if name in counts.columns]
    ages = groups["age_months"].agg(["mean", "std"]).round(1)
    ages.columns = ["mean months", "SD months"]
    sexes = pd.crosstab(cases["split"], cases["sex"].fillna("unknown sex")).rename(columns=SEXES)
    table = pd.concat([groups.size().rename("cases"), sexes, ages, counts[ordered]], axis=1)
    table["mean years"] = (table["mean months"] / 12).round(1)
    return table


def ages_by_sex(cases: pd.DataFrame) -> tuple[Figure, str]:
    """Histogram of bone age, a colour a sex."""
    known = cases.dropna(subset=["age_months", "sex"])
    figure, axes = plt.subplots()
    look = {"bins": BINS_MONTHS, "element": "step", "alpha": 0.35}
    sns.histplot(x=known["age_months"], ax=axes, **look, **by_sex(known))
    year_axis(axes)
    axes.set_ylabel("radiographs a year of age")
    medians = cases.groupby("sex")["age_months"].median()
    each = ", ".join(f"{SEXES[sex]} {median:.0f}" for sex, median in medians.items())
    return figure, f"Histograms of bone age by sex. Median months: {each}."


def label_rounding(cases: pd.DataFrame) -> tuple[Figure, str]:
    """The ages within a year: labels are rounded where whole and half years stand out."""
    months = cases["age_months"].dropna()
    rest = (months % 12).round().astype(int) % 12
    share = rest.value_counts(normalize=True).reindex(range(12), fill_value=0.0)
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    axes.bar(share.index, 100 * share, color=np.where(share.index % 6, COLOURS[7], COLOURS[0]))
    axes.set(xticks=range(12), xlabel="months past the whole year", ylabel="share of labels, %")
    return figure, f"{100 * (months % 6 == 0).mean():.0f} % of the labels are whole or half years."


def sizes(geometry: pd.DataFrame) -> tuple[Figure, str]:
    """Width and height of the radiographs, in pixels."""
    figure, axes = plt.subplots(figsize=(5.5, 4.2))
    width, height = geometry["original_width"], geometry["original_height"]
    axes.scatter(width, height, s=12, alpha=0.35, color=COLOURS[0], linewidths=0)
    axes.set(xlim=(0, 1.08 * width.max()), ylim=(0, 1.08 * height.max()))
    axes.set(xlabel="width, pixels", ylabel="height, pixels")
    alt = (
        f"Widths run from {width.min()} to {width.max()} pixels, heights from {height.min()} to "
        f"{height.max()}."
    )
    return figure, alt


def grey_levels(cases: pd.DataFrame, prepared: np.ndarray, sample: int = 200) -> tuple[Figure, str]:
    """How many grey levels lie between the 2nd and 98th percentile, before and after preparing."""
    rows = np.unique(np.linspace(0, len(cases) - 1, sample).astype(int))
    before = [read_image(Path(path)) for path in cases["image_path"].iloc[rows]]
    pictures = {"as it came": before, "prepared": [prepared[row] for row in rows]}
    spreads = pd.DataFrame(
        {name: [np.ptp(np.percentile(one, [2, 98])) for one in of] for name, of in pictures.items()}
    )
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    sns.histplot(spreads, bins=np.arange(0, 261, 10), palette=[COLOURS[7], COLOURS[0]], ax=axes)
    axes.set(xlabel="grey levels between the 2nd and the 98th percentile", ylabel="radiographs")
    middle = spreads.median()
    alt = (
        f"Of {len(rows)} radiographs the median one spreads over {middle['as it came']:.0f} grey "
        f"levels as it came and {middle['prepared']:.0f} when prepared."
    )
    return figure, alt


def show_splits(cases: pd.DataFrame) -> None:
    """Cumulative ages of every split: the curves should lie on each other."""
    labelled = cases[cases["age_months"].notna() & (cases["split"] != "unlabelled")]
    figure, axes = plt.subplots()
    splits = labelled.groupby("split", sort=False)["age_months"]
    for split, ages in splits:
        sns.ecdfplot(x=ages, ax=axes, label=f"{split}, n = {len(ages):,}")
    year_axis(axes)
    axes.set_ylabel("share of the split")
    axes.legend()
    means = ", ".join(f"{split} {mean:.1f}" for split, mean in splits.mean().items())
    style.show(figure, f"Cumulative bone age of each split. Mean months: {means}.")


def show_children(cases: pd.DataFrame, stage_names: tuple[str, ...]) -> dict[str, object]:
    """Who is in the set: counts by split, ages by sex, how labels are rounded; gives `facts`."""
    display(count_table(cases, stage_names))
    style.show(*ages_by_sex(cases))
    style.show(*label_rounding(cases))
    return facts(cases, stage_names)


def show_scans(geometry: pd.DataFrame, cases: pd.DataFrame, prepared: np.ndarray) -> None:
    """The radiographs' sizes, and their grey levels before and after preparing."""
    style.show(*sizes(geometry))
    style.show(*grey_levels(cases, prepared))


def show_left_out(
    excluded: list[dict], cases: pd.DataFrame, prepared: np.ndarray, most: int = 8
) -> None:
    """Cases left out with the reason, how often each doubt occurs, and some pictures marked by one.

    Args:
        excluded: as `keep_readable` gives it, with the case table `cases`.
        prepared: pictures uint8 `[n, size, size]` of the case table.
        most: pictures drawn of each doubt.
    """
    display(pd.DataFrame(excluded, columns=["case_id", "image_path", "reason"]))
    words = cases["doubts"].str.split(", ").explode()
    words = words[words != ""]
    if words.empty:
        return
    counts = words.value_counts()
    made = ["marked" if word in MARKED else "repaired" for word in counts.index]
    display(pd.DataFrame({"radiographs": counts, "what was done": made}))
    shape = (len(counts), most)
    figure, grid = plt.subplots(*shape, figsize=(1.4 * most, 1.7 * len(counts)), squeeze=False)
    for line, word in zip(grid, counts.index, strict=True):
        rows = words.index[words == word]
        line[0].set_ylabel(word, fontsize=9)
        for axes, row in zip(line, rows[:most], strict=False):
            draw_picture(axes, prepared[row], cases["case_id"].iloc[row])
        for axes in line[len(rows) :]:
            axes.set_axis_off()
    each = ", ".join(f"{word} {count}" for word, count in counts.items())
    style.show(figure, f"Radiographs with a doubt, as they were prepared: {each}.")


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
        **{f"multiples_of_{step}": float((ages % step == 0).mean()) for step in (3, 6, 12)},
    }
