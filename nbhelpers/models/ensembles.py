"""Ensembles of saved models, fitted where no member was trained: on calibration.

How one is fitted stands in notebook 05: a `Fit` gives weights out of predictions and truth. Every
figure that an ensemble is judged by on these rows is cross-fitted: a case is predicted by an
ensemble fitted on the other folds, so that one with many coefficients gains nothing by them. The
test split is not read here. A fitted ensemble is plain numbers, kept as JSON.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special
from sklearn.model_selection import KFold

from nbhelpers import metrics, predictions
from nbhelpers.data import splits
from nbhelpers.data.cases import load_cases
from nbhelpers.workspace import InputError

SMALLEST = 10  # cases that an ensemble is fitted on
SMALLEST_PROBABILITY = 1e-4  # a logarithm of less would let one member rule out a stage alone
FOLDS, SEED = 5, 0  # of cross-fitting
# Of the members' months `[n, members]` or probabilities `[n, members, 5]`, a number of a boy `[n]`
# (1, or 0 for a girl) and the true months or stages `[n]` it makes `Combination`'s weights, one row
# or five, its intercept and what a boy adds.
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple]


@dataclass(frozen=True)
class Known:
    """What an ensemble is fitted on.

    Attributes:
        task: `age` or `stage`.
        members: names of the models.
        cases: one row a case of calibration: `case_id` and `sex`.
        predicted: months `[n, members]` or probabilities `[n, members, 5]`.
        truth: months or stage numbers `[n]`.
        male_share: of the training cases, stands for an unknown sex.
    """

    task: str
    members: tuple[str, ...]
    cases: pd.DataFrame
    predicted: np.ndarray
    truth: np.ndarray
    male_share: float

    @property
    def sex(self) -> np.ndarray:
        """`[n]`, 0 female, 1 male, NaN unknown."""
        return splits.sex_codes(self.cases["sex"])


def known_rows(run_folder: Path, members: tuple[str, ...], task: str) -> Known:
    """What all members predict for the labelled cases of calibration.

    Raises InputError for less than two members, one that lacks cases which another has, or one
    whose cases are of other splits than the run folder's: it was made from other data.
    """
    if len(set(members)) < 2 or len(set(members)) < len(members):
        raise InputError(f"members are {', '.join(members) or 'none'}; name two models or more.")
    tables = {m: predictions.fitting_rows(run_folder, m, task) for m in members}
    every = load_cases(run_folder)
    label = "age_months" if task == "age" else "stage"
    _require_own_cases(every.set_index("case_id")["split"], tables, task)
    cases = tables[members[0]].set_index("case_id")
    if len(cases) < SMALLEST:
        raise InputError(
            f"Only {len(cases)} labelled cases of calibration: an ensemble needs {SMALLEST}. "
            "Prepare more radiographs."
        )
    return Known(
        task,
        tuple(members),
        cases.reset_index()[["case_id", "sex"]],
        _stacked(tables.values(), cases.index, task),
        cases[label].to_numpy(float if task == "age" else int),
        splits.male_share(every),
    )


def part_of(known: Known, rows: np.ndarray) -> Known:
    """The same of some rows only."""
    return replace(
        known,
        cases=known.cases.iloc[rows],
        predicted=known.predicted[rows],
        truth=known.truth[rows],
    )


def _stacked(tables: Iterable[pd.DataFrame], case_ids: pd.Index, task: str) -> np.ndarray:
    """What the members predict for these cases: months `[n, members]` or `[n, members, 5]`."""
    values = predictions.VALUE_COLUMNS[task]
    said = [table.set_index("case_id").loc[case_ids, values].to_numpy(float) for table in tables]
    stacked = np.stack(said, axis=1)
    return stacked[:, :, 0] if task == "age" else stacked


def _require_own_cases(split_of: pd.Series, tables: dict[str, pd.DataFrame], task: str) -> None:
    """Raise InputError where a member's cases are of other splits, or some of calibration lack."""
    held = pd.concat(tables.values())["case_id"]
    every = held[held.map(split_of) == "calibration"]
    for member, table in tables.items():
        moved = table.loc[table["case_id"].map(split_of) != table["split"], "case_id"]
        wrong = [*moved, *every[~every.isin(table["case_id"])]]
        if wrong:
            raise InputError(
                f"{member}.{task} has no case {wrong[0]} in the split that it has here: it was "
                f"made from other data. Run the notebook that makes {member} again."
            )


@dataclass(frozen=True)
class Combination:
    """How the predictions of members become one.

    Age, months: `intercept[0] + weights[0] · months of the members + sex[0] * (1 for a boy)`.
    Stages, averaged: `weights[0] · probabilities of the members`; logistic: the softmax of
    `intercept + weights @ (log probabilities, the five of the first member first) + sex`.

    Attributes:
        kind: what the ensemble is called.
        task: `age` or `stage`.
        members: names of the models, in the order of the weights.
        weights: a row for age and for averages, five for logistic.
        intercept: by row.
        sex: by row, what a boy adds.
        male_share: stands for an unknown sex.
    """

    kind: str
    task: str
    members: tuple[str, ...]
    weights: list[list[float]]
    intercept: list[float]
    sex: list[float]
    male_share: float


