"""Batches of radiographs, sex and target for networks.

Batches stream from the memory-mapped store; their order follows from seed and epoch, so that a
training that was killed goes on with the same ones.
"""

from dataclasses import replace

import keras
import numpy as np

from nbhelpers.models import devices
from nbhelpers.models.material import Material

EVALUATION_BATCH = 128


class Batches(keras.utils.PyDataset):
    """Batches of a material's cases: ([shown, sex float32 `[n, 1]`], target `[n, 1]`[, weight]).

    Shown are radiographs, uint8 `[n, height, width, 1]`; or the features of a frozen backbone,
    float32 `[n, k]`, where the material has them. With a seed, the view in which the features of a
    case are shown follows from it and the epoch; without one, all views are clean.

    Args:
        material: only a batch's rows of its images are read; a NaN of its sex is fed as its
            `unknown_sex`.
        rows: row numbers to feed.
        seed: of the order, with the epoch; None keeps the rows' order.
        drop_short: leave a last batch out that falls short.
    """

    def __init__(
        self,
        material: Material,
        rows: np.ndarray,
        batch_size: int,
        *,
        seed: int | None = None,
        drop_short: bool = False,
    ):
        super().__init__(workers=1)
        self.material, self.in_order, self.batch_size = material, rows, batch_size
        self.seed, self.drop_short = seed, drop_short
        self.sex = np.nan_to_num(np.asarray(material.sex, np.float32), nan=material.unknown_sex)
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Put the rows into the order of an epoch, numbered from 0."""
        self.rows, self.views = self.in_order, np.zeros(len(self.in_order), int)
        if self.seed is None:
            return
        self.rows = np.random.default_rng((self.seed, epoch)).permutation(self.in_order)
        if self.material.features is not None:
            generator = np.random.default_rng((self.seed, epoch, 1))  # apart from the order's
            self.views = generator.integers(0, len(self.material.features), len(self.rows))

    def __len__(self) -> int:
        whole, short = divmod(len(self.rows), self.batch_size)
        return whole + (short > 0 and not self.drop_short)

    def __getitem__(self, number: int):
        places = slice(number * self.batch_size, (number + 1) * self.batch_size)
        rows, given = self.rows[places], self.material
        if given.features is None:
            shown = given.images[rows][..., None]
        else:
            shown = given.features[self.views[places], rows]
        fed = ((shown, self.sex[rows][:, None]), given.target[rows][:, None])
        return fed if given.weights is None else (*fed, given.weights[rows].astype(np.float32))


def of_splits(material: Material, batch_size: int, seed: int) -> tuple[Batches, Batches]:
    """Batches of the training split, in an order by seed and epoch, and of the tuning split.

    In tuning all cases count the same. Where several devices share a batch, TensorFlow wants even
    shares: the batch size is rounded down to a multiple of their number, a last batch of training
    that falls short is dropped, and up to as many cases of tuning as there are devices are left
    out.
    """
    shares = devices.sharing_devices()
    batch_size = max(1, batch_size // shares) * shares
    train = Batches(material, material.train, batch_size, seed=seed, drop_short=shares > 1)
    rows = material.tuning[: len(material.tuning) // shares * shares]
    plain, batch_size = replace(material, weights=None), EVALUATION_BATCH // shares * shares
    return train, Batches(plain, rows, batch_size)
