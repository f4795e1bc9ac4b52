"""Figures of heat maps: over radiographs, on the originals, and how far they can be trusted.

Each function returns a figure and its alternative text.
"""

from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nbhelpers.explain.shortcuts import PLACES
from nbhelpers.images.geometry import affine_of
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots.style import COLOURS, draw_picture, draw_points

TINTS = dict(zip(PLACES, (COLOURS[1], COLOURS[5], COLOURS[3]), strict=True))
PLACE_VEIL = 0.5  # how much of the radiograph a tint hides
FAMILIAR, EVEN = "RdYlBu_r", "inferno"  # red-yellow-blue; and one whose steps look equal
VEIL = 0.45  # how much of the radiograph a map hides


def places(
    pictures: np.ndarray, places: dict[str, np.ndarray], titles: list[str]
) -> tuple[Figure, str]:
    """Radiographs in a row, and below them the same with each place in its colour.

    Args:
        pictures: uint8 `[n, side, side]`.
        places: bool `[n, side, side]` by name, see `shortcuts.places_of`.
        titles: of the radiographs, `[n]`.
    """
    figure, (_, below) = _rows(pictures, titles, ["not the hand"])
    for row, axes in enumerate(below):
        masks = {place: masks[row] for place, masks in places.items()}
        draw_picture(axes, _tinted(pictures[row], masks))
    patches = [Patch(color=TINTS[place], label=place) for place in places]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    have = [f"{place} in {masks.any(axis=(1, 2)).sum()}" for place, masks in places.items()]
    return figure, (
        f"{len(titles)} radiographs, and below them what was found beside the hand, in colours: "
        f"{', '.join(have)}."
    )


