"""What networks are trained on: pictures, sex and target, by split and by fold."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import splits
from nbhelpers.batches import Batches, class_weights
from nbhelpers.preparation import preparation_hash
from nbhelpers.workspace import InputError

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
