"""Ensembles of saved models, fitted where no member was trained: calibration, and out of fold.

Every figure that an ensemble is judged by on these rows is cross-fitted: a case is predicted by an
ensemble fitted on the other folds, so that one with many coefficients gains nothing by them. The
test split is not read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from nbhelpers import meta_models, paired, predictions, splits
from nbhelpers.cases import load_cases
from nbhelpers.combinations import Combination, combine
from nbhelpers.workspace import InputError

FOLDS = 5
SEED = 0


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
        return _codes(self.cases)

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
    cases = first[first["case_id"].isin(shared)].set_index("case_id")
    return Known(
        task,
        tuple(members),
        cases.reset_index()[["case_id", "split", "sex"]],
        _stacked(tables.values(), cases.index, task),
        cases["age_months" if task == "age" else "stage"].to_numpy(float),
    )


def fit(kind: str, known: Known, male_share: float) -> Combination:
    """The ensemble of a kind (see `meta_models.fit`) on all rows known."""
    return meta_models.fit(
        kind, known.task, known.members, known.predicted, known.truth, known.sex, male_share
    )


def cross_fitted(kind: str, known: Known, male_share: float) -> np.ndarray:
    """Months `[n]` or probabilities `[n, 5]`, each by an ensemble fitted without that case."""
    shape = (len(known.truth),) if known.task == "age" else (len(known.truth), 5)
    predicted = np.empty(shape)
    for fitted_on, held_out in KFold(FOLDS, shuffle=True, random_state=SEED).split(known.truth):
        made = fit(kind, _rows(known, fitted_on), male_share)
        part = _rows(known, held_out)
        predicted[held_out] = combine(made, part.predicted, part.sex)
    return predicted


def losses(task: str, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`[n]`: absolute months, or 0 and 1 for the right and the wrong stage."""
    if task == "age":
        return np.abs(predicted - truth)
    return (predicted.argmax(axis=1) != truth).astype(float)


def predict_all(
    run_folder: Path, kind: str, known: Known, male_share: float
) -> tuple[Combination, pd.DataFrame, np.ndarray]:
    """The ensemble of a kind, and what it says of every case that all its members predict.

    Returns:
        The ensemble; the cases, a row each of `case_id, split, fold, sex`; and months `[n]` or
        probabilities `[n, 5]`, those of the cases that it was fitted on cross-fitted.
    """
    made = fit(kind, known, male_share)
    tables = [predictions.said_rows(run_folder, m, known.task) for m in known.members]
    shared = set.intersection(*(set(table["case_id"]) for table in tables))
    first = tables[0][tables[0]["case_id"].isin(shared)].set_index("case_id")
    predicted = combine(made, _stacked(tables, first.index, known.task), _codes(first))
    at = first.index.get_indexer(known.cases["case_id"])
    predicted[at] = cross_fitted(kind, known, male_share)
    fitted_on_train = (known.cases["split"] == "train").any()
    if not fitted_on_train:
        first["fold"] = pd.NA
    return made, first.reset_index()[["case_id", "split", "fold", "sex"]], predicted


def leave_one_out(kind: str, known: Known, male_share: float) -> pd.DataFrame:
    """What each member adds on calibration: a row a member, `value`, `lower`, `upper`, `n`.

    The value is the loss of the ensemble without the member minus the loss with it, cross-fitted,
    with a paired bootstrap interval: above 0, the member helps.
    """
    chosen = known.calibration
    whole = losses(known.task, cross_fitted(kind, known, male_share), known.truth)[chosen]
    rows = []
    for place, member in enumerate(known.members):
        others = [i for i in range(len(known.members)) if i != place]
        names = tuple(known.members[i] for i in others)
        less = replace(known, members=names, predicted=known.predicted[:, others])
        without = losses(known.task, cross_fitted(kind, less, male_share), known.truth)[chosen]
        rows.append({"member": member, **paired.compare_errors(without, whole)})
    return pd.DataFrame(rows).set_index("member")


def error_correlation(known: Known) -> pd.DataFrame:
    """Pearson correlation of the members' errors on calibration; of mean stages for stages."""
    said = known.predicted if known.task == "age" else known.predicted @ np.arange(5)
    errors = (said - known.truth[:, None])[known.calibration]
    return pd.DataFrame(np.corrcoef(errors.T), index=known.members, columns=known.members)


def _rows(known: Known, rows: np.ndarray) -> Known:
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


def _codes(cases: pd.DataFrame) -> np.ndarray:
    return splits.sex_codes(cases["sex"])


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
