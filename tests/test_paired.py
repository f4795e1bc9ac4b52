"""Two models on the same cases: what pairs see, and how often they see what is not there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from nbhelpers import metrics


def ages(n=1700, seed=0):
    random = np.random.default_rng(seed)
    truth = random.uniform(1, 228, n)
    return truth, truth + random.normal(0, 12, n)


def test_a_paired_comparison_sees_what_two_intervals_do_not():
    """A gain of half a month on shared errors of 12: the intervals overlap, the pair is sure."""
    truth, predicted = ages()
    better = truth + 0.95 * (predicted - truth)
    a, b = np.abs(better - truth), np.abs(predicted - truth)
    difference = metrics.compare_errors(a, b)
    assert difference["value"] == pytest.approx(a.mean() - b.mean())
    assert difference["lower"] < difference["value"] < difference["upper"] < 0
    assert difference["p"] < 0.002
    first = metrics.score_ages(truth, better).iloc[0]
    second = metrics.score_ages(truth, predicted).iloc[0]
    assert first["upper"] > second["lower"]
    mirrored = metrics.compare_errors(b, a)
    assert mirrored["lower"] == pytest.approx(-difference["upper"])
    assert mirrored["p"] == difference["p"]


def test_a_model_does_not_differ_from_itself():
    errors = np.abs(np.subtract(*ages()))
    told = {"n": 1700, "value": 0, "lower": 0, "upper": 0, "p": 1}
    assert metrics.compare_errors(errors, errors) == told
    stage = np.arange(1700) % 5
    assert metrics.compare_kappa(stage, stage[::-1], stage[::-1]) == told


@pytest.mark.slow
def test_p_is_below_five_per_cent_as_often_as_it_says_where_nothing_differs(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 400)
    random = np.random.default_rng(1)
    found = []
    for _ in range(300):
        a, b = random.gamma(2, 5, (2, 200))
        found.append(metrics.compare_errors(a, b)["p"])
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09
    assert 0.4 < np.mean(np.array(found) < 0.5) < 0.6


def test_kappa_is_compared_on_the_same_cases():
    random = np.random.default_rng(2)
    truth = random.integers(0, 5, 600)
    good, bad = (
        np.where(random.uniform(size=600) < share, truth, random.integers(0, 5, 600))
        for share in (0.8, 0.6)
    )
    difference = metrics.compare_kappa(truth, good, bad)
    scores = [cohen_kappa_score(truth, said, weights="quadratic") for said in (good, bad)]
    assert difference["value"] == pytest.approx(scores[0] - scores[1])
    assert 0 < difference["lower"] < difference["value"] < difference["upper"]
    assert difference["p"] < 0.01


def test_holm_by_hand():
    np.testing.assert_allclose(metrics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_only_raises(p):
    corrected = metrics.holm(p)
    assert (corrected >= np.array(p)).all() and (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()
    assert corrected[int(np.argmin(p))] == min(1.0, len(p) * min(p))
