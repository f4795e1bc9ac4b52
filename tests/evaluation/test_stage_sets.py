"""Sets of stages: what crepes gives, as many held as promised, and the same out of their JSON."""

import json

import numpy as np
import pytest
from crepes import ConformalClassifier
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers.evaluation import conformal
from nbhelpers.evaluation.conformal import LEVELS, SET_KINDS
from nbhelpers.workspace import InputError

SHARES = [0.05, 0.20, 0.55, 0.15, 0.05]


def cases(n, seed=0, certainty=0.7):
    """Probabilities and true stages; rare stages are told apart worse."""
    random = np.random.default_rng(seed)
    stage = random.choice(5, n, p=SHARES)
    logit = random.normal(0, 1, (n, 5)) + 3 * np.array(SHARES)
    logit[np.arange(n), stage] += certainty
    likelihood = np.exp(logit)
    return likelihood / likelihood.sum(axis=1, keepdims=True), stage


def held_true(made, given_cases, kind, level):
    probabilities, stage = given_cases
    held = conformal.held_stages(made, probabilities, kind, level)
    return held[np.arange(len(stage)), stage]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [30, 850])
def test_plain_sets_are_those_of_crepes(level, n):
    probabilities, stage = cases(n)
    new, _ = cases(300, seed=9)
    made = conformal.fit_stage_sets(probabilities, stage)
    theirs = ConformalClassifier().fit(1 - probabilities[np.arange(n), stage])
    expected = theirs.predict_set(1 - new, confidence=level - 1e-9, smoothing=False).astype(bool)
    expected[np.arange(300), new.argmax(axis=1)] = True
    np.testing.assert_array_equal(conformal.held_stages(made, new, "plain", level), expected)


@pytest.mark.parametrize("kind", SET_KINDS)
@pytest.mark.parametrize("level", LEVELS)
def test_new_cases_are_held_as_promised(kind, level):
    shares = [
        held_true(
            conformal.fit_stage_sets(*cases(850, seed)), cases(3000, 1000 + seed), kind, level
        ).mean()
        for seed in range(20)
    ]
    # Above the promise where the most likely stage is added to an empty set.
    assert level - 0.012 < np.mean(shares) < level + 0.02


def test_every_stage_is_held_by_stage_and_rare_ones_not_by_plain_sets():
    shares = {kind: np.zeros(5) for kind in SET_KINDS}
    for seed in range(20):
        made = conformal.fit_stage_sets(*cases(2000, seed))
        new = cases(4000, 1000 + seed)
        for kind in SET_KINDS:
            inside = held_true(made, new, kind, 0.9)
            shares[kind] += [inside[new[1] == stage].mean() / 20 for stage in range(5)]
    assert (shares["by stage"] > 0.88).all()
    assert shares["plain"].min() < 0.85


def test_a_rare_stage_shares_its_limit_with_its_smaller_neighbour():
    stage = np.repeat([0, 1, 2, 3, 4], [10, 60, 200, 90, 45])
    probabilities, _ = cases(len(stage))
    limits = conformal.fit_stage_sets(probabilities, stage).limits["by stage"]["0.9"]
    assert limits[0] == limits[1]
    assert len(set(limits)) == 4


def test_a_set_is_never_empty_and_all_stages_where_cases_are_too_few():
    made = conformal.fit_stage_sets(*cases(400, certainty=6.0))
    flat = np.full((1, 5), 0.2)
    assert conformal.held_stages(made, flat, "plain", 0.8).sum() == 1
    few = conformal.fit_stage_sets(*cases(5))
    assert conformal.held_stages(few, flat, "plain", 0.95).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, 10_000))
def test_higher_levels_hold_more_and_json_keeps_everything(n, seed):
    made = conformal.fit_stage_sets(*cases(n, seed))
    again = conformal.sets_from_json(json.loads(json.dumps(conformal.sets_as_json(made))), "x")
    assert again == made
    new, _ = cases(50, seed + 1)
    for kind in SET_KINDS:
        by_level = [conformal.held_stages(made, new, kind, level) for level in LEVELS]
        assert (by_level[0] <= by_level[1]).all() and (by_level[1] <= by_level[2]).all()


@pytest.mark.parametrize(
    "content",
    [{}, {"limits": None}, {"limits": {"plain": {"0.8": [0.1] * 4}}}, {"limits": {"plain": 3}}],
)
def test_other_json_is_refused_by_name(content):
    with pytest.raises(InputError, match=r"cnn.stage.sets.json holds no sets"):
        conformal.sets_from_json(content, "cnn.stage.sets.json")


@pytest.mark.parametrize("limit", [1.5, -0.1, float("nan"), "a"])
def test_a_limit_that_is_no_probability_is_refused(limit):
    content = json.loads(json.dumps(conformal.sets_as_json(conformal.fit_stage_sets(*cases(400)))))
    content["limits"]["plain"]["0.9"][2] = limit
    with pytest.raises(InputError, match="holds no sets"):
        conformal.sets_from_json(content, "x")
