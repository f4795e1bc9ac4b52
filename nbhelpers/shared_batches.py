"""Batches that several devices can share evenly."""

import keras
import numpy as np

from nbhelpers import devices
from nbhelpers.batches import Batches


def whole_batches(batches: Batches, *, training: bool) -> keras.utils.PyDataset:
    """Batches that the devices of `devices.several_devices` can share evenly.

    A device left without a case fails, and cases of a smaller share weigh more. So a batch that
    falls short is filled up with its own first cases at weight 0, seen by nothing but BatchNorm. On
    one device, and where nothing falls short, `batches` comes back. For `fit` and `evaluate`;
    metrics other than the loss count the fillers unless they are weighted
    (`compile(weighted_metrics=...)`).

    Args:
        batches: with targets.
        training: True: every step's loss is the mean over its real cases, as on one device (the
            epoch's mean then counts a filled batch a little too much). False: the loss that
            `evaluate` returns is the mean over all real cases, as on one device.
    """
    shares = devices.sharing_devices()
    starts = range(0, len(batches.rows), batches.batch_size)
    sizes = [min(batches.batch_size, len(batches.rows) - start) for start in starts]
    if all(size % shares == 0 for size in sizes):
        return batches
    return _FilledBatches(batches, sizes, [-(-size // shares) * shares for size in sizes], training)


class _FilledBatches(keras.utils.PyDataset):
    """Batches of `sizes` cases, each filled to one of `filled_sizes`, always with weights."""

    def __init__(self, batches, sizes, filled_sizes, training):
        super().__init__(workers=1)
        self.batches, self.sizes, self.filled_sizes = batches, sizes, filled_sizes
        self.training = training

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int):
        size, filled_size = self.sizes[number], self.filled_sizes[number]
        inputs, target, *weights = self.batches[number]
        # Keras divides a sum of losses by the number of cases, fillers among them.
        all_filled = sum(self.filled_sizes) / sum(self.sizes)
        share = filled_size / size if self.training else all_filled
        places = np.arange(filled_size)
        cases, weight = places % size, np.where(places < size, share, 0.0)
        if weights:
            weight = weight * weights[0][cases]
        return tuple(part[cases] for part in inputs), target[cases], weight.astype(np.float32)
