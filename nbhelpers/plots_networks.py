"""The custom CNN as a diagram, drawn from the layers of a model.

Functions that plot return a figure and its alternative text.
"""

import itertools
import re

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nbhelpers.figures import COLOURS, INK, LINE, SOFT

PICTURE, CONVOLUTION, VECTOR, SEX = COLOURS[7], COLOURS[0], COLOURS[2], COLOURS[1]
# Inches, as the figure is drawn.
WIDTH, TALLEST, COLUMN_START, SLAB_GAP = 7.5, 2.0, 1.35, 0.025
ROW, ROWS = 0.21, ("", "side, pixels", "convolutions", "channels or units")


def network_diagram(network: keras.Model) -> tuple[Figure, str]:
    """The custom CNN from left to right: radiograph, blocks, sex, dense layer, output.

    A slab is a convolution with its activation: its height goes with the root of the picture's
    side, its width with the logarithm of the channels. Below stand the numbers. Raises ValueError
    for a network without layers `block1_conv1` and so on.
    """
    columns = [*_picture_columns(network), *_vector_columns(network)]
    step = (WIDTH - COLUMN_START) / len(columns)
    low = -TALLEST / 2 - 0.25
    figure, axes = plt.subplots(figsize=(WIDTH, TALLEST + 0.45 + ROW * len(ROWS)))
    edges = []
    for number, column in enumerate(columns):
        middle = COLUMN_START + (number + 0.5) * step
        edges.append(_slabs(axes, middle, column))
        for row, text in enumerate([column["name"], *column["told"]]):
            colour = INK if row else SOFT
            axes.text(middle, low - row * ROW, text, fontsize=8, ha="center", color=colour)
        if "sex" in column:
            _sex(axes, middle, column)
    for (_, right), (left, _) in itertools.pairwise(edges):
        _arrow(axes, (right + 0.02, 0), (left - 0.02, 0))
    for row, text in enumerate(ROWS):
        axes.text(0, low - row * ROW, text, fontsize=8, color=SOFT)
    axes.axhline(low - 0.07, color=LINE, linewidth=0.8)
    axes.text(WIDTH, TALLEST / 2, f"{network.count_params():,} weights", ha="right", fontsize=9)
    axes.set(xlim=(0, WIDTH), ylim=(low - ROW * len(ROWS) + 0.1, TALLEST / 2 + 0.15))
    axes.set_aspect("equal")
    axes.axis("off")
    return figure, _alt(network, columns)


def _picture_columns(network: keras.Model) -> list[dict]:
    """The radiograph and each block: what to draw, and the numbers below it."""
    side = network.get_layer("radiograph").output.shape[1]
    blocks: dict[str, list] = {}
    for layer in network.layers:
        if named := re.fullmatch(r"(block\d+)_conv\d+", layer.name):
            blocks.setdefault(named[1], []).append(layer)
    if not blocks:
        raise ValueError(f"{network.name} has no layers block1_conv1 and so on to draw.")

    def height(pixels: int) -> float:
        return TALLEST * float(np.sqrt(pixels / side))

    columns = [{"name": "picture", "told": [f"{side}", "", "1"], "colour": PICTURE}]
    columns[0] |= {"slabs": [(0.05, TALLEST)]}
    for name, convolutions in blocks.items():
        _, pixels, _, channels = convolutions[0].output.shape
        slab = (0.015 + 0.011 * float(np.log2(channels)), height(pixels))
        columns.append(
            {
                "name": name.replace("block", "block "),
                "told": [f"{pixels}", f"{len(convolutions)}", f"{channels}"],
                "colour": CONVOLUTION,
                "slabs": [slab] * len(convolutions),
            }
        )
    return columns


def _vector_columns(network: keras.Model) -> list[dict]:
    """From the average of each channel to the output."""
    units = {layer.name: layer.output.shape[-1] for layer in network.layers}
    average = {"name": "average", "told": ["1", "", f"{units['picture_features']}"]}
    columns = [average | {"slabs": [(0.09, 0.9)]}]
    if "sex_features" in units:
        told = ["", "", f"+ {units['sex_features']}"]
        columns.append({"name": "sex", "told": told, "slabs": [(0.09, 0.9)], "sex": 0.3})
    dropout = network.get_layer("dropout").rate
    columns.append({"name": "dense", "told": ["", "", f"{units['dense']}"], "slabs": [(0.09, 0.9)]})
    columns[-1]["note"] = f"{100 * dropout:.0f} %\ndropout"
    name = "months" if "months" in units else "stages"
    outputs = network.output.shape[-1]
    columns.append(
        {"name": name, "told": ["", "", f"{outputs}"], "slabs": [(0.09, 0.09 * outputs)]}
    )
    return [{"colour": VECTOR, **column} for column in columns]


def _slabs(axes: plt.Axes, middle: float, column: dict) -> tuple[float, float]:
    """Draw the slabs of a column side by side; returns where they begin and end."""
    slabs = column["slabs"]
    total = sum(width for width, _ in slabs) + SLAB_GAP * (len(slabs) - 1)
    x = middle - total / 2
    for width, height in slabs:
        axes.add_patch(Rectangle((x, -height / 2), width, height, color=column["colour"], lw=0))
        x += width + SLAB_GAP
    if "note" in column:
        top = slabs[0][1] / 2 + 0.06
        axes.text(middle, top, column["note"], ha="center", va="bottom", fontsize=8, color=SOFT)
    return middle - total / 2, middle + total / 2


def _sex(axes: plt.Axes, middle: float, column: dict) -> None:
    """Sex comes in from below, and its units join those of the picture."""
    width, height = column["slabs"][0]
    bottom, units = -height / 2, column["sex"]
    axes.add_patch(Rectangle((middle - width / 2, bottom - units), width, units, color=SEX, lw=0))
    _arrow(axes, (middle, -TALLEST / 2 - 0.08), (middle, bottom - units - 0.02))


def _arrow(axes: plt.Axes, start: tuple, end: tuple) -> None:
    style = {"arrowstyle": "-|>,head_width=0.12,head_length=0.2", "color": SOFT, "linewidth": 0.9}
    axes.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def _alt(network: keras.Model, columns: list[dict]) -> str:
    blocks = [column["told"] for column in columns if column["name"].startswith("block")]
    drawn = "; ".join(f"{side} pixels, {many} × {wide} channels" for side, many, wide in blocks)
    sex = next((column["told"][2][2:] for column in columns if "sex" in column), "")
    dense = next(column["told"][2] for column in columns if column["name"] == "dense")
    return (
        f"The network, {network.count_params():,} weights: {len(blocks)} blocks of convolutions "
        f"({drawn}), the average of each channel, {f'{sex} units of sex, ' if sex else ''}"
        f"a dense layer of {dense} units, then {columns[-1]['name']}."
    )
