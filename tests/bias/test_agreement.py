"""Limits of agreement by their formula; slopes and intervals as notebook 07 takes them."""

import numpy as np
import pytest
from notebook_code import functions

from nbhelpers import metrics

COLUMNS = ["group", "metric", "n", "value", "lower", "upper"]
bland_altman, bootstrap, slope = functions(
    "07_bias_analysis", "bland_altman", "bootstrap", "slope", columns=COLUMNS
)


def pair(n=1500, seed=0, offset=2.0, spread=8.0):
    random = np.random.default_rng(seed)
    truth = random.normal(125, 40, n)
    return truth, truth + offset + random.normal(0, spread, n)


def differences(truth, predicted):
    return bland_altman(predicted - truth).set_index("metric")


def test_the_example_of_the_paper():
    """17 peak flow rates: mean -2.1 l/min, SD 38.8; limits -79.7 and 75.5 with 2 SD."""
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    told = differences(np.array(mini), np.array(large))
    assert told.loc["mean_difference", "value"] == pytest.approx(-2.1, abs=0.05)
    assert told.loc["sd", "value"] == pytest.approx(38.8, abs=0.05)
    assert told.loc["mean_difference", ["lower", "upper"]].tolist() == pytest.approx(
        [-22.0, 17.8], abs=0.1
    )
    assert told["value"]["lower_limit"] == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.2)
    assert told["value"]["upper_limit"] == pytest.approx(-2.1 + 1.96 * 38.8, abs=0.2)
    widths = told["upper"] - told["lower"]
    # The paper: -79.7 has the interval -114.3 to -45.1.
    assert widths["lower_limit"] == pytest.approx(2 * 34.6, abs=0.2)


def test_intervals_hold_the_truth_as_often_as_promised():
    truth_of = {"mean_difference": 2.0, "sd": 8.0}
    truth_of |= {"lower_limit": 2 - 1.96 * 8, "upper_limit": 2 + 1.96 * 8}
    held = {name: [] for name in truth_of}
    for seed in range(200):
        told = differences(*pair(n=40, seed=seed))
        for name, value in truth_of.items():
            held[name].append(told.loc[name, "lower"] < value < told.loc[name, "upper"])
    for name, often in held.items():
        assert 0.90 < np.mean(often) <= 0.99, name


def test_the_bootstrap_gives_the_intervals_of_the_scores():
    truth, predicted = pair(n=300)
    error = 0.8 * predicted - truth
    assert bootstrap(np.mean, error) == pytest.approx(metrics.score_mean(error))
    found = bootstrap(slope, truth, error)
    assert found == pytest.approx(metrics.score_slope(truth, error))
    assert found[1] == pytest.approx(np.polyfit(truth, error, 1)[0])
