"""The results file: complete, plain JSON, and of the run folder's own data."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbhelpers import results
from nbhelpers.data import cases
from nbhelpers.workspace import InputError


@pytest.fixture
def run_folder(radiographs, tmp_path):
    table = cases.read_cases(radiographs)
    cases.save_cases(tmp_path / "run", table, cases.fingerprint(radiographs, table))
    return tmp_path / "run"


def save(run_folder: Path, run: str = "04_hog_xgboost.age", **more) -> Path:
    given = {"image_size": np.int64(64), "weights": "w.h5", "steps": ("a", "b")}
    record = results.Record(run_folder, run, "smoke", "HOG", given, time.monotonic() - 12.3)
    results.save(record, headline=("error", "9.0"), **more)
    return run_folder / "results" / f"{run}.json"


def scores(value: float = 12.5) -> pd.DataFrame:
    row = ("hog", "age", "calibration", "mae", np.int64(85), value, np.float32(11), np.nan)
    return pd.DataFrame([row], columns=list(results.SCORE_KEYS))


def test_it_holds_what_the_index_needs_and_null_for_what_is_not_defined(run_folder):
    figures = {"gain": np.float64(3.5), "none": pd.NA}
    path = save(run_folder, scores=scores(np.nan), figures=figures, marks=("random weights",))
    assert path == run_folder / "results" / "04_hog_xgboost.age.json"
    (content,) = results.read_all_results(run_folder)
    facts = cases.load_data_facts(run_folder)
    assert content["notebook"] == "04_hog_xgboost"
    assert content["fingerprint"] == facts["fingerprint"]["hash"]
    assert content["manifest"] == facts["manifest"]["hash"]
    assert content["splits"] == {"train": 28, "tuning": 3, "calibration": 3, "test": 6}
    assert content["parameters"] == {"image_size": 64, "weights": "w.h5", "steps": ["a", "b"]}
    assert content["headline"] == ["error", "9.0"]
    assert content["figures"] == {"gain": 3.5, "none": None}
    assert content["marks"] == ["random weights"]
    (row,) = content["scores"]
    assert (row["n"], row["value"], row["lower"], row["upper"]) == (85, None, 11.0, None)
    assert content["seconds"] == pytest.approx(12.3, abs=1)
    assert "python" in content["versions"] and content["hardware"]["cores"] >= 1
    # A file of an older version has neither.
    for key in ("marks", "headline"):
        del content[key]
    path.write_text(json.dumps(content))
    (older,) = results.read_all_results(run_folder)
    assert older["marks"] == [] and older["headline"] == ["", ""]


def test_what_cannot_be_saved_is_refused(run_folder, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(run_folder, scores=scores(np.inf))
    assert not list((run_folder / "results").glob("*"))
    with pytest.raises(InputError, match=r"no data\.json.*01_preprocessing"):
        save(tmp_path)


CELL = """run = "own_notebook"  # name of this run
run_folder = ""  # folder of notebook 01's outputs
profile = "interactive"  # profile that this run belongs to
weights = "none"  # none, or the path of a file
rounds = 30  # 1 to 100"""


def begin(**changed) -> results.Record:
    given = {"run": "own_notebook", "profile": "p", "weights": "/data/of/me/w.h5", "rounds": 30}
    return results.begin({"In": [CELL], **given, **changed}, "HOG")


def test_a_run_begins_with_checked_parameters_and_a_folder_of_its_own(tmp_path):
    record = begin(run_folder=str(tmp_path / "run"))
    assert record.folder == tmp_path / "run" and (tmp_path / "run" / "models").is_dir()
    assert (record.run, record.profile, record.title) == ("own_notebook", "p", "HOG")
    # Folders of this machine go to no reader.
    assert record.parameters == {"weights": "w.h5", "rounds": 30}
    for wrong in ({"rounds": 0}, {"rounds": "many"}, {"run": "../x"}):
        with pytest.raises(InputError, match=r"rounds must be|letters, digits"):
            begin(run_folder=str(tmp_path / "run"), **wrong)


def test_a_broken_file_is_named_with_its_remedy_and_may_be_written_anew(run_folder):
    path = save(run_folder)
    path.write_text("{")
    with pytest.raises(InputError, match=rf"{path} .*Delete it and run"):
        results.read_all_results(run_folder)
    save(run_folder)
    assert len(results.read_all_results(run_folder)) == 1


@pytest.mark.parametrize(("source", "banners"), [("rsna", 0), ("synthetic-140-0-v4", 1)])
def test_one_line_says_what_is_used(tmp_path, monkeypatch, capsys, source, banners):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    results.say_source(tmp_path / source, tmp_path / "run", tmp_path / "attached")
    (line,) = capsys.readouterr().out.splitlines()
    for part in (source, "attached", "run", "nbhelpers"):
        assert part in line
    assert len(shown) == banners and all("not taken of children" in one.data for one in shown)
