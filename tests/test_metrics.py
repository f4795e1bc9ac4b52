"""Scores against scikit-learn, intervals against scipy, and honesty about what is not defined."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from nbhelpers import metrics

STAGES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60).map(
    np.array
)


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch, request):
    if "full" not in request.keywords:
        monkeypatch.setattr(metrics, "RESAMPLES", 200)


def ages(n: int = 1700, seed: int = 0, noise: float = 12) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.uniform(1, 228, n)
    return truth, truth + random.normal(2, noise, n)


def by_metric(scores: pd.DataFrame) -> dict[str, float]:
    return dict(zip(scores["metric"], scores["value"], strict=True))


def test_age_scores_are_those_of_scikit_learn():
    truth, predicted = ages()
    value = by_metric(metrics.score_ages(truth, predicted))
    assert value["mae"] == pytest.approx(sk.mean_absolute_error(truth, predicted))
    assert value["mse"] == pytest.approx(sk.mean_squared_error(truth, predicted))
    assert value["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, predicted))
    assert value["r2"] == pytest.approx(sk.r2_score(truth, predicted))
    assert value["median_error"] == pytest.approx(sk.median_absolute_error(truth, predicted))
    for limit in (6, 12, 24):
        assert value[f"within_{limit}"] == pytest.approx(np.mean(abs(truth - predicted) <= limit))


def test_an_error_on_the_limit_counts_as_within():
    value = by_metric(metrics.score_ages(np.array([100.0, 100]), np.array([106.0, 93.9])))
    assert value["within_6"] == 0.5


@given(STAGES)
def test_stage_scores_are_those_of_scikit_learn(pairs):
    truth, predicted = pairs.T
    value = by_metric(metrics.score_stages(truth, predicted))
    present = np.union1d(truth, predicted)
    options = {"labels": present, "average": "macro", "zero_division": 0}
    assert value["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    for name, score in (
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        assert value[f"macro_{name}"] == pytest.approx(score(truth, predicted, **options))
        each = score(truth, predicted, labels=range(5), average=None, zero_division=np.nan)
        got = [value[f"{name}_{stage}"] for stage in range(5)]
        assert np.allclose(got, each, equal_nan=True)
    if len(present) > 1:
        kappa = sk.cohen_kappa_score(truth, predicted, weights="quadratic", labels=range(5))
        assert value["qwk"] == pytest.approx(kappa, nan_ok=True)
    else:
        assert np.isnan(value["qwk"])
    matrix = sk.confusion_matrix(truth, predicted, labels=range(5))
    assert (metrics.confusion(truth, predicted) == matrix).all()


def test_what_is_not_defined_is_null_and_not_zero():
    truth, predicted = np.array([1, 1, 2, 2, 3] * 20), np.array([1, 1, 1, 2, 2] * 20)
    scores = metrics.score_stages(truth, predicted).set_index("metric")
    for absent in ("precision_0", "recall_0", "f1_0", "precision_4", "recall_4", "f1_4"):
        assert scores.loc[absent, ["value", "lower", "upper"]].isna().all(), absent
    # Class 3 occurs and is never predicted: no precision, but a recall and an F1 of zero.
    assert np.isnan(scores.loc["precision_3", "value"])
    assert scores.loc["recall_3", "value"] == scores.loc["f1_3", "value"] == 0


def test_a_constant_prediction():
    truth, _ = ages()
    value = by_metric(metrics.score_ages(truth, np.full(len(truth), truth.mean())))
    assert value["r2"] == pytest.approx(0, abs=1e-9)
    stage = np.digitize(truth, [24, 84, 156, 180])
    scores = metrics.score_stages(stage, np.full(len(stage), 2)).set_index("metric")
    assert tuple(scores.loc["qwk", ["value", "lower", "upper"]]) == (0, 0, 0)
    assert scores.loc["accuracy", "value"] == pytest.approx(np.mean(stage == 2))


def test_one_case_has_scores():
    value = by_metric(metrics.score_ages(np.array([100.0]), np.array([103.0])))
    assert value["mae"] == value["median_error"] == 3
    assert np.isnan(value["r2"])
    assert np.isnan(by_metric(metrics.score_stages(np.array([2]), np.array([2])))["qwk"])


def test_a_score_that_few_resamples_define_has_no_interval():
    truth = np.zeros(100, dtype=int)
    truth[0] = 4
    scores = metrics.score_stages(truth, truth).set_index("metric")
    assert scores.loc["recall_4", "value"] == 1
    assert scores.loc["recall_4", ["lower", "upper"]].isna().all()


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([1.0], [1.0, 2.0]),
        ([], []),
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0], [np.inf]),
        ([[1.0]], [[1.0]]),
    ],
)
def test_what_cannot_be_scored_is_refused(truth, predicted):
    with pytest.raises(ValueError, match="Scores need"):
        metrics.score_ages(np.array(truth), np.array(predicted))


@pytest.mark.parametrize("stage", [5, -1, 1.5])
def test_a_stage_that_is_none_is_refused(stage):
    with pytest.raises(ValueError, match="whole numbers 0 to 4"):
        metrics.score_stages(np.array([0, 1]), np.array([0, stage]))


def test_nullable_columns_are_taken():
    stages = pd.Series([0, 1, 2, 2], dtype="Int8")
    assert by_metric(metrics.score_stages(stages, stages))["accuracy"] == 1


@pytest.mark.full
def test_intervals_are_those_of_scipy():
    truth, predicted = ages(n=400)
    scores = metrics.score_ages(truth, predicted).set_index("metric")
    absolute = np.abs(truth - predicted)
    statistics = {"mae": np.mean, "median_error": np.median}
    for metric, statistic in statistics.items():
        expected = scipy.stats.bootstrap(
            (absolute,), statistic, n_resamples=4000, method="percentile", rng=1
        ).confidence_interval
        width = expected.high - expected.low
        assert scores.loc[metric, "lower"] == pytest.approx(expected.low, abs=0.1 * width)
        assert scores.loc[metric, "upper"] == pytest.approx(expected.high, abs=0.1 * width)
    root = scores.loc["rmse", ["lower", "upper"]] ** 2
    assert root.tolist() == pytest.approx(scores.loc["mse", ["lower", "upper"]].tolist(), rel=1e-3)


@pytest.mark.full
def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 400)
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        error = random.normal(0, 10, 100)
        mae = metrics.score_ages(np.full(100, 100.0), 100 + error).iloc[0]
        covered += mae["lower"] <= 10 * np.sqrt(2 / np.pi) <= mae["upper"]
    assert 0.89 <= covered / 200 <= 0.99


@given(STAGES)
def test_intervals_hold_their_value_in_order(pairs):
    scores = metrics.score_stages(*pairs.T).dropna()
    assert (scores["lower"] <= scores["upper"]).all()
    assert scores[["value", "lower", "upper"]].ge(-1).all(axis=None)
    assert scores[["value", "lower", "upper"]].le(1 + 1e-9).all(axis=None)


def test_the_order_of_cases_does_not_matter_to_the_score():
    truth, predicted = ages(n=300)
    turned = by_metric(metrics.score_ages(truth[::-1], predicted[::-1]))
    for metric, value in by_metric(metrics.score_ages(truth, predicted)).items():
        assert turned[metric] == pytest.approx(value)


def test_a_share_has_an_interval_even_where_all_or_none_is_true():
    n, share, lower, upper = metrics.score_share(np.zeros(25, bool))
    assert (n, share, lower) == (25, 0, 0) and 0.1 < upper < 0.2
    _, share, lower, upper = metrics.score_share(np.ones(25, bool))
    assert (share, upper) == (1, 1) and 0.8 < lower < 0.9
    _, share, lower, upper = metrics.score_share(np.arange(1000) < 900)
    # Near the normal approximation where cases are many.
    assert lower == pytest.approx(0.9 - 1.96 * np.sqrt(0.09 / 1000), abs=0.002)
    assert share == 0.9 < upper < 0.92


def test_a_mean_has_the_interval_of_its_standard_error():
    values = np.random.default_rng(0).normal(5, 2, 400)
    n, mean, lower, upper = metrics.score_mean(values)
    assert (n, mean) == (400, pytest.approx(values.mean()))
    assert upper - lower == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.2)
