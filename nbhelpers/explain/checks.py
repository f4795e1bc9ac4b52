"""Whether heat maps can be trusted, in figures by which networks can be compared.

- Sanity: with other weights it must be another map. Weights are made random from the top of the
  network down, a few layers at a time (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS
  2018). A map that stays as it was shows edges of the picture, not what the network does. A network
  that was trained on shuffled ages is a second control: its weights are not random, but nothing in
  them is about bone age.
- Faithfulness: pixels are greyed out, or put back into a blurred picture, in the order in which the
  map marks them (Petsiuk, Das and Saenko, BMVC 2018); maps that know nothing of the network are the
  controls.
- Occlusion: what changes when a part of the picture is covered, which needs no gradient (Zeiler and
  Fergus, ECCV 2014).
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import pandas as pd
from scipy import stats

from nbhelpers import metrics
from nbhelpers.explain import grad_cam
from nbhelpers.models import saved

RATE, SANITY_BATCH = 1e-3, 32  # of the training on shuffled ages
DEPTHS = 6  # networks on the way from the learnt to a wholly random one
SANITY_SEED = 20171026  # another than that of any training: its first weights would come back
CELLS = 8  # squares a side of the grid of occlusion
STEPS = 10  # of a curve
BLUR = 0.1  # of the side: what insertion starts from
COARSE = 8  # cells a side of a map of chance
SEED = 0  # of the maps of chance
KINDS = ("deletion", "insertion")
CHANCE, BLOB = "chance", "blob in the middle"
RANDOM = "likeness to random weights"
WHERE, WHICH_WAY = "agreement with covering: where", "agreement with covering: which way"
SCORE = ["n", "value", "lower", "upper"]
COLUMNS = ["measure", *SCORE]
# Of pictures uint8 `[n, height, width]`: their months, or the probability of a stage, `[n]`.
Score = Callable[[np.ndarray], np.ndarray]


def like_shuffled(
    network: keras.Model,
    learnt: tuple[np.ndarray, np.ndarray, np.ndarray],
    shown: tuple[np.ndarray, np.ndarray],
    method: str,
    cells: int,
    epochs: int,
) -> tuple[int, float, float, float]:
    """How like a network's maps are those of one that is trained on shuffled ages.

    It has the same layers, and starts from random weights. Gives n, the mean Spearman correlation
    and its 95 % interval.

    Args:
        learnt: images uint8 `[m, height, width]`, sex and months `[m]`, to train on.
        shown: images and sex that the maps are of, see `grad_cam.coarse_maps`.
    """
    keras.utils.set_random_seed(SANITY_SEED)
    other = keras.models.clone_model(network)
    other.compile(keras.optimizers.AdamW(RATE), "mae")
    images, sex, months = learnt
    shuffled = np.random.default_rng(SANITY_SEED).permutation(np.asarray(months, np.float32))
    fed = [images[..., None], np.asarray(sex, np.float32)[:, None]]
    other.fit(fed, shuffled, batch_size=SANITY_BATCH, epochs=epochs, verbose=0)
    both = (grad_cam.coarse_maps(one, *shown, method, cells=cells) for one in (network, other))
    return metrics.score_mean(likeness(*(sum(maps) for maps in both)))


def likeness(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman correlation of two maps of each picture `[n]`; 0 where one of them is flat."""
    found = np.zeros(len(maps))
    for row, (one, other) in enumerate(zip(maps, others, strict=True)):
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found[row] = stats.spearmanr(one.ravel(), other.ravel()).statistic
    return found


