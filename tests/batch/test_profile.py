"""Whole profiles: what runs again and what does not, and what happens when a run fails."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_tools import (
    PARAMETERS,
    ROOT,
    SAVE,
    clean_environment,
    execute,
    make_report,
    started,
    write_notebook,
    write_project,
)

from nbhelpers.batch import status
from nbhelpers.data import cases
from nbhelpers.workspace import write_json

RUNS = {
    "01_preprocessing": "",
    "02_cnn_tuning": "model: cnn\n",
    "04_hog_xgboost": "model: hog\n",
    "05_ensembling": "model: average\n",
}
FAIL = "raise RuntimeError('of no use')"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a copy of the helpers."""
    folder = write_project(tmp_path / "project", RUNS)
    shutil.copytree(ROOT / "nbhelpers", folder / "nbhelpers")
    return folder


def report(project: Path, *more: str) -> subprocess.CompletedProcess:
    return execute(project, "profile", "demo", *more)


def edit(path: Path, text: str) -> None:
    """Change a file so that nobody can take it for the one before."""
    path.write_text(path.read_text() + text)
    later = time.time() + 1
    os.utime(path, (later, later))


@pytest.mark.slow
def test_only_what_a_change_reaches_runs_again(project: Path):
    first = report(project)
    assert first.returncode == 0, first.stdout + first.stderr
    order = started(first.stdout)
    assert order[0] == "01_preprocessing" and order[-1] == "05_ensembling"
    assert sorted(order) == sorted(RUNS)
    assert first.stdout.splitlines()[-1] == f"Open {project}/reports/demo/index.html"

    def reruns() -> set[str]:
        done = report(project)
        assert done.returncode == 0, done.stdout + done.stderr
        return set(started(done.stdout))

    assert reruns() == set()
    edit(project / "params" / "demo" / "04_hog_xgboost.yaml", "steps: 5\n")
    assert reruns() == {"04_hog_xgboost", "05_ensembling"}
    edit(project / "nbhelpers" / "metrics.py", "# changed\n")
    assert reruns() == set(RUNS)
    edit(project / "nbhelpers" / "batch" / "pages.py", "# no figure depends on it\n")
    assert reruns() == set()
    (project / "reports" / "demo" / "results" / "05_ensembling.json").unlink()
    assert reruns() == {"05_ensembling"}
    os.utime(project / "notebooks" / "02_cnn_tuning.ipynb")  # the same bytes, as after a checkout
    assert reruns() == set()


