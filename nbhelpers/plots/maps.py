"""Heat maps on a page: over radiographs, on the originals, and how far they can be trusted.

Functions called `show_...` show figures with their alternative text, and tables. Networks go by
their names in files, "cnn age".
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nbhelpers.explain import checks, regions, shortcuts
from nbhelpers.explain.material import Explained
from nbhelpers.explain.shortcuts import MARKER, PLACES
from nbhelpers.images.geometry import affine_of
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots import tables
from nbhelpers.plots.style import COLOURS, draw_picture, draw_points, show
from nbhelpers.plots.tables import network_name

TINTS = dict(zip(PLACES, (COLOURS[1], COLOURS[5], COLOURS[3]), strict=True))
PLACE_VEIL = 0.5  # how much of the radiograph a tint hides
FAMILIAR, EVEN = "RdYlBu_r", "inferno"  # red-yellow-blue; and one whose steps look equal
VEIL = 0.45  # how much of the radiograph a map hides
A_ROW = 5  # radiographs of a figure


def titles(errors: pd.DataFrame, stage_names: list[str]) -> np.ndarray:
    """Stage, age, predicted age and error of rows of `scores.case_errors`, texts `[n]`."""
    stages = ["" if pd.isna(stage) else stage_names[int(stage)] for stage in errors["stage"]]
    return np.array(
        [
            f"{stage}\n{row.age_months / 12:.1f} years, predicted\n"
            f"{row.predicted_months / 12:.1f} ({row.error_months:+.0f} months)"
            for stage, row in zip(stages, errors.itertuples(), strict=True)
        ]
    )


def show_networks(
    networks: list[Explained], rows: np.ndarray, method: str, stage_names: list[str]
) -> None:
    """The maps of several networks of the same cases, a figure a network.

    Of stages: what speaks for the predicted one and what against, and for the true one.
    """
    for one in networks:
        cases, given = one.table.iloc[rows], one.given(rows)
        for_it, against_it = one.heat_maps(rows, method)
        if one.task == "age":
            maps = {"older": for_it, "younger": against_it}
            titles = [f"{age / 12:.1f} years" for age in cases["age_months"]]
        else:
            true = cases["stage"].to_numpy(int)
            maps = {"for the predicted": for_it, "against the predicted": against_it}
            maps["for the true stage"], _ = one.heat_maps(rows, method, true)
            pairs = zip(true, checks.predicted_stage(one.network, *given), strict=True)
            titles = ["\npredicted\n".join(stage_names[at] for at in pair) for pair in pairs]
        display(Markdown(f"### {network_name(one.name)}"))
        show_overlays(given[0], titles, maps)


def show_localisation(local: pd.DataFrame, network: str, stage_names: list[str]) -> pd.DataFrame:
    """How maps lie on ossification regions, and what `regions.summarise` gives by network.

    Of all networks as a table; of `network`, what speaks for older, as a figure and by stage too.
    local: of `Explained.on_regions`, of all networks.
    """
    summary = regions.summarise(local, by=["network", "speaks_for"])
    ratio = summary["metric"] == "ratio"
    of_network = (summary["network"] == network) & (summary["speaks_for"] == "older")
    _show_ratios(summary[of_network & ratio])
    unseen = ~summary["seen"] & summary["metric"].isin(["ratio", "hit", "chance"])
    every = summary[unseen & (summary["region"] == regions.ANY)]
    every = every.assign(map=every["network"].map(network_name) + ": " + every["speaks_for"])
    display(_wide(every, "map", "metric", "all regions together"))
    own = network_name(network)
    display(_wide(summary[unseen & of_network], "region", "metric", f"{own}: older"))
    local = local[(local["network"] == network) & (local["speaks_for"] == "older")]
    local = local[~local["seen"] & local["stage"].notna()]
    by_stage = regions.summarise(local, by=["stage"]).query("metric == 'ratio'")
    by_stage = by_stage.assign(stage=[stage_names[stage] for stage in by_stage["stage"]])
    display(_wide(by_stage, "region", "stage", tables.METRICS["ratio"].name))
    return summary


def show_places(
    network: keras.Model,
    pictures: np.ndarray,
    titles: np.ndarray,
    sex: np.ndarray,
    months: np.ndarray,
    maps: np.ndarray,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where places that are not the hand are found, and what they matter: `shortcuts.examine`.

    Gives its two tables: the energy of the maps on each place, and what masking the place changes.
    """
    has_hand, masks, energy, masking = shortcuts.examine(network, pictures, sex, months, maps)
    pictures, titles = pictures[has_hand], titles[has_hand]
    marked = np.flatnonzero(masks[MARKER].any(axis=(1, 2)))[::A_ROW][:3]
    others = np.setdiff1d(np.arange(len(pictures)), marked)
    few = np.concatenate([marked, others[: A_ROW - len(marked)]])
    figure, (_, below) = _rows(pictures[few], titles[few], ["not the hand"])
    for row, axes in zip(few, below, strict=True):
        tinted = np.repeat(pictures[row][:, :, None] / 255, 3, axis=2)
        for place, colour in TINTS.items():
            mask = masks[place][row]
            tinted[mask] = (1 - PLACE_VEIL) * tinted[mask] + PLACE_VEIL * np.array(to_rgb(colour))
        draw_picture(axes, tinted)
    patches = [Patch(color=colour, label=place) for place, colour in TINTS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    have = [f"{place} in {masks[place][few].any(axis=(1, 2)).sum()}" for place in PLACES]
    show(
        figure,
        f"{len(few)} radiographs, and below them what was found next to the hand, in colours: "
        f"{', '.join(have)}.",
    )
    display(_wide(energy, "place", "metric", "of the picture"))
    words = {"n": "cases", "mae_before": "mean error, months", "mae_after": "without the place"}
    words |= {"prediction_change": "predictions moved by", "difference": "change of the error"}
    display(tables.plain(masking.round(2), ["place"], words, 2))
    return energy, masking


def _wide(scores: pd.DataFrame, index: str, columns: str, heading: str) -> pd.DataFrame:
    few = scores["note"] != ""
    return tables.wide(scores.assign(too_few=few), index, columns).rename_axis(columns=heading)


def show_overlays(
    pictures: np.ndarray, titles: Sequence[str], maps: dict[str, np.ndarray], even: bool = False
) -> None:
    """Radiographs, five a figure, and below them each kind of map over them.

    Args:
        pictures: uint8 `[n, side, side]`.
        titles: of the radiographs, `[n]`.
        maps: name of a row to its maps `[n, height, width]` of any size; each is scaled to its own
            maximum.
        even: each kind a second time, in colours whose steps look equal.
    """
    looks = {"": FAMILIAR} | ({", even": EVEN} if even else {})
    rows = {
        name + word: (each, look) for name, each in maps.items() for word, look in looks.items()
    }
    for start in range(0, len(titles), A_ROW):
        shown = slice(start, start + A_ROW)
        figure, (_, *below) = _rows(pictures[shown], titles[shown], list(rows))
        for line, (each, look) in zip(below, rows.values(), strict=True):
            for axes, picture, heat in zip(line, pictures[shown], each[shown], strict=True):
                _veil(axes, picture, heat, look)
        ends = f"{titles[shown][0]} to {titles[shown][-1]}".replace("\n", ", ")
        alt = f"{len(titles[shown])} radiographs, {ends}, and over them: {', '.join(rows)}."
        show(figure, alt)


def show_on_originals(one: Explained, rows: np.ndarray, maps: np.ndarray) -> None:
    """Maps of a network carried back onto the radiographs as they came; rows and maps `[n]`."""
    cases, geometry = one.table.iloc[rows], one.geometry.iloc[rows]
    figure, grid = plt.subplots(1, len(cases), figsize=(1.9 * len(cases), 2.6), squeeze=False)
    for row, axes in enumerate(grid[0]):
        pixels = read_image(Path(cases["image_path"].iloc[row]))
        size = pixels.shape[1], pixels.shape[0]
        # The affine leads from the original to the prepared picture: each original pixel asks it.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        carried = cv2.warpAffine(maps[row], affine_of(geometry, row), size, flags=flags)
        _veil(axes, pixels, carried, FAMILIAR)
        axes.set_title(cases["case_id"].iloc[row], fontsize=8, fontweight="normal")
    show(figure, f"{len(cases)} original radiographs with the map of what speaks for older.")


def show_gains(tried: dict[str, pd.DataFrame]) -> None:
    """What maps of coarse and fine feature maps gain on chance (`checks.choose_cells`)."""
    tried = {network_name(name): table for name, table in tried.items()}
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for name, table in tried.items():
        bars = [table["value"] - table["lower"], table["upper"] - table["value"]]
        axes.errorbar(table["side"], table["value"], bars, marker="o", capsize=2, label=name)
    sides = sorted({side for table in tried.values() for side in table["side"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sides, sides)
    axes.minorticks_off()
    axes.set(xlabel="cells a side of the feature map", ylabel="gain on a map of chance")
    axes.axhline(0, color=COLOURS[7], linewidth=1)
    axes.legend(fontsize=8)
    best = {name: table.loc[table["value"].idxmax(), "side"] for name, table in tried.items()}
    each = ", ".join(f"{name} {side}" for name, side in best.items())
    show(figure, f"Cells a side of the feature map whose maps gain most on chance: {each}.")


def show_likeness(sanity: dict[str, pd.DataFrame], levels: dict[str, float]) -> None:
    """Correlation of maps with those of ever more random networks (`checks`), a line each.

    levels: correlations with maps of yet another network, each a broken line across.
    """
    sanity = {network_name(name): table for name, table in sanity.items()}
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for name, table in sanity.items():
        share = 100 * table["random_share"]
        axes.plot(share, table["value"], marker="o", markersize=4, label=name)
        axes.fill_between(share, table["lower"], table["upper"], alpha=0.2)
    axes.set(xlabel="layers with random weights, from the top, %", ylabel="rank correlation")
    axes.set_ylim(-0.55, 1.05)
    axes.axhline(0, color=COLOURS[7], linewidth=1)
    for name, value in levels.items():
        axes.axhline(value, color=COLOURS[3], linewidth=1.2, linestyle="--", label=name)
    figure.legend(loc="outside right upper", fontsize=8)
    ends = ", ".join(f"{name} {table['value'].iloc[-1]:.2f}" for name, table in sanity.items())
    show(figure, f"Correlation of maps with those of a wholly random network: {ends}.")


def show_measures(table: pd.DataFrame) -> None:
    """The measures of all networks, a panel each, and as a table: `checks.COLUMNS`, `network`."""
    networks = list(table["network"].unique())
    names = [network_name(network) for network in networks]
    by_measure = table.groupby("measure", sort=False)
    rows = -(-len(by_measure) // 2)
    size = (7.4, rows * (0.65 + 0.24 * len(networks)))
    figure, grid = plt.subplots(rows, 2, figsize=size, sharey=True, squeeze=False)
    panels = grid.ravel()
    for (name, part), axes in zip(by_measure, panels, strict=False):
        draw_points(axes, part.set_index("network").reindex(networks), names)
        axes.axvline(0, color=COLOURS[7], linewidth=1)
        axes.set_title(name, fontsize=8.5)
        axes.tick_params(labelsize=8)
    for axes in panels[len(by_measure) :]:
        axes.set_visible(False)
    show(figure, f"{len(by_measure)} measures of the maps of {', '.join(names)}, with intervals.")
    named = table.assign(network=table["network"].map(network_name), metric="likeness")
    wide = tables.wide(named, "measure", "network")
    display(wide.rename_axis(columns=f"test split, n = {table['n'].max():,}"))


def show_curves(table: pd.DataFrame) -> None:
    """A panel a kind of curve, a line a map, see `checks.compare_maps`."""
    figure, panels = plt.subplots(1, len(checks.KINDS), figsize=(7.4, 3.4), sharey=True)
    told = []
    for axes, kind in zip(panels, checks.KINDS, strict=True):
        of_kind = table[table["kind"] == kind]
        for name, part in of_kind.groupby("map", sort=False):
            share = 100 * part["share"]
            axes.plot(share, part["value"], marker="o", markersize=3, label=name)
            axes.fill_between(share, part["lower"], part["upper"], alpha=0.15)
        gone = "greyed out" if kind == "deletion" else "put back"
        axes.set(xlabel=f"pixels {gone}, %")
        axes.set_title(kind.capitalize())
        early = of_kind[np.isclose(of_kind["share"], 0.2)].set_index("map")["value"]
        each = ", ".join(f"{name} {value:.1f}" for name, value in early.items())
        told.append(f"{kind}: how far the prediction was moved when a fifth was {gone}: {each}")
    panels[0].set(ylabel="prediction moved by")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize=8)
    show(figure, "; ".join(told).capitalize() + ".")


def _show_ratios(table: pd.DataFrame) -> None:
    """Energy on regions over their share of the hand, by region, with 95 % intervals.

    `table`: rows of `regions.summarise` with metric "ratio".
    """
    shown = table[table["value"].notna()]
    regions = list(shown["region"].unique())
    figure, axes = plt.subplots(figsize=(6.8, 1.4 + 0.4 * len(regions)))
    names = {False: "not in training", True: "in training"}
    for number, (seen, part) in enumerate(shown.groupby("seen")):
        rows = part.set_index("region").reindex(regions)
        label = f"{names[seen]}, n up to {int(rows['n'].max()):,}"
        draw_points(axes, rows, regions, 0.18 * (2 * number - 1), label=label)
    axes.axvline(1, color=COLOURS[7], linewidth=1)
    axes.set_xlabel("share of the map's energy over share of the hand")
    axes.legend(fontsize=8)
    each = ", ".join(f"{row.region} {row.value:.2f}" for row in shown[~shown["seen"]].itertuples())
    show(figure, f"How much more of a map lies on each region than its share of the hand: {each}.")


def _rows(
    pictures: np.ndarray, titles: Sequence[str], below: list[str]
) -> tuple[Figure, np.ndarray]:
    """Radiographs in a row with their titles, and empty rows called `below`."""
    size = (1.4 * len(titles) + 0.4, 1.45 * (1 + len(below)) + 0.4)
    figure, grid = plt.subplots(1 + len(below), len(titles), figsize=size, squeeze=False)
    for axes, picture, title in zip(grid[0], pictures, titles, strict=True):
        draw_picture(axes, picture, title)
    for axes, name in zip(grid[:, 0], ["radiograph", *below], strict=True):
        axes.set_ylabel(name, fontsize=8)
    return figure, grid


def _veil(axes: plt.Axes, picture: np.ndarray, heat: np.ndarray, colours: str) -> None:
    draw_picture(axes, picture)
    top = float(heat.max())
    heat = heat / top if top > 0 else heat
    height, width = picture.shape
    over = (-0.5, width - 0.5, height - 0.5, -0.5)  # a coarse map covers the picture too
    axes.imshow(heat, cmap=colours, vmin=0, vmax=1, alpha=VEIL, extent=over)
