"""Where a network looks, asked another way: what changes when a part of the picture is covered.

A check on Grad-CAM that uses no gradient (Zeiler and Fergus, ECCV 2014).
"""

from collections.abc import Callable

import cv2
import keras
import numpy as np

CELLS = 8  # squares a side of the grid
BATCH = 64
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def answers(network: keras.Model, images: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """Months `[n, 1]` or stage probabilities `[n, 5]` of pictures uint8 `[n, h, w]`, sex `[n]`.

    Of the pictures as they are, without their mirror images.
    """
    share = network.get_layer("card").facts.get("male_share", 0.5)
    fed = np.nan_to_num(np.asarray(sex, np.float32), nan=share).reshape(-1, 1)
    said = [
        network.predict_on_batch(
            [images[start : start + BATCH, :, :, None], fed[start : start + BATCH]]
        )
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(said).astype(float)


def network_score(network: keras.Model, stage: np.ndarray | None = None) -> Score:
    """A function from pictures and sex to scores `[n]`: months, or the chance of a stage.

    stage: of each picture, `[n]`, for a network of stages.
    """

    def score(images: np.ndarray, sex: np.ndarray) -> np.ndarray:
        said = answers(network, images, sex)
        return said[:, 0] if stage is None else said[np.arange(len(images)), stage]

    return score


def occlusion_maps(
    score: Score, images: np.ndarray, sex: np.ndarray, cells: int = CELLS
) -> np.ndarray:
    """What each square of a grid adds to the score, float32 `[n, cells, cells]`.

    The score of the picture minus that with the square in the picture's median grey: above 0, the
    square speaks for a higher score.

    Args:
        score: pictures uint8 `[n, height, width]` and sex `[n]` to `[n]`: months, or the
            probability of a stage.
        images: uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown.
    """
    whole = score(images, sex)
    grey = np.median(images, axis=(1, 2)).astype(np.uint8)[:, None, None]
    edges = [np.linspace(0, side, cells + 1).round().astype(int) for side in images.shape[1:]]
    found = np.empty((len(images), cells, cells), np.float32)
    for row in range(cells):
        for column in range(cells):
            covered = images.copy()
            square = (slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2]))
            covered[(slice(None), *square)] = grey
            found[:, row, column] = whole - score(covered, sex)
    return found


def on_grid(maps: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Maps `[n, height, width]` as the means of a grid's squares, `[n, cells, cells]`."""
    return np.stack([cv2.resize(one, (cells, cells), interpolation=cv2.INTER_AREA) for one in maps])


def to_pictures(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps of a grid at the size of pictures, `[n, side, side]`."""
    return np.stack([cv2.resize(one, (side, side)) for one in maps])
