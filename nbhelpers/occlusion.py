"""Where a network looks, asked another way: what changes when a part of the picture is covered.

A check on Grad-CAM that uses no gradient (Zeiler and Fergus, ECCV 2014). And two ways to ask how
good any heat map is, by covering what it marks: deletion and insertion (Petsiuk, Das and Saenko,
BMVC 2018).
"""

from collections.abc import Callable

import cv2
import keras
import numpy as np
import pandas as pd

from nbhelpers import metrics

CELLS = 8  # squares a side of the grid
STEPS = 10  # of a deletion or insertion curve
BATCH = 64
BLUR = 0.1  # of the side: what insertion starts from
SEED = 0
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def network_score(network: keras.Model, stage: np.ndarray | None = None) -> Score:
    """A function from pictures uint8 `[n, h, w]` and sex `[n]` to scores `[n]`, for what follows.

    Months, or the probability of the stage of each picture, `stage` `[n]`; of the pictures as they
    are, without their mirror images.
    """
    share = network.get_layer("card").facts.get("male_share", 0.5)

    def score(images: np.ndarray, sex: np.ndarray) -> np.ndarray:
        fed = np.nan_to_num(np.asarray(sex, np.float32), nan=share).reshape(-1, 1)
        said = [
            network.predict_on_batch(
                [images[start : start + BATCH, :, :, None], fed[start : start + BATCH]]
            )
            for start in range(0, len(images), BATCH)
        ]
        together = np.concatenate(said).astype(float)
        return together[:, 0] if stage is None else together[np.arange(len(images)), stage]

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


def curves(
    score: Score, images: np.ndarray, sex: np.ndarray, maps: np.ndarray, kind: str
) -> np.ndarray:
    """How far the score moves from the picture's own as pixels go, `[n, STEPS + 1]`, at least 0.

    `deletion` greys out pixels, those first that the map marks most; `insertion` starts from a
    blurred picture and puts them back. The score of a picture and of what it becomes differ by the
    last value; curves of several maps of one picture end alike.
    """
    start, end = (images, _greyed(images)) if kind == "deletion" else (_blurred(images), images)
    # Ties, as where a map is zero, in an order of chance: reading order would favour the top.
    random = np.random.default_rng(SEED)
    chance = random.random(maps.shape)
    order = np.lexsort((chance.reshape(len(maps), -1), -maps.reshape(len(maps), -1)), axis=-1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    share = (place / order.shape[1]).reshape(maps.shape)
    own = score(images, sex)
    told = [
        np.abs(score(np.where(share < step / STEPS, end, start), sex) - own)
        for step in range(STEPS + 1)
    ]
    return np.stack(told, axis=1)


def areas(told: np.ndarray, kind: str) -> np.ndarray:
    """The mean of each curve as a share of its largest value `[n]`; NaN where nothing changes.

    Deletion: high is good, the score moves at once. Insertion: low is good, it is soon back.
    """
    top = told.max(axis=1)
    return np.divide(told.mean(axis=1), top, out=np.full(len(told), np.nan), where=top > 0)


def random_maps(n: int, side: int) -> np.ndarray:
    """Maps of chance, smooth as heat maps are, float32 `[n, side, side]`: a control."""
    random = np.random.default_rng(SEED)
    coarse = random.random((n, CELLS, CELLS), np.float32)
    return np.stack([cv2.resize(one, (side, side)) for one in coarse])


def centred_blob(n: int, side: int) -> np.ndarray:
    """A blob in the middle, where hands lie, float32 `[n, side, side]`: a harder control."""
    away = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    return np.repeat(np.exp(-3 * (away[:, None] + away[None, :]))[None], n, axis=0)


def compare_areas(mine: np.ndarray, control: np.ndarray) -> dict[str, float | int]:
    """The mean difference of two areas `[n]` of the same pictures: n, value, lower, upper."""
    known = np.isfinite(mine) & np.isfinite(control)
    n, value, lower, upper = metrics.score_mean((mine - control)[known])
    return {"n": n, "value": value, "lower": lower, "upper": upper}


def curve_table(told: dict[str, np.ndarray]) -> pd.DataFrame:
    """By map and step, the mean of the curves with its 95 % interval: map, share, n, value, ..."""
    rows = [
        (name, step / STEPS, *metrics.score_mean(curve[:, step]))
        for name, curve in told.items()
        for step in range(STEPS + 1)
    ]
    return pd.DataFrame(rows, columns=["map", "share", "n", "value", "lower", "upper"])


def _greyed(images: np.ndarray) -> np.ndarray:
    return np.broadcast_to(
        np.median(images, axis=(1, 2)).astype(np.uint8)[:, None, None], images.shape
    )


def _blurred(images: np.ndarray) -> np.ndarray:
    sigma = BLUR * images.shape[1]
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in images])
