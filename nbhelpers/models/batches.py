"""What networks are trained on: pictures, sex and target, by split and by fold.

Batches that stream from the memory-mapped store.

Batches that several devices can share evenly.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers.data import splits
from nbhelpers.images.preparation import preparation_hash
from nbhelpers.models import devices
from nbhelpers.workspace import InputError


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


EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Material:
    """What networks are trained on.

    Attributes:
        images: uint8 `[case, height, width]`, memory-mapped.
        sex: `[case]`, 0 female, 1 male, NaN unknown.
        target: `[case]`, months or stage number.
        train, tuning: row numbers; tuning chooses the epoch and stops the training.
        weights: `[case]`, how much each case counts in the training loss; None: all the same.
        unknown_sex: what a NaN is fed as: the share of boys among the training cases.
    """

    images: np.ndarray
    sex: np.ndarray
    target: np.ndarray
    train: np.ndarray
    tuning: np.ndarray
    weights: np.ndarray | None = None
    unknown_sex: float = 0.5


def material(table: pd.DataFrame, images: np.ndarray, task: str, loss: str = "") -> Material:
    """What a run folder's cases give to train on; cases without a label are left out.

    Args:
        table: the case table.
        images: uint8 `[case, height, width]`, a row a case.
        task: `age` or `stage`.
        loss: `balanced cross-entropy` gives the cases of a rare stage more weight.
    """
    target = table["age_months" if task == "age" else "stage"].to_numpy(float, na_value=np.nan)
    rows = {
        split: np.flatnonzero((table["split"] == split).to_numpy() & np.isfinite(target))
        for split in ("train", "tuning")
    }
    target = np.nan_to_num(target)
    weights = None
    if loss == "balanced cross-entropy":
        weights = np.ones(len(table))
        weights[rows["train"]] = class_weights(target[rows["train"]])
    return Material(
        images,
        splits.sex_codes(table["sex"]),
        target,
        rows["train"],
        rows["tuning"],
        weights,
        splits.male_share(table),
    )


def card(folder: Path, table: pd.DataFrame, material: Material, view: str, task: str) -> dict:
    """The facts that a model carries in its file; mean and SD of age are those of training."""
    ages = table["age_months"].to_numpy(float)[material.train]
    return {
        "task": task,
        "view": view,
        "preparation": preparation_hash(folder, view),
        "image_size": int(material.images.shape[1]),
        "male_share": splits.male_share(table),
        "mean_months": float(ages.mean()),
        "spread_months": float(ages.std()),
    }


def training_batches(material: Material, batch_size: int, seed: int) -> Callable[[int], Batches]:
    """The training batches of an epoch, their order fixed by seed and epoch."""
    return lambda epoch: _batches(
        material, material.train, batch_size, order=(seed, epoch), weights=material.weights
    )


def tuning_batches(material: Material) -> Batches:
    """The tuning split in its own order."""
    return _batches(material, material.tuning, EVALUATION_BATCH)


def share_of_train(material: Material, share: float, seed: int) -> Material:
    """The same with a random share of the training cases, for a search; order is kept."""
    if not 0 < share <= 1:
        raise InputError(f"trial_share is {share}; write a share above 0, at most 1.")
    count = max(1, round(share * len(material.train)))
    chosen = np.random.default_rng(seed).choice(material.train, count, replace=False)
    return replace(material, train=np.sort(chosen))


def fold_materials(table: pd.DataFrame, material: Material) -> list[Material]:
    """One material a fold: trained on the cases of train that are in the other folds."""
    folds = table["fold"].to_numpy(float, na_value=np.nan)[material.train]
    return [
        replace(material, train=material.train[folds != fold])
        for fold in sorted(set(folds[np.isfinite(folds)]))
    ]


def out_of_fold(table: pd.DataFrame, predicted: list[np.ndarray]) -> np.ndarray:
    """Predictions of all cases by members trained one a fold.

    A case of `train` is predicted by the one member that did not see it, any other case by the
    mean of all.

    Args:
        predicted: of each fold's member, all cases, in the order of the folds.
    """
    together = np.mean(predicted, axis=0)
    folds = table["fold"].to_numpy(float, na_value=np.nan)
    for fold, of_member in enumerate(predicted):
        together[folds == fold] = of_member[folds == fold]
    return together


def _batches(material: Material, rows: np.ndarray, batch_size: int, **options) -> Batches:
    columns = (material.sex, material.target)
    options["unknown_sex"] = material.unknown_sex
    return Batches(material.images, rows, *columns, batch_size, **options)
