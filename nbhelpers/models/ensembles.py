"""Ensembles of saved models, fitted where no member was trained: calibration, and out of fold.

Every figure that an ensemble is judged by on these rows is cross-fitted: a case is predicted by an
ensemble fitted on the other folds, so that one with many coefficients gains nothing by them. The
test split is not read here. A fitted ensemble is plain numbers, kept as JSON.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbhelpers import metrics, predictions
from nbhelpers.data import splits
from nbhelpers.data.cases import load_cases
from nbhelpers.workspace import InputError

SMALLEST = 10  # cases that an ensemble is fitted on
SMALLEST_PROBABILITY = 1e-4  # a logarithm of less would let one member rule out a stage alone
PENALTIES = np.logspace(-2, 4, 13)  # that ridge chooses from, by leave-one-out
NEVER = -100.0  # the score of a stage that no case has
FOLDS, SEED = 5, 0  # of cross-fitting
KINDS = {
    "age": ("equal", "weighted", "linear", "ridge", "ridge_sex"),
    "stage": ("equal", "weighted", "logistic"),
}


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
    """What all members say of the cases that none of them was trained on.

    Returns:
        The cases, a row each of `case_id, split, fold, sex` and no label; and months
        `[n, members]` or probabilities `[n, members, 5]`.
    """
    tables = [predictions.said_rows(run_folder, member, task) for member in members]
    # Older tables have rows of train that a member was trained on.
    tables = [table[(table["split"] != "train") | table["fold"].notna()] for table in tables]
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


@dataclass(frozen=True)
class Combination:
    """How the predictions of members become one.

    Age, months: `intercept[0] + weights[0] · months of the members + sex[0] * (1 for a boy)`.
    Stages, averaged: `weights[0] · probabilities of the members`; logistic: the softmax of
    `intercept + weights @ (log probabilities, the five of the first member first) + sex`.

    Attributes:
        kind: one of `KINDS` of the task.
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
    if combination.kind != "logistic":
        return np.einsum("nmk,m->nk", predicted, weights[0])
    score = log_probabilities(predicted) @ weights.T + added
    likelihood = np.exp(score - score.max(axis=1, keepdims=True))
    return likelihood / likelihood.sum(axis=1, keepdims=True)


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
            f"{where} is no ensemble of this suite. Run the notebook that makes it again."
        ) from error
    return replace(made, members=tuple(made.members))


def fit(kind: str, known: Known, male_share: float) -> Combination:
    """An ensemble of a kind of `KINDS`.

    `weighted` has non-negative weights that sum to one and the least mean absolute error, a linear
    programme (stages: the least cross-entropy); `linear` and `ridge` are regressions on the
    members' months, `ridge_sex` gets sex too; `logistic` is a regression on the logarithms of
    their probabilities (stacking: Wolpert, Neural Networks 1992;5:241-259).

    Args:
        male_share: of the training cases, for those of unknown sex.

    Raises:
        InputError: the task has no such kind.
    """
    if kind not in KINDS[known.task]:
        raise InputError(f"ensemble {kind!r}: write one of {', '.join(KINDS[known.task])}.")
    plain = equal(known.task, known.members, male_share)
    if kind == "equal":
        return plain
    if kind == "weighted":
        least = least_error if known.task == "age" else least_cross_entropy
        weights = least(known.predicted, known.truth)
        return replace(plain, kind=kind, weights=[weights.tolist()])
    if kind == "logistic":
        return _logistic(known.predicted, known.truth, plain)
    return _regression(kind, known, plain)


