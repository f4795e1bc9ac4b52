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
SPREADS = {"good": 8.0, "fair": 12.0, "poor": 30.0}
MEMBERS = tuple(SPREADS)


def case_table(n=400):
    random = np.random.default_rng(0)
    split = random.choice(["train", "calibration", "test"], n, p=[0.4, 0.4, 0.2]).astype(object)
    fold = pd.Series(np.arange(n) % 5, dtype="Int8").where(split == "train")
    age = random.uniform(20, 220, n)
    facts = {"age_months": age, "stage": (age // 45).astype(int), "split": split, "fold": fold}
    sex = random.choice(np.array(["female", "male"], dtype=object), n)
    return pd.DataFrame({"case_id": [f"c{row}" for row in range(n)], "sex": sex, **facts})


def say(table, task, spread, seed):
    """Predictions of a member: months, or probabilities."""
    random = np.random.default_rng(seed)
    if task == "age":
        return table["age_months"] + random.normal(0, spread, len(table))
    score = random.normal(0, spread / 8, (len(table), 5))
    score[np.arange(len(table)), table["stage"]] += 2
    return np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)


def save_table(folder, table):
    folder.mkdir(exist_ok=True)
    files = table.assign(image_path="/nowhere.png", image_sha256="").astype({"stage": "Int8"})
    files.to_parquet(folder / "cases.parquet", index=False)
    write_json(folder / "data.json", {"fingerprint": {}})


def saved(folder, task, out_of_fold=False, **options):
    """A run folder with predictions of three members, the errors of which are independent."""
    table = case_table(**options)
    save_table(folder, table)
    for seed, (name, spread) in enumerate(SPREADS.items()):
        said = say(table, task, spread, seed)
        predictions.save_predictions(folder, name, task, table, said, out_of_fold=out_of_fold)
    return table


def known(folder, task="age", **options):
    saved(folder, task, **options)
    return ensembles.known_rows(folder, MEMBERS, task)


def test_an_ensemble_is_fitted_on_calibration_alone(tmp_path):
    """Also where all members have folds: one network predicts a case out of fold, five the rest."""
    table = saved(tmp_path, "age", out_of_fold=True)
    found = ensembles.known_rows(tmp_path, MEMBERS, "age")
    wanted = table.query("split == 'calibration'")["case_id"]
    assert found.cases["case_id"].tolist() == wanted.tolist()
    mixed = table.sample(frac=1, random_state=3)  # rows are matched by case, not by place
    months = say(table, "age", SPREADS["fair"], 1)[mixed.index]
    predictions.save_predictions(tmp_path, "fair", "age", mixed, months)
    again = ensembles.known_rows(tmp_path, MEMBERS, "age")
    np.testing.assert_array_equal(again.predicted, found.predicted)


@pytest.mark.parametrize("fault", ["lacks", "moved"])
def test_a_member_made_from_other_data_is_named(tmp_path, fault):
    table = saved(tmp_path, "age")
    row = table.index[table["split"] == ("calibration" if fault == "lacks" else "test")][0]
    other = table.drop(row) if fault == "lacks" else table.copy()
    if fault == "moved":
        other.loc[row, "split"] = "calibration"
    predictions.save_predictions(tmp_path, "fair", "age", other, other["age_months"])
    with pytest.raises(InputError, match=rf"fair\.age has no case {table['case_id'][row]} in the"):
        ensembles.known_rows(tmp_path, MEMBERS, "age")


@pytest.mark.parametrize("task", ["age", "stage"])
def test_every_case_is_predicted_and_those_it_was_fitted_on_without_themselves(tmp_path, task):
    table = saved(tmp_path, task, out_of_fold=True)
    found = ensembles.known_rows(tmp_path, MEMBERS, task)
    fit = FIT["ridge" if task == "age" else "logistic"]
    made, cross = fitted("made", fit, found), cross_fitted(fit, found)
    ensembles.save_predictions(tmp_path, "made", made, found, cross)
    cases = predictions.all_rows(tmp_path, "made", task)
    predicted = cases[predictions.VALUE_COLUMNS[task]].to_numpy().squeeze()
    table = table[table["split"] != "train"]
    assert cases["case_id"].tolist() == table["case_id"].tolist()
    at = cases.set_index("case_id").index.get_indexer(found.cases["case_id"])
    np.testing.assert_array_equal(predicted[at], cross)
    assert not np.allclose(cross, combine(made, found.predicted, found.sex))
    test = (table["split"] == "test").to_numpy()
    said = [say(case_table(), task, *of) for of in zip(SPREADS.values(), range(3), strict=True)]
    stacked = np.stack(said, axis=1)[table.index][test]
    np.testing.assert_allclose(predicted[test], combine(made, stacked, np.zeros(test.sum())))


def test_fewer_than_two_members_and_too_few_cases_are_refused(tmp_path):
    for names in ((), ("good",), ("good", "good")):
        with pytest.raises(InputError, match="name two models or more"):
            ensembles.known_rows(tmp_path, names, "age")
    with pytest.raises(InputError, match="labelled cases of calibration: an ensemble needs 10"):
        known(tmp_path, n=15)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_a_weighted_average_has_the_least_loss_of_all_averages(tmp_path, task):
    found = known(tmp_path, task)
    fit = FIT["least_absolute_error" if task == "age" else "least_cross_entropy"]

    def loss(weights):
        if task == "age":
            return np.abs(found.predicted @ weights - found.truth).mean()
        of_truth = found.predicted[np.arange(len(found.truth)), :, found.truth]
        return -np.log(of_truth @ weights).mean()

    weights = np.array(fitted("weighted", fit, found).weights[0])
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    others = np.random.default_rng(0).dirichlet(np.ones(3), 300)
    assert loss(weights) <= min(map(loss, others)) + 1e-6


@pytest.mark.parametrize(("task", "name"), ALL_FITS)
def test_an_ensemble_beats_its_members_on_other_cases_and_json_says_the_same(tmp_path, task, name):
    found = known(tmp_path, task, n=2000)
    if name == "equal":  # not with a member that is much worse
        found = ensembles.known_rows(tmp_path, MEMBERS[:2], task)
    each = [*np.moveaxis(found.predicted, 1, 0), cross_fitted(FIT[name], found)]
    if task == "stage":
        each = [said.argmax(axis=1) != found.truth for said in each]
    else:
        each = [np.abs(said - found.truth) for said in each]
    *alone, own = (wrong.mean() for wrong in each)
    assert own < min(alone)
    made = fitted(name, FIT[name], found)
    again = ensembles.from_json(json.loads(json.dumps(dataclasses.asdict(made))), "x.json")
    assert again == made
    if task == "stage":
        said = combine(made, found.predicted, found.sex)
        np.testing.assert_allclose(said.sum(axis=1), 1)


def test_a_case_is_predicted_by_an_ensemble_that_did_not_see_it(tmp_path):
    found = known(tmp_path)
    before, truth = cross_fitted(FIT["ridge"], found), found.truth.copy()
    truth[7] += 500
    after = cross_fitted(FIT["ridge"], dataclasses.replace(found, truth=truth))
    assert after[7] == before[7] and (after != before).mean() > 0.7


def test_sex_is_used_where_it_tells_something_and_averaged_where_it_is_unknown(tmp_path):
    found = known(tmp_path)
    shifted = found.predicted + 40 * (found.sex[:, None] - 0.5)
    found = dataclasses.replace(found, predicted=shifted, male_share=0.3)
    without, using = (
        np.abs(cross_fitted(FIT[name], found) - found.truth).mean()
        for name in ("ridge", "ridge_with_sex")
    )
    made = fitted("", FIT["ridge_with_sex"], found)
    assert using < 0.5 * without and made.sex[0] == pytest.approx(-40, abs=3)
    girl, boy, both = (combine(made, shifted, np.full(len(shifted), sex)) for sex in (0, 1, np.nan))
    np.testing.assert_allclose(both, 0.3 * boy + 0.7 * girl)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_leaving_out_the_best_member_costs_most(tmp_path, task):
    fit = FIT["least_absolute_error" if task == "age" else "least_cross_entropy"]
    found = known(tmp_path, task)
    added = ensembles.leave_one_out(fit, found)
    assert added["value"].idxmax() == "good" and added.loc["good", "lower"] > 0
    assert (added["n"] == len(found.truth)).all()


def test_errors_correlate_where_members_share_them(tmp_path):
    found = known(tmp_path)
    found.predicted[:, 1] = found.predicted[:, 0] + 1
    correlation = ensembles.error_correlation(found).loc["good"]
    assert correlation["fair"] == pytest.approx(1) and abs(correlation["poor"]) < 0.25


def test_json_of_something_else_is_refused():
    with pytest.raises(InputError, match=r"^x\.json is not an ensemble"):
        ensembles.from_json({"kind": "ridge", "task": "age"}, "x.json")


@pytest.mark.parametrize("kept", [(0, 1, 3), (1, 3), (3,)])
def test_stages_that_calibration_lacks_are_never_predicted(tmp_path, kept):
    found = known(tmp_path, "stage")
    few = ensembles.part_of(found, np.isin(found.truth, kept))
    said = combine(fitted("", FIT["logistic"], few), few.predicted, few.sex).argmax(axis=1)
    assert set(said) <= set(kept) and (said == few.truth).mean() > 0.7
