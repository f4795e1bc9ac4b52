"""Limits of agreement by their formula; slopes and intervals as notebook 07 takes them."""

import numpy as np
import pytest
from notebook_code import functions

from nbhelpers import metrics

COLUMNS = ["metric", "n", "value", "lower", "upper"]
bland_altman, bootstrap, slope = functions(
    "07_bias_analysis", "bland_altman", "bootstrap", "slope", columns=COLUMNS
)


def test_the_example_of_the_paper():
    """17 peak flow rates: mean -2.1 l/min, SD 38.8; limits -79.7 and 75.5 with 2 SD."""
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    told = bland_altman(np.subtract(large, mini)).set_index("metric")
    values = [-2.1, 38.8, -2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8]
    assert told["value"].tolist() == pytest.approx(values, abs=0.2)
    ends = told.loc["mean_difference", ["lower", "upper"]]
    assert ends.tolist() == pytest.approx([-22.0, 17.8], abs=0.1)
    # The paper: -79.7 has the interval -114.3 to -45.1.
    assert np.ptp(told.loc["lower_limit", ["lower", "upper"]]) == pytest.approx(2 * 34.6, abs=0.2)


def test_intervals_hold_the_truth_as_often_as_promised():
    truth, random = np.array([2.0, 8.0, 2 - 1.96 * 8, 2 + 1.96 * 8]), np.random.default_rng(0)
    told = [bland_altman(random.normal(2, 8, 40)) for _ in range(200)]
    held = np.mean([(of["lower"] < truth) & (truth < of["upper"]) for of in told], axis=0)
    assert (held > 0.90).all() and (held <= 0.99).all(), held


def test_the_bootstrap_gives_the_intervals_of_the_scores():
    truth, noise = np.random.default_rng(0).normal((125, 0), (40, 8), (300, 2)).T
    error = noise - 0.2 * truth
    assert bootstrap(np.mean, error) == pytest.approx(metrics.score_mean(error))
    found = bootstrap(slope, truth, error)
    assert found == pytest.approx(metrics.score_slope(truth, error))
    assert found[1] == pytest.approx(np.polyfit(truth, error, 1)[0])


def test_one_case_has_no_interval_and_one_age_no_slope():
    assert bootstrap(np.mean, np.array([32.2]))[0] == 1
    assert np.isnan(bootstrap(np.mean, np.array([32.2]))[1:]).all()
    assert np.isnan(slope(np.full(9, 120.0), np.arange(9.0)))