def likeness_by_depth(
    network: keras.Model, explain: Callable[[keras.Model], np.ndarray]
) -> pd.DataFrame:
    """How like the network's own maps are those of ever more random networks.

    `explain` gives the maps `[n, h, w]` of a network. The last layers of a copy are made random
    first. Columns: `random_share` (of the layers), `n`, `value`, `lower`, `upper` (mean Spearman
    correlation with its 95 % interval); the first row is the network itself.
    """
    keras.utils.set_random_seed(SANITY_SEED)
    chance = keras.models.clone_model(network)
    changed = keras.models.clone_model(network)
    changed.set_weights(network.get_weights())
    both = zip(changed.layers, chance.layers, strict=True)
    last_first = [(mine, random) for mine, random in both if mine.weights][::-1]
    own = explain(network)
    rows = [(0.0, *metrics.score_mean(likeness(own, own)))]
    for depth in range(1, DEPTHS + 1):
        until = round(depth / DEPTHS * len(last_first))
        for mine, random in last_first[:until]:
            mine.set_weights(random.get_weights())
        share = until / len(last_first)
        rows.append((share, *metrics.score_mean(likeness(own, explain(changed)))))
    return pd.DataFrame(rows, columns=["random_share", *SCORE])


def edge_control(images: np.ndarray) -> pd.DataFrame:
    """As `likeness_by_depth` of an edge detector, which ignores the network: alike at any depth.

    images: uint8 `[n, height, width]`.
    """
    smooth = [cv2.GaussianBlur(one, (0, 0), 1.0).astype(np.float32) for one in images]
    edges = [np.hypot(cv2.Sobel(one, -1, 1, 0), cv2.Sobel(one, -1, 0, 1)) for one in smooth]
    same = metrics.score_mean(likeness(edges, edges))
    return pd.DataFrame([(0.0, *same), (1.0, *same)], columns=["random_share", *SCORE])


def network_score(network: keras.Model, sex: np.ndarray, stage: np.ndarray | None = None) -> Score:
    """What a network says of pictures as they are, without their mirror images.

    Args:
        sex: of each picture, `[n]`, 0 female, 1 male.
        stage: of each picture, `[n]`, for a network of stages.
    """

    def score(images: np.ndarray) -> np.ndarray:
        said = saved.predict(network, images, sex, flip=False)
        return said if stage is None else said[np.arange(len(images)), stage]

    return score


def predicted_stage(network: keras.Model, images: np.ndarray, sex: np.ndarray) -> np.ndarray | None:
    """The most likely stage of each picture, `[n]`; None for a network of ages."""
    if grad_cam.task_of(network) == "age":
        return None
    return saved.predict(network, images, sex, flip=False).argmax(axis=1)


def occlusion_maps(score: Score, images: np.ndarray) -> np.ndarray:
    """What each square of a grid adds to the score, float32 `[n, CELLS, CELLS]`.

    The score of the picture minus that with the square in the picture's median grey: above 0, the
    square speaks for a higher score. Images: uint8 `[n, height, width]`.
    """
    whole, grey = score(images), _grey(images)
    edges = [np.linspace(0, side, CELLS + 1).round().astype(int) for side in images.shape[1:]]
    found = np.empty((len(images), CELLS, CELLS), np.float32)
    for row, column in np.ndindex(CELLS, CELLS):
        covered = images.copy()
        square = (slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2]))
        covered[(slice(None), *square)] = grey
        found[:, row, column] = whole - score(covered)
    return found


def on_grid(maps: np.ndarray) -> np.ndarray:
    """Maps `[n, height, width]` as the means of a grid's squares, `[n, CELLS, CELLS]`."""
    return np.stack([cv2.resize(one, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for one in maps])


def curves(score: Score, images: np.ndarray, maps: np.ndarray, kind: str) -> np.ndarray:
    """How far the score moves from the picture's own as pixels go, `[n, STEPS + 1]`, at least 0.

    `deletion` greys out pixels, those first that the map marks most; `insertion` starts from a
    blurred picture and puts them back. The score of a picture and of what it becomes differ by the
    last value; curves of several maps of one picture end alike.
    """
    start, end = images, _grey(images)
    if kind == "insertion":
        sigma = BLUR * images.shape[1]
        start, end = np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in images]), images
    # Ties, as where a map is zero, in an order of chance: reading order would favour the top.
    random = np.random.default_rng(SEED)
    chance = random.random(maps.shape)
    order = np.lexsort((chance.reshape(len(maps), -1), -maps.reshape(len(maps), -1)), axis=-1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    share = (place / order.shape[1]).reshape(maps.shape)
    changed = (np.where(share < step / STEPS, end, start) for step in range(STEPS + 1))
    return np.abs(np.stack([score(one) for one in changed], axis=1) - score(images)[:, None])


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
    score: Score, images: np.ndarray, maps: dict[str, np.ndarray]
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
        told = {name: curves(score, images, one, kind) for name, one in maps.items()}
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
        pd.DataFrame(points, columns=["kind", "map", "share", *SCORE]),
        pd.DataFrame(gained, columns=["kind", "against", *SCORE]),
    )


