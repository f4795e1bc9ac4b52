"""Another folder is prepared and predicted as the run's own radiographs were, to the last digit."""

import functools
import shutil

import numpy as np
import pandas as pd
import pytest
import small_networks
import xgboost
from conftest import write_radiographs

from nbhelpers import metrics, predictions, results
from nbhelpers.data import cases, splits
from nbhelpers.evaluation import conformal, external, scores
from nbhelpers.images import preparation
from nbhelpers.models import ensembles, hog, saved
from nbhelpers.workspace import InputError

PREPARATION = preparation.Preparation.from_steps(32, "")
SETTINGS = hog.HogSettings()
AGE = {"objective": "reg:squarederror"}
STAGE = {"objective": "multi:softprob", "num_class": 5}
TREES = {"learning_rate": 0.3, "max_depth": 2, "subsample": 0.7, "colsample_bytree": 0.05}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 100)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder with two models of ages, one of stages and an ensemble."""
    place = tmp_path_factory.mktemp("finished")
    data, run = write_radiographs(place / "data", 120, side=40), place / "run"
    read = cases.read_cases(data)
    geometry = preparation.prepare_cases(read, PREPARATION, run, "frame")
    table, _ = cases.keep_readable(read, geometry, score_doubtful=True)  # noise
    cases.save_cases(run, table, cases.fingerprint(data, read))
    for model, task, seed in (("one", "age", 0), ("two", "age", 1), ("one", "stage", 0)):
        save_trees(run, table, model, task, seed)
    saved.save_ensemble(run, "mean", ensembles.equal("age", ("one", "two"), 0.5))
    sex = splits.sex_codes(table["sex"])
    said = saved.predict_cases(run, "mean", "age", table["case_id"], sex)
    predictions.save_predictions(run, "mean", "age", table, said)
    conformal.fit_all(run, "age")
    return run


def save_trees(run, table, model, task, seed, prepared=None):
    shown, sex = preparation.load_images(run, "frame"), splits.sex_codes(table["sex"])
    target = table["age_months" if task == "age" else "stage"].astype(float).to_numpy()
    features = hog.features(shown, SETTINGS)
    train = (table["split"] == "train").to_numpy()
    part = xgboost.QuantileDMatrix(hog.with_sex(features[train], sex[train]), target[train])
    settings = TREES | (AGE if task == "age" else STAGE) | {"seed": seed}
    booster = xgboost.train(settings, part, 15)
    facts = {"task": task, "view": "frame", "image_size": 32, "male_share": 0.5}
    facts["preparation"] = prepared or preparation.preparation_hash(run, "frame")
    (run / "models").mkdir(exist_ok=True)
    hog.save(booster, run / "models" / f"{model}.{task}.ubj", SETTINGS, facts)
    said = hog.predict(booster, shown, sex)
    predictions.save_predictions(run, model, task, table, said)


@pytest.fixture
def run_folder(finished, tmp_path):
    """A copy of the run folder that a test may change."""
    return shutil.copytree(finished, tmp_path / "run")


def part_of(run_folder, folder, rows):
    """A folder with some radiographs of the run, and a table of their labels."""
    folder.mkdir(parents=True)
    table = cases.load_cases(run_folder)
    chosen = table[rows(table)]
    for path in chosen["image_path"]:
        shutil.copy(path, folder)
    columns = {"id": chosen["case_id"], "boneage": chosen["age_months"], "sex": chosen["sex"]}
    pd.DataFrame(columns).to_csv(folder / "table.csv", index=False)
    return folder


def score(run_folder, folder, name="part"):
    """What notebook 09 does before its figures."""
    _, found, fingerprint = external.open_set(run_folder, str(folder), name, 0, 0)
    prepared = external.prepare_set(run_folder, found, fingerprint, name, score_doubtful=True)
    external.score_set(run_folder, name, np.zeros(len(prepared[0]), bool))
    return prepared


def test_a_part_of_the_test_split_gets_its_own_figures_again(run_folder, tmp_path):
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "test")
    _, learnt, here = score(run_folder, folder)
    assert learnt.empty
    for model, task in external.saved_models(run_folder):
        values = predictions.VALUE_COLUMNS[task]
        then = predictions.all_rows(run_folder, model, task).set_index("case_id")
        now = predictions.all_rows(here, model, task).set_index("case_id")
        pd.testing.assert_frame_equal(now[values], then.loc[now.index, values], check_exact=True)
        before = scores.evaluate(run_folder, model, task).query("split == 'test'")
        after = scores.evaluate(here, model, task, learnt_in=run_folder)
        before, after = (
            table.drop(columns="split").reset_index(drop=True) for table in (before, after)
        )
        pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_a_picture_without_a_hand_is_scored_only_where_that_is_asked(run_folder, tmp_path):
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "test")
    _, found, fingerprint = external.open_set(run_folder, str(folder), "part", 0, 0)
    table, *_ = external.prepare_set(run_folder, found, fingerprint, "part")
    marked = table["doubts"].str.contains("no hand")
    assert (table["split"] == "doubtful")[marked].all() and marked.mean() > 0.8
    ids = table.loc[marked, "case_id"]
    folder = part_of(run_folder, tmp_path / "none", lambda own: own["case_id"].isin(ids))
    _, found, fingerprint = external.open_set(run_folder, str(folder), "none", 0, 0)
    external.prepare_set(run_folder, found, fingerprint, "none")
    nothing = external.score_set(run_folder, "none", np.zeros(len(ids), bool))
    assert nothing == (None, {}), "they have ages and stages, and none is scored"


def test_pictures_unlike_training_are_marked_and_scored(run_folder, tmp_path, monkeypatch):
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "test")
    table, _, here = score(run_folder, folder)
    of, own = ("train", "calibration", "test"), cases.load_cases(run_folder)
    assert external.embeddings(run_folder, "part", of) == ("", {}), "trees alone"
    facts = small_networks.CARD | {"view": "frame"}
    facts["preparation"] = preparation.preparation_hash(run_folder, "frame")
    network = small_networks.custom_cnn(32, facts)
    saved.save(network, run_folder / "models" / "cnn.age.keras")
    predictions.save_predictions(run_folder, "cnn", "age", own, np.full(len(own), 50.0))
    monkeypatch.setattr(external, "NETWORK_SAMPLE", 30)
    name, seen = external.embeddings(run_folder, "part", of)
    assert (name, len(seen["train"])) == ("cnn", 30)
    assert len(seen["calibration"]) == (own["split"] == "calibration").sum()
    np.testing.assert_array_equal(seen["here"], seen["test"])
    before, _ = external.score_set(run_folder, "part", np.zeros(len(table), bool))
    after, _ = external.score_set(run_folder, "part", np.arange(len(table)) < 3)
    pd.testing.assert_frame_equal(before, after)
    for path in (here / "cases.parquet", *(here / "predictions").glob("*.parquet")):
        words = pd.read_parquet(path)["doubts"].str.split(", ")
        unlike = words.map(lambda each: "unlike training" in each)
        assert unlike[:4].tolist() == [True, True, True, False]
        assert words.str.len().max() <= 2 and "" not in words[0]


def test_what_the_run_learnt_from_is_predicted_and_not_scored(run_folder, tmp_path):
    folder = part_of(run_folder, tmp_path / "all", lambda table: table["split"] != "tuning")
    table, learnt, here = score(run_folder, folder)
    own = cases.load_cases(run_folder).set_index("case_id")["split"]
    assert set(own.loc[learnt["case_id"]]) == {"train", "calibration"}
    assert set(own.loc[table.loc[table["split"] == "external", "case_id"]]) == {"test"}
    assert table.loc[table["split"] == "unlabelled", ["age_months", "stage"]].isna().all(axis=None)
    assert len(predictions.all_rows(here, "mean", "age")) == len(table)


def test_a_copy_that_was_saved_again_is_found(run_folder, tmp_path):
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "train")
    for path in folder.glob("*.png"):
        path.write_bytes(path.read_bytes() + b"trailing")  # other bytes, the same picture
        path.rename(folder / f"x{path.name}")
    (folder / "table.csv").unlink()
    table, learnt, _ = score(run_folder, folder)
    assert len(learnt) == len(table)
    assert set(learnt["why"]) == {"it looks the same"}


def test_unlabelled_images_are_predicted_with_intervals(run_folder, tmp_path):
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "test")
    (folder / "table.csv").unlink()
    table, _, here = score(run_folder, folder)
    rows = predictions.all_rows(here, "mean", "age")
    shutil.copy(here / "predictions" / "one.age.parquet", here / "predictions" / "gone.age.parquet")
    external.write_csv(run_folder, "part", "mean", np.zeros(len(table), bool))
    told = pd.read_csv(here / "predictions.csv")
    assert told["mean_months"].tolist() == rows["predicted_months"].round(1).tolist()
    assert told["mean_months"].between(told["mean_lower_90"], told["mean_upper_90"]).all()
    assert {"one_months", "two_months", "one_stage"} <= set(told) - {"gone_months"} == set(told)
    other = part_of(run_folder, tmp_path / "other" / "part", lambda table: table["split"] == "test")
    with pytest.raises(InputError, match="was made from other data"):
        score(run_folder, other)
    name, _, here = external.open_set(run_folder, str(other), "", 0, 0)
    assert (name, here["data_folder"]) == ("other-part", str(other))
    assert external.open_set(run_folder, str(folder), "", 0, 0)[0] == "part"


def test_corrected_labels_are_scored_anew_and_unknown_sexes_have_no_stage(run_folder, tmp_path):
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "test")
    labels = pd.read_csv(folder / "table.csv").assign(boneage=100)
    for sex in ("F", ""):
        labels.assign(sex=sex).to_csv(folder / "table.csv", index=False)
        table, _, _ = score(run_folder, folder)
        assert set(table["age_months"]) == {100}
        scored, held = external.score_set(run_folder, "part", np.zeros(len(table), bool))
        assert set(scored["task"]) == ({"age", "stage"} if sex else {"age"})
        assert set(held) == {"intervals"}


def test_pictures_prepared_by_other_code_are_refused(run_folder, tmp_path):
    save_trees(run_folder, cases.load_cases(run_folder), "old", "age", 0, prepared="0123456789")
    folder = part_of(run_folder, tmp_path / "part", lambda table: table["split"] == "test")
    asked = functools.partial(saved.predict_cases, run_folder, "old", "age", [], np.zeros(0))
    for refused in (functools.partial(score, run_folder, folder), asked):
        with pytest.raises(InputError, match="preparation 0123456789; the view frame in"):
            refused()
    assert not (run_folder / results.FOLDER).exists(), "refused before work starts"


def test_a_run_without_models_and_a_name_that_leaves_the_run_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no model"):
        external.saved_models(tmp_path)
    with pytest.raises(InputError, match="lower-case letters"):
        results.set_folder(tmp_path, "../x")
    assert results.set_name(tmp_path, tmp_path / "RSNA Test") == "rsna-test"
