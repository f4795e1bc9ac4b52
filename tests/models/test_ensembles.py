"""Ensembles: what is fitted, on which rows, and that what is saved says the same."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from notebook_code import functions

from nbhelpers import predictions
from nbhelpers.models import ensembles
from nbhelpers.models.ensembles import combine, cross_fitted, fitted
from nbhelpers.workspace import InputError, write_json

OF_AGES = ("equal", "least_absolute_error", "linear", "ridge", "ridge_with_sex")
OF_STAGES = ("equal", "least_cross_entropy", "logistic")
FIT = dict(zip(OF_AGES + OF_STAGES, functions("05_ensembling", *OF_AGES, *OF_STAGES), strict=True))
ALL_FITS = [("age", name) for name in OF_AGES] + [("stage", name) for name in OF_STAGES]
N = 400


def case_table(n=N, seed=0):
    random = np.random.default_rng(seed)
    split = random.choice(["train", "calibration", "test"], n, p=[0.4, 0.4, 0.2]).astype(object)
    fold = pd.array(np.where(split == "train", np.arange(n) % 5, 0), dtype="Int8")
    fold[split != "train"] = pd.NA
    age = random.uniform(20, 220, n)
    return pd.DataFrame(
        {
            "case_id": [f"c{row}" for row in range(n)],
            "sex": random.choice(np.array(["female", "male"], dtype=object), n),
            "age_months": age,
            "stage": pd.array((age // 45).astype(int), dtype="Int8"),
            "split": split,
            "fold": fold,
        }
    )


def months_of(table, spread, seed):
    return table["age_months"] + np.random.default_rng(seed).normal(0, spread, len(table))


def probabilities_of(table, spread, seed):
    score = np.random.default_rng(seed).normal(0, spread, (len(table), 5))
    score[np.arange(len(table)), table["stage"].to_numpy(int)] += 2
    return np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)


SPREADS = {"good": 8.0, "fair": 12.0, "poor": 30.0}


def save_table(folder, table):
    folder.mkdir(exist_ok=True)
    files = table.assign(image_path="/nowhere.png", image_sha256="")
    files.to_parquet(folder / "cases.parquet", index=False)
    write_json(folder / "data.json", {"fingerprint": {}})


def saved(folder, task, out_of_fold=False, **options):
    """A run folder with predictions of three members, the errors of which are independent."""
    table = case_table(**options)
    save_table(folder, table)
    make = months_of if task == "age" else probabilities_of
    for seed, (name, spread) in enumerate(SPREADS.items()):
        said = make(table, spread if task == "age" else spread / 8, seed)
        predictions.save_predictions(folder, name, task, table, said, out_of_fold=out_of_fold)
    return table


def known(folder, task="age", **options):
    saved(folder, task, **options)
    return ensembles.known_rows(folder, tuple(SPREADS), task)


def test_an_ensemble_is_fitted_on_calibration_alone(tmp_path):
    """Also where all members have folds: one network predicts a case out of fold, five the rest."""
    table = saved(tmp_path, "age", out_of_fold=True)
    found = ensembles.known_rows(tmp_path, tuple(SPREADS), "age")
    wanted = table.query("split == 'calibration'")["case_id"]
    assert found.cases["case_id"].tolist() == wanted.tolist()


def test_rows_of_members_are_matched_by_case_and_not_by_place(tmp_path):
    table = saved(tmp_path, "age")
    in_order = ensembles.known_rows(tmp_path, tuple(SPREADS), "age")
    mixed = table.sample(frac=1, random_state=3)
    months = months_of(table, SPREADS["fair"], 1)[mixed.index]
    predictions.save_predictions(tmp_path, "fair", "age", mixed, months)
    again = ensembles.known_rows(tmp_path, tuple(SPREADS), "age")
    np.testing.assert_array_equal(again.predicted, in_order.predicted)


def test_a_member_that_lacks_cases_is_named(tmp_path):
    table = saved(tmp_path, "age")
    gone = table.query("split == 'calibration'").iloc[0]["case_id"]
    less = table[table["case_id"] != gone]
    predictions.save_predictions(tmp_path, "poor", "age", less, less["age_months"])
    with pytest.raises(InputError, match=rf"poor\.age lacks 1 cases .* such as {gone}"):
        ensembles.known_rows(tmp_path, tuple(SPREADS), "age")


def test_a_member_made_from_other_data_is_named(tmp_path):
    table = saved(tmp_path, "age")
    moved = table.copy()
    row = moved.index[moved["split"] == "test"][0]
    moved.loc[row, "split"] = "calibration"
    predictions.save_predictions(tmp_path, "fair", "age", moved, moved["age_months"])
    wrong = rf"fair\.age has {moved.loc[row, 'case_id']} in the split calibration"
    with pytest.raises(InputError, match=wrong):
        ensembles.known_rows(tmp_path, tuple(SPREADS), "age")


@pytest.mark.parametrize("task", ["age", "stage"])
@pytest.mark.parametrize("out_of_fold", [False, True])
def test_every_case_is_predicted_and_those_it_was_fitted_on_without_themselves(
    tmp_path, task, out_of_fold
):
    table = saved(tmp_path, task, out_of_fold=out_of_fold)
    found = ensembles.known_rows(tmp_path, tuple(SPREADS), task)
    fit = FIT["ridge" if task == "age" else "logistic"]
    made, cross = fitted("made", fit, found), cross_fitted(fit, found)
    ensembles.save_predictions(tmp_path, "made", made, found, cross)
    cases = predictions.all_rows(tmp_path, "made", task)
    values = predictions.VALUE_COLUMNS[task]
    predicted = cases[values].to_numpy() if task == "stage" else cases["predicted_months"]
    table = table[table["split"] != "train"]
    assert cases["case_id"].tolist() == table["case_id"].tolist()
    at = cases.set_index("case_id").index.get_indexer(found.cases["case_id"])
    np.testing.assert_array_equal(predicted[at], cross)
    assert not np.allclose(cross, combine(made, found.predicted, found.sex))
    test = np.flatnonzero(cases["split"] == "test")
    tables = [predictions.said_rows(tmp_path, m, task).set_index("case_id") for m in SPREADS]
    said = [table.loc[cases["case_id"].iloc[test], values].to_numpy() for table in tables]
    stacked = np.stack(said, axis=1)
    expected = combine(made, stacked[:, :, 0] if task == "age" else stacked, np.zeros(len(test)))
    np.testing.assert_allclose(predicted[test], expected)


@pytest.mark.parametrize("names", [(), ("good",), ("good", "good")])
def test_fewer_than_two_members_are_refused(tmp_path, names):
    with pytest.raises(InputError, match="name two models or more"):
        ensembles.known_rows(tmp_path, names, "age")


def test_too_few_cases_to_fit_on_are_said(tmp_path):
    with pytest.raises(InputError, match="labelled cases of calibration: an ensemble needs 10"):
        known(tmp_path, n=15)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_a_weighted_average_has_the_least_loss_of_all_averages(tmp_path, task):
    found = known(tmp_path, task)
    fit = FIT["least_absolute_error" if task == "age" else "least_cross_entropy"]

    def loss(weights):
        if task == "age":
            return np.abs(found.predicted @ weights - found.truth).mean()
        return -np.log(
            found.predicted[np.arange(len(found.truth)), :, found.truth] @ weights
        ).mean()

    weights = np.array(fitted("weighted", fit, found).weights[0])
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    others = np.random.default_rng(0).dirichlet(np.ones(3), 300)
    assert loss(weights) <= min(map(loss, others)) + 1e-6


@pytest.mark.parametrize(("task", "name"), ALL_FITS)
def test_an_ensemble_beats_its_members_on_cases_that_it_was_not_fitted_on(tmp_path, task, name):
    def loss(predicted):
        wrong = predicted - truth if task == "age" else predicted.argmax(axis=1) != truth
        return np.abs(wrong).mean()

    saved(tmp_path, task, n=2000)
    found = ensembles.known_rows(tmp_path, tuple(SPREADS), task)
    if name == "equal":  # not with a member that is much worse
        found = ensembles.known_rows(tmp_path, ("good", "fair"), task)
    said, truth = cross_fitted(FIT[name], found), found.truth
    assert loss(said) < min(loss(found.predicted[:, place]) for place in range(len(found.members)))


def test_a_case_is_predicted_by_an_ensemble_that_did_not_see_it(tmp_path):
    found = known(tmp_path)
    before = cross_fitted(FIT["ridge"], found)
    truth = found.truth.copy()
    truth[7] += 500
    after = cross_fitted(FIT["ridge"], dataclasses.replace(found, truth=truth))
    assert after[7] == before[7]
    assert (after != before).sum() > 0.7 * len(before)


def test_sex_is_used_where_it_tells_something(tmp_path):
    table = case_table()
    save_table(tmp_path, table)
    shifted = months_of(table, 5, 0) + np.where(table["sex"] == "male", 20, -20)
    for name in ("one", "two"):
        predictions.save_predictions(tmp_path, name, "age", table, shifted)
    found = ensembles.known_rows(tmp_path, ("one", "two"), "age")
    without, using = (
        np.abs(cross_fitted(FIT[name], found) - found.truth).mean()
        for name in ("ridge", "ridge_with_sex")
    )
    assert using < 0.5 * without
    assert fitted("", FIT["ridge_with_sex"], found).sex[0] == pytest.approx(-40, abs=3)


def test_unknown_sex_gives_the_mean_over_both_sexes(tmp_path):
    found = dataclasses.replace(known(tmp_path), male_share=0.3)
    made = fitted("", FIT["ridge_with_sex"], found)
    girl, boy, unknown = (
        combine(made, found.predicted, np.full(len(found.truth), sex)) for sex in (0, 1, np.nan)
    )
    np.testing.assert_allclose(unknown, 0.3 * boy + 0.7 * girl)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_leaving_out_the_best_member_costs_most(tmp_path, task):
    fit = FIT["least_absolute_error" if task == "age" else "least_cross_entropy"]
    added = ensembles.leave_one_out(fit, known(tmp_path, task))
    assert added["value"].idxmax() == "good"
    assert added.loc["good", "lower"] > 0
    assert (added["n"] == added["n"].iloc[0]).all()


def test_errors_correlate_where_members_share_them(tmp_path):
    table = case_table()
    save_table(tmp_path, table)
    shared = months_of(table, 10, 0)
    for name, said in {"a": shared, "b": shared + 1, "c": months_of(table, 10, 5)}.items():
        predictions.save_predictions(tmp_path, name, "age", table, said)
    found = ensembles.error_correlation(ensembles.known_rows(tmp_path, ("a", "b", "c"), "age"))
    assert found.loc["a", "b"] == pytest.approx(1)
    assert abs(found.loc["a", "c"]) < 0.25


@pytest.mark.parametrize(("task", "name"), ALL_FITS)
def test_json_says_what_the_fit_says(tmp_path, task, name):
    found = known(tmp_path, task)
    made = fitted(name, FIT[name], found)
    again = ensembles.from_json(json.loads(json.dumps(dataclasses.asdict(made))), "x.json")
    assert again == made
    said = combine(again, found.predicted, found.sex)
    np.testing.assert_array_equal(said, combine(made, found.predicted, found.sex))
    if task == "stage":
        np.testing.assert_allclose(said.sum(axis=1), 1)


def test_json_of_something_else_is_refused():
    with pytest.raises(InputError, match=r"^x\.json is no ensemble"):
        ensembles.from_json({"kind": "ridge", "task": "age"}, "x.json")


def test_stages_that_calibration_lacks_are_never_predicted(tmp_path):
    found = known(tmp_path, "stage")
    for kept in ((0, 1, 3), (1, 3), (3,)):
        rows = np.isin(found.truth, kept)
        few = ensembles.part_of(found, rows)
        said = combine(fitted("", FIT["logistic"], few), few.predicted, few.sex)
        assert set(said.argmax(axis=1)) <= set(kept)
        assert (said.argmax(axis=1) == few.truth).mean() > 0.7
