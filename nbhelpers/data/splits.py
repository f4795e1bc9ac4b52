"""Who is trained on and who is scored: splits, folds and their manifest.

70 % train, 7.5 % tuning (stops training early), 7.5 % calibration (fits ensembles and intervals,
names the best model), 15 % test (scored, nothing else). Within a stratum of sex and two years of
age the cases are ordered by a salted hash of their id and cut into splits; what does not divide is
carried to the next stratum, so the whole set keeps the shares exactly. The split of a case depends
on nothing but the set of ids, ages and sexes: neither on the order of rows nor on a seed. Since
the hash decides the order, most cases keep their split when others are added or removed.
"""

import hashlib
import itertools

import numpy as np
import pandas as pd

from nbhelpers.workspace import hash_of

SALT = "hand radiographs, split once"
FOLD_SALT = "hand radiographs, folds of train"
SHARES = {"train": 0.70, "tuning": 0.075, "calibration": 0.075, "test": 0.15}
SPLITS = (*SHARES, "external", "unlabelled", "doubtful")
FOLDS = 5
SEX_CODES = {"female": 0.0, "male": 1.0}
STRATUM_MONTHS = 24


def assign_splits(case_id: pd.Series, sex: pd.Series, age_months: pd.Series) -> pd.Series:
    """The split of every labelled case, aligned with `case_id` (text, distinct)."""
    strata = _strata(sex, age_months)
    chosen = _allot(case_id.tolist(), strata, list(SHARES.values()), SALT)
    return pd.Series(np.array(list(SHARES), object)[chosen], index=case_id.index)


def assign_folds(case_id: pd.Series, sex: pd.Series, age_months: pd.Series) -> pd.Series:
    """The fold 0..4 of every case given: call it with the rows of `train` alone."""
    chosen = _allot(case_id.tolist(), _strata(sex, age_months), [1 / FOLDS] * FOLDS, FOLD_SALT)
    return pd.Series(chosen, index=case_id.index, dtype="Int8")


def _strata(sex: pd.Series, age_months: pd.Series) -> list[tuple[str, int]]:
    years = (age_months.to_numpy(dtype=float) // STRATUM_MONTHS).astype(int)
    return list(zip(sex.astype(object).where(sex.notna(), "unknown"), years.tolist(), strict=True))


def _allot(ids: list[str], strata: list[tuple], shares: list[float], salt: str) -> np.ndarray:
    """Index of the share that each case falls to."""
    keys = [hashlib.sha256(f"{salt}\0{case}".encode()).digest() for case in ids]
    order = sorted(range(len(ids)), key=lambda row: (strata[row], keys[row]))
    owed = np.zeros(len(shares))
    chosen = np.zeros(len(ids), dtype=np.int8)
    for _, group in itertools.groupby(order, key=strata.__getitem__):
        rows = list(group)
        # Seats go one by one to whichever share is owed most; ties to the first, so train.
        seats = np.zeros(len(shares), dtype=int)
        for _ in rows:
            owed += shares
            winner = int(np.argmax(np.round(owed, 9)))
            seats[winner] += 1
            owed[winner] -= 1
        chosen[rows] = np.repeat(np.arange(len(shares)), seats)
    return chosen


def split_manifest(cases: pd.DataFrame) -> dict[str, object]:
    """`hash` over every (case_id, split, fold), sorted by id, and the `counts` of each split."""
    folds = cases["fold"].astype(object).where(cases["fold"].notna(), None)
    rows = sorted(
        (str(case), str(split), None if fold is None else int(fold))
        for case, split, fold in zip(cases["case_id"], cases["split"], folds, strict=True)
    )
    present = cases["split"].value_counts()
    counts = {split: int(present[split]) for split in SPLITS if split in present.index}
    return {"hash": hash_of(rows), "counts": counts}


def sex_codes(sex: pd.Series) -> np.ndarray:
    """0 female, 1 male, NaN unknown: float32 `[n]`, as the models take it."""
    return sex.map(SEX_CODES).to_numpy(np.float32, na_value=np.nan)


def male_share(cases: pd.DataFrame) -> float:
    """The share of boys among the training cases of known sex; a half where none is known."""
    codes = sex_codes(cases.loc[cases["split"] == "train", "sex"])
    return float(np.nanmean(codes)) if np.isfinite(codes).any() else 0.5
