"""What models are trained on: prepared radiographs, sex and target of a run folder, by split."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_sample_weight

from nbhelpers.data import cases, splits
from nbhelpers.images.preparation import load_images, preparation_hash
from nbhelpers.workspace import InputError


@dataclass(frozen=True)
class Material:
    """What models are trained on.

    Attributes:
        images: uint8 `[case, height, width]`, memory-mapped.
        sex: `[case]`, 0 female, 1 male, NaN unknown.
        target: `[case]`, months or stage number; 0 where it is not known.
        train, tuning: row numbers; tuning chooses the epoch and stops the training.
        weights: `[case]`, how much each case counts in the training loss; None: all the same.
        unknown_sex: what a NaN is fed as: the share of boys among the training cases.
        table: the case table, a row a case.
        card: the facts that a model carries in its file; mean and SD of age are those of training.
        features: float32 `[view, case, k]`, what a frozen backbone makes of the images; None where
            networks are shown the images themselves.
    """

    images: np.ndarray
    sex: np.ndarray
    target: np.ndarray
    train: np.ndarray
    tuning: np.ndarray
    weights: np.ndarray | None = None
    unknown_sex: float = 0.5
    table: pd.DataFrame | None = None
    card: dict | None = None
    features: np.ndarray | None = None


def read(folder: Path, view: str, task: str, balanced: bool = False) -> Material:
    """What a run folder's cases give to train on; cases without a label are in no split of it.

    Args:
        view: which prepared pictures.
        task: `age` or `stage`.
        balanced: give the training cases of a rare stage more weight.
    """
    table = cases.load_cases(folder)
    cases.report_originals(table)
    images = load_images(folder, view)
    target = table["age_months" if task == "age" else "stage"].to_numpy(float, na_value=np.nan)
    train, tuning = (
        np.flatnonzero((table["split"] == split).to_numpy() & np.isfinite(target))
        for split in ("train", "tuning")
    )
    target = np.nan_to_num(target)
    weights = None
    if balanced:
        weights = np.ones(len(table))
        weights[train] = compute_sample_weight("balanced", target[train])
    ages, male_share = table["age_months"].to_numpy(float)[train], splits.male_share(table)
    card = {
        "task": task,
        "view": view,
        "preparation": preparation_hash(folder, view),
        "image_size": int(images.shape[1]),
        "male_share": male_share,
        "mean_months": float(ages.mean()),
        "spread_months": float(ages.std()),
    }
    sex = splits.sex_codes(table["sex"])
    return Material(images, sex, target, train, tuning, weights, male_share, table, card)


def share_of_train(material: Material, share: float, seed: int) -> Material:
    """The same with a random share of the training cases, for a search; order is kept."""
    if not 0 < share <= 1:
        raise InputError(f"trial_share is {share}; write a share above 0, at most 1.")
    count = max(1, round(share * len(material.train)))
    chosen = np.random.default_rng(seed).choice(material.train, count, replace=False)
    return replace(material, train=np.sort(chosen))


def by_fold(material: Material, seeds: int = 1) -> list[Material]:
    """One material a fold: trained on the cases of train that are in the other folds.

    Raises InputError for more than one of `seeds`: folds have one network each.
    """
    if seeds > 1:
        raise InputError(f"seeds is {seeds}: with cross_validate write 1, for one network a fold.")
    folds = material.table["fold"].to_numpy(float, na_value=np.nan)[material.train]
    return [
        replace(material, train=material.train[folds != fold])
        for fold in sorted(set(folds[np.isfinite(folds)]))
    ]


def pictures_of(folder: Path, view: str, case_ids: pd.Series) -> np.ndarray:
    """The prepared pictures of some cases, uint8 `[n, height, width]`, in their order."""
    rows = pd.Index(cases.load_cases(folder)["case_id"]).get_indexer(case_ids)
    return load_images(folder, view)[rows]
