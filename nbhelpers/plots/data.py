"""Figures and tables of the data: who is in the set, what its labels and pictures are like.

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
from nbhelpers.plots.tables import SEXES

SHOWN_CASES = 6


def show_steps(cases: pd.DataFrame, preparation: Preparation) -> None:
    """Training cases at even steps of age: original, crop, upright, contrast stretched."""
    train = cases[cases["split"] == "train"].sort_values("age_months", kind="stable")
    chosen = train.iloc[np.linspace(0, len(train) - 1, SHOWN_CASES).round().astype(int)]
    rows = ("original", "frame of the hand", "upright, cropped", "stretched")
    figure, grid = plt.subplots(len(rows), SHOWN_CASES, figsize=(7.4, 5.6), squeeze=False)
    edge = preparation.image_size - 0.5
    square = np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)])
    for column, case in zip(grid.T, chosen.itertuples(), strict=True):
        pixels = read_image(Path(case.image_path))
        cropped, affine, _ = prepare_image(pixels, replace(preparation, stretch_contrast=False))
        stretched = prepare_image(pixels, preparation)[0]
        for axes, picture in zip(column, (pixels, pixels, cropped, stretched), strict=True):
            style.draw_picture(axes, picture)
        column[1].fill(*to_original(square, affine).T, fill=False, edgecolor=style.COLOURS[1], lw=2)
        column[1].set(xlim=column[0].get_xlim(), ylim=column[0].get_ylim())
        sex = {"female": "girl", "male": "boy"}.get(case.sex, "?")
        column[0].set_title(f"{sex}\n{case.age_months / 12:.1f} y", fontsize=9)
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(name, fontsize=9)
    low, high = chosen["age_months"].iloc[[0, -1]] / 12
    alt = f"{SHOWN_CASES} training radiographs evenly spaced by bone age, {low:.1f} to {high:.1f} "
    style.show(figure, f"{alt}years, before and after each step of the preparation.")


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
    """Histogram of bone age, one colour per sex."""
    known = cases.dropna(subset=["age_months"])
    figure, axes = plt.subplots()
    look = {"bins": style.BINS_MONTHS, "element": "step", "alpha": 0.3}
    sns.histplot(x=known["age_months"], ax=axes, **look, **style.by_sex(known))
    style.year_axis(axes)
    axes.set_ylabel("radiographs per year of age")
    medians = known.groupby(known["sex"].fillna("sex unknown"))["age_months"].median()
    each = ", ".join(f"{SEXES.get(sex, sex)} {median:.0f}" for sex, median in medians.items())
    return figure, f"Bone ages of {len(known):,} radiographs by sex. Median months: {each}."


def label_rounding(cases: pd.DataFrame) -> tuple[Figure, str]:
    """The ages within a year: labels are rounded where whole and half years stand out."""
    months = cases["age_months"].dropna()
    rest = (months % 12).round().astype(int) % 12
    share = rest.value_counts(normalize=True).reindex(range(12), fill_value=0.0)
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    axes.bar(share.index, 100 * share, color=np.where(share.index % 6, style.GREY, style.OTHER))
    axes.set(xticks=range(12), xlabel="months past the whole year", ylabel="share of labels, %")
    whole = 100 * (months % 6 == 0).mean()
    return figure, f"Of {len(months):,} labels, {whole:.0f} % are whole or half years."


def grey_levels(cases: pd.DataFrame, prepared: np.ndarray, sample: int = 200) -> tuple[Figure, str]:
    """How many grey levels lie between the 2nd and 98th percentile, before and after preparing."""
    rows = np.unique(np.linspace(0, len(cases) - 1, sample).astype(int))
    before = [read_image(Path(path)) for path in cases["image_path"].iloc[rows]]
    pictures = {"original": before, "prepared": [prepared[row] for row in rows]}
    spreads = pd.DataFrame(
        {name: [np.ptp(np.percentile(one, [2, 98])) for one in of] for name, of in pictures.items()}
    )
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    look = {"element": "step", "palette": [style.GREY, style.OTHER]}
    sns.histplot(spreads, bins=np.arange(0, 261, 10), ax=axes, **look)
    axes.set(xlabel="grey levels between the 2nd and the 98th percentile", ylabel="radiographs")
    middle = spreads.median()
    return figure, (
        f"Grey levels from the 2nd to the 98th percentile of {len(rows)} radiographs: median "
        f"{middle['original']:.0f} in the originals, {middle['prepared']:.0f} when prepared."
    )


def show_splits(cases: pd.DataFrame) -> None:
    """Cumulative ages of every split: the curves should coincide."""
    labelled = cases[cases["age_months"].notna() & (cases["split"] != "unlabelled")]
    figure, axes = plt.subplots()
    splits = labelled.groupby("split", sort=False)["age_months"]
    for split, ages in splits:
        axes.ecdf(ages, label=f"{split}, n = {len(ages):,}")
    style.year_axis(axes)
    axes.set_ylabel("share of the split")
    axes.legend()
    means = ", ".join(f"{split} {mean:.1f}" for split, mean in splits.mean().items())
    style.show(figure, f"Share of each split up to each bone age. Mean months: {means}.")


def show_children(cases: pd.DataFrame, stage_names: tuple[str, ...]) -> dict[str, object]:
    """Who is in the set: counts by split, ages by sex, how labels are rounded; gives `facts`."""
    display(count_table(cases, stage_names).rename_axis(columns="radiographs by split"))
    style.show(*ages_by_sex(cases))
    style.show(*label_rounding(cases))
    return facts(cases, stage_names)


def show_scans(geometry: pd.DataFrame, cases: pd.DataFrame, prepared: np.ndarray) -> None:
    """The radiographs' sizes, and their grey levels before and after preparing."""
    size = geometry[["original_width", "original_height"]].describe()
    display(size.loc[["min", "50%", "max"]].rename_axis(columns="pixels"))
    style.show(*grey_levels(cases, prepared))


def show_left_out(
    excluded: list[dict], cases: pd.DataFrame, prepared: np.ndarray, most: int = 6
) -> None:
    """Cases left out with the reason, how often each doubt occurs, and some pictures of each.

    Args:
        excluded: as `keep_readable` gives it, with the case table `cases`.
        prepared: pictures uint8 `[n, size, size]` of the case table.
        most: pictures drawn of each doubt.
    """
    columns = ["case_id", "image_path", "reason"]
    display(pd.DataFrame(excluded, columns=columns).rename_axis(columns="radiographs left out"))
    words = cases["doubts"].str.split(", ").explode().loc[lambda word: word != ""]
    if words.empty:
        return
    counts = words.value_counts().rename_axis(None)
    made = ["marked" if word in MARKED else "repaired" for word in counts.index]
    display(pd.DataFrame({"radiographs": counts, "action": made}).rename_axis(columns="doubts"))
    shape = (len(counts), most)
    figure, grid = plt.subplots(*shape, figsize=(7.4, 1.5 * len(counts)), squeeze=False)
    for line, word in zip(grid, counts.index, strict=True):
        rows = words.index[words == word]
        line[0].set_ylabel(word, fontsize=9)
        for axes, row in zip(line, rows[:most], strict=False):
            style.draw_picture(axes, prepared[row], cases["case_id"].iloc[row])
        for axes in line[len(rows) :]:
            axes.set_axis_off()
    each = ", ".join(f"{word} {count}" for word, count in counts.items())
    style.show(figure, f"Up to {most} prepared radiographs with each doubt. Counts: {each}.")


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