def least_error(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Non-negative weights `[members]` that sum to one with the least mean absolute error.

    A linear programme: one variable a member, and one a case that is at least its error.
    """
    n, members = predicted.shape
    ones = sparse.eye_array(n)  # dense, out-of-fold rows of 9,000 cases would take a gigabyte
    found = optimize.linprog(
        np.concatenate([np.zeros(members), np.ones(n)]),
        A_ub=sparse.block_array([[predicted, -ones], [-predicted, -ones]], format="csr"),
        b_ub=np.concatenate([truth, -truth]),
        A_eq=np.concatenate([np.ones(members), np.zeros(n)])[None],
        b_eq=[1.0],
        method="highs",
    )
    return _on_simplex(found.x[:members])


def least_cross_entropy(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Non-negative weights `[members]` that sum to one with the least mean cross-entropy."""
    of_truth = predicted[np.arange(len(truth)), :, truth.astype(int)]  # [n, members]

    def loss(weights: np.ndarray) -> float:
        mixed = np.maximum(of_truth @ weights, SMALLEST_PROBABILITY)
        return -np.log(mixed).mean()

    members = predicted.shape[1]
    found = optimize.minimize(
        loss,
        np.full(members, 1 / members),
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )
    return _on_simplex(found.x)


def _on_simplex(weights: np.ndarray) -> np.ndarray:
    """Without what rounding left below 0 or beside a sum of 1."""
    positive = np.maximum(weights, 0.0)
    return positive / positive.sum()


def _regression(kind: str, known: Known, plain: Combination) -> Combination:
    columns, truth = known.predicted, known.truth
    if kind == "ridge_sex":
        columns = np.column_stack([columns, np.nan_to_num(known.sex, nan=plain.male_share)])
    if kind == "linear":
        fitted = LinearRegression().fit(columns, truth)
        slopes, intercept = fitted.coef_, fitted.intercept_
    else:
        # The penalty is on equal terms only for columns of one spread.
        pipeline = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(columns, truth)
        scaler, ridge = pipeline[0], pipeline[1]
        slopes = ridge.coef_ / scaler.scale_
        intercept = ridge.intercept_ - slopes @ scaler.mean_
    members = len(plain.members)
    return replace(
        plain,
        kind=kind,
        weights=[slopes[:members].tolist()],
        intercept=[float(intercept)],
        sex=slopes[members:].tolist() or [0.0],
    )


def _logistic(predicted: np.ndarray, truth: np.ndarray, plain: Combination) -> Combination:
    columns, stages = log_probabilities(predicted), np.unique(truth).astype(int)
    weights, intercept = np.zeros((5, columns.shape[1])), np.full(5, NEVER)
    intercept[stages] = 0.0
    if len(stages) > 1:
        fitted = LogisticRegression(max_iter=5000).fit(columns, truth.astype(int))
        chosen = stages if len(stages) > 2 else stages[1:]  # of two, scikit-learn keeps the second
        weights[chosen], intercept[chosen] = fitted.coef_, fitted.intercept_
    return replace(
        plain,
        kind="logistic",
        weights=weights.tolist(),
        intercept=intercept.tolist(),
        sex=[0.0] * 5,
    )


def cross_fitted(kind: str, known: Known, male_share: float) -> np.ndarray:
    """Months `[n]` or probabilities `[n, 5]`, each by an ensemble fitted without that case."""
    shape = (len(known.truth),) if known.task == "age" else (len(known.truth), 5)
    predicted = np.empty(shape)
    for fitted_on, held_out in KFold(FOLDS, shuffle=True, random_state=SEED).split(known.truth):
        made = fit(kind, part_of(known, fitted_on), male_share)
        part = part_of(known, held_out)
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
    cases, said = said_of_all(run_folder, known.members, known.task)
    predicted = combine(made, said, splits.sex_codes(cases["sex"]))
    at = pd.Index(cases["case_id"]).get_indexer(known.cases["case_id"])
    predicted[at] = cross_fitted(kind, known, male_share)
    return made, cases, predicted


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
        rows.append({"member": member, **metrics.compare_errors(without, whole)})
    return pd.DataFrame(rows).set_index("member")


def error_correlation(known: Known) -> pd.DataFrame:
    """Pearson correlation of the members' errors on calibration; of mean stages for stages."""
    said = known.predicted if known.task == "age" else known.predicted @ np.arange(5)
    errors = (said - known.truth[:, None])[known.calibration]
    return pd.DataFrame(np.corrcoef(errors.T), index=known.members, columns=known.members)
