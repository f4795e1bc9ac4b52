"""One evaluator: scores beside trivial predictors, on all cases of a split, by the case table."""

import numpy as np
import pandas as pd
import pytest
from test_ensembles import case_table, save_table

from nbhelpers import metrics, predictions
from nbhelpers.data.stages import stage_of
from nbhelpers.evaluation import scores as scoring
from nbhelpers.workspace import InputError, write_json


@pytest.fixture
def table():
    """Cases of four splits, some of unknown sex."""
    table = case_table(n=600)
    table.loc[500:, "split"], table.loc[::9, "sex"] = "external", None
    table["stage"] = stage_of(table["age_months"], table["sex"], "gilsanz_ratib")
    return table


@pytest.fixture
def run_folder(table, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)
    save_table(tmp_path, table)
    facts = {"stage_cuts": "gilsanz_ratib", "stage_names": list("abcde"), "fingerprint": {}}
    write_json(tmp_path / "data.json", facts)
    return tmp_path


def noisy(table: pd.DataFrame, noise: float = 10.0) -> np.ndarray:
    return table["age_months"] + np.random.default_rng(0).normal(0, noise, len(table))


def value(scores: pd.DataFrame, **wanted: str) -> float:
    return scores[(scores[list(wanted)] == list(wanted.values())).all(axis=1)]["value"].item()


def test_scores_of_an_age_model(run_folder, table):
    months = noisy(table, 30.0)
    predictions.save_predictions(run_folder, "cnn", "age", table, months)
    scores = scoring.evaluate(run_folder, "cnn", "age")
    assert set(scores["split"]) == {"calibration", "test", "external"}
    for split in ("calibration", "test", "external"):
        rows = table["split"] == split
        expected = (months - table["age_months"]).abs()[rows].mean()
        assert value(scores, model="cnn", split=split, metric="mae") == pytest.approx(expected)
    known = (table["split"] == "test") & table["stage"].notna()
    derived = stage_of(months[known], table["sex"][known], "gilsanz_ratib")
    expected = np.mean(derived.to_numpy(int) == table["stage"][known].to_numpy(int))
    wanted = {"model": "cnn (derived)", "split": "test", "metric": "accuracy"}
    assert value(scores, **wanted) == pytest.approx(expected)
    # Cases of unknown sex have no stage, and the page shows that fewer were scored.
    rows = scores[(scores["model"] == "cnn (derived)") & (scores["split"] == "test")]
    assert set(rows["n"]) == {known.sum()}
    assert known.sum() < (table["split"] == "test").sum()


def test_trivial_predictors_know_nothing_but_train(run_folder, table):
    predictions.save_predictions(run_folder, "cnn", "age", table, noisy(table))
    scores = scoring.evaluate(run_folder, "cnn", "age")
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    guess = {}
    for of in ("mean", "median"):
        by_sex, middle = train.groupby("sex")["age_months"].agg(of), train["age_months"].agg(of)
        guess[of] = np.array([by_sex.get(sex, middle) for sex in test["sex"]])
    majority = train["stage"].value_counts().idxmax()
    for name, metric, expected in (
        ("mean age by sex", "mse", ((test["age_months"] - guess["mean"]) ** 2).mean()),
        ("median age by sex", "mae", (test["age_months"] - guess["median"]).abs().mean()),
        ("majority stage", "accuracy", (test["stage"].dropna() == majority).mean()),
    ):
        wanted = {"model": f"trivial: {name}", "split": "test", "metric": metric}
        assert value(scores, **wanted) == pytest.approx(expected)


def test_the_labels_are_those_of_the_case_table(run_folder, table):
    """A prediction table that flatters itself with other labels gains nothing by it."""
    months = noisy(table)
    predictions.save_predictions(run_folder, "honest", "age", table, months)
    flattered = table.assign(age_months=months)
    predictions.save_predictions(run_folder, "flattered", "age", flattered, months)
    scores = [
        scoring.evaluate(run_folder, model, "age").drop(columns="model")
        for model in ("honest", "flattered")
    ]
    pd.testing.assert_frame_equal(*scores)