def combine(combination: Combination, predicted: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """Months `[n]` or probabilities `[n, 5]` out of those of the members.

    Args:
        predicted: months `[n, members]` or probabilities `[n, members, 5]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown.
    """
    weights = np.array(combination.weights)
    boys = np.nan_to_num(np.asarray(sex, float), nan=combination.male_share)[:, None]
    added = np.array(combination.intercept) + boys * np.array(combination.sex)
    if combination.task == "age":
        return (predicted @ weights.T + added)[:, 0]
    if len(weights) == 1:
        return np.einsum("nmk,m->nk", predicted, weights[0])
    return special.softmax(log_probabilities(predicted) @ weights.T + added, axis=1)


def log_probabilities(predicted: np.ndarray) -> np.ndarray:
    """Logarithms `[n, members * 5]` of probabilities `[n, members, 5]`."""
    return np.log(np.maximum(predicted, SMALLEST_PROBABILITY)).reshape(len(predicted), -1)


def equal(task: str, members: tuple[str, ...], male_share: float) -> Combination:
    """The plain mean of the members."""
    weights = [[1 / len(members) for _ in members]]
    return Combination("equal", task, tuple(members), weights, [0.0], [0.0], male_share)


def from_json(content: dict, where: str) -> Combination:
    """A combination out of its values; raises InputError naming `where` where they lack one."""
    try:
        made = Combination(**{field.name: content[field.name] for field in fields(Combination)})
    except KeyError as error:
        raise InputError(
            f"{where} is not an ensemble of this suite. Run the notebook that makes it again."
        ) from error
    return replace(made, members=tuple(made.members))


def fitted(kind: str, fit: Fit, known: Known) -> Combination:
    """The ensemble that a fit makes of some cases."""
    boy = np.nan_to_num(known.sex, nan=known.male_share)
    weights, intercept, of_a_boy = fit(known.predicted, boy, known.truth)
    weights = np.atleast_2d(weights)
    by_row = (np.broadcast_to(part, len(weights)).tolist() for part in (intercept, of_a_boy))
    return Combination(kind, known.task, known.members, weights.tolist(), *by_row, known.male_share)


def cross_fitted(fit: Fit, known: Known) -> np.ndarray:
    """Months `[n]` or probabilities `[n, 5]`, each by an ensemble fitted without that case.

    The cases are split into `FOLDS` at random; those of each fold are predicted by an ensemble
    fitted on the others.
    """
    shape = (len(known.truth),) if known.task == "age" else (len(known.truth), 5)
    predicted = np.empty(shape)
    for others, fold in KFold(FOLDS, shuffle=True, random_state=SEED).split(known.truth):
        part = part_of(known, fold)
        made = fitted("", fit, part_of(known, others))
        predicted[fold] = combine(made, part.predicted, part.sex)
    return predicted


def save_predictions(
    run_folder: Path, name: str, combination: Combination, known: Known, held_out: np.ndarray
) -> None:
    """Write what an ensemble predicts for every case that all its members predict, but train.

    Args:
        held_out: what `cross_fitted` gives: stands for the cases that the ensemble was fitted on.
    """
    task = combination.task
    tables = [predictions.said_rows(run_folder, member, task) for member in known.members]
    shared = set.intersection(*(set(table["case_id"]) for table in tables))
    first = tables[0][tables[0]["case_id"].isin(shared) & (tables[0]["split"] != "train")]
    cases = first.set_index("case_id")
    said = _stacked(tables, cases.index, task)
    predicted = combine(combination, said, splits.sex_codes(cases["sex"]))
    predicted[cases.index.get_indexer(known.cases["case_id"])] = held_out
    table = load_cases(run_folder).set_index("case_id").loc[cases.index].reset_index()
    predictions.save_predictions(run_folder, name, task, table, predicted)


def leave_one_out(fit: Fit, known: Known) -> pd.DataFrame:
    """What each member adds on calibration: a row a member, `value`, `lower`, `upper`, `n`.

    The value is how much worse the ensemble is without the member, in months or kappa,
    cross-fitted, with a paired bootstrap interval: above 0, the member helps.
    """

    def predicted(part: Known) -> np.ndarray:
        made = cross_fitted(fit, part)
        return made if part.task == "age" else made.argmax(axis=1)

    whole, rows = predicted(known), {}
    for place, member in enumerate(known.members):
        others = np.arange(len(known.members)) != place
        names = tuple(name for name in known.members if name != member)
        less = predicted(replace(known, members=names, predicted=known.predicted[:, others]))
        pair = (less, whole) if known.task == "age" else (whole, less)
        rows[member] = metrics.compare(known.task, known.truth, *pair)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("member")


def error_correlation(known: Known) -> pd.DataFrame:
    """Pearson correlation of the members' errors on calibration; of mean stages for stages."""
    said = known.predicted if known.task == "age" else known.predicted @ np.arange(5)
    errors = said - known.truth[:, None]
    return pd.DataFrame(np.corrcoef(errors.T), index=known.members, columns=known.members)
