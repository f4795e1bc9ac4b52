"""Coverage of intervals on any split, and models against the best, from a run folder's files."""

import json

import numpy as np
import pandas as pd
import pytest
from notebook_code import functions
from test_ensembles import case_table, save_table, say

from nbhelpers import metrics, predictions
from nbhelpers.bias import subgroups
from nbhelpers.data import stages
from nbhelpers.evaluation import conformal, scores
from nbhelpers.plots import tables
from nbhelpers.workspace import InputError, write_json

CUTS = "gilsanz_ratib"
FACTS = {"stage_cuts": CUTS, "stage_names": list("abcde"), "fingerprint": {}}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


@pytest.fixture
def run_folder(tmp_path):
    """Two models of months and one of stages, 400 calibration and 200 test cases."""
    table = case_table(n=1000)
    save_table(tmp_path, table)
    write_json(tmp_path / "data.json", FACTS)
    for seed, (name, spread) in enumerate({"good": 8.0, "fair": 16.0}.items()):
        predictions.save_predictions(tmp_path, name, "age", table, say(table, "age", spread, seed))
    said = say(table, "stage", 8.0, 3)
    predictions.save_predictions(tmp_path, "stager", "stage", table, said)
    return tmp_path


def test_coverage_is_near_the_level_and_better_models_have_narrower_intervals(run_folder):
    tables = {}
    for model in ("good", "fair"):
        conformal.fit_model(run_folder, model, "age")
        tables[model] = conformal.coverage(run_folder, model, "age", "test")
    found = tables["good"].query("group == 'all'")
    assert (abs(found["coverage"] - found["level"]) < 0.06).all()
    assert ((found["lower"] <= found["coverage"]) & (found["coverage"] <= found["upper"])).all()
    widths = [table["width_months"].to_numpy() for table in tables.values()]
    assert (widths[0] < widths[1]).all()
    conformal.fit_model(run_folder, "stager", "stage")
    found = conformal.coverage(run_folder, "stager", "stage", "test").query("group == 'all'")
    # Above the level where the most likely stage alone is right more often than promised.
    assert (found["coverage"] > found["level"] - 0.06).all()
    assert found["mean_stages"].between(1, 5).all()


@pytest.mark.parametrize(("model", "task"), [("good", "age"), ("stager", "stage")])
def test_intervals_and_sets_follow_from_calibration_alone(run_folder, model, task):
    conformal.fit_model(run_folder, model, task)
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
    conformal.fit_model(run_folder, model, task)
    assert path.read_bytes() == before


@pytest.mark.parametrize("level", conformal.LEVELS)
def test_what_is_kept_are_the_quantiles_that_notebook_05_shows(run_folder, level):
    (quantile,) = functions("05_ensembling", "quantile")
    for model, task in (("good", "age"), ("stager", "stage")):
        conformal.fit_all(run_folder, task)
        rows, kept = (
            read(run_folder, model, task) for read in (predictions.fitting_rows, conformal.load)
        )
        if task == "age":
            of = rows["predicted_months"].to_numpy()
            errors = np.abs(of - rows["age_months"].to_numpy())
            widths = {"": kept.half_widths["plain"][""], **kept.half_widths["mondrian"]}
            widths = {group: by_level[str(level)] for group, by_level in widths.items()}
        else:
            of = rows["stage"].to_numpy(int)
            errors = 1 - rows[predictions.STAGE_COLUMNS].to_numpy()[range(len(of)), of]
            widths = dict(zip(stages.STAGE_NAMES[CUTS], kept["by stage"][str(level)], strict=True))
            widths[""] = kept["plain"][str(level)][0]
        groups = conformal.case_groups(run_folder, task, of, rows["sex"])
        assert widths.pop("") == quantile(errors, level)
        assert set(widths) == set(groups) and len(widths) > 4
        for group, width in widths.items():
            assert quantile(errors[groups == group], level) == (np.inf if width is None else width)


def test_few_cases_fall_back_to_one_quantile_and_it_is_said():
    sex = np.array(["female", "male"] * 30, object)
    made = conformal.fit(np.linspace(5, 225, 60), np.linspace(10, 220, 60), sex, "gilsanz_ratib")
    quantiles = conformal.count_quantiles(made, "mondrian")
    assert quantiles == 2
    assert "by sex alone" in tables.kind_words("mondrian", quantiles)
    limits = conformal.fit_stage_sets(np.full((60, 5), 0.2), np.arange(60) % 5)
    quantiles = conformal.count_quantiles(limits, "by stage")
    assert "the same for all" in tables.kind_words("by stage", quantiles)
    assert tables.kind_words("by stage", 4) == "by stage: 4 quantiles"


def test_groups_whose_promise_fails_are_named_first(run_folder):
    table = predictions.all_rows(run_folder, "good", "age")
    off = (table["split"] == "test") & (table["sex"] == "male") & (table["age_months"] > 190)
    conformal.fit_model(run_folder, "good", "age")
    table.loc[off, "predicted_months"] = 120.0
    table.to_parquet(run_folder / "predictions" / "good.age.parquet", index=False)
    found = conformal.coverage(run_folder, "good", "age", "test")
    shipped = found.query("kind == 'mondrian' and level == 0.9")
    assert {"e", "male, predicted c", "15 to 20 years"} < set(shipped["group"])
    # No quantile is of a true age or stage, nor of a part of what joined for lack of cases.
    fitted = conformal.load(run_folder, "good", "age")
    alone = {
        f"{sex}, predicted {stage}"
        for sex, groups in fitted.groups.items()
        for stage, group in zip("abcde", groups, strict=True)
        if groups.count(group) == 1
    }
    promised = {"all", "female", "male"} | alone & set(shipped["group"])
    assert set(shipped.query("promised")["group"]) == promised
    shown = tables.kept_table(shipped)
    notes = shown[""].replace("too few", "").tolist()
    assert sorted(notes, key=lambda note: not note) == notes
    assert shown.loc["e", ""] == "below 90 %" and shown.loc["male, predicted c", ""]
    words = tables.coverage_words(shipped)
    assert words.index("fails in") < words.index("male, predicted c (") < words.index(" e (")
    few = (shipped["n"] < scores.FEWEST).sum()
    assert f"with fewer than 10 test cases: {few})" in words


