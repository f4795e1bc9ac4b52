"""Ensembles of saved models, fitted where no member was trained: calibration, and out of fold.

Every figure that an ensemble is judged by on these rows is cross-fitted: a case is predicted by an
ensemble fitted on the other folds, so that one with many coefficients gains nothing by them. The
test split is not read here.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from nbhelpers import members, meta_models, paired, splits
from nbhelpers.combinations import Combination, combine
from nbhelpers.members import Known

FOLDS = 5
SEED = 0


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
        made = fit(kind, members.part_of(known, fitted_on), male_share)
        part = members.part_of(known, held_out)
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
    cases, said = members.said_of_all(run_folder, known.members, known.task)
    predicted = combine(made, said, splits.sex_codes(cases["sex"]))
    at = pd.Index(cases["case_id"]).get_indexer(known.cases["case_id"])
    predicted[at] = cross_fitted(kind, known, male_share)
    if known.calibration.all():
        cases["fold"] = pd.NA
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
        rows.append({"member": member, **paired.compare_errors(without, whole)})
    return pd.DataFrame(rows).set_index("member")


def error_correlation(known: Known) -> pd.DataFrame:
    """Pearson correlation of the members' errors on calibration; of mean stages for stages."""
    said = known.predicted if known.task == "age" else known.predicted @ np.arange(5)
    errors = (said - known.truth[:, None])[known.calibration]
    return pd.DataFrame(np.corrcoef(errors.T), index=known.members, columns=known.members)
