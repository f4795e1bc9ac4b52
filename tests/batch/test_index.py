"""The index: a scoreboard that chooses nothing on test, a card for every run, failures named."""

import html
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_pages import Links, picture

from nbhelpers.batch import index, scoreboard, status
from nbhelpers.batch.pages import write_page
from nbhelpers.data import cases
from nbhelpers.evaluation.scores import CHOOSING_SPLIT as CHOOSING
from nbhelpers.workspace import read_json, write_json


def score(model: str, split: str, value: float, task: str = "age", metric: str = "mae") -> dict:
    """A score with an interval of one to each side."""
    facts = {"model": model, "task": task, "split": split, "metric": metric, "n": 150}
    return {**facts, "value": value, "lower": value - 1, "upper": value + 1}


def results(run: str, *scores: dict, **more: object) -> dict:
    facts = {"title": f"Title of {run}", "seconds": 61.0, "tables": {}}
    return {"run": run, "scores": list(scores), **facts, **more}


BEST, OTHER = "HOG and XGBoost", "Custom CNN"  # what hog and cnn are called
TRIVIAL = score("trivial: mean age", "test", 33)
# On test cnn is better, on calibration hog: hog must be first and best.
CNN = results("02_cnn", score("cnn", "test", 10), score("cnn", "calibration", 12), TRIVIAL)
HOG = results("04_hog", score("hog", "test", 11), score("hog", "calibration", 11), TRIVIAL)
EXTERNAL = "09_external.clinic"
ANSWER = "The model *CNN* is off\nby 9.8 months (8.8 to 10.9 (n = 9)). Guessing is off by 32.6."
BADGE = '<em class="mark">random weights</em>'


def held(model: str, share: float, split: str = "test", **more: object) -> dict:
    facts = {"model": model, "kind": "mondrian", "level": 0.9, "group": "all", "n": 150}
    ends = {"coverage": share, "lower": share - 0.02, "upper": share + 0.02, "width_months": 38.25}
    return {**facts, **ends, "split": split, **more}


def names(board: dict) -> list[str]:
    return [row["name"] for row in board["rows"]]


def test_the_best_is_named_on_calibration_and_orders_every_split_before_trivial_ones():
    cheap = score("trivial: mean age", "calibration", 1)
    (board,) = scoreboard.boards([CNN, {**HOG, "scores": [*HOG["scores"], cheap]}])
    test, calibration = board["splits"]
    assert (test["split"], calibration["split"]) == ("test", "calibration")
    assert names(test) == names(calibration) == [BEST, OTHER, "mean age"]
    assert [row["best"] for row in test["rows"]] == [True, False, False]
    assert [row["trivial"] for row in test["rows"]] == [False, False, True]
    assert board["best"] == "hog" and board["kind"] == ""
    assert [row["cells"][0]["text"] for row in test["rows"]] == ["11.0", "10.0", "33.0"]


def test_tasks_stand_apart_and_more_is_better_for_kappa():
    of = CHOOSING, 0.4, "stage", "qwk"
    kappas = [score("low", *of), score("high", CHOOSING, 0.8, *of[2:])]
    age, stage = scoreboard.boards([CNN, results("03", *kappas)])
    assert [board["heading"] for board in (age, stage)] == ["Bone age", "Developmental stage"]
    assert names(stage["splits"][0]) == ["high", "low"]


def test_the_marks_of_a_model_stand_wherever_it_is_shown_and_another_folder_after_test():
    """Those of the run that scored it here too; trivial predictors have none."""
    marked = {**CNN, "marks": ["random weights"]}
    clinic = [score(model, "external clinic", value) for model, value in (("cnn", 9), ("hog", 14))]
    elsewhere = results(EXTERNAL, *clinic, marks=["old"])
    (board,) = scoreboard.boards([marked, HOG, elsewhere])
    splits = {split["split"]: split for split in board["splits"]}
    assert list(splits) == ["test", "external clinic", "calibration"]
    assert names(splits["external clinic"]) == [BEST, OTHER]
    marks = {split: [row["marks"] for row in table["rows"]] for split, table in splits.items()}
    assert marks["test"] == [[], ["random weights"], []]
    assert marks["external clinic"] == [["old"], ["random weights", "old"]]


