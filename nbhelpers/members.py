"""What the members of an ensemble say, case by case: where it is fitted, and of every case."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import predictions, splits
from nbhelpers.cases import load_cases
from nbhelpers.workspace import InputError

SMALLEST = 10  # cases that an ensemble is fitted on


@dataclass(frozen=True)
class Known:
    """What an ensemble is fitted on.

    Attributes:
        task: `age` or `stage`.
        members: names of the models.
        cases: one row a case: `case_id`, `split` and `sex`, of calibration and of train.
        predicted: months `[n, members]` or probabilities `[n, members, 5]`.
        truth: months or stage numbers `[n]`.
    """

    task: str
    members: tuple[str, ...]
    cases: pd.DataFrame
    predicted: np.ndarray
    truth: np.ndarray

    @property
    def sex(self) -> np.ndarray:
        """`[n]`, 0 female, 1 male, NaN unknown."""
        return splits.sex_codes(self.cases["sex"])

    @property
    def calibration(self) -> np.ndarray:
        """`[n]`, true for the cases of the calibration split."""
        return (self.cases["split"] == "calibration").to_numpy()


def known_rows(run_folder: Path, members: tuple[str, ...], task: str) -> Known:
    """What all members say of the calibration split, and of train where all have folds.

    Raises InputError for less than two members, one that lacks cases which another has, or one
    whose cases are of other splits than the run folder's: it was made from other data.
    """
    if len(set(members)) < 2 or len(set(members)) < len(members):
        raise InputError(f"members are {', '.join(members) or 'none'}; name two models or more.")
    tables = {m: predictions.fitting_rows(run_folder, m, task) for m in members}
    _require_own_splits(run_folder, tables, task)
    tables = {m: table[_labelled(table, task)] for m, table in tables.items()}
    _require_same_calibration(tables, task)
    shared = set.intersection(*(set(table["case_id"]) for table in tables.values()))
    first = tables[members[0]]
    if len(shared) < SMALLEST:
        raise InputError(
            f"Only {len(shared)} labelled cases of calibration: an ensemble needs {SMALLEST}. "
            "Prepare more radiographs."
        )
    cases = first[first["case_id"].isin(shared)].set_index("case_id")
    return Known(
        task,
        tuple(members),
        cases.reset_index()[["case_id", "split", "sex"]],
        _stacked(tables.values(), cases.index, task),
        cases["age_months" if task == "age" else "stage"].to_numpy(float),
    )


def said_of_all(
    run_folder: Path, members: tuple[str, ...], task: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Every case that all members predict, a row each of `case_id, split, fold, sex` and no label;
    and what they say of it: months `[n, members]` or probabilities `[n, members, 5]`."""
    tables = [predictions.said_rows(run_folder, member, task) for member in members]
    shared = set.intersection(*(set(table["case_id"]) for table in tables))
    first = tables[0][tables[0]["case_id"].isin(shared)]
    said = _stacked(tables, pd.Index(first["case_id"]), task)
    return first[["case_id", "split", "fold", "sex"]].reset_index(drop=True), said


def part_of(known: Known, rows: np.ndarray) -> Known:
    """The same of some rows only."""
    return replace(
        known,
        cases=known.cases.iloc[rows],
        predicted=known.predicted[rows],
        truth=known.truth[rows],
    )


def _stacked(tables: Iterable[pd.DataFrame], case_ids: pd.Index, task: str) -> np.ndarray:
    """What the members say of these cases: months `[n, members]` or `[n, members, 5]`."""
    values = predictions.VALUE_COLUMNS[task]
    said = [table.set_index("case_id").loc[case_ids, values].to_numpy(float) for table in tables]
    stacked = np.stack(said, axis=1)
    return stacked[:, :, 0] if task == "age" else stacked


def _labelled(table: pd.DataFrame, task: str) -> pd.Series:
    return table["age_months" if task == "age" else "stage"].notna()


def _require_own_splits(run_folder: Path, tables: dict[str, pd.DataFrame], task: str) -> None:
    split_of = load_cases(run_folder).set_index("case_id")["split"]
    for member, table in tables.items():
        other = table[table["case_id"].map(split_of) != table["split"]]
        if len(other):
            raise InputError(
                f"{member}.{task} has {other.iloc[0]['case_id']} in the split "
                f"{other.iloc[0]['split']}, as this run folder has not: it was made from other "
                f"data. Run the notebook that makes {member} again."
            )


def _require_same_calibration(tables: dict[str, pd.DataFrame], task: str) -> None:
    of = {m: set(t.loc[t["split"] == "calibration", "case_id"]) for m, t in tables.items()}
    every = set.union(*of.values())
    for member, cases in of.items():
        lacking = sorted(every - cases)
        if lacking:
            raise InputError(
                f"{member}.{task} lacks {len(lacking):,} cases of calibration that other members "
                f"have, such as {lacking[0]}. Run the notebook that makes {member} again."
            )
