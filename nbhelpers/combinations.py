"""What an ensemble is: how the predictions of its members become one, as plain numbers in JSON."""

from dataclasses import asdict, dataclass

import numpy as np

from nbhelpers.workspace import InputError

SMALLEST_PROBABILITY = 1e-4  # a logarithm of less would let one member rule out a stage alone
KINDS = {
    "age": ("equal", "weighted", "linear", "ridge", "ridge_sex"),
    "stage": ("equal", "weighted", "logistic"),
}


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
    weights: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]
    sex: tuple[float, ...]
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
    weights = (tuple(1 / len(members) for _ in members),)
    return Combination("equal", task, tuple(members), weights, (0.0,), (0.0,), male_share)


def as_json(combination: Combination) -> dict:
    """Plain values; `from_json` reads them."""
    return asdict(combination)


def from_json(content: dict, where: str) -> Combination:
    """A combination out of its JSON; raises InputError naming `where` for anything else."""
    try:
        made = Combination(
            kind=content["kind"],
            task=content["task"],
            members=tuple(content["members"]),
            weights=tuple(tuple(float(w) for w in row) for row in content["weights"]),
            intercept=tuple(float(value) for value in content["intercept"]),
            sex=tuple(float(value) for value in content["sex"]),
            male_share=float(content["male_share"]),
        )
        each = len(made.members) * (5 if made.kind == "logistic" else 1)
        rows = 5 if made.kind == "logistic" else 1
        fits = made.kind in KINDS[made.task] and np.shape(made.weights) == (rows, each)
        fits = fits and len(made.intercept) == len(made.sex) == rows and each > 0
        fits = fits and np.isfinite([*np.ravel(made.weights), *made.intercept, *made.sex]).all()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(_no_ensemble(where)) from error
    if not fits:
        raise InputError(_no_ensemble(where))
    return made


def _no_ensemble(where: str) -> str:
    return f"{where} is no ensemble of this suite. Run the notebook that makes it again."