def test_what_intervals_hold_stands_beside_the_scores_of_each_split():
    rows = [held("hog", 0.887, quantiles=2), held("gone", 0.1, quantiles=2)]
    others = [{"kind": "plain"}, {"level": 0.8}, {"group": "female"}]
    rows += [held("cnn", 0.5) | of for of in others]
    (board,) = scoreboard.boards([CNN, HOG, results("05", tables={"intervals": rows})])
    assert board["kind"] == "by sex and stage: too few cases, so by sex alone"
    assert board["columns"][-1] == "inside the interval"
    cells = [row["cells"][-1] for split in board["splits"] for row in split["rows"]]
    shown = [cells[0][key] for key in ("text", "interval", "n", "more")]
    assert shown == ["88.7 %", "86.7 to 90.7 %", 150, "38.2 months wide"]
    assert cells[1:] == [None] * 4


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two complete runs, one of them marked; one failed, one that was never reached."""
    told = {"headline": ["mean absolute error", "10.0 (9.0 to 11.0)"]}
    for content in (CNN | told, HOG | {"marks": ["random weights"]}):
        write_json(status.results_path(tmp_path, content["run"]), content)
        status.write_state(tmp_path, content["run"], status.DONE, seconds=61.0)
        status.page_path(tmp_path, content["run"]).write_text("page")
    message = f"{tmp_path}: row 17 <b>is</b> bad"
    status.write_state(tmp_path, "04_bad", status.FAILED, error="E", message=message)
    status.page_path(tmp_path, "04_bad").write_text("page")
    cells = [
        new_markdown_cell("# A\n\n**How far off?**"),
        new_code_cell("answer", outputs=[new_output("display_data", {"text/markdown": ANSWER})]),
        new_code_cell("a", outputs=[picture("the first")]),
        new_code_cell("b", outputs=[picture("the tagged one")], metadata={"tags": ["picture"]}),
    ]
    executed = status.executed_path(tmp_path, "02_cnn")
    executed.parent.mkdir()
    nbformat.write(new_notebook(cells=cells), executed)
    counts = {"train": 700, "tuning": 75, "calibration": 75, "test": 150}
    fingerprint = {"hash": "0123456789abcdef", "data_folder": "/of/me/hands", "images": 1000}
    write_json(tmp_path / "data.json", {"fingerprint": fingerprint, "manifest": {"counts": counts}})
    return tmp_path


def test_the_index_says_what_there_is_what_failed_and_what_was_not_run(run_folder: Path):
    runs = ["02_cnn", "04_hog", "04_bad", "05_ensembling"]
    page = index.write_index(run_folder, "demo", runs).read_text()
    said = f"{run_folder.name}: row 17 &lt;b&gt;is&lt;/b&gt; bad"
    for part in (
        "2 of 4 runs are not complete",
        f'<a href="04_bad.html">04_bad</a>: failed. {said}',
        "05_ensembling: not run yet, or a run that it needs is not complete",
        "0123456789abcdef",
        "1,000 radiographs of hands",
        "train <b>700</b>",
        "1 min 1 s",
        "2 min 2 s",
        f'<a href="04_hog.html">{BEST}</a> {BADGE}, named best on calibration, is off by <strong>',
        "; guessing the mean age is off by 33.0.",
        "Off this scale: mean age, 33.0",
    ):
        assert part in page
    assert page.count(f'<a href="04_hog.html">{BEST}</a> {BADGE}') == 3  # test and calibration, too
    assert page.count(BADGE) == 4
    assert "/of/me" not in page and 'href="05_ensembling.html"' not in page
    first, second, *others = page[page.index('<ol class="cards">') :].split("</li>")[:4]
    assert len(others) == 2 and all('class="card ' in card for card in (first, second, *others))
    assert "<p>How far off?</p>" in first and BADGE not in first
    assert '<p class="told">The model CNN is off by 9.8 months (8.8 to 10.9 (n = 9)).</p>' in first
    assert "<dt>mean absolute error</dt><dd>10.0 (9.0 to 11.0)</dd>" in first
    assert "<dt>" not in second and BADGE in second
    assert [image["alt"] for image in Links(page).images] == ["the tagged one"]
    assert all(address.startswith("data:") for address in Links(page).loaded)
    assert not re.findall(r"@import|https?://", page)


def test_a_prepared_folder_has_an_index_before_there_is_a_model(tmp_path: Path, radiographs: Path):
    table = cases.read_cases(radiographs)
    cases.save_cases(tmp_path, table, cases.fingerprint(radiographs, table))
    assert "02_cnn: not run" in index.write_index(tmp_path, "demo", ["02_cnn"]).read_text()
    write_json(status.results_path(tmp_path, "02_cnn"), {"run": "02_cnn"})  # by hand
    assert "not run" not in index.write_index(tmp_path, "demo", ["02_cnn"]).read_text()


def lists(folder: Path, *contents: dict, **data: object) -> list[str]:
    """What the index of these results says is to be trusted, is not, and is unknown."""
    write_json(folder / "data.json", data)
    for content in contents:
        write_json(status.results_path(folder, content["run"]), content)
    page = index.write_index(folder, "kaggle", [one["run"] for one in contents]).read_text()
    parts = re.split(r'<h2 class="(?:holds|fails|unknown)">', page[: page.index("</aside>")])
    return [" ".join(html.unescape(re.sub("<[^>]+>", "", part)).split()) for part in parts[1:]]


def test_a_figure_stands_where_what_it_says_belongs(tmp_path: Path):
    def error(group: str, n: int, *ends: float | None) -> dict:
        of = {"model": "hog", "metric": "signed_error", "split": "test", "group": group, "n": n}
        return of | dict(zip(("value", "lower", "upper"), ends, strict=True))

    late, infants = error("late", 20, -17.8, -24.9, -12.1), error("infancy", 3, None, None, None)
    stress = {"kind": "noise", "strength": 5, "unit": "SD in grey levels", "model": "cnn", "n": 12}
    stress |= {"difference": 9.5, "difference_lower": 4.0, "difference_upper": 15.0}
    every, young = held("hog", 0.86, chance=0.1), held("hog", 0.5, group="young", chance=0.001)
    tables = {"errors by group": [error("female", 70, 2.0, 1.0, 3.0), late, infants]}
    tables |= {"stress": [stress], "intervals": [every, young]}
    data = {"stage_names": ["infancy", "late"], "manifest": {"counts": {"test": 150}}}
    holds, fails, unknown = lists(tmp_path, HOG, results("07", tables=tables), **data)
    assert "is clearly more accurate than always predicting the mean age: off by 11.0" in holds
    # An interval that leaves out the promise is not to be trusted, whatever else may explain it.
    assert "hold 86.0 %" not in holds
    assert "hold 86.0 % (95 % interval 84.0 to 88.0 %, n = 150)" in unknown
    assert "Late: predicted too young by 17.8 months (95 % interval 12.1 to 24.9, n = 20" in fails
    assert "the furthest of 2 groups" in fails and "in young (50 % of 150)" in fails
    assert "Noise (SD 5 grey levels) adds +9.5 months" in fails and f"of {OTHER}" in fails
    assert "infancy (n = 3), late (n = 20)" in fails and "test set" in unknown
    # The same figures turned round: each goes to another list, or out of all.
    clinic = results(EXTERNAL, score("hog", "external clinic", 14), figures={"folder": "clinic"})
    poor = results("04_hog", *HOG["scores"][:2], score("trivial: mean age", "test", 11.5))
    every["chance"], late["upper"], data["manifest"]["counts"]["external"] = 0.001, 0.5, 200
    fails, unknown = lists(tmp_path, poor, results("07", tables=tables), clinic, **data)
    assert "may be no better than always predicting the mean age" in fails
    assert "in all (86 % of 150), young" in fails and "predicted too" not in fails
    assert f"Hospitals other than clinic, where {BEST} is off by 14.0 months" in unknown
    assert "Other hospitals" not in unknown and "test set" not in unknown


def test_what_was_measured_on_real_radiographs_stands_above_drawn_ones(tmp_path: Path):
    write_json(tmp_path / "data.json", {"fingerprint": {"data_folder": "/a/synthetic-9-0-v4"}})
    page = index.write_index(tmp_path, "demo", ["04_hog"]).read_text()
    runs = {path.stem: read_json(path) for path in index.MEASURED.glob("0*.json")}
    of = runs["05_ensembling.age"]["figures"]["best on calibration"], "test", "mae"
    every = [one for run in runs.values() for one in run["scores"]]
    (best,) = [s for s in every if (s["model"], s["split"], s["metric"]) == of]
    assert f"error of {best['value']:.1f} months (95" in page[: page.index("</header>")]


@pytest.mark.parametrize(("when", "outdated"), [("2026-01-03", False), ("2026-01-01", True)])
def test_scores_from_before_the_models_are_marked(tmp_path, when, outdated):
    model = {**HOG, "finished": "2026-01-02"}
    clinic = results(EXTERNAL, score("hog", "external clinic", 14), finished=when)
    for content in (model, clinic):
        write_json(status.results_path(tmp_path, content["run"]), content)
    page = index.write_index(tmp_path, "demo", ["04_hog", "07_bias"]).read_text()
    assert "External clinic, 150 cases" in page
    assert (scoreboard.OUTDATED in page) == outdated


@pytest.mark.parametrize("profile", ["smoke", "demo", "rsna_cpu"])
def test_a_profile_for_synthetic_radiographs_says_so_on_real_ones(tmp_path: Path, profile: str):
    folder = "synthetic-2000-0-v4" if profile == "demo" else "rsna-bone-age"
    fingerprint = {"data_folder": f"/somewhere/{folder}", "images": 40, "hash": "0" * 16}
    write_json(tmp_path / "data.json", {"fingerprint": fingerprint})
    state = status.write_state(tmp_path, "04_hog", status.DONE)
    shown = index.write_index(tmp_path, profile, ["04_hog"]).read_text()
    words, unfit = f"Profile {profile} is sized for the synthetic radiographs", profile == "smoke"
    assert (words in shown) == unfit
    assert (words in write_page(tmp_path, "04_hog", profile, state).read_text()) == unfit
    assert ("40 synthetic radiographs" in shown) == (profile == "demo")