def _tinted(picture: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Colours 0 to 1, float `[side, side, 3]`, of a picture `[side, side]`."""
    tinted = np.repeat(picture[:, :, None] / 255, 3, axis=2)
    for place, mask in masks.items():
        tinted[mask] = (1 - PLACE_VEIL) * tinted[mask] + PLACE_VEIL * np.array(to_rgb(TINTS[place]))
    return tinted


def overlays(
    pictures: np.ndarray, titles: list[str], rows: dict[str, tuple[np.ndarray, str]]
) -> tuple[Figure, str]:
    """Radiographs in a row, and below them each kind of map over them.

    Args:
        pictures: uint8 `[n, side, side]`.
        titles: of the radiographs, `[n]`.
        rows: name of a row to its maps `[n, side, side]` and their colours; each map is scaled to
            its own maximum.
    """
    figure, (_, *below) = _rows(pictures, titles, list(rows))
    for line, (maps, colours) in zip(below, rows.values(), strict=True):
        for axes, picture, heat in zip(line, pictures, maps, strict=True):
            _veil(axes, picture, heat, colours)
    return figure, (
        f"{len(titles)} radiographs, {titles[0]} to {titles[-1]}".replace("\n", ", ")
        + f", and over them: {', '.join(rows)}."
    )


def on_originals(
    cases: pd.DataFrame, geometry: pd.DataFrame, maps: np.ndarray
) -> tuple[Figure, str]:
    """Maps carried back onto the radiographs as they came; rows `[n]` of the same cases."""
    figure, grid = plt.subplots(1, len(cases), figsize=(1.9 * len(cases), 2.6), squeeze=False)
    for row, axes in enumerate(grid[0]):
        pixels = read_image(Path(cases["image_path"].iloc[row]))
        size = pixels.shape[1], pixels.shape[0]
        # The affine leads from the original to the prepared picture: each original pixel asks it.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        carried = cv2.warpAffine(maps[row], affine_of(geometry, row), size, flags=flags)
        _veil(axes, pixels, carried, FAMILIAR)
        axes.set_title(cases["case_id"].iloc[row], fontsize=8, fontweight="normal")
    return figure, f"{len(cases)} original radiographs with the map of what speaks for older."


def gains_by_side(tables: dict[str, pd.DataFrame]) -> tuple[Figure, str]:
    """What maps of coarse and fine feature maps gain on chance (`checks.by_cells`)."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for name, table in tables.items():
        bars = [table["value"] - table["lower"], table["upper"] - table["value"]]
        axes.errorbar(table["side"], table["value"], bars, marker="o", capsize=2, label=name)
    sides = sorted({side for table in tables.values() for side in table["side"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sides, sides)
    axes.minorticks_off()
    axes.set(xlabel="cells a side of the feature map", ylabel="gain on a map of chance")
    axes.axhline(0, color=COLOURS[7], linewidth=1)
    axes.legend(fontsize=8)
    best = {name: table.loc[table["value"].idxmax(), "side"] for name, table in tables.items()}
    each = ", ".join(f"{name} {side}" for name, side in best.items())
    return figure, f"Cells a side of the feature map whose maps gain most on chance: {each}."


def likeness(
    tables: dict[str, pd.DataFrame], levels: dict[str, float] | None = None
) -> tuple[Figure, str]:
    """Correlation of maps with those of ever more random networks (`checks`), a line each.

    levels: correlations with maps of yet another network, each a broken line across.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for name, table in tables.items():
        share = 100 * table["random_share"]
        axes.plot(share, table["value"], marker="o", markersize=4, label=name)
        axes.fill_between(share, table["lower"], table["upper"], alpha=0.2)
    axes.set(xlabel="layers with random weights, from the top, %", ylabel="rank correlation")
    axes.set_ylim(-0.3, 1.05)
    axes.axhline(0, color=COLOURS[7], linewidth=1)
    for name, value in (levels or {}).items():
        axes.axhline(value, color=COLOURS[3], linewidth=1.2, linestyle="--", label=name)
    figure.legend(loc="outside right upper", fontsize=8)
    ends = ", ".join(f"{name} {table['value'].iloc[-1]:.2f}" for name, table in tables.items())
    return figure, f"Correlation of maps with those of a wholly random network: {ends}."


def measures(table: pd.DataFrame) -> tuple[Figure, str]:
    """A panel a measure, a line a network: `checks.COLUMNS` and `network`."""
    networks = list(table["network"].unique())
    by_measure = table.groupby("measure", sort=False)
    rows = -(-len(by_measure) // 2)
    size = (7.4, rows * (0.65 + 0.24 * len(networks)))
    figure, grid = plt.subplots(rows, 2, figsize=size, sharey=True, squeeze=False)
    panels = grid.ravel()
    for (name, part), axes in zip(by_measure, panels, strict=False):
        draw_points(axes, part.set_index("network").reindex(networks), networks)
        axes.axvline(0, color=COLOURS[7], linewidth=1)
        axes.set_title(name, fontsize=8.5)
        axes.tick_params(labelsize=8)
    for axes in panels[len(by_measure) :]:
        axes.set_visible(False)
    alt = f"{len(by_measure)} measures of the maps of {', '.join(networks)}, with intervals."
    return figure, alt


def curves(table: pd.DataFrame, kind: str) -> tuple[Figure, str]:
    """Curves of one `kind` for several maps, see `checks.compare_maps`."""
    table = table[table["kind"] == kind]
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for name, part in table.groupby("map", sort=False):
        axes.plot(100 * part["share"], part["value"], marker="o", markersize=3, label=name)
        axes.fill_between(100 * part["share"], part["lower"], part["upper"], alpha=0.15)
    gone = "greyed out" if kind == "deletion" else "put back"
    axes.set(xlabel=f"pixels {gone}, %", ylabel="score moved by")
    axes.set_ylim(bottom=0)
    axes.legend()
    early = table[np.isclose(table["share"], 0.2)].set_index("map")["value"]
    each = ", ".join(f"{name} {value:.1f}" for name, value in early.items())
    return figure, f"{kind.capitalize()}: how far the score moved when a fifth was {gone}: {each}."


def ratios(table: pd.DataFrame) -> tuple[Figure, str]:
    """Energy on regions over their share of the hand, by region, with 95 % intervals.

    `table`: rows of `regions.summarise` with metric "ratio".
    """
    shown = table[table["value"].notna()].astype({"region": str})
    regions = list(shown["region"].unique())
    figure, axes = plt.subplots(figsize=(6.8, 1.4 + 0.4 * len(regions)))
    names = {False: "not learnt from", True: "learnt from"}
    for number, (seen, part) in enumerate(shown.groupby("seen")):
        rows = part.set_index("region").reindex(regions)
        label = f"{names[seen]}, n up to {int(rows['n'].max()):,}"
        draw_points(axes, rows, regions, 0.18 * (2 * number - 1), label=label)
    axes.axvline(1, color=COLOURS[7], linewidth=1)
    axes.set_xlabel("share of the map's energy over share of the hand")
    axes.legend(fontsize=8)
    every = shown.loc[shown["region"] == "any", "value"]
    overall = f"; all regions together {every.iloc[0]:.2f}" if len(every) else ""
    return (
        figure,
        f"How much more of a map lies on each region than its share of the hand{overall}.",
    )


def _rows(pictures: np.ndarray, titles: list[str], below: list[str]) -> tuple[Figure, np.ndarray]:
    """Radiographs in a row with their titles, and empty rows called `below`."""
    size = (1.25 * len(titles) + 0.4, 1.35 * (1 + len(below)) + 0.4)
    figure, grid = plt.subplots(1 + len(below), len(titles), figsize=size, squeeze=False)
    for axes, picture, title in zip(grid[0], pictures, titles, strict=True):
        draw_picture(axes, picture, title)
    for axes, name in zip(grid[:, 0], ["radiograph", *below], strict=True):
        axes.set_ylabel(name, fontsize=8)
    return figure, grid


def _veil(axes: plt.Axes, picture: np.ndarray, heat: np.ndarray, colours: str) -> None:
    draw_picture(axes, picture)
    top = float(heat.max())
    axes.imshow(heat / top if top > 0 else heat, cmap=colours, vmin=0, vmax=1, alpha=VEIL)
