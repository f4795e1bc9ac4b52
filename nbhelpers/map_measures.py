"""What can be said of the heat maps of one network in figures, so that networks can be compared."""

from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from nbhelpers import faithfulness, grad_cam, map_sanity, metrics, occlusion
from nbhelpers.feature_maps import task_of

COLUMNS = ["measure", "n", "value", "lower", "upper"]
RANDOM = "likeness to random weights"
WHERE, WHICH_WAY = "agreement with covering: where", "agreement with covering: which way"


@dataclass(frozen=True)
class Measured:
    """Heat maps of some radiographs and what is told of them.

    Attributes:
        table: COLUMNS, a row a measure, each a mean over the radiographs with its 95 % interval.
        sanity: see `map_sanity.likeness_by_depth`.
        curves: see `faithfulness.compare_maps`.
        covered: see `occlusion.occlusion_maps`.
    """

    table: pd.DataFrame
    sanity: pd.DataFrame
    curves: pd.DataFrame
    covered: np.ndarray


def named_stage(network: keras.Model, images: np.ndarray, sex: np.ndarray) -> np.ndarray | None:
    """The stage that the network names for each picture, `[n]`; None for a network of ages."""
    if task_of(network) == "age":
        return None
    return occlusion.answers(network, images, sex).argmax(axis=1)


def choose_cells(
    network: keras.Model, images: np.ndarray, sex: np.ndarray, method: str
) -> pd.DataFrame:
    """`faithfulness.by_cells` for the age, or the stage that the network names."""
    stage = named_stage(network, images, sex)
    score = occlusion.network_score(network, stage)
    return faithfulness.by_cells(network, score, images, sex, method, stage)


def measure(
    network: keras.Model, images: np.ndarray, sex: np.ndarray, method: str, cells: int
) -> Measured:
    """The measures of the network's maps of pictures uint8 `[n, side, side]`, sex `[n]`.

    Of ages, what speaks for older and for younger counts alike; of stages, the one that the network
    names is explained. See `grad_cam.heat_maps` for `method` and `cells`.
    """
    stage = named_stage(network, images, sex)
    score = occlusion.network_score(network, stage)
    speaks_for, against = grad_cam.heat_maps(network, images, sex, method, stage, cells)

    def explain(other: keras.Model) -> np.ndarray:
        return sum(grad_cam.coarse_maps(other, images, sex, method, stage, cells))

    sanity = map_sanity.likeness_by_depth(network, explain)
    maps = {method: speaks_for + against}
    maps |= faithfulness.controls(len(images), images.shape[1])
    curves, gains = faithfulness.compare_maps(score, images, sex, maps)
    covered = occlusion.occlusion_maps(score, images, sex)
    where = map_sanity.likeness(occlusion.on_grid(speaks_for + against), abs(covered))
    which_way = map_sanity.likeness(occlusion.on_grid(speaks_for - against), covered)
    last = sanity.iloc[-1]
    rows = [(RANDOM, *last[["n", "value", "lower", "upper"]])]
    rows += [
        (f"{row.kind}, gain on {row.against}", row.n, row.value, row.lower, row.upper)
        for row in gains.itertuples()
    ]
    rows += [(WHERE, *metrics.score_mean(where)), (WHICH_WAY, *metrics.score_mean(which_way))]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n": int})
    return Measured(table, sanity, curves, covered)
