"""Whole profiles: what runs again and what does not, and what happens when a run fails."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import batch_tools as tools
import pytest

from nbhelpers.batch import status
from nbhelpers.batch.__main__ import main
from nbhelpers.data import cases
from nbhelpers.workspace import read_json, write_json

RUNS = {
    "02_cnn_tuning": "model: cnn\n",
    "04_hog_xgboost": "model: hog\n",
    "05_ensembling": "model: average\n",
}
FAIL = "raise RuntimeError('of no use')"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a copy of the helpers."""
    folder = tools.write_project(tmp_path / "project", RUNS)
    shutil.copytree(tools.ROOT / "nbhelpers", folder / "nbhelpers")
    return folder


def report(project: Path, *more: str, status: int = 0) -> str:
    """What the profile prints on a machine set up for other work; it must end with this status."""
    other = {"SNAKEMAKE_PROFILE": "slurm", "KERAS_BACKEND": "torch"}
    latin = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = tools.clean_environment(project) | other | latin
    switches = ("--unreadable=exclude", "--doubtful=score")
    done = tools.execute(project, "profile", "demo", *switches, *more, env=environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def edit(path: Path, text: str) -> None:
    """Change a file so that nobody can take it for the one before."""
    path.write_text(path.read_text() + text)
    later = time.time() + 1
    os.utime(path, (later, later))


@pytest.mark.slow
def test_only_what_a_change_reaches_runs_again(project: Path):
    first = report(project)
    assert set(tools.started(first)) == set(RUNS) and tools.started(first)[-1] == "05_ensembling"
    assert f"Open {project}/reports/demo/index.html" in first
    last = read_json(status.results_path(project / "reports" / "demo", "05_ensembling"))
    assert last["switches"] == [True, True]

    def reruns() -> set[str]:
        return set(tools.started(report(project)))

    edit(project / "params" / "demo" / "04_hog_xgboost.yaml", "steps: 5\n")
    assert reruns() == {"04_hog_xgboost", "05_ensembling"}
    edit(project / "nbhelpers" / "metrics.py", "# changed\n")
    assert reruns() == set(RUNS)
    edit(project / "nbhelpers" / "batch" / "pages.py", "# no figure depends on it\n")
    os.utime(project / "notebooks" / "02_cnn_tuning.ipynb")  # the same bytes, as after a checkout
    status.results_path(project / "reports" / "demo", "05_ensembling").unlink()
    assert reruns() == {"05_ensembling"}


@pytest.mark.slow
def test_other_weights_run_again_and_the_same_do_not(tmp_path: Path):
    """Through make, so that the name is the same in Makefile, command line, Snakefile, notebook."""
    vgg16, own = "03_transfer_learning.vgg16", "03_transfer_learning.own"
    runs = {own: "model: own\nweights: own.h5\n", vgg16: "model: vgg16\n", "05_ensembling": ""}
    project = tools.write_project(tmp_path, runs)
    tools.write_notebook(
        project / "notebooks" / "03_transfer_learning.ipynb",
        tools.SAVE.replace('"steps": steps', '"weights": weights'),
        parameters=f'{tools.PARAMETERS}\nweights = "imagenet"  # imagenet, none or a file',
    )
    folder = project / "reports" / "demo"

    def make(*variables: str) -> tuple[set[str], list[str]]:
        """The runs that start, and the weights that the two runs of 03 got at last."""
        options = {"cwd": project, "env": tools.clean_environment(project), "capture_output": True}
        done = subprocess.run([*tools.make_report(project), *variables], **options, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        got = [read_json(status.results_path(folder, run))["weights"] for run in (own, vgg16)]
        return set(tools.started(done.stdout)), got

    reached = {vgg16, "05_ensembling"}
    assert make() == (set(runs), ["own.h5", "imagenet"])
    assert make("WEIGHTS=none") == (reached, ["own.h5", "none"])
    # A run of its own is remembered too.
    assert tools.execute(project, "run", "demo", vgg16).returncode == 0
    assert make("WEIGHTS=none") == (reached, ["own.h5", "none"])
    assert make("WEIGHTS=none") == (set(), ["own.h5", "none"])
    assert make("WEIGHTS=none", "DOUBTFUL=score") == ({"05_ensembling"}, ["own.h5", "none"])


def test_scoring_without_a_folder_is_left_out_in_words(tmp_path: Path, radiographs: Path):
    project = tools.write_project(tmp_path / "project", {"01_preprocessing": "", "09_external": ""})
    printed = report(project, "--data", str(radiographs), "--run", "real")
    assert tools.started(printed) == ["01_preprocessing"]
    assert "left out 09_external: it names no folder. make score RUN=real DATA=folder" in printed


@pytest.mark.slow
def test_independent_runs_go_on_and_the_index_says_what_failed(tmp_path: Path):
    project = tools.write_project(tmp_path, RUNS, n02=FAIL)
    notebook = project / "notebooks" / "02_cnn_tuning.ipynb"
    folder = project / "reports" / "demo"
    failed = report(project, status=1)
    assert {"02_cnn_tuning", "04_hog_xgboost"} == set(tools.started(failed))
    assert "FAILED   02_cnn_tuning" in failed and "RuntimeError: of no use" in failed
    assert "NOT COMPLETE" in failed and (folder / "02_cnn_tuning.html").exists()
    index = (folder / "index.html").read_text()
    assert "02_cnn_tuning</a>: failed. of no use" in index and "05_ensembling: not run" in index

    tools.write_notebook(notebook, tools.SAVE)
    assert set(tools.started(report(project))) == {"02_cnn_tuning", "05_ensembling"}
    assert "not complete" not in (folder / "index.html").read_text()

    results = status.results_path(folder, "02_cnn_tuning").read_text()
    tools.write_notebook(notebook, FAIL, tools.SAVE)
    assert tools.started(report(project, status=1)) == ["02_cnn_tuning"]
    assert status.results_path(folder, "02_cnn_tuning").read_text() == results
    assert not status.done_path(folder, "02_cnn_tuning").exists(), "it will be tried again"
    assert "those of an earlier, complete attempt" in (folder / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("gpu", [True, False])
def test_views_never_overlap_nor_do_networks_where_there_is_a_gpu(tmp_path: Path, gpu: bool):
    """Two views write one case table, and the first may draw the set."""
    views = ("01_preprocessing.frame", "01_preprocessing.hand")
    networks = ("06_grad_cam", "07_bias_analysis")
    runs = dict.fromkeys((*views, *networks) if gpu else networks, "")
    wait = "import time\ntime.sleep(1)\n"
    project = tools.write_project(
        tmp_path, runs, **{f"n0{number}": wait + tools.SAVE for number in (1, 6, 7)}
    )
    environment = tools.clean_environment(project)
    if gpu:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho A GPU\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = tools.execute(project, "profile", "demo", "--cores", "4", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    in_turn = ["started", "finished"] * 2
    for pair in (views, networks) if gpu else (networks,):
        said = [words[1] for words in lines if len(words) > 2 and words[2] in pair]
        assert (said == in_turn) == gpu


def test_another_data_set_is_refused(tmp_path: Path, radiographs: Path, capsys):
    project = tools.write_project(tmp_path / "project", {"01_preprocessing": ""})
    folder = project / "reports" / "demo"
    finger = cases.fingerprint(radiographs, cases.read_cases(radiographs))
    write_json(folder / "data.json", {"fingerprint": finger, "stage_cuts": "gilsanz_ratib"})
    other = shutil.copytree(radiographs, tmp_path / "other")
    data = ("--data", str(radiographs))
    report(project, *data)
    finished = status.results_path(folder, "01_preprocessing").read_bytes()
    (other / "boneage-training-dataset.csv").open("a").write("\n")
    # The same folder with one radiograph replaced is another data set too, DATA given or not.
    next(radiographs.rglob("1377.png")).write_bytes(b"no longer a PNG")
    for more in (("--data", str(other)), data, ()):
        assert main(["profile", "demo", "--project", str(project), *more]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert "other data" in said and str(radiographs) in said
    assert status.results_path(folder, "01_preprocessing").read_bytes() == finished
    # Pages outlive the radiographs: without them there is nothing to compare and nothing to redo.
    shutil.rmtree(radiographs)
    assert "is gone" in report(project)


def test_plain_snakemake_and_papermill_read_the_same_files(tmp_path: Path):
    run = "01_preprocessing"
    project = tools.write_project(tmp_path, {run: "steps: 4\n"})
    folder = project / "reports" / "demo"
    papermill = f"papermill notebooks/{run}.ipynb out.ipynb -k python3 -f params/demo/{run}.yaml"
    papermill += f" -p run {run} -p run_folder {folder}"
    for command in ("snakemake --cores 1 --config profile=demo", papermill):
        words = [sys.executable, "-m", *command.split()]
        options = {"cwd": project, "env": tools.clean_environment(project), "capture_output": True}
        done = subprocess.run(words, **options, text=True)
        assert done.returncode == 0, done.stderr
        assert read_json(status.results_path(folder, run))["steps"] == 4
        status.results_path(folder, run).unlink()
    (project / "Snakefile").write_text("rule all: nonsense\n")
    printed = report(project, status=1)
    assert "Snakemake stopped" in printed and "NOT COMPLETE" in printed
    assert (folder / "index.html").exists()
