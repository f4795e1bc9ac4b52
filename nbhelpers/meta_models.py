"""The ways to fit an ensemble: what is least, over which weights. Months and stage numbers in."""

from dataclasses import replace

import numpy as np
from scipy import optimize, sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbhelpers import combinations
from nbhelpers.combinations import Combination
from nbhelpers.workspace import InputError

PENALTIES = np.logspace(-2, 4, 13)  # that ridge chooses from, by leave-one-out
NEVER = -100.0  # the score of a stage that no case has


def fit(
    kind: str,
    task: str,
    members: tuple[str, ...],
    predicted: np.ndarray,
    truth: np.ndarray,
    sex: np.ndarray,
    male_share: float,
) -> Combination:
    """An ensemble of a kind of `combinations.KINDS`.

    `weighted` has non-negative weights that sum to one and the least mean absolute error, a linear
    programme (stages: the least cross-entropy); `linear` and `ridge` are regressions on the
    members' months, `ridge_sex` gets sex too; `logistic` is a regression on the logarithms of
    their probabilities (stacking: Wolpert, Neural Networks 1992;5:241-259).

    Args:
        predicted: months `[n, members]` or probabilities `[n, members, 5]`.
        truth: months or stage numbers `[n]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown.
        male_share: of the training cases, for those of unknown sex.

    Raises:
        InputError: the task has no such kind.
    """
    if kind not in combinations.KINDS[task]:
        raise InputError(f"ensemble {kind!r}: write one of {', '.join(combinations.KINDS[task])}.")
    plain = combinations.equal(task, members, male_share)
    if kind == "equal":
        return plain
    if kind == "weighted":
        weights = (least_error if task == "age" else least_cross_entropy)(predicted, truth)
        return replace(plain, kind=kind, weights=(tuple(map(float, weights)),))
    if kind == "logistic":
        return _logistic(predicted, truth, plain)
    return _regression(kind, predicted, truth, sex, plain)


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
        mixed = np.maximum(of_truth @ weights, combinations.SMALLEST_PROBABILITY)
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


def _regression(kind, predicted, truth, sex, plain: Combination) -> Combination:
    columns = predicted
    if kind == "ridge_sex":
        columns = np.column_stack([columns, np.nan_to_num(sex, nan=plain.male_share)])
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
        weights=(tuple(map(float, slopes[:members])),),
        intercept=(float(intercept),),
        sex=(float(slopes[members]) if kind == "ridge_sex" else 0.0,),
    )


def _logistic(predicted, truth, plain: Combination) -> Combination:
    columns, stages = combinations.log_probabilities(predicted), np.unique(truth).astype(int)
    weights, intercept = np.zeros((5, columns.shape[1])), np.full(5, NEVER)
    intercept[stages] = 0.0
    if len(stages) > 1:
        fitted = LogisticRegression(max_iter=5000).fit(columns, truth.astype(int))
        chosen = stages if len(stages) > 2 else stages[1:]  # of two, scikit-learn keeps the second
        weights[chosen], intercept[chosen] = fitted.coef_, fitted.intercept_
    return replace(
        plain,
        kind="logistic",
        weights=tuple(tuple(map(float, row)) for row in weights),
        intercept=tuple(map(float, intercept)),
        sex=(0.0,) * 5,
    )
