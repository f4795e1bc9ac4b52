"""Batches that stream from the memory-mapped store."""

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Batches of rows of the store: ([radiographs uint8, sex float32], target[, weight]).

    Args:
        images: uint8 `[case, height, width]`, memory-mapped; only a batch's rows are read.
        rows: row numbers to feed.
        sex: float `[case]`, 0 female, 1 male, NaN unknown (fed as `unknown_sex`).
        target: `[case]`, months or stage number; None for prediction.
        order: None keeps the rows' order; (seed, epoch) fixes a shuffled one.
        weights: float `[case]`, how much each case counts in the loss; None: all the same.
    """

    def __init__(
        self,
        images,
        rows,
        sex,
        target,
        batch_size: int,
        order: tuple[int, int] | None = None,
        unknown_sex: float = 0.5,
        weights: np.ndarray | None = None,
    ):
        super().__init__(workers=1)
        shuffled = np.random.default_rng(order).permutation(rows) if order is not None else rows
        self.rows = np.asarray(shuffled)
        self.images, self.target, self.batch_size = images, target, batch_size
        self.sex = np.nan_to_num(np.asarray(sex, np.float32), nan=unknown_sex)
        self.weights = None if weights is None else np.asarray(weights, np.float32)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number: int):
        rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
        inputs = (self.images[rows][..., None], self.sex[rows][:, None])
        if self.target is None:
            return (inputs,)
        if self.weights is None:
            return (inputs, self.target[rows][:, None])
        return (inputs, self.target[rows][:, None], self.weights[rows])


def class_weights(stages: np.ndarray) -> np.ndarray:
    """Weights of cases by stage, inverse to the stage's frequency, with mean 1: `[case]`."""
    _, place, counts = np.unique(stages, return_inverse=True, return_counts=True)
    return len(stages) / (len(counts) * counts[place])