@pytest.mark.slow
def test_other_weights_run_again_and_the_same_do_not(tmp_path: Path):
    """Through make, so that the name is the same in Makefile, command line, Snakefile, notebook."""
    runs = {
        "02_cnn_tuning": "model: cnn\n",
        "03_transfer_learning.vgg16": "model: vgg16\n",
        "03_transfer_learning.mobilenet": "model: mobilenet\nweights: mobilenet.h5\n",
        "05_ensembling": "model: average\n",
    }
    project = write_project(tmp_path, runs)
    write_notebook(
        project / "notebooks" / "03_transfer_learning.ipynb",
        SAVE.replace('"steps": steps', '"weights": weights'),
        parameters=f'{PARAMETERS}\nweights = "imagenet"  # imagenet, none or a file',
    )

    def make(*variables: str) -> tuple[set[str], list[str]]:
        """The runs that start, and the weights that the two runs of 03 got at last."""
        options = {"cwd": project, "env": clean_environment(project), "capture_output": True}
        done = subprocess.run([*make_report(project), *variables], **options, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        results = (project / "reports" / "demo" / "results").glob("03*.json")
        return set(started(done.stdout)), [
            json.loads(path.read_text())["weights"] for path in sorted(results)
        ]

    reached = {"03_transfer_learning.vgg16", "05_ensembling"}
    assert make() == (set(runs), ["mobilenet.h5", "imagenet"])
    assert make("WEIGHTS=none") == (reached, ["mobilenet.h5", "none"])
    assert make("WEIGHTS=none") == (set(), ["mobilenet.h5", "none"])
    assert make() == (reached, ["mobilenet.h5", "imagenet"])
    # A run of its own is remembered too.
    alone = ("run", "demo", "03_transfer_learning.vgg16", "--weights", "none")
    assert execute(project, *alone).returncode == 0
    assert make() == (reached, ["mobilenet.h5", "imagenet"])


@pytest.mark.slow
def test_scoring_without_a_folder_is_left_out_on_real_radiographs_in_words(
    tmp_path: Path, radiographs: Path
):
    project = write_project(tmp_path / "project", {"01_preprocessing": "", "09_external": ""})
    score_folder = f'{PARAMETERS}\nscore_folder = ""  # folder to score'
    write_notebook(project / "notebooks" / "09_external.ipynb", SAVE, parameters=score_folder)
    assert started(report(project).stdout) == ["01_preprocessing", "09_external"]
    arguments = ("--data", str(radiographs), "--run", "real")
    done = report(project, *arguments)
    assert done.returncode == 0 and started(done.stdout) == ["01_preprocessing"]
    assert "left out 09_external: it names no folder" in done.stdout
    assert "make score RUN=real DATA=folder" in done.stdout
    # Nor does the index call it open after a run of its own.
    assert execute(project, "run", "demo", "01_preprocessing", *arguments).returncode == 0
    assert "09_external" not in (project / "reports" / "real" / "index.html").read_text()
    named = project / "params" / "demo" / "09_external.yaml"
    named.write_text(f"score_folder: {radiographs}\n")
    assert started(report(project, *arguments).stdout) == ["09_external"]


@pytest.mark.slow
def test_independent_runs_go_on_and_the_index_says_what_failed(tmp_path: Path):
    project = write_project(tmp_path, RUNS, n02=FAIL)
    folder = project / "reports" / "demo"
    done = report(project)
    assert done.returncode == 1
    assert {"02_cnn_tuning", "04_hog_xgboost"} <= set(started(done.stdout))
    assert "FAILED   02_cnn_tuning" in done.stdout and "RuntimeError: of no use" in done.stdout
    assert "NOT COMPLETE" in done.stdout and "Traceback" not in done.stdout + done.stderr
    index = (folder / "index.html").read_text()
    assert "2 of 4 runs are not complete" in index
    assert "02_cnn_tuning</a>: failed. of no use" in index and "05_ensembling: not run" in index
    assert (folder / "02_cnn_tuning.html").exists()

    write_notebook(project / "notebooks" / "02_cnn_tuning.ipynb", SAVE)
    repaired = report(project)
    assert repaired.returncode == 0
    assert set(started(repaired.stdout)) == {"02_cnn_tuning", "05_ensembling"}
    assert "not complete" not in (folder / "index.html").read_text()

    # A repetition that fails loses nothing that was finished, and is tried again.
    results = (folder / "results" / "02_cnn_tuning.json").read_text()
    write_notebook(project / "notebooks" / "02_cnn_tuning.ipynb", FAIL, SAVE)
    for _ in range(2):
        again = report(project)
        assert again.returncode == 1 and "02_cnn_tuning" in started(again.stdout)
        assert (folder / "results" / "02_cnn_tuning.json").read_text() == results
    assert "those of an earlier, complete attempt" in (folder / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("gpu", [True, False])
def test_views_never_overlap_nor_do_networks_where_there_is_a_gpu(tmp_path: Path, gpu: bool):
    """Two views write one case table, and the first may draw the set."""
    views = ("01_preprocessing.frame", "01_preprocessing.hand")
    networks = ("06_grad_cam", "07_bias_analysis")
    runs = dict.fromkeys((*views, *networks), "")
    wait = "import time\ntime.sleep(1)\n"
    project = write_project(tmp_path, runs, **{f"n0{number}": wait + SAVE for number in (1, 6, 7)})
    environment = clean_environment(project)
    if gpu:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho A GPU\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = execute(project, "profile", "demo", "--cores", "4", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    in_turn = ["started", "finished"] * 2
    for pair, turns in ((views, True), (networks, gpu)):
        said = [words[1] for words in lines if len(words) > 2 and words[2] in pair]
        assert (said == in_turn) == turns


def test_a_wrong_parameter_of_any_run_stops_all_before_work_starts(tmp_path: Path):
    project = write_project(tmp_path, {**RUNS, "05_ensembling": "modle: x\n"})
    done = report(project)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert "05_ensembling.yaml" in done.stderr and "Did you mean model?" in done.stderr
    assert not (project / "reports").exists()


def test_another_data_set_is_refused_and_nothing_is_touched(tmp_path: Path, radiographs: Path):
    project = write_project(tmp_path / "project", {"01_preprocessing": ""})
    folder = project / "reports" / "demo"
    table = cases.read_cases(radiographs)
    facts = {
        "fingerprint": cases.fingerprint(radiographs, table),
        "stage_cuts": "gilsanz_ratib",
    }
    write_json(folder / "data.json", facts)
    other = tmp_path / "other"
    shutil.copytree(radiographs, other)
    data = ("--data", str(radiographs))
    assert report(project, *data).returncode == 0
    finished = status.results_path(folder, "01_preprocessing").read_bytes()

    (other / "boneage-training-dataset.csv").open("a").write("\n")
    refused = report(project, "--data", str(other))
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert str(other) in refused.stderr and str(radiographs) in refused.stderr
    # The same folder with one radiograph replaced is another data set too, DATA given or not.
    next(radiographs.rglob("1377.png")).write_bytes(b"no longer a PNG")
    for arguments in (data, ()):
        refused = report(project, *arguments)
        assert refused.returncode == 2 and "other data" in refused.stderr
    assert status.results_path(folder, "01_preprocessing").read_bytes() == finished
    # Pages outlive the radiographs: without them there is nothing to compare and nothing to redo.
    shutil.rmtree(radiographs)
    gone = report(project)
    assert gone.returncode == 0 and "is gone" in gone.stdout


def test_a_broken_snakefile_is_shown(tmp_path: Path):
    project = write_project(tmp_path, {"01_preprocessing": ""})
    (project / "Snakefile").write_text("rule all: nonsense\n")
    done = report(project)
    assert done.returncode == 1
    assert "Snakemake stopped" in done.stderr and "NOT COMPLETE" in done.stdout
    assert (project / "reports" / "demo" / "index.html").exists()


def test_plain_snakemake_and_plain_papermill_read_the_same_files(tmp_path: Path):
    project = write_project(tmp_path, {"01_preprocessing": "steps: 4\n"})
    start = [sys.executable, "-m"]
    options = {"cwd": project, "env": clean_environment(project), "capture_output": True}
    snakemake = [*start, "snakemake", "--cores", "1", "--config", "profile=demo"]
    done = subprocess.run(snakemake, **options, text=True)
    assert done.returncode == 0, done.stderr
    results = project / "reports" / "demo" / "results" / "01_preprocessing.json"
    assert json.loads(results.read_text())["steps"] == 4
    results.unlink()
    papermill = [
        *start,
        "papermill",
        "notebooks/01_preprocessing.ipynb",
        "out.ipynb",
        "-k",
        "python3",
    ]
    papermill += ["-f", "params/demo/01_preprocessing.yaml", "-p", "run", "01_preprocessing"]
    papermill += ["-p", "run_folder", str(results.parents[1])]
    done = subprocess.run(papermill, **options, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(results.read_text())["steps"] == 4
