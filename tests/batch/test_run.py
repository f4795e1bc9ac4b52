"""One run: what counts as complete, what a failure leaves behind, and what the kernel gets."""

import subprocess
import sys
from pathlib import Path

import pytest
from batch_tools import SAVE, clean_environment, execute, write_notebook, write_project

from nbhelpers.batch.__main__ import main
from nbhelpers.batch.status import done_path
from nbhelpers.workspace import read_json, write_json

RUN = "04_hog_xgboost.age"
INPUT_ERROR = """from nbhelpers.workspace import InputError
raise InputError("table.csv, line 17: boneage is 300. Give months between 0 and 240.")"""


OTHER_NAME = SAVE.replace('f"{run}.json"', '"04_hog_xgboost.other.json"') + "\nraise SystemExit(0)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", {RUN: "model: hog\nsteps: 7\nrate: 2.0e-3\n"})


def set_code(project: Path, *code: str) -> None:
    write_notebook(project / "notebooks" / "04_hog_xgboost.ipynb", *code)


def results_of(project: Path) -> dict:
    return read_json(project / "reports" / "demo" / "results" / f"{RUN}.json")


def test_a_run_leaves_page_results_and_stamp(project: Path, tmp_path: Path):
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": start, "display_name": "Other", "language": "python", "env": {"OTHER": "yes"}}
    write_json(tmp_path / "jupyter" / "kernels" / "other" / "kernel.json", kernel)
    environment = {**clean_environment(project), "JUPYTER_PATH": str(tmp_path / "jupyter")}
    (project / "params" / "demo" / "_profile.yaml").write_text("kernel_name: other\n")
    facts = """import os
print("at", os.getcwd())
keys = ("NBHELPERS_HEADLESS", "NBHELPERS_CORES", "OTHER")
seen = [os.environ.get(key) for key in keys]
seen += [model, steps, rate, flip, profile, run, run_folder, data_folder]
seen += [exclude_unreadable, score_doubtful]"""
    set_code(project, facts, SAVE.replace('"steps": steps', '"seen": seen'))
    data = ("--data", str(tmp_path), "--unreadable=exclude")
    done = execute(project, "run", "demo", RUN, *data, "--cores", "1", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "reports" / "demo"
    got = ["hog", 7, 0.002, True, "demo", RUN, str(folder), str(tmp_path), True, False]
    assert results_of(project)["seen"] == ["1", "1", "yes", *got]
    assert f"{RUN} | at {project}" in done.stdout and f"reports/demo/{RUN}.html" in done.stdout
    for name in (f"{RUN}.html", "index.html", f"executed/{RUN}.ipynb", f"state/{RUN}.done"):
        assert (folder / name).exists()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        (INPUT_ERROR, 2, "table.csv, line 17: boneage is 300. Give months between 0 and 240."),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        (OTHER_NAME, 1, "ended without writing results/"),
        ("import os; os.kill(os.getpid(), 9)", 1, "The kernel died mid-run"),
    ],
    ids=["input", "error", "another name", "killed"],
)
def test_a_failure_is_one_line_and_a_page(project: Path, code: str, status: int, said: str):
    folder = project / "reports" / "demo"
    earlier = folder / "results" / f"{RUN}.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text('{"run": "earlier"}')
    set_code(project, "print('before')", code, SAVE)
    done = execute(project, "run", "demo", RUN)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert earlier.read_text() == '{"run": "earlier"}'
    assert not done_path(folder, RUN).exists()
    page = (folder / f"{RUN}.html").read_text()
    top = page[: page.index("</section>")]
    assert "This run did not finish" in top and said.split(": ", 1)[-1] in top
    assert "before" in page, "what ran before the failure stays on the page"


def test_scoring_again_keeps_a_good_page_until_there_is_a_better_one(project, tmp_path):
    folder, data = project / "reports" / "demo", tmp_path / "clinic"
    write_json(folder / "results" / "01_preprocessing.json", {"profile": "interactive"})
    data.mkdir()
    pages = []
    for code in ("print('at first')", "1 / 0", "print('at last'); assert score_doubtful"):
        write_notebook(project / "notebooks" / "09_external.ipynb", code, SAVE)
        arguments = ("score", "--run", "demo", "--data", str(data), "--doubtful=score")
        done = execute(project, *arguments)
        assert done.returncode == ("0" in code), done.stdout + done.stderr
        pages.append({path.name: path.read_text() for path in folder.glob("09_*.html")})
    page, failed = "09_external.clinic.html", "09_external.clinic-again.html"
    assert [sorted(each) for each in pages] == [[page], [failed, page], [page]]
    assert pages[1][page] == pages[0][page] and "ZeroDivisionError" in pages[1][failed]
    assert "at last" in pages[2][page] and "This run did not finish" not in pages[2][page]
    assert done_path(folder, "09_external.clinic").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "dmo", RUN), "Did you mean demo?"),
        (("run", "demo", "04_hog_xgboost.aeg"), f"Did you mean {RUN}?"),
        (("run", "demo", RUN, "--data", "nowhere"), "nowhere is not a folder"),
        (("run", "demo", RUN, "--run", "../x"), "must be a plain name"),
        (("profile", "demo", "--weights", "imagenet"), "WEIGHTS=imagenet is not known"),
        (("profile", "demo"), "_profile.yaml: kernel_name"),
        (("profile", "demo"), f"{RUN}.yaml: 04_hog_xgboost.ipynb has no parameter modle"),
        (("score", "--run", "demo"), "DATA is empty. Name the folder"),
        (("score", "--run", "demo", "--data", "."), "demo holds no finished run"),
    ],
)
def test_a_wrong_command_is_one_line(project: Path, capsys, arguments: tuple, said: str):
    if said.startswith("_profile.yaml"):
        (project / "params" / "demo" / "_profile.yaml").write_text("kernel_name: julia-9\n")
    if "modle" in said:
        (project / "params" / "demo" / f"{RUN}.yaml").write_text("modle: hog\n")
    assert main([*arguments, "--project", str(project)]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not (project / "reports").exists()


def test_a_full_or_read_only_disk_is_one_line(project: Path, tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    arguments = ("run", "demo", RUN, "--folder", str(disk / "demo"))
    finished = disk / "demo" / "results" / f"{RUN}.json"
    write_json(finished, {"run": "earlier"})
    fill = """import pathlib
from nbhelpers.workspace import atomic_path
with atomic_path(pathlib.Path(run_folder) / "images.npy") as path:
    path.write_bytes(bytes(3_000_000))"""
    set_code(project, fill, SAVE)
    full = "the disk is full. Free some space"
    try:
        for options, said in ((None, full), ("remount,ro", "read-only"), ("remount,rw", full)):
            if options:
                subprocess.run(["mount", "-o", options, disk], check=True)
            done = execute(project, *arguments)
            assert done.returncode == 2, done.stdout + done.stderr
            assert said in done.stdout + done.stderr
            assert "Traceback" not in done.stdout + done.stderr
            assert read_json(finished) == {"run": "earlier"}
        set_code(project, SAVE)
        assert execute(project, *arguments).returncode == 0, "the same command works again"
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
