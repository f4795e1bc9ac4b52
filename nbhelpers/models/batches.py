"""Batches of radiographs, sex and target for networks.

Batches stream from the memory-mapped store; their order follows from seed and epoch, so that a
training that was killed goes on with the same ones.
"""

import keras
import numpy as np

from nbhelpers.models import devices
from nbhelpers.models.material import Material

EVALUATION_BATCH = 128


class Batches(keras.utils.PyDataset):
    """Batches of rows of the store: ([radiographs uint8, sex float32], target[, weight]).

    Args:
        images: uint8 `[case, height, width]`, memory-mapped; only a batch's rows are read.
        rows: row numbers to feed.
        sex: float `[case]`, 0 female, 1 male, NaN unknown (fed as `unknown_sex`).
        target: `[case]`, months or stage number; None for prediction.
        seed: of the order, with the epoch; None keeps the rows' order.
        weights: float `[case]`, how much each case counts in the loss; None: all the same.
        drop_short: leave a last batch out that falls short.
    """

    def __init__(
        self,
        images,
        rows,
        sex,
        target,
        batch_size: int,
        *,
        seed: int | None = None,
        unknown_sex: float = 0.5,
        weights: np.ndarray | None = None,
        drop_short: bool = False,
    ):
        super().__init__(workers=1)
        self.in_order = np.asarray(rows)
        self.images, self.target, self.batch_size, self.seed = images, target, batch_size, seed
        self.sex = np.nan_to_num(np.asarray(sex, np.float32), nan=unknown_sex)
        self.weights = None if weights is None else np.asarray(weights, np.float32)
        self.drop_short = drop_short
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Put the rows into the order of an epoch, numbered from 0."""
        self.rows = self.in_order
        if self.seed is not None:
            self.rows = np.random.default_rng((self.seed, epoch)).permutation(self.in_order)

    def pictures(self, places: slice) -> np.ndarray:
        """What the network is shown of the rows at these places."""
        return self.images[self.rows[places]][..., None]

    def __len__(self) -> int:
        whole, short = divmod(len(self.rows), self.batch_size)
        return whole + (short > 0 and not self.drop_short)

    def __getitem__(self, number: int):
        places = slice(number * self.batch_size, (number + 1) * self.batch_size)
        rows = self.rows[places]
        inputs = (self.pictures(places), self.sex[rows][:, None])
        if self.target is None:
            return (inputs,)
        if self.weights is None:
            return (inputs, self.target[rows][:, None])
        return (inputs, self.target[rows][:, None], self.weights[rows])


class FeatureBatches(Batches):
    """Batches of rows: ([features float32 `[n, k]`, sex `[n, 1]`], target[, weight]).

    As `Batches`, with the features `[view, case, k]` of `features.compute` in place of radiographs.
    With a seed, the view in which a row is shown follows from it and the epoch; without one, all
    views are clean.
    """

    def begin(self, epoch: int) -> None:
        super().begin(epoch)
        self.views = np.zeros(len(self.rows), int)
        if self.seed is not None:
            generator = np.random.default_rng((self.seed, epoch, 1))  # apart from the order's
            self.views = generator.integers(0, len(self.images), len(self.rows))

    def pictures(self, places: slice) -> np.ndarray:
        return self.images[self.views[places], self.rows[places]]


def training_batches(material: Material, batch_size: int, seed: int) -> Batches:
    """The training split in an order that follows from seed and epoch.

    Where several devices share a batch, TensorFlow wants even shares: the batch size is rounded
    down to a multiple of their number, and a last batch that falls short is dropped.
    """
    shares = devices.sharing_devices()
    return _batches(
        material,
        material.train,
        max(1, batch_size // shares) * shares,
        seed=seed,
        weights=material.weights,
        drop_short=shares > 1,
    )


def tuning_batches(material: Material) -> Batches:
    """The tuning split in its own order.

    Of several devices each gets an even share: up to as many cases as there are devices are left
    out.
    """
    shares = devices.sharing_devices()
    rows = material.tuning[: len(material.tuning) // shares * shares]
    return _batches(material, rows, EVALUATION_BATCH // shares * shares)


def _batches(material: Material, rows: np.ndarray, batch_size: int, **options) -> Batches:
    of_images = material.features is None
    kind = Batches if of_images else FeatureBatches
    shown = material.images if of_images else material.features
    unknown = material.unknown_sex
    fed = (shown, rows, material.sex, material.target, batch_size)
    return kind(*fed, unknown_sex=unknown, **options)
