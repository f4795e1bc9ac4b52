"""Do synthetic bones carry the age, and does nothing else? HOG + XGBoost against hand length."""

import numpy as np
import pytest
import xgboost

from nbhelpers import metrics, workspace
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.models import hog
from nbhelpers.phantom import dataset

CASES, TRAINING, TUNING = 700, 400, 80  # the rest, 220, is held out
SEED = 7
FROZEN_AT = 120.0  # months
PREPARATION = Preparation(128)
# Wide cells and shallow trees: quick, and best for this few cases.
HOG = hog.HogSettings(cell_pixels=12, step_pixels=12)
TREES = {"learning_rate": 0.06, "max_depth": 3, "subsample": 0.7, "colsample_bytree": 0.2}
TREES |= {"min_child_weight": 10, "eval_metric": "mae"}


def draw_prepared(number: int, frozen_at: float | None) -> np.ndarray:
    """One radiograph, prepared as the suite prepares it."""
    case = dataset.draw_case(SEED, number)
    drawn = dataset.draw_radiograph(
        case["sex"], case["true_age_months"], case["drawing"], ossification_age_months=frozen_at
    )
    return prepare_image(drawn.pixels, PREPARATION)[0]


def draw_all(frozen_at: float | None) -> np.ndarray:
    """All cases uint8 [case, height, width], drawn on all cores."""
    return np.array(list(workspace.parallel(draw_prepared, range(CASES), frozen_at)))


def predict_from_hog(pictures: np.ndarray, boy: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Ages in months that XGBoost gives for the held-out cases."""
    columns = hog.with_sex(hog.features(pictures, HOG), boy)
    fitted = TRAINING + TUNING
    training = xgboost.QuantileDMatrix(columns[:TRAINING], label[:TRAINING])
    rows = slice(TRAINING, fitted)
    tuning = xgboost.QuantileDMatrix(columns[rows], label[rows], ref=training)
    options = {"evals": [(tuning, "tuning")], "early_stopping_rounds": 40, "verbose_eval": False}
    trees = xgboost.train(TREES, training, 800, **options)
    return trees[: trees.best_iteration + 1].inplace_predict(columns[fitted:])


def predict_from_length(length: np.ndarray, boy: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Ages of the held-out cases from true hand length and sex: least squares with curvature."""
    terms = [length**power * group for power in (0, 1, 2) for group in (boy, 1 - boy)]
    columns = np.column_stack(terms)
    fitted = TRAINING + TUNING
    weights = np.linalg.lstsq(columns[:fitted], label[:fitted], rcond=None)[0]
    return columns[fitted:] @ weights


@pytest.mark.slow
def test_bones_carry_the_age_and_nothing_else_does():
    cases = [dataset.draw_case(SEED, number) for number in range(CASES)]
    boy = np.array([case["sex"] == "male" for case in cases], float)
    length = np.array([case["hand_length_mm"] for case in cases]) / 100
    label = np.array([case["label_months"] for case in cases], float)
    held_out = label[TRAINING + TUNING :]
    of_length = np.abs(predict_from_length(length, boy, label) - held_out)

    of_frozen = np.abs(predict_from_hog(draw_all(FROZEN_AT), boy, label) - held_out)
    of_drawn = np.abs(predict_from_hog(draw_all(None), boy, label) - held_out)
    frozen = metrics.compare_errors(of_frozen, of_length)
    drawn = metrics.compare_errors(of_drawn, of_length)
    assert frozen["upper"] >= 0, "with frozen bones the pixels still tell the age"
    assert of_drawn.mean() <= 0.65 * of_length.mean()
    assert drawn["upper"] < 0
