"""All notebooks on synthetic radiographs, from `params/smoke` as committed, in `reports/smoke`.

The pages stay there, so that whoever ran the tests can read them.
"""

import re
import shutil
from pathlib import Path

import pytest
from batch_tools import ROOT, execute, started
from test_report import Links

from nbhelpers import locks, profiles, states
from nbhelpers.workspace import read_json

pytestmark = pytest.mark.slow
FOLDER = ROOT / "reports" / "smoke"


@pytest.fixture(scope="module")
def smoke() -> str:
    """What `make report PROFILE=smoke` prints, begun with nothing in the run folder."""
    lock = states.lock_path(FOLDER, "folder")
    with locks.hold(lock, "Other tests run in reports/smoke. Wait for process {process}."):
        for path in [*FOLDER.iterdir(), *lock.parent.iterdir()]:
            if path.is_file() and path != lock:
                path.unlink()
            elif path.is_dir() and path != lock.parent:
                shutil.rmtree(path)
    done = execute(ROOT, "profile", "smoke", timeout=1200)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def runs() -> list[str]:
    return [run.name for run in profiles.read_profile(ROOT, "smoke").runs]


def test_every_notebook_of_the_suite_has_a_smoke_run(runs: list[str]):
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {run.partition(".")[0] for run in runs} == notebooks


def test_every_run_is_complete(smoke: str, runs: list[str]):
    assert sorted(started(smoke)) == sorted(runs)
    for run in runs:
        assert read_json(states.results_path(FOLDER, run))["run"] == run
        assert states.page_path(FOLDER, run).exists()


def test_pages_work_offline_and_every_figure_has_its_text(smoke: str, runs: list[str]):
    for page in [states.page_path(FOLDER, run) for run in runs] + [FOLDER / "index.html"]:
        links = Links(page.read_text())
        assert all(address.startswith("data:") for address in links.loaded), page
        assert links.open_code == 0, page
        assert all(len(image.get("alt", "")) > 10 for image in links.images), page
        assert links.images, page


def test_no_page_tells_where_it_was_made(smoke: str, runs: list[str]):
    for page in [states.page_path(FOLDER, run) for run in runs] + [FOLDER / "index.html"]:
        text = re.sub(r'base64,[^"]*', "", page.read_text())
        assert f"{Path.home()}/" not in text and str(ROOT) not in text, page


def test_the_index_has_scores_of_age_and_stage_and_a_card_for_every_run(
    smoke: str, runs: list[str]
):
    page = (FOLDER / "index.html").read_text()
    assert "Bone age</h2>" in page and "Developmental stage</h2>" in page
    assert page.count('<li class="card done">') == len(runs)
    assert page.count("<img") == len(runs), "every page gives the index a picture"


def test_a_second_call_runs_nothing(smoke: str):
    again = execute(ROOT, "profile", "smoke")
    assert again.returncode == 0 and not started(again.stdout)
