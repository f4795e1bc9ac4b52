"""Plots of histograms of oriented gradients: what the trees are fed, and where they look."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from xgboost import Booster

from nbhelpers.models.hog import HogSettings, cell_histograms, importance_map
from nbhelpers.plots.style import GREY, draw_picture, show


def _cell_middles(image_size: int, hog: HogSettings) -> np.ndarray:
    return np.arange(hog.cell_pixels // 2, image_size, hog.step_pixels)


def _strokes(picture: np.ndarray, hog: HogSettings) -> tuple[np.ndarray, np.ndarray]:
    """A stroke along the edge for every cell and direction, and how dark to draw it, 0 to 1."""
    cells = cell_histograms(picture, hog)
    middles = _cell_middles(len(picture), hog)
    y, x, direction = np.meshgrid(middles, middles, np.arange(hog.orientations), indexing="ij")
    # The edge runs at right angles to the gradient.
    angle = np.pi * (direction / hog.orientations + 0.5)
    reach = 0.48 * hog.step_pixels
    ends = [
        (x + side * reach * np.cos(angle), y + side * reach * np.sin(angle)) for side in (-1, 1)
    ]
    strokes = np.stack([np.stack(end, axis=-1) for end in ends], axis=-2).reshape(-1, 2, 2)
    strength = cells.ravel() ** 2
    return strokes, strength / max(strength.max(), 1e-6)


def show_steps(steps: dict[str, np.ndarray]) -> None:
    """The steps from a radiograph to its histograms, each an image under its title, in one row."""
    figure, row = plt.subplots(1, len(steps), figsize=(7.4, 1.9))
    for axes, (title, image) in zip(row, steps.items(), strict=True):
        draw_picture(axes, 255 * image / max(image.max(), 1e-6), title)
    show(figure, f"Steps from a radiograph to its features: {', '.join(steps)}.")


def show_hog(pictures: np.ndarray, titles: list[str], hog: HogSettings) -> None:
    """Prepared radiographs above and their oriented gradients, drawn as edge strokes, below."""
    figure, grid = plt.subplots(2, len(pictures), figsize=(7.4, 4.1), squeeze=False)
    for (above, below), picture, title in zip(grid.T, pictures, titles, strict=True):
        draw_picture(above, picture, title)
        strokes, strength = _strokes(picture, hog)
        colours = np.ones((len(strength), 4))
        colours[:, 3] = strength
        below.add_collection(LineCollection(strokes, colors=colours, linewidths=0.9))
        below.set(xlim=above.get_xlim(), ylim=above.get_ylim(), aspect="equal", facecolor="black")
        below.set(xticks=[], yticks=[])
    show(figure, f"{len(pictures)} prepared radiographs, and below them the edges that HOG sees.")


def show_importance(booster: Booster, mean_picture: np.ndarray, hog: HogSettings) -> None:
    """Where the trees gain: the share of gain of each cell, laid over the mean training picture."""
    size = len(mean_picture)
    cells = importance_map(booster, size, hog)
    middles = _cell_middles(size, hog)
    low, high = middles[0] - hog.step_pixels / 2, middles[-1] + hog.step_pixels / 2
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.6))
    left.imshow(mean_picture)
    left.set_title("mean of the training pictures")
    right.imshow(mean_picture)
    look = {"cmap": "inferno", "alpha": 0.7, "interpolation": "bilinear"}
    shown = right.imshow(100 * cells, extent=(low, high, high, low), **look)
    right.set_title("share of the trees' gain")
    figure.colorbar(shown, ax=right, label="% of the gain per cell", shrink=0.8)
    for axes in (left, right):
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xticks=[], yticks=[])
        axes.grid(False)
    right.spines[:].set_color(GREY)
    highest = np.unravel_index(cells.argmax(), cells.shape)
    down, across = (100 * middles[place] / size for place in highest)
    show(
        figure,
        "The mean training picture, and over it each cell's share of the trees' gain, highest at "
        f"{down:.0f} % from the top and {across:.0f} % from the left.",
    )
