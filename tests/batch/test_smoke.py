"""All notebooks on synthetic radiographs, from `params/smoke` as committed, in `reports/smoke`.

The pages stay there, so that whoever ran the tests can read them.
"""

import io
import json
import re
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from batch_tools import ROOT, execute, started
from test_browser import chromium, examine
from test_pages import Links

from nbhelpers import workspace
from nbhelpers.batch import claim, pages, profiles, status
from nbhelpers.workspace import read_json

pytestmark = pytest.mark.slow
FOLDER = ROOT / "reports" / "smoke"


@pytest.fixture(scope="module")
def smoke() -> str:
    """What `make report PROFILE=smoke` prints, begun with nothing in the run folder."""
    with workspace.lock_folder(FOLDER, alone=True):
        for path in FOLDER.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
    done = execute(ROOT, "profile", "smoke", timeout=1200)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def runs() -> list[str]:
    return [run.name for run in profiles.read_profile(ROOT, "smoke").runs]


def test_every_notebook_has_a_run_and_every_run_is_complete(smoke: str, runs: list[str]):
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {run.partition(".")[0] for run in runs} == notebooks
    assert sorted(started(smoke)) == sorted(runs)
    assert all(read_json(status.results_path(FOLDER, run))["run"] == run for run in runs)
    again = execute(ROOT, "profile", "smoke")
    assert again.returncode == 0 and not started(again.stdout)


def test_pages_work_offline_give_figures_a_text_and_name_no_folder(smoke: str, runs: list[str]):
    names = [*runs, "index", "model_card", "claim"]
    for page in (FOLDER / f"{name}.html" for name in names):
        text = page.read_text()
        links = Links(text)
        assert all(address.startswith("data:") for address in links.loaded), page
        assert links.images or page.stem in ("model_card", "claim")
        assert all(len(image.get("alt", "")) > 10 for image in links.images), page
        text = re.sub(r'base64,[^"]*', "", text)
        assert f"{Path.home()}/" not in text and str(ROOT) not in text, page
    index = (FOLDER / "index.html").read_text()
    assert "Developmental stage. Test split" in index and "known, as they were drawn" in index
    shown = index.count('alt="Radiograph of a hand, bone age ')
    assert index.count('<li class="card done">') == index.count("<img") - shown == len(runs)
    assert 4 <= shown <= 6


def test_every_page_is_fit_to_read(smoke: str, runs: list[str]):
    with chromium() as browser:
        for name in [*runs, "index", "model_card", "claim"]:
            examine(browser, FOLDER / f"{name}.html")


def test_every_key_that_the_checklist_asks_for_is_in_a_file(smoke: str):
    files = [FOLDER / "data.json", *(FOLDER / "results").glob("*.json")]
    for item in read_json(pages.TEMPLATES / "claim.json"):
        for start, *keys in item["from"]:
            of = [path for path in files if path.name.startswith(start)]
            assert any(claim.value_at(read_json(path), keys) is not None for path in of), item


def learning(runs: list[str]) -> list[str]:
    """Those that fit or choose something."""
    return [run for run in runs if run.startswith(("02", "03", "04", "05"))]


@pytest.fixture(scope="module")
def corrupted(smoke: str, runs: list[str], tmp_path_factory) -> Path:
    """The same runs in a folder whose test split has labels of chance, once it is split."""
    folder = tmp_path_factory.mktemp("corrupted")
    for path in FOLDER.iterdir():
        if path.is_file() and path.suffix in (".parquet", ".json", ".npy"):
            shutil.copy(path, folder / path.name)
    table = pd.read_parquet(folder / "cases.parquet")
    test = np.flatnonzero(table["split"] == "test")
    table.loc[test, "age_months"] = np.random.default_rng(0).uniform(1, 228, len(test))
    table.loc[test, "stage"] = (table.loc[test, "stage"] + 2) % 5
    table.to_parquet(folder / "cases.parquet", index=False)

    # As in a batch, beside each other, and each ensemble after the models that it reads.
    def again(run: str) -> None:
        arguments = ("run", "smoke", run, "--inside", "--folder", str(folder))
        done = execute(ROOT, *arguments, timeout=900)
        assert done.returncode == 0, run + done.stdout[-3000:] + done.stderr[-3000:]

    ensembles = [run for run in learning(runs) if run.startswith("05")]  # of ages, then of stages
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(again, [run for run in learning(runs) if run not in ensembles]))
    for run in ensembles:
        again(run)
    return folder


