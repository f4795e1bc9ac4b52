"""Where the places that are not the hand were found, so that a reader can judge the finding."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nbhelpers.figures import COLOURS
from nbhelpers.shortcuts import PLACES

TINTS = dict(zip(PLACES, (COLOURS[1], COLOURS[5], COLOURS[3]), strict=True))
VEIL = 0.5  # how much of the radiograph a tint hides


def places(
    pictures: np.ndarray, places: dict[str, np.ndarray], titles: list[str]
) -> tuple[Figure, str]:
    """Radiographs in a row, and below them the same with each place in its colour.

    Args:
        pictures: uint8 `[n, side, side]`.
        places: bool `[n, side, side]` by name, see `shortcuts.places_of`.
        titles: of the radiographs, `[n]`.
    """
    count = len(pictures)
    figure, grid = plt.subplots(2, count, figsize=(1.25 * count + 0.4, 3.3), squeeze=False)
    for column, title in enumerate(titles):
        grid[0, column].imshow(pictures[column], vmin=0, vmax=255)
        grid[0, column].set_title(title, fontsize=7.5, fontweight="normal")
        masks = {place: masks[column] for place, masks in places.items()}
        grid[1, column].imshow(_tinted(pictures[column], masks))
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, name in enumerate(["radiograph", "not the hand"]):
        grid[row, 0].set_ylabel(name, fontsize=8)
    patches = [Patch(color=TINTS[place], label=place) for place in places]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    have = [f"{place} in {masks.any(axis=(1, 2)).sum()}" for place, masks in places.items()]
    return figure, (
        f"{count} radiographs, and below them what was found beside the hand, in colours: "
        f"{', '.join(have)}."
    )


def _tinted(picture: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Colours 0 to 1, float `[side, side, 3]`, of a picture `[side, side]`."""
    tinted = np.repeat(picture[:, :, None] / 255, 3, axis=2)
    for place, mask in masks.items():
        tinted[mask] = (1 - VEIL) * tinted[mask] + VEIL * np.array(to_rgb(TINTS[place]))
    return tinted
