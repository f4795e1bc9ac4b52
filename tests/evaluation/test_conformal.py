"""Intervals and sets: what crepes gives, as often right as promised, the same out of their JSON."""

import itertools
import json
import warnings
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from crepes import ConformalClassifier, ConformalRegressor
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers.data.stages import SEXES, stage_of
from nbhelpers.evaluation import conformal
from nbhelpers.evaluation.conformal import KINDS, LEVELS, SET_KINDS, SMALLEST_GROUP

CUTS = "gilsanz_ratib"


def cases(n, seed=0, unknown=0.0):
    """Predicted months, true months and sex; errors grow with age and are larger for boys."""
    random = np.random.default_rng(seed)
    sex = random.choice(np.array(["female", "male"], dtype=object), n)
    months = random.uniform(10, 220, n)
    spread = (2 + months / 20) * np.where(sex == "male", 1.5, 1.0)
    truth = months + random.normal(0, 1, n) * spread
    sex[random.uniform(size=n) < unknown] = None
    return months, truth, sex


def fitted(n=850, seed=0, **options):
    return conformal.fit(*cases(n, seed, **options), CUTS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("kind", "n"), [("plain", 19), ("plain", 850), ("mondrian", 2000)])
def test_intervals_are_those_of_crepes(kind, n, level):
    months, truth, sex = cases(n)
    made = conformal.fit(months, truth, sex, CUTS)
    bins = np.zeros(n, int)
    if kind == "mondrian":
        stage = np.asarray(stage_of(months, sex, CUTS), int)
        bins = np.array([made.groups[name][at] for name, at in zip(sex, stage, strict=True)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = ConformalRegressor().fit(truth - months, bins=bins)
        # A hair below the level: crepes computes (1 - 0.8) * 100 as 19.999 and takes the next.
        theirs = theirs.predict_int(months, bins=bins, confidence=level - 1e-9)
    expected = np.clip(theirs, 0, conformal.OLDEST_MONTHS)
    np.testing.assert_allclose(conformal.ends(made, months, sex, kind, level), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_new_cases_are_covered_as_promised_and_each_group_by_mondrian_alone(level):
    shares = {kind: [] for kind in KINDS}
    for seed in range(15):
        made, (months, truth, sex) = fitted(2000, seed), cases(4000, 1000 + seed)
        truth = truth.clip(0, conformal.OLDEST_MONTHS)  # where intervals end, too
        stage = np.asarray(stage_of(months, sex, CUTS), int)
        for kind, found in shares.items():
            ends = conformal.ends(made, months, sex, kind, level)
            inside = pd.Series((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
            found.append([inside.mean(), *inside.groupby([sex, stage]).mean()])
    shares = {kind: np.mean(found, axis=0) for kind, found in shares.items()}
    assert all(abs(of_all - level) < 0.012 for of_all, *_ in shares.values())
    assert shares["mondrian"].min() > level - 0.03 > level - 0.05 > shares["plain"].min()


def test_scaled_intervals_are_wide_where_errors_are_large():
    made = fitted(3000)
    months, sex = np.array([20.0, 180.0]), np.array(["female", "female"], dtype=object)
    narrow, wide = np.ptp(conformal.ends(made, months, sex, "scaled", 0.8), axis=1)
    assert wide > 2 * narrow


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_sex_spans_both_sexes_and_too_few_cases_give_all_ages(kind):
    months = np.linspace(5, 225, 60)
    all_ages = conformal.ends(fitted(8), months, np.full(60, "male", object), kind, 0.95)
    assert (all_ages == [0.0, conformal.OLDEST_MONTHS]).all()
    made = fitted()
    girl, boy, unknown = (
        conformal.ends(made, months, np.full(60, sex, object), kind, 0.9)
        for sex in ("female", "male", None)
    )
    np.testing.assert_array_equal(unknown[:, 0], np.minimum(girl[:, 0], boy[:, 0]))
    np.testing.assert_array_equal(unknown[:, 1], np.maximum(girl[:, 1], boy[:, 1]))
    nobody = np.full(400, None)
    none_known = conformal.fit(*cases(400)[:2], nobody, CUTS)
    mine, plain = (conformal.ends(none_known, months, nobody[:60], k, 0.9) for k in (kind, "plain"))
    assert kind == "scaled" or (mine == plain).all()


@settings(max_examples=40)
@given(st.integers(1, 600), st.integers(0, 10_000))
def test_every_stage_has_a_group_that_is_large_enough_or_the_only_one(n, seed):
    months, truth, sex = cases(n, seed, unknown=0.05)
    made = conformal.fit(months, truth, sex, CUTS)
    for name in SEXES:
        mine = sex == name
        stage = np.asarray(stage_of(months, np.full(n, name, object), CUTS), int)
        group = np.array(made.groups[name])[stage]
        names = list(dict.fromkeys(made.groups[name]))
        assert made.groups[name] == sorted(made.groups[name], key=names.index)  # neighbours only
        for one in names if len(names) > 1 else []:
            assert (mine & (group == one)).sum() >= SMALLEST_GROUP
    text = json.dumps(asdict(made), allow_nan=False)
    assert conformal.Intervals(**json.loads(text)) == made
    for kind in KINDS:
        nested = [conformal.ends(made, months, sex, kind, level) for level in LEVELS]
        for inner, outer in itertools.pairwise(nested):
            assert (outer[:, 0] <= inner[:, 0]).all() and (inner[:, 1] <= outer[:, 1]).all()


SHARES = [0.05, 0.20, 0.55, 0.15, 0.05]


def staged(n, seed=0, certainty=0.7):
    """Probabilities and true stages; rare stages are told apart worse."""
    random = np.random.default_rng(seed)
    stage = random.choice(5, n, p=SHARES)
    logit = random.normal(0, 1, (n, 5)) + 3 * np.array(SHARES)
    logit[np.arange(n), stage] += certainty
    likelihood = np.exp(logit)
    return likelihood / likelihood.sum(axis=1, keepdims=True), stage


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [30, 850])
def test_plain_sets_are_those_of_crepes(level, n):
    probabilities, stage = staged(n)
    new, _ = staged(300, seed=9)
    made = conformal.fit_stage_sets(probabilities, stage)
    theirs = ConformalClassifier().fit(1 - probabilities[np.arange(n), stage])
    expected = theirs.predict_set(1 - new, confidence=level - 1e-9, smoothing=False).astype(bool)
    expected[np.arange(300), new.argmax(axis=1)] = True
    np.testing.assert_array_equal(conformal.held_stages(made, new, "plain", level), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_stages_are_held_as_promised_and_rare_ones_by_stage_alone(level):
    shares = {kind: np.zeros(6) for kind in SET_KINDS}
    for seed in range(20):
        made = conformal.fit_stage_sets(*staged(2000, seed))
        probabilities, stage = staged(4000, 1000 + seed)
        for kind in SET_KINDS:
            held = conformal.held_stages(made, probabilities, kind, level)
            inside = held[np.arange(len(stage)), stage]
            each = [inside[stage == at].mean() for at in range(5)]
            shares[kind] += np.array([inside.mean(), *each]) / 20
    # Above the promise where the most likely stage is added to an empty set.
    assert all(level - 0.012 < of_all < level + 0.02 for of_all, *_ in shares.values())
    assert (shares["by stage"][1:] > level - 0.02).all()
    assert shares["plain"][1:].min() < level - 0.04