def contents(path: Path) -> dict:
    """What a saved model is made of: its numbers by name."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        items = []
        weights.visit(items.append)
        return {
            name: weights[name][()].tobytes() for name in items if hasattr(weights[name], "dtype")
        }
    if path.suffix == ".ubj":
        return {"trees": path.read_bytes()}
    content = json.loads(path.read_text())
    content.pop("files", None)  # sums of files that carry the time they were written
    return content


def test_the_test_split_changes_nothing_but_its_own_figures(corrupted: Path, runs: list[str]):
    """No weight, threshold, chosen trial, interval, ensemble, prediction or named best model."""
    models = sorted(path.name for path in (FOLDER / "models").iterdir() if path.name[0] != ".")
    assert [m for m in models if m.endswith(".intervals.json")]
    assert {Path(name).suffix for name in models} == {".keras", ".ubj", ".json"}
    for name in models:
        assert contents(corrupted / "models" / name) == contents(FOLDER / "models" / name), name
    for path in sorted((FOLDER / "predictions").glob("*.parquet")):
        labels = ["age_months", "stage"]
        one, other = (
            pd.read_parquet(folder / "predictions" / path.name).drop(columns=labels)
            for folder in (FOLDER, corrupted)
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=path.name)
    changed = 0
    for run in learning(runs):
        one, other = (read_json(status.results_path(folder, run)) for folder in (FOLDER, corrupted))
        for before, after in zip(one["scores"], other["scores"], strict=True):
            if before["split"] == "test":
                changed += before["value"] != after["value"]
            else:
                assert before == after, run
        for name, value in one["figures"].items():
            # Comparisons and single seeds are of test.
            if not re.search("^against|^one fit|_seed", name):
                assert other["figures"][name] == value, (run, name)
    assert changed > 50


def test_a_part_of_the_test_split_scores_as_in_the_run(smoke: str, runs: list[str], tmp_path):
    """Every figure, but for the rounding of float32, which weights of ensembles enlarge."""
    folder = shutil.copytree(FOLDER, tmp_path / "run")
    table = pd.read_parquet(folder / "cases.parquet").query("split == 'test'")
    (part := tmp_path / "A part").mkdir()
    for path in table["image_path"]:
        shutil.copy(path, part)
    named = {"id": table["case_id"], "boneage": table["age_months"], "sex": table["sex"]}
    pd.DataFrame(named).to_csv(part / "table.csv", index=False)
    done = execute(ROOT, "score", "--folder", str(folder), "--data", str(part), timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = read_json(status.results_path(folder, "09_external.a-part"))
    after = {(s["model"], s["task"], s["metric"]): s for s in found["scores"]}
    compared = 0
    for run in learning(runs):
        for score in read_json(status.results_path(folder, run))["scores"]:
            key = (score["model"], score["task"], score["metric"])
            if score["split"] == "test" and "cuts" not in score["model"]:
                pair = pd.DataFrame([after[key], score])[["n", "value", "lower", "upper"]]
                near = 1e-12 if score["model"] == "hog" else 1e-5  # trees read a case alone
                np.testing.assert_allclose(*pair.to_numpy(float), near, near, err_msg=str(key))
                compared += 1
    assert compared > 100
    assert {s["split"] for s in found["scores"]} == {"external a-part"}
    assert len(pd.read_csv(folder / "external" / "a-part" / "predictions.csv")) == len(table)
    page = (folder / "index.html").read_text()
    assert "External a-part" in page and "09_external.a-part.html" in page
