"""Scores against scikit-learn, intervals against scipy, what is not defined, pairs of models."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
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
    truth[:3], predicted[:3] = 0, [6, 12, 24]
    expected = {
        "mae": sk.mean_absolute_error(truth, predicted),
        "mse": sk.mean_squared_error(truth, predicted),
        "rmse": sk.root_mean_squared_error(truth, predicted),
        "r2": sk.r2_score(truth, predicted),
        "median_error": sk.median_absolute_error(truth, predicted),
    }
    for limit in (6, 12, 24):  # an error on the limit counts as within
        expected[f"within_{limit}"] = np.mean(abs(truth - predicted) <= limit)
    assert by_metric(metrics.score_ages(truth, predicted)) == pytest.approx(expected)


@settings(max_examples=50)
@given(STAGES)
def test_stage_scores_are_those_of_scikit_learn(pairs):
    truth, predicted = pairs.T
    scores = metrics.score_stages(truth, predicted)
    ends, value = scores.dropna(), by_metric(scores)
    assert (ends["lower"] <= ends["upper"]).all()
    assert ends[["lower", "upper"]].stack().between(-1, 1 + 1e-9).all()
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


def test_scores_at_the_edge():
    value = by_metric(metrics.score_ages(np.array([100.0]), np.array([103.0])))
    assert value["mae"] == value["median_error"] == 3 and np.isnan(value["r2"])
    assert np.isnan(by_metric(metrics.score_stages(np.array([2]), np.array([2])))["qwk"])
    # Always the same prediction: no agreement beyond chance, and no resample differs.
    scores = metrics.score_stages(np.arange(50) % 5, np.full(50, 2)).set_index("metric")
    assert scores.loc["qwk", "value"] == 0 and scores.loc["qwk", ["lower", "upper"]].isna().all()
    # Too few resamples define the recall of a class of one case: no interval.
    truth = np.append(np.zeros(99, dtype=int), 4)
    scores = metrics.score_stages(truth, truth).set_index("metric")
    assert scores.loc["recall_4", "value"] == 1
    assert scores.loc["recall_4", ["lower", "upper"]].isna().all()


@pytest.mark.parametrize(
    ("truth", "predicted"), [([1.0], [1.0, 2.0]), ([], []), ([1.0], [np.nan]), ([[1.0]], [[1.0]])]
)
def test_what_cannot_be_scored_is_refused(truth, predicted):
    with pytest.raises(ValueError, match="Scores need"):
        metrics.score_ages(np.array(truth), np.array(predicted))


def test_nullable_columns_are_taken_and_stages_that_are_none_refused():
    stages = pd.Series([0, 1, 2, 2], dtype="Int8")
    assert by_metric(metrics.score_stages(stages, stages))["accuracy"] == 1
    with pytest.raises(ValueError, match="whole numbers 0 to 4"):
        metrics.score_stages(stages, stages + 0.5)


@pytest.mark.full
def test_intervals_are_those_of_scipy():
    truth, predicted = ages(n=400)
    scores = metrics.score_ages(truth, predicted).set_index("metric")[["lower", "upper"]]
    absolute = np.abs(truth - predicted)
    for metric, statistic in {"mae": np.mean, "median_error": np.median}.items():
        drawn = scipy.stats.bootstrap(
            (absolute,), statistic, n_resamples=4000, method="percentile", rng=1
        )
        ends = drawn.confidence_interval
        np.testing.assert_allclose(scores.loc[metric], ends, atol=0.1 * (ends.high - ends.low))
    np.testing.assert_allclose(scores.loc["rmse"] ** 2, scores.loc["mse"], rtol=1e-3)


@pytest.mark.parametrize(("true", "ends"), [(0, (0, 0.13)), (25, (0.87, 1)), (10, (0.23, 0.59))])
def test_a_share_has_an_interval_even_where_all_or_none_is_true(true: int, ends: tuple):
    assert metrics.score_share(np.arange(25) < true)[:2] == (25, true / 25)
    assert metrics.score_share(np.arange(25) < true)[2:] == pytest.approx(ends, abs=0.005)


def test_a_mean_has_the_interval_of_its_standard_error():
    values = np.random.default_rng(0).normal(5, 2, 400)
    n, mean, lower, upper = metrics.score_mean(values)
    assert (n, mean) == (400, pytest.approx(values.mean()))
    assert upper - lower == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.2)


@pytest.mark.full
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


@pytest.mark.parametrize("task", ["age", "stage"])
def test_an_interval_over_seeds_and_cases_is_wider_than_over_cases_where_seeds_differ(task):
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 5, 300)
    near = np.clip(truth + rng.integers(-1, 2, 300), 0, 4)
    far = np.clip(truth + rng.integers(-2, 3, 300), 0, 4)
    name, scored = ("mae", metrics.score_ages) if task == "age" else ("qwk", metrics.score_stages)
    alone = scored(truth, near).set_index("metric").loc[name, ["value", "lower", "upper"]]
    each, *same = metrics.score_seeds(task, truth, np.stack([near] * 3))
    assert [each[0], *same] == pytest.approx([*alone])
    each, lower, upper = metrics.score_seeds(task, truth, np.stack([near, near, far]))
    assert each[2] != pytest.approx(each[0]) and lower < each.mean() < upper
    assert upper - lower > 1.5 * (same[1] - same[0])


def test_one_case_has_no_interval_and_no_verdict():
    """Nor has a score that is the same in every resample: four of four right may be luck.

    Shares of several cases have one, that knows it.
    """
    ends = ["lower", "upper"]
    told = pd.Series(metrics.compare_errors([9.0], [1.0]))
    assert told["value"] == 8 and told[[*ends, "p"]].isna().all()
    assert metrics.score_ages([100.0], [132.2])[ends].isna().all(axis=None)
    assert np.isnan(metrics.score_mean([32.2])[2:]).all()
    # Nor has a difference in one case of many: a third of the resamples lack it.
    assert np.isnan(metrics.compare_errors(1.03 + np.eye(301)[7], np.full(301, 1.03))["upper"])
    scores = metrics.score_stages([0, 0, 0, 0, 1, 2], [0, 0, 0, 0, 1, 2]).set_index("metric")
    assert (scores["value"] == 1).any() and scores[ends].drop("accuracy").isna().all(axis=None)
    assert tuple(scores.loc["accuracy", ends]) == metrics.score_share([True] * 6)[2:]
    for alike in (([90.0] * 4, [90.0, 91, 92, 93]), ([90.0, 91, 92, 93], [90.0] * 4)):
        assert np.isnan(metrics.score_slope(*map(np.array, alike))[1:]).all()


@pytest.mark.full
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


@pytest.mark.full
def test_a_model_does_not_differ_from_itself():
    truth = np.arange(600) % 5
    nothing = {"n": 600, "value": 0, "lower": 0, "upper": 0, "p": 1}
    assert metrics.compare_kappa(truth, truth[::-1], truth[::-1]) == nothing
    assert metrics.compare_errors(truth, truth) == nothing


@pytest.mark.full
def test_a_difference_in_kappa_of_0_63_and_0_85_is_found_among_many():
    random = np.random.default_rng(3)
    truth = random.integers(0, 5, 1701)
    fair, good = (
        np.clip(np.rint(truth + random.normal(0, spread, 1701)), 0, 4) for spread in (1.7, 0.85)
    )
    told = metrics.compare_kappa(truth, fair, good)
    kappas = [sk.cohen_kappa_score(truth, said, weights="quadratic") for said in (fair, good)]
    assert kappas == pytest.approx([0.63, 0.85], abs=0.02)
    assert told["value"] == pytest.approx(kappas[0] - kappas[1])
    assert told["lower"] < told["value"] < told["upper"] < 0
    assert metrics.holm([told["p"]] + [0.5] * 77)[0] < 0.05


def test_holm_by_hand():
    np.testing.assert_allclose(metrics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_only_raises(p):
    corrected = metrics.holm(p)
    assert (corrected >= np.array(p)).all() and (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()
    assert corrected[int(np.argmin(p))] == min(1.0, len(p) * min(p))
