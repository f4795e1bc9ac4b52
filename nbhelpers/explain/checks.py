"""What heat maps are checked with: scores of changed pictures, and maps that know nothing.

Notebook 06 puts three questions to heat maps. Faithfulness: pixels are greyed out, or put back into
a blurred picture, in the order in which the map marks them (Petsiuk, Das and Saenko, BMVC 2018).
Sanity: with random weights the map must differ (Adebayo et al., Sanity Checks for Saliency Maps,
NeurIPS 2018). Occlusion: what changes when a part of the picture is covered, which needs no
gradient (Zeiler and Fergus, ECCV 2014).
"""

from collections.abc import Callable

import cv2
import keras
import numpy as np
from scipy import stats

from nbhelpers.explain import grad_cam
from nbhelpers.models import saved

RATE, BATCH = 1e-3, 32  # of the training on shuffled ages
SHUFFLED_SEED = 20171026  # not that of any training: its first weights would come back
CELLS = 8  # squares a side of the grid of occlusion
COARSE = 8  # cells per side of a random map
SEED = 0  # of the random maps
CHANCE = "random map"
# Of pictures uint8 `[n, height, width]`: their months, or the probability of a stage, `[n]`.
Score = Callable[[np.ndarray], np.ndarray]


def network_score(network: keras.Model, images: np.ndarray, sex: np.ndarray) -> Score:
    """What a network predicts for these pictures when they are changed: months, or a probability.

    The probability is that of the stage which it predicts for the pictures as they are. No mean
    over views is taken here. What is scored may be the pictures several times over, each time
    changed in another way.

    Args:
        images: uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male.
    """
    stage = predicted_stage(network, images, sex)

    def score(changed: np.ndarray) -> np.ndarray:
        times = len(changed) // len(sex)
        said = saved.predict(network, changed, np.tile(sex, times), averaged=False)
        return said if stage is None else said[np.arange(len(changed)), np.tile(stage, times)]

    return score


def predicted_stage(network: keras.Model, images: np.ndarray, sex: np.ndarray) -> np.ndarray | None:
    """The most likely stage of each picture, `[n]`; None for a network of ages."""
    if grad_cam.task_of(network) == "age":
        return None
    return saved.predict(network, images, sex, averaged=False).argmax(axis=1)


def twin(network: keras.Model) -> keras.Model:
    """A network of the same layers with random weights; its input is normalised as before.

    Keras's Normalization works on copies of its weights. A clone would not have them: it is shared.
    """

    def of(layer: keras.Layer) -> keras.Layer:
        shared = isinstance(layer, keras.layers.Normalization)
        return layer if shared else type(layer).from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=of)


def trained_on_shuffled(
    network: keras.Model, images: np.ndarray, sex: np.ndarray, months: np.ndarray, epochs: int
) -> keras.Model:
    """A network of the same layers that starts from random weights and learns shuffled ages.

    A control of sanity: its weights are not random, but nothing in them is about bone age.

    Args:
        images: uint8 `[n, height, width]`.
        sex, months: `[n]`.
    """
    keras.utils.set_random_seed(SHUFFLED_SEED)
    other = twin(network)
    other.compile(keras.optimizers.AdamW(RATE), "mae")
    shuffled = np.random.default_rng(SHUFFLED_SEED).permutation(np.asarray(months, np.float32))
    fed = [images[..., None], np.asarray(sex, np.float32)[:, None]]
    other.fit(fed, shuffled, batch_size=BATCH, epochs=epochs, verbose=0)
    return other


def likeness(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman correlation of two maps of each picture `[n]`; 0 where one of them is flat.

    Maps finer than the others, `[n, height, width]`, count by their means on the others' grid.
    """
    found, grid = np.zeros(len(maps)), others.shape[:0:-1]
    for row, (one, other) in enumerate(zip(maps, others, strict=True)):
        if one.shape != other.shape:
            one = cv2.resize(one, grid, interpolation=cv2.INTER_AREA)
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found[row] = stats.spearmanr(one.ravel(), other.ravel()).statistic
    return found


def occlusion_maps(score: Score, images: np.ndarray) -> np.ndarray:
    """What each square of a grid adds to the score, float32 `[n, CELLS, CELLS]`.

    The score of the picture minus that with the square in the picture's median grey: above 0, the
    square speaks for a higher score. Images: uint8 `[n, height, width]`.
    """
    whole, grey = score(images), np.median(images, axis=(1, 2)).astype(np.uint8)[:, None, None]
    edges = [np.linspace(0, side, CELLS + 1).round().astype(int) for side in images.shape[1:]]
    found = np.empty((len(images), CELLS, CELLS), np.float32)
    for row, column in np.ndindex(CELLS, CELLS):
        covered = images.copy()
        square = (slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2]))
        covered[(slice(None), *square)] = grey
        found[:, row, column] = whole - score(covered)
    return found


def controls(images: np.ndarray) -> dict[str, np.ndarray]:
    """Maps that know nothing of a network, float32 `[n, side, side]` each, at least 0.

    One that is random, as smooth as heat maps are; a blob in the middle, where hands lie; how
    bright the picture is; and its edges. Images: uint8 `[n, side, side]`.
    """
    n, side = images.shape[:2]
    coarse = np.random.default_rng(SEED).random((n, COARSE, COARSE), np.float32)
    away = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    blob = np.exp(-3 * (away[:, None] + away[None, :]))
    smooth = [cv2.GaussianBlur(one, (0, 0), 1.0).astype(np.float32) for one in images]
    edges = [np.hypot(cv2.Sobel(x, -1, 1, 0), cv2.Sobel(x, -1, 0, 1)) for x in smooth]
    return {
        CHANCE: np.stack([cv2.resize(one, (side, side)) for one in coarse]),
        "blob in the middle": np.repeat(blob[None], n, axis=0),
        "brightness": images.astype(np.float32),
        "edges": np.stack(edges),
    }
