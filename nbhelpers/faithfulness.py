"""Whether the network's answer hangs on what a heat map marks: deletion and insertion curves.

Pixels are greyed out, or put back into a blurred picture, in the order in which the map marks them
(Petsiuk, Das and Saenko, BMVC 2018); maps that know nothing of the network are the controls.
"""

import cv2
import keras
import numpy as np
import pandas as pd

from nbhelpers import feature_maps, grad_cam, metrics
from nbhelpers.occlusion import Score

STEPS = 10  # of a curve
BLUR = 0.1  # of the side: what insertion starts from
COARSE = 8  # cells a side of a map of chance
KINDS = ("deletion", "insertion")
CHANCE, BLOB = "chance", "blob in the middle"
SEED = 0
GAIN = ["n", "value", "lower", "upper"]


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


def gains(mine: np.ndarray, control: np.ndarray, kind: str) -> np.ndarray:
    """What the curves of a map `[n, STEPS + 1]` gain on those of a control, `[n]`; NaN without one.

    The difference of the areas under both, as a share of the control's mean area: above 0 the map
    is better. In deletion it then moves the score more, in insertion it brings it back sooner.
    """
    better = 1 if kind == "deletion" else -1
    areas, of_control = mine.mean(axis=1), control.mean(axis=1)
    if of_control.mean() == 0:
        return np.full(len(mine), np.nan)
    return better * (areas - of_control) / of_control.mean()


def controls(n: int, side: int) -> dict[str, np.ndarray]:
    """Maps that know nothing of the network, float32 `[n, side, side]` each.

    One of chance, as smooth as heat maps are; and a blob in the middle, where hands lie.
    """
    random = np.random.default_rng(SEED)
    coarse = random.random((n, COARSE, COARSE), np.float32)
    away = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    blob = np.exp(-3 * (away[:, None] + away[None, :]))
    return {
        CHANCE: np.stack([cv2.resize(one, (side, side)) for one in coarse]),
        BLOB: np.repeat(blob[None], n, axis=0),
    }


def compare_maps(
    score: Score, images: np.ndarray, sex: np.ndarray, maps: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The curves of several maps of the same pictures, and what the first gains on each other.

    Args:
        maps: name of a map to it, `[n, height, width]`; the first is the one judged.

    Returns:
        Curves: kind, map, share (of pixels changed), and the mean of the score's move with its 95 %
        interval: n, value, lower, upper. Gains: kind, against, and the mean of `gains`.
    """
    points, gained = [], []
    for kind in KINDS:
        told = {name: curves(score, images, sex, one, kind) for name, one in maps.items()}
        points += [
            (kind, name, step / STEPS, *metrics.score_mean(curve[:, step]))
            for name, curve in told.items()
            for step in range(STEPS + 1)
        ]
        mine, *others = told.values()
        gained += [
            (kind, name, *_score_known(gains(mine, other, kind)))
            for name, other in zip(list(maps)[1:], others, strict=True)
        ]
    return (
        pd.DataFrame(points, columns=["kind", "map", "share", *GAIN]),
        pd.DataFrame(gained, columns=["kind", "against", *GAIN]),
    )


def by_cells(
    network: keras.Model,
    score: Score,
    images: np.ndarray,
    sex: np.ndarray,
    method: str,
    stage: np.ndarray | None = None,
) -> pd.DataFrame:
    """What the maps of each of a network's feature maps gain on chance, the coarsest first.

    Columns: `cells` (to ask `feature_layer` for), `side` (cells a side that it has), and the mean
    of the gains in deletion and insertion with its 95 % interval: n, value, lower, upper.
    """
    chance = controls(len(images), images.shape[1])[CHANCE]
    of_chance = {kind: curves(score, images, sex, chance, kind) for kind in KINDS}
    rows = []
    for cells, side in feature_maps.sides(network).items():
        both = sum(grad_cam.heat_maps(network, images, sex, method, stage, cells))
        gained = [
            gains(curves(score, images, sex, both, kind), of_chance[kind], kind) for kind in KINDS
        ]
        rows.append((cells, side, *_score_known(np.mean(gained, axis=0))))
    return pd.DataFrame(rows, columns=["cells", "side", *GAIN])


def best_cells(table: pd.DataFrame) -> int:
    """Of a table of `by_cells`, the `cells` of the finest map that is as good as the best.

    Its interval reaches the largest gain. Few pictures tell near neighbours apart by chance, and of
    maps that are as faithful the finer one says more about places.
    """
    good = table["upper"] >= table["value"].max()
    return int(table.loc[good, "cells"].max()) if good.any() else 0


def _score_known(values: np.ndarray) -> tuple[int, float, float, float]:
    known = values[np.isfinite(values)]
    return metrics.score_mean(known) if len(known) else (0, np.nan, np.nan, np.nan)


def _greyed(images: np.ndarray) -> np.ndarray:
    return np.broadcast_to(
        np.median(images, axis=(1, 2)).astype(np.uint8)[:, None, None], images.shape
    )


def _blurred(images: np.ndarray) -> np.ndarray:
    sigma = BLUR * images.shape[1]
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in images])
