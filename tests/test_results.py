"""The results file: complete, plain JSON, and of the run folder's own data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_radiographs

from nbhelpers import results
from nbhelpers.data import cases
from nbhelpers.workspace import InputError


@pytest.fixture
def run_folder(radiographs, tmp_path):
    table = cases.read_cases(radiographs)
    cases.save_cases(tmp_path / "run", table, cases.fingerprint(radiographs, table))
    return tmp_path / "run"


def save(run_folder: Path, **changes) -> Path:
    given = {
        "run": "04_hog_xgboost.age",
        "profile": "smoke",
        "title": "HOG",
        "question": "How far?",
        "parameters": {"image_size": np.int64(64), "folder": Path("/data"), "steps": ("a", "b")},
        "seconds": 12.345,
    }
    return results.save_results(run_folder, **(given | changes))


def scores(value: float = 12.5) -> pd.DataFrame:
    row = ("hog", "age", "calibration", "mae", np.int64(85), value, np.float32(11), np.nan)
    return pd.DataFrame([row], columns=list(results.SCORE_KEYS))


def test_it_holds_what_the_index_needs(run_folder):
    path = save(
        run_folder, scores=scores(), figures={"gain": np.float64(3.5)}, marks=("random weights",)
    )
    assert path == run_folder / "results" / "04_hog_xgboost.age.json"
    content = results.read_results(run_folder, "04_hog_xgboost.age")
    assert set(content) == set(results.KEYS)
    facts = cases.load_data_facts(run_folder)
    assert content["notebook"] == "04_hog_xgboost"
    assert content["fingerprint"] == facts["fingerprint"]["hash"]
    assert content["manifest"] == facts["manifest"]["hash"]
    assert content["splits"] == {"train": 28, "tuning": 3, "calibration": 3, "test": 6}
    assert content["parameters"] == {"image_size": 64, "folder": "/data", "steps": ["a", "b"]}
    assert content["figures"] == {"gain": 3.5}
    assert content["marks"] == ["random weights"]
    assert content["seconds"] == 12.3
    assert "python" in content["versions"]
    assert content["hardware"]["cores"] >= 1
    # A file of an older version has no marks.
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "marks"}))
    assert results.read_results(run_folder, "04_hog_xgboost.age")["marks"] == []


def test_what_is_not_defined_is_null(run_folder):
    path = save(run_folder, scores=scores(np.nan), figures={"none": pd.NA})
    (row,) = json.loads(path.read_text())["scores"]
    assert (row["n"], row["value"], row["lower"], row["upper"]) == (85, None, 11.0, None)
    assert "NaN" not in path.read_text()


def test_what_cannot_be_saved_or_read_is_named(run_folder, tmp_path):
    with pytest.raises(ValueError, match="value is infinite"):
        save(run_folder, scores=scores(np.inf))
    with pytest.raises(ValueError, match="no column 'lower'"):
        save(run_folder, scores=scores().drop(columns="lower"))
    with pytest.raises(InputError, match="letters, digits"):
        save(run_folder, run="../x")
    assert not list((run_folder / "results").glob("*"))
    with pytest.raises(InputError, match=r"no results/02_cnn\.json"):
        results.read_results(run_folder, "02_cnn")
    with pytest.raises(InputError, match=r"no data\.json.*01_preprocessing"):
        save(tmp_path)


def test_data_that_changed_during_the_run_are_refused(run_folder, tmp_path):
    other = write_radiographs(tmp_path / "other", cases=20)
    fingerprint = cases.fingerprint(other, cases.read_cases(other))
    with pytest.raises(InputError, match="was made from other data"):
        save(run_folder, fingerprint=fingerprint)
    save(run_folder, fingerprint=cases.load_data_facts(run_folder)["fingerprint"])


def test_results_of_other_data_beside_it_are_refused(run_folder):
    path = save(run_folder, run="02_cnn")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0" * 16}))
    with pytest.raises(InputError, match="results of 02_cnn from other data"):
        save(run_folder)
    # The run itself may be written anew.
    save(run_folder, run="02_cnn")
    save(run_folder)


@pytest.mark.parametrize("content", ["{", '{"run": "x"}'])
def test_a_broken_file_is_named_with_its_remedy(run_folder, content):
    path = save(run_folder)
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        results.read_all_results(run_folder)
    assert str(path) in str(caught.value)
    assert "Delete it and run" in str(caught.value)
    # The broken run itself may be written anew; another run says what is wrong.
    with pytest.raises(InputError, match="Delete it and run"):
        save(run_folder, run="02_cnn")
    save(run_folder)
    assert len(results.read_all_results(run_folder)) == 1
