"""What networks are trained on: pictures, sex and target, by split and by fold, in batches.

Batches stream from the memory-mapped store; their order follows from seed and epoch, so that a
training that was killed goes on with the same ones.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_sample_weight

from nbhelpers.data import splits
from nbhelpers.images.preparation import preparation_hash
from nbhelpers.models import devices
from nbhelpers.workspace import InputError

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


@dataclass(frozen=True)
class Material:
    """What networks are trained on.

    Attributes:
        images: uint8 `[case, height, width]`, memory-mapped; or what `FeatureBatches` take.
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
        weights[rows["train"]] = compute_sample_weight("balanced", target[rows["train"]])
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


def training_batches(
    material: Material, batch_size: int, seed: int, kind: type[Batches] = Batches
) -> Batches:
    """The training split in an order that follows from seed and epoch, as batches of a kind.

    Where several devices share a batch, TensorFlow wants even shares: the batch size is rounded
    down to a multiple of their number, and a last batch that falls short is dropped.
    """
    shares = devices.sharing_devices()
    return kind(
        material.images,
        material.train,
        material.sex,
        material.target,
        max(1, batch_size // shares) * shares,
        seed=seed,
        unknown_sex=material.unknown_sex,
        weights=material.weights,
        drop_short=shares > 1,
    )


def tuning_batches(material: Material, kind: type[Batches] = Batches) -> Batches:
    """The tuning split in its own order, as batches of a kind.

    Of several devices each gets an even share: up to as many cases as there are devices are left
    out.
    """
    shares = devices.sharing_devices()
    return kind(
        material.images,
        material.tuning[: len(material.tuning) // shares * shares],
        material.sex,
        material.target,
        EVALUATION_BATCH // shares * shares,
        unknown_sex=material.unknown_sex,
    )


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


def out_of_fold(
    unseen: list[np.ndarray], predicted: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions by members that were trained one a fold: the mean of those that may judge.

    Args:
        unseen: of each member, the row numbers of the cases that it was not trained on.
        predicted: of each member, what it says of these.

    Returns:
        The row numbers of all cases that some member did not see, and their predictions.
    """
    rows = np.unique(np.concatenate(unseen))
    each = np.full((len(unseen), len(rows), *predicted[0].shape[1:]), np.nan)
    for member, seen, said in zip(each, unseen, predicted, strict=True):
        member[np.searchsorted(rows, seen)] = said
    return rows, np.nanmean(each, axis=0)