def test_months_are_scored_under_other_cuts_than_the_runs_own(run_folder, table):
    months = noisy(table)
    predictions.save_predictions(run_folder, "cnn", "age", table, months)
    scores = scoring.score_under_cuts(run_folder, "cnn", "test", "years")
    rows = table["split"] == "test"
    edges = [48, 96, 144, 180]  # of both sexes: unknown sex has a stage, too
    same = np.digitize(months, edges) == np.digitize(table["age_months"], edges)
    assert value(scores, metric="accuracy") == pytest.approx(same[rows].mean())
    assert scores["n"].max() == rows.sum()


def test_a_split_not_predicted_is_left_out_and_a_part_of_one_refused(run_folder, table):
    part = table[table["split"].isin(["calibration", "test"])]
    moved = table.assign(split=table["split"].replace("test", "tuning"))
    predictions.save_predictions(run_folder, "cnn", "age", part, noisy(part))
    assert set(scoring.evaluate(run_folder, "cnn", "age")["split"]) == {"calibration", "test"}
    one_of_test = part.index[part["split"] == "test"][:1]
    for rows, wrong in (
        (part.drop(index=one_of_test), r"predicts \d+ of the \d+ cases of test"),
        (moved, "belong to other splits"),
        (table.assign(case_id="x" + table["case_id"]), "belong to other splits"),
    ):
        predictions.save_predictions(run_folder, "cnn", "age", rows, noisy(rows))
        with pytest.raises(InputError, match=wrong):
            scoring.evaluate(run_folder, "cnn", "age")
    of_other_cuts = table.assign(stage=(table["stage"] + 1) % 5)
    predictions.save_predictions(run_folder, "cnn", "stage", of_other_cuts, np.full((600, 5), 0.2))
    with pytest.raises(InputError, match="belong to other splits or stages"):
        scoring.evaluate(run_folder, "cnn", "stage")


def test_the_largest_errors_come_first_and_known_stages_are_counted(run_folder, table):
    months = table["age_months"].fillna(0) + 1
    test = table.index[table["split"] == "test"]
    months[test[3]] += 80
    months[test[7]] -= 90
    # In another row order: errors stand in the order of the case table all the same.
    predictions.save_predictions(run_folder, "cnn", "age", table[::-1], months[::-1])
    worst = scoring.largest_errors(run_folder, "cnn", "test", 2)
    assert worst["case_id"].tolist() == table.loc[[test[7], test[3]], "case_id"].tolist()
    assert worst["error_months"].tolist() == pytest.approx([-89, 81])
    predictions.save_predictions(run_folder, "cnn", "stage", table, np.eye(5)[[2] * len(table)])
    matrix = scoring.confusion_matrix(run_folder, "cnn", "stage", "test").to_numpy()
    of_stage = table.loc[test, "stage"].value_counts(sort=False).reindex(range(5), fill_value=0)
    assert matrix[:, 2].tolist() == of_stage.tolist() and matrix.sum() == of_stage.sum()


def test_two_models_are_compared_on_the_same_cases(run_folder, table):
    good, bad = noisy(table, 5), noisy(table, 40)
    predictions.save_predictions(run_folder, "good", "age", table, good)
    # Another row order must not change which cases are paired.
    predictions.save_predictions(run_folder, "bad", "age", table.iloc[::-1], bad[::-1])
    difference = scoring.compare_models(run_folder, "good", "bad", "age", "test")
    test = table["split"] == "test"
    errors = [(months - table["age_months"]).abs()[test] for months in (good, bad)]
    assert difference["value"] == pytest.approx((errors[0] - errors[1]).mean())
    assert difference["upper"] < 0


def test_how_often_test_was_looked_at_is_kept(run_folder, table):
    predictions.save_predictions(run_folder, "cnn", "age", table, noisy(table))
    scoring.case_errors(run_folder, "cnn", "age", "calibration")
    for noise in (5, 5, 20):
        predictions.save_predictions(run_folder, "cnn", "age", table, noisy(table, noise))
        scoring.evaluate(run_folder, "cnn", "age")
    seen = scoring.tables_scored_on_test(run_folder)
    assert seen[["model", "task"]].to_numpy().tolist() == [["cnn", "age"]] * 2
