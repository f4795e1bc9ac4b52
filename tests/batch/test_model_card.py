"""The model card: what results files hold, of the models that calibration named, and no more."""

import html
import itertools
import json
import re
from pathlib import Path

import pytest
from test_index import BEST, CNN, HOG, OTHER, held, results, score
from test_pages import Links

from nbhelpers.batch import status
from nbhelpers.batch.index import write_index
from nbhelpers.workspace import write_json

RUNS = ["01_preprocessing", "02_cnn", "04_hog", "05_ensembling.age"]
NO_INTERVALS = f"The results hold none for {BEST}: notebook 05_ensembling makes them."
PICTURES = results(
    "01_preprocessing",
    parameters={"view": "hand", "image_size": 96, "steps": "hand, upright"},
    figures={"boys": 1100, "girls": 900},
)
STAGES = [score("hog", split, 0.8, "stage", "qwk") for split in ("calibration", "test")]


def write(folder: Path, *contents: dict, source: str = "hands") -> str:
    """The card of a run folder with these results, "" where none was written; all runs complete."""
    data = {
        "fingerprint": {"hash": "0123", "data_folder": f"/home/me/{source}", "images": 9},
        "manifest": {"counts": {"test": 150, "train": 700, "calibration": 75, "tuning": 75}},
        "stage_cuts": "gilsanz_ratib",
        "stage_names": ["infancy", "pre-puberty", "puberty", "late", "post-puberty"],
    }
    write_json(folder / "data.json", data)
    for content in contents:
        write_json(status.results_path(folder, content["run"]), content)
        status.page_path(folder, content["run"]).write_text("page")
    return written(folder)


def written(folder: Path) -> str:
    index = write_index(folder, "demo", RUNS).read_text()
    path = folder / "model_card.html"
    assert ('<a href="model_card.html">' in index) == ("Model card" in index) == path.exists()
    assert path.exists() == (folder / "claim.html").exists()
    return path.read_text() if path.exists() else ""