def choose_cells(
    network: keras.Model, images: np.ndarray, sex: np.ndarray, method: str
) -> pd.DataFrame:
    """What the maps of each of a network's feature maps gain on chance, the coarsest first.

    For the age, or the predicted stage. Columns: `cells` (to ask `feature_layer` for),
    `side` (cells a side that it has), and the mean of the gains in deletion and insertion with its
    95 % interval: n, value, lower, upper.
    """
    stage = predicted_stage(network, images, sex)
    score = network_score(network, sex, stage)
    chance = controls(len(images), images.shape[1])[CHANCE]
    of_chance = {kind: curves(score, images, chance, kind) for kind in KINDS}
    rows = []
    for cells, side in grad_cam.sides(network).items():
        both = sum(grad_cam.heat_maps(network, images, sex, method, stage, cells))
        gained = [gains(curves(score, images, both, kind), of_chance[kind], kind) for kind in KINDS]
        rows.append((cells, side, *_score_known(np.mean(gained, axis=0))))
    return pd.DataFrame(rows, columns=["cells", "side", *SCORE])


def _score_known(values: np.ndarray) -> tuple[int, float, float, float]:
    return metrics.score_enough(values[np.isfinite(values)], 1)


def _grey(images: np.ndarray) -> np.ndarray:
    """The median grey level of each picture, uint8 `[n, 1, 1]`."""
    return np.median(images, axis=(1, 2)).astype(np.uint8)[:, None, None]


@dataclass(frozen=True)
class Measured:
    """Heat maps of some radiographs and what is told of them.

    Attributes:
        table: COLUMNS, a row a measure, each a mean over the radiographs with its 95 % interval.
        sanity: see `likeness_by_depth`.
        curves: see `compare_maps`.
        covered: see `occlusion_maps`.
    """

    table: pd.DataFrame
    sanity: pd.DataFrame
    curves: pd.DataFrame
    covered: np.ndarray


def measure(
    network: keras.Model, images: np.ndarray, sex: np.ndarray, method: str, cells: int
) -> Measured:
    """The measures of the network's maps of pictures uint8 `[n, side, side]`, sex `[n]`.

    Of ages, what speaks for older and for younger counts alike; of stages, the
    predicted one is explained. See `grad_cam.heat_maps` for `method` and `cells`.
    """
    stage = predicted_stage(network, images, sex)
    score = network_score(network, sex, stage)
    speaks_for, against = grad_cam.heat_maps(network, images, sex, method, stage, cells)

    def explain(other: keras.Model) -> np.ndarray:
        return sum(grad_cam.coarse_maps(other, images, sex, method, stage, cells))

    sanity = likeness_by_depth(network, explain)
    maps = {method: speaks_for + against}
    maps |= controls(len(images), images.shape[1])
    curves, gains = compare_maps(score, images, maps)
    covered = occlusion_maps(score, images)
    where = likeness(on_grid(speaks_for + against), abs(covered))
    which_way = likeness(on_grid(speaks_for - against), covered)
    covering = [(WHERE, *metrics.score_mean(where)), (WHICH_WAY, *metrics.score_mean(which_way))]
    blocks = [
        sanity.iloc[[-1]].assign(measure=RANDOM),
        gains.assign(measure=gains["kind"] + ", gain on " + gains["against"]),
        pd.DataFrame(covering, columns=COLUMNS),
    ]
    return Measured(pd.concat(blocks, ignore_index=True)[COLUMNS], sanity, curves, covered)
