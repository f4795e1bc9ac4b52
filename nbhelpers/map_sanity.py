"""Whether a heat map depends on what the network learnt: with other weights it must be another map.

Weights are made random from the top of the network down, a few layers at a time (Adebayo et al.,
Sanity Checks for Saliency Maps, NeurIPS 2018). A map that stays as it was shows edges of the
picture, not what the network does. A network that was trained on shuffled ages is a second control:
its weights are not random, but nothing in them is about bone age.
"""

from collections.abc import Callable, Iterator

import cv2
import keras
import numpy as np
import pandas as pd
from scipy import stats

from nbhelpers import metrics

RATE, BATCH = 1e-3, 32  # of the training on shuffled ages
SHUFFLED = 500  # cases of it
DEPTHS = 6  # networks on the way from the learnt to a wholly random one
SEED = 20171026  # another than that of any training: its first weights would come back


def randomised(network: keras.Model, depths: int = DEPTHS) -> Iterator[tuple[float, keras.Model]]:
    """The share of the layers that are random, from above 0 to 1, and such a network.

    The last layers go first. One network is given again and again, with other weights: use it
    before the next is asked for. The one handed in is left as it is.
    """
    keras.utils.set_random_seed(SEED)
    chance = keras.models.clone_model(network)
    changed = keras.models.clone_model(network)
    changed.set_weights(network.get_weights())
    layers = [
        (mine, other)
        for mine, other in zip(changed.layers, chance.layers, strict=True)
        if mine.weights
    ][::-1]
    done = 0
    for depth in range(1, depths + 1):
        until = round(depth / depths * len(layers))
        for mine, other in layers[done:until]:
            mine.set_weights(other.get_weights())
        done = until
        yield until / len(layers), changed


def trained_on_shuffled(
    network: keras.Model, images: np.ndarray, sex: np.ndarray, months: np.ndarray, epochs: int
) -> keras.Model:
    """Another network of ages of the same layers, trained from random weights on shuffled ages.

    images: uint8 `[n, height, width]`; sex, months: `[n]`, both known.
    """
    keras.utils.set_random_seed(SEED)
    made = keras.models.clone_model(network)
    made.compile(keras.optimizers.AdamW(RATE), "mae")
    shuffled = np.random.default_rng(SEED).permutation(np.asarray(months, np.float32))
    fed = np.asarray(sex, np.float32)[:, None]
    made.fit([images[..., None], fed], shuffled, batch_size=BATCH, epochs=epochs, verbose=0)
    return made


def likeness(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman correlation of two maps of each picture `[n]`; 0 where one of them is flat."""
    found = np.zeros(len(maps))
    for row, (one, other) in enumerate(zip(maps, others, strict=True)):
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found[row] = stats.spearmanr(one.ravel(), other.ravel()).statistic
    return found


def likeness_by_depth(
    network: keras.Model, explain: Callable[[keras.Model], np.ndarray], depths: int = DEPTHS
) -> pd.DataFrame:
    """How like the network's own maps are those of ever more random networks.

    `explain` gives the maps `[n, h, w]` of a network. Columns: `random_share`, `n`, `value`,
    `lower`, `upper` (mean Spearman correlation with its 95 % interval); the first row is the
    network itself.
    """
    own = explain(network)
    rows = [(0.0, *metrics.score_mean(likeness(own, own)))]
    rows += [
        (share, *metrics.score_mean(likeness(own, explain(changed))))
        for share, changed in randomised(network, depths)
    ]
    return pd.DataFrame(rows, columns=["random_share", "n", "value", "lower", "upper"])


def edge_maps(images: np.ndarray) -> np.ndarray:
    """Edges of pictures uint8 `[n, height, width]`, float32: a map that ignores the network."""
    smooth = [cv2.GaussianBlur(one, (0, 0), 1.0).astype(np.float32) for one in images]
    edges = [np.hypot(cv2.Sobel(one, -1, 1, 0), cv2.Sobel(one, -1, 0, 1)) for one in smooth]
    return np.stack(edges).astype(np.float32)