def text(page: str) -> str:
    """What a reader sees, in one line."""
    body = page[page.index("<body") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def row_of(page: str, beginning: str) -> str:
    rows = [text(f"<body>{row}") for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]
    (found,) = [row for row in rows if row.startswith(beginning)]
    return found


def with_tables(**tables: list[dict]) -> dict:
    return results("05_ensembling.age", tables=tables)


def coverage(kind: str, level: float, share: float | None, **more: object) -> dict:
    ends = {"lower": 0.71, "upper": 0.93, "width_months": 41.26}
    return held("hog", 0.0, kind=kind, level=level, coverage=share) | ends | more


def by_group(group: str, n: int, metric: str, value: float | None, **more: object) -> dict:
    ends = {"lower": None, "upper": None} if value is None else {"lower": value, "upper": value + 2}
    facts = {"model": "hog", "task": "age", "split": "test", "group": group, "metric": metric}
    return {**facts, "n": n, "value": value, **ends, **more}


def test_the_card_is_of_the_model_that_calibration_named(tmp_path: Path):
    # On test cnn is better, on calibration hog.
    page = write(tmp_path, PICTURES, CNN, HOG)
    assert f"Bone age: {BEST}</h3>" in page and OTHER not in text(page)
    assert '<a href="04_hog.html">04_hog</a>' in page
    assert row_of(page, f"{BEST} test, n = 150 11.0 10.0 to 12.0")
    assert row_of(page, f"{BEST} calibration, n = 150 11.0 10.0 to 12.0")
    assert row_of(page, "mean age trivial, test, n = 150 33.0 32.0 to 34.0")
    assert "1,100 are of boys, 900 of girls" in text(page)
    assert row_of(page, "train 700") and row_of(page, "late 156 168")
    assert "radiographs of hands" in text(page) and "/home/me" not in page


def test_without_a_score_on_calibration_there_is_no_card_and_no_link(tmp_path: Path):
    assert write(tmp_path, PICTURES) == ""
    assert write(tmp_path, HOG)
    assert write(tmp_path, results("04_hog", score("hog", "test", 11))) == ""


def test_each_task_stands_alone_too_and_stages_cut_out_of_months_say_so(tmp_path: Path):
    page = write(tmp_path, results("04_hog", *STAGES))
    assert f"Developmental stage: {BEST}" in page and "Bone age: " not in page
    assert "Output: one of five developmental stages." in text(page)
    page = write(tmp_path, HOG)
    assert f"Bone age: {BEST}" in page and "Developmental stage: " not in page
    derived = [{**one, "model": "hog (derived)"} for one in STAGES]
    page = text(write(tmp_path, {**HOG, "scores": [*HOG["scores"], *derived]}))
    assert f"Developmental stage: {BEST} (derived)" in page
    assert f"derived from the months of {BEST}" in page
    assert "Derived stages have no sets of their own" in page


@pytest.mark.parametrize("model", ["", "cnn"])
def test_what_notebook_05_has_not_told_of_the_model_is_named(tmp_path: Path, model: str):
    others = [with_tables(intervals=[coverage("plain", 0.9, 0.88, model=model)])] if model else []
    page = text(write(tmp_path, HOG, *others))
    assert NO_INTERVALS in page and NO_INTERVALS[:-1] + ", for the best of its ensembles." in page
    assert "88.0 %" not in page


def test_coverage_and_groups_stand_with_n_and_intervals_and_the_small_are_marked(tmp_path: Path):
    intervals = [
        coverage("plain", 0.8, 0.5, group="female"),
        coverage("plain", 0.8, 0.6, split="external b"),
        coverage("plain", 0.95, None),
        coverage("plain", 0.8, 0.811),
        coverage("mondrian", 0.95, 0.955, lower=None),
    ]
    sets = [coverage("by stage", 0.9, 0.9, width_months=None, mean_stages=1.34)]
    groups = [
        by_group("all", 150, "mae", 11.04),
        by_group("all", 150, "signed_error", 0.44),
        by_group("0 to 5 years", 29, "mae", 15),
        by_group("0 to 5 years", 29, "signed_error", None),
        by_group("female", 30, "accuracy", 0.5, task="stage"),
    ]
    models = results("04_hog", *HOG["scores"], *STAGES)
    page = write(tmp_path, models, with_tables(intervals=intervals, sets=sets, subgroups=groups))
    for row in (
        "Test split 80 % promised 95 % promised",
        "the same for all n = 150 81.1 % 71.0 to 93.0 % · 41.3 months wide –",
        "by sex and stage n = 150 – 95.5 % 41.3 months wide",
        "by stage n = 150 90.0 % 71.0 to 93.0 % · 1.34 stages",
        "Test split Mean absolute error, months Predicted minus true, months",
        "all n = 150 11.0 11.0 to 13.0 +0.4 +0.4 to +2.4",
        "0 to 5 years n = 29 few cases 15.0 15.0 to 17.0 –",
        "female n = 30 50.0 % 50.0 to 250.0 %",
    ):
        assert row_of(page, row) == row
    assert "60.0 %" not in page and NO_INTERVALS not in text(page)


def test_members_parameters_versions_and_a_later_failure_are_told(tmp_path: Path):
    made = {
        "parameters": {"task": "age", "seed": 0, "loss": None, "weights": "/home/me/hands/w.h5"}
    }
    made |= {"versions": {"keras": "3.15.1"}, "figures": {"members": "cnn, hog, gone"}}
    scores = [score("both_ridge", split, 9) for split in ("calibration", "test")]
    marked = {**CNN, "marks": ["random weights"]}
    later = "A later attempt of this run is not complete"
    page = write(tmp_path, marked, HOG, results("05_ensembling.age", *scores, **made))
    assert "Bone age: both_ridge" in page and later not in page
    assert f"{OTHER} ( 02_cnn ) random weights , {BEST} ( 04_hog ), gone" in text(page)
    assert "Seed 0" in text(page) and row_of(page, "loss –") and row_of(page, "keras 3.15.1")
    assert row_of(page, "weights") == "weights hands/w.h5"
    status.write_state(tmp_path, "05_ensembling.age", status.FAILED)
    assert later in written(tmp_path)


@pytest.mark.parametrize(("source", "drawn"), [("hands", False), ("synthetic-40-0-v4", True)])
def test_synthetic_radiographs_are_called_so(tmp_path: Path, source: str, drawn: bool):
    # Another folder that was scored may be synthetic where the run's own is not.
    elsewhere = results("04_hog", *HOG["scores"], notes=["synthetic radiographs"])
    page = write(tmp_path, PICTURES, elsewhere, source=source)
    assert ("say nothing about children" in page[: page.index("<h2>")]) == drawn
    assert ("two hospitals in the United States" in page) != drawn


def test_looks_at_the_test_split_are_counted(tmp_path: Path):
    assert "Looks at the test split" not in write(tmp_path, HOG)
    looks = [("hog", "a"), ("hog", "b"), ("cnn", "c")]
    lines = [{"model": name, "task": "age", "hash": one, "time": ""} for name, one in looks]
    (tmp_path / "test_scored.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = f"3 prediction tables were scored in this run folder: {BEST} (age) 2 times, {OTHER}"
    assert said in text(written(tmp_path))


SCORED = [("hospital", 40, True), ("hospital", 0, False), ("synthetic-40-1-v4", 40, False)]


@pytest.mark.parametrize(("source", "n", "answers"), SCORED)
def test_only_scores_on_real_radiographs_are_external_testing(tmp_path: Path, source, n, answers):
    write_json(tmp_path / "external" / "b" / "data.json", {"fingerprint": {"data_folder": source}})
    write(tmp_path, HOG, results("09_external.b", figures={"folder": "b", "scored": n}))
    row = row_of((tmp_path / "claim.html").read_text(), "33. ")
    assert ("not done Run make score on" in row) != answers
    assert (f"results/09_external.b.json , figures, scored: {n}" in row) == answers


def test_the_checklist_answers_with_what_files_hold_or_says_what_would_do_it(tmp_path: Path):
    write(tmp_path, PICTURES, HOG, with_tables(subgroups=[by_group("all", 150, "mae", 11.0)]))
    page = (tmp_path / "claim.html").read_text()
    numbers = re.findall(r'<th scope="row">(\d+)\. ', page)
    assert numbers == [str(number) for number in range(1, 45)]
    assert len(re.findall(r"<td>(answered|not done|not applicable)</td>", page)) == 44
    answers = re.findall(r"<code>(.*?)</code>, (.*?): ", page)
    for file, keys in answers:
        content = json.loads((tmp_path / file).read_text())
        for key in keys.split(", "):
            content = content[key]
    assert len({file for file, _ in answers}) == 4
    assert "figures, girls: 900" in row_of(page, "36. ") and "1 rows" in row_of(page, "37. ")
    assert row_of(page, "30. ") == "30. Robustness Evaluation not done Run notebook 07."
    assert row_of(page, "in the folder") == "in the folder 9" and "/home/me" not in page
    assert "%" not in text(page) and not Links(page).loaded


def test_the_card_loads_nothing_and_its_headings_are_in_order(tmp_path: Path):
    page = write(tmp_path, PICTURES, HOG)
    assert Links(page).loaded == [] and not re.findall(r"@import|https?://|url\(", page)
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    tables = re.findall(r'<table(?: class="scores")?>(?!<caption)', page)
    assert len(tables) == page.count('<div class="scroll" tabindex="0" role="region" aria-label="')
