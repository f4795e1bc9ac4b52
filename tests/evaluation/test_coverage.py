"""Coverage of intervals on any split, and all pairs of models, from a run folder's files."""

import json

import numpy as np
import pytest
from test_ensembles import case_table, months_of, probabilities_of

from nbhelpers import metrics, predictions
from nbhelpers.bias import subgroups
from nbhelpers.evaluation import conformal, scores
from nbhelpers.workspace import InputError, write_json

FACTS = {"stage_cuts": "gilsanz_ratib", "stage_names": list("abcde"), "fingerprint": {}}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


@pytest.fixture
def run_folder(tmp_path):
    """Two models of months and one of stages, 400 calibration and 200 test cases."""
    table = case_table(n=1000)
    table["image_path"], table["image_sha256"] = "/nowhere.png", ""
    table.to_parquet(tmp_path / "cases.parquet", index=False)
    write_json(tmp_path / "data.json", FACTS)
    for seed, (name, spread) in enumerate({"good": 8.0, "fair": 16.0}.items()):
        predictions.save_predictions(tmp_path, name, "age", table, months_of(table, spread, seed))
    said = probabilities_of(table, 1.0, 3)
    predictions.save_predictions(tmp_path, "stager", "stage", table, said)
    return tmp_path


def test_coverage_is_near_the_level_and_better_models_have_narrower_intervals(run_folder):
    tables = {}
    for model in ("good", "fair"):
        conformal.fit_intervals(run_folder, model)
        tables[model] = conformal.coverage(run_folder, model, "test")
    found = tables["good"].query("group == 'all'")
    assert (abs(found["coverage"] - found["level"]) < 0.06).all()
    assert ((found["lower"] <= found["coverage"]) & (found["coverage"] <= found["upper"])).all()
    widths = [table["width_months"].to_numpy() for table in tables.values()]
    assert (widths[0] < widths[1]).all()
    by_band = tables["good"].query(
        "kind == 'plain' and level == 0.9 and group.str.contains('years')"
    )
    assert by_band["n"].sum() == tables["good"]["n"].max()


@pytest.mark.parametrize(
    ("model", "task", "fit"),
    [
        ("good", "age", conformal.fit_intervals),
        ("stager", "stage", conformal.fit_sets),
    ],
)
def test_intervals_and_sets_follow_from_calibration_alone(run_folder, model, task, fit):
    fit(run_folder, model)
    path = run_folder / conformal.NAMES[task].format(model)
    before = path.read_bytes()
    table = predictions.all_rows(run_folder, model, task)
    label = "age_months" if task == "age" else "stage"
    elsewhere = table["split"] != "calibration"
    assert json.loads(before)["calibration_cases"] == (~elsewhere & table[label].notna()).sum()
    table.loc[elsewhere, label] = 1
    values = predictions.VALUE_COLUMNS[task]
    table.loc[elsewhere, values] = 200.0 if task == "age" else 0.2
    table.to_parquet(run_folder / "predictions" / f"{model}.{task}.parquet", index=False)
    fit(run_folder, model)
    assert path.read_bytes() == before


def test_over_redraws_the_mean_is_the_level(run_folder):
    found = conformal.redrawn_coverage(run_folder, "good", "plain", 0.9)
    mean = found.query("group == 'all'")["coverage"].mean()
    assert 0.88 < mean < 0.93
    assert found["redraw"].nunique() == conformal.REDRAWS
    assert found.query("group == 'all'")["n"].nunique() == 1


def test_a_model_without_calibration_cases_or_with_a_damaged_file_has_no_intervals(run_folder):
    assert conformal.told_ends(run_folder, "good", np.array([90.0]), ["female"]) is None
    conformal.fit_intervals(run_folder, "good")
    conformal.fit_sets(run_folder, "stager")
    for model, task, measure in (
        ("good", "age", conformal.coverage),
        ("stager", "stage", conformal.set_coverage),
    ):
        path = run_folder / conformal.NAMES[task].format(model)
        write_json(path, {"model": model})
        with pytest.raises(InputError, match=rf"{path.name} lacks .* Run notebook 05 again"):
            measure(run_folder, model, "test")
    table = case_table(n=50).query("split != 'calibration'")
    predictions.save_predictions(run_folder, "few", "age", table, table["age_months"])
    with pytest.raises(InputError, match=r"few\.age predicts no case of calibration"):
        conformal.fit_intervals(run_folder, "few")


def test_all_pairs_of_ages(run_folder):
    pairs = scores.all_pairs(run_folder, "age", "test")
    assert pairs[["a", "b"]].to_numpy().tolist() == [["fair", "good"]]
    assert pairs.loc[0, "lower"] > 0
    assert pairs.loc[0, "p_holm"] == pairs.loc[0, "p"]
    (run_folder / "predictions" / "fair.age.parquet").unlink()
    assert scores.all_pairs(run_folder, "age", "test").empty


def test_all_pairs_of_stages_hold_what_months_say_of_them(run_folder):
    pairs = scores.all_pairs(run_folder, "stage", "test")
    models = {*pairs["a"], *pairs["b"]}
    assert models == {"good (derived)", "fair (derived)", "stager"}
    assert (pairs["p_holm"] >= pairs["p"]).all()
    value = pairs.set_index(["a", "b"]).loc[("fair (derived)", "good (derived)"), "value"]
    assert value < 0
    assert len(np.unique(pairs["n"])) == 1


def test_sets_hold_the_true_stage_as_often_as_promised(run_folder):
    conformal.fit_sets(run_folder, "stager")
    table = conformal.set_coverage(run_folder, "stager", "test")
    whole = table.query("group == 'all'")
    # Above the level where the most likely stage alone is right more often than promised.
    assert (whole["coverage"] > whole["level"] - 0.06).all()
    assert whole["mean_stages"].between(1, 5).all()
    by_stage = table.query("kind == 'plain' and level == 0.9 and group in @FACTS['stage_names']")
    assert by_stage["n"].sum() == table["n"].max()


def test_scores_by_group_are_those_of_the_group_alone(run_folder):
    table = subgroups.scores_by_group(run_folder, "good", "age", "test")
    rows = scores.case_errors(run_folder, "good", "age", "test")
    girls = rows[rows["sex"] == "female"]["error_months"]
    told = table[table["group"] == "female"].set_index("metric")
    assert told.loc["mae", "value"] == pytest.approx(girls.abs().mean())
    assert told.loc["signed_error", "value"] == pytest.approx(girls.mean())
    assert (told["n"] == len(girls)).all()
    bands = table[table["group"].str.contains("years") & (table["metric"] == "mae")]
    assert bands["n"].sum() == len(rows)


def test_scores_by_group_of_stages_have_accuracy_and_kappa(run_folder):
    table = subgroups.scores_by_group(run_folder, "stager", "stage", "test")
    assert set(table["metric"]) == {"accuracy", "qwk"}
    rows = scores.case_errors(run_folder, "stager", "stage", "test")
    told = table.query("group == 'all' and metric == 'accuracy'")["value"].item()
    assert told == pytest.approx(rows["correct"].mean())