def test_too_few_held_are_counted_over_draws_of_calibration_too():
    random, n, cases, level = np.random.default_rng(0), 40, 100, 0.9
    drawn = random.normal(size=(4000, n + cases))
    limit = np.sort(drawn[:, :n])[:, conformal.quantile_rank(n, level) - 1]
    held, counts = (drawn[:, n:] <= limit[:, None]).sum(axis=1), np.arange(cases + 1)
    one, none = np.full(cases, "one"), np.full(50, "none")
    chance = [conformal.chance_of_so_few(k, one, {"one": n}, level) for k in counts]
    expected = [(held <= k).mean() for k in counts]
    np.testing.assert_allclose(chance, expected, atol=0.03)
    assert 0.01 < (np.array(chance)[held] < 0.025).mean() < 0.035
    # Without a quantile, for lack of calibration cases, all of them are held.
    both = np.concatenate([one, none])
    found = conformal.chance_of_so_few(80 + 50, both, {"one": n, "none": 8}, level)
    assert found == pytest.approx(chance[80])


def test_intervals_of_all_ages_are_said_to_be_so(run_folder):
    table = predictions.all_rows(run_folder, "good", "age")
    table.loc[table["split"] == "calibration", "age_months"] = None
    some = table.index[table["split"] == "calibration"][:12]
    table.loc[some, "age_months"] = 100.0
    table.to_parquet(run_folder / "predictions" / "good.age.parquet", index=False)
    conformal.fit_model(run_folder, "good", "age")
    found = conformal.coverage(run_folder, "good", "age", "test")
    shipped = found.query("kind == 'mondrian' and level == 0.9")
    assert "groups all ages for lack of calibration cases" in tables.coverage_words(shipped)


def test_a_model_without_calibration_cases_or_with_a_damaged_file_has_no_intervals(run_folder):
    write_json(run_folder / conformal.NAMES["age"].format("good"), {"model": "good"})
    with pytest.raises(InputError, match=r"lacks .* Run notebook 05 again"):
        conformal.coverage(run_folder, "good", "age", "test")
    table = case_table(n=50).query("split != 'calibration'")
    predictions.save_predictions(run_folder, "few", "age", table, table["age_months"])
    with pytest.raises(InputError, match=r"few\.age predicts no case of calibration"):
        conformal.fit_model(run_folder, "few", "age")


def test_every_model_is_compared_with_the_one_that_calibration_names(run_folder):
    found = scores.against_best(run_folder, "age", "test")
    assert found[["model", "best"]].to_numpy().tolist() == [["fair", "good"]]
    assert found.loc[0, "lower"] > 0
    found = scores.against_best(run_folder, "stage", "test").set_index("model")
    assert set(found.index) == {"fair (derived)", "stager"}
    assert set(found["best"]) == {"good (derived)"} and found["n"].nunique() == 1
    assert found["p_holm"].tolist() == metrics.holm(found["p"]).tolist()
    assert (found["value"] < 0).all() and found.loc["stager", "p_holm"] < 0.05


@pytest.mark.parametrize("task", ["age", "stage"])
def test_the_index_names_the_same_best_model_as_the_notebooks(run_folder, task):
    """One by results files, the other by prediction tables, and both by one score."""
    said = [scores.evaluate(run_folder, name, "age") for name in ("fair", "good")]
    said.append(scores.evaluate(run_folder, "stager", "stage"))
    content = {"run": "x", "scores": pd.concat(said).to_dict("records")}
    found, ranking = scores.collect([content], task), scores.ranked(run_folder, task)
    order = scores.in_order_of_rank(found, scores.RANKED_BY[task])
    assert [name for name in order if not name.startswith("trivial")] == ranking.index.tolist()
    assert scores.best_model(found, tables.SHOWN[task][0]) == ranking.index[0]


def test_scores_by_group_are_those_of_the_group_alone(run_folder):
    table = subgroups.scores_by_group(run_folder, "good", "age", "test")
    rows = scores.case_errors(run_folder, "good", "age", "test")
    girls = rows[rows["sex"] == "female"]["error_months"]
    told = table[table["group"] == "female"].set_index("metric")
    assert told.loc["mae", "value"] == pytest.approx(girls.abs().mean())
    assert told.loc["signed_error", "value"] == pytest.approx(girls.mean())
    assert (told["n"] == len(girls)).all()
    table = subgroups.scores_by_group(run_folder, "stager", "stage", "test")
    correct = scores.case_errors(run_folder, "stager", "stage", "test")["correct"]
    told = table.query("group == 'all'").set_index("metric")["value"]
    assert told["accuracy"] == pytest.approx(correct.mean()) and "qwk" in told


def test_a_group_of_few_cases_stands_without_figures(run_folder, monkeypatch):
    monkeypatch.setattr(subgroups, "FEWEST", 60)
    table = subgroups.scores_by_group(run_folder, "good", "age", "test")
    assert set(table["n"] < 60) == {False, True}
    assert (table["value"].isna() == (table["n"] < 60)).all()
