"""Whatever is killed, nothing goes on writing, and the same command works again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from batch_tools import (
    SAVE,
    WRITE_FOR_EVER,
    clean_environment,
    command,
    execute,
    make_report,
    processes_of,
    wait_for,
    write_project,
)

from nbhelpers.workspace import read_json, write_json

pytestmark = pytest.mark.slow


RUN = "02_cnn_tuning"
WRITTEN = ("kernel", "forked")  # the files that the run appends to, by the process that does
EARLIER = {"run": RUN, "scores": [], "notes": ["of an earlier, complete attempt"]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_project(tmp_path / "project", {RUN: ""}, n02=f"{WRITE_FOR_EVER}\n{SAVE}")
    write_json(folder / "reports" / "demo" / "results" / f"{RUN}.json", EARLIER)
    return folder


def victim(project: Path, name: str) -> psutil.Process:
    """The process of that name among those that work on the project."""
    marks = {
        "make": lambda words: words[0] == "make",
        "profile": lambda words: words[1:4] == ["-m", "nbhelpers.batch", "profile"],
        "snakemake": lambda words: words[1:3] == ["-m", "snakemake"],
        "run": lambda words: words[1:4] == ["-m", "nbhelpers.batch", "run"],
        "keeper": lambda words: (
            any(word.endswith("keeper.py") for word in words) and "ipykernel_launcher" in words
        ),
        "kernel": lambda words: words[1:3] == ["-m", "ipykernel_launcher"],
    }
    found = [one for one in processes_of(project) if marks[name](one.cmdline())]
    return min(found, key=lambda one: one.create_time())


def sizes(folder: Path) -> list[int]:
    return [(folder / part).stat().st_size for part in WRITTEN]


def is_writing(folder: Path) -> bool:
    return all((folder / part).exists() for part in WRITTEN)


def test_killed_anywhere_nothing_writes_on_and_the_same_command_works(project: Path):
    """One after the other is killed; that the next can be killed shows that the command worked."""
    folder = project / "reports" / "demo"
    same = make_report(project)
    options = {"cwd": project, "env": clean_environment(project)}
    for name in ("make", "profile", "snakemake", "run", "keeper", "kernel"):
        batch = subprocess.Popen(same, **options, stdout=subprocess.DEVNULL)
        wait_for(lambda: is_writing(folder) or batch.poll() is not None)  # noqa: B023
        victim(project, name).kill()
        assert batch.wait(60) != 0, name
        wait_for(lambda: not processes_of(project), 10)
        before = sizes(folder)
        time.sleep(0.3)
        assert sizes(folder) == before, f"something writes on after {name} was killed"
        assert read_json(folder / "results" / f"{RUN}.json") == EARLIER
        for part in WRITTEN:
            (folder / part).unlink()

    (folder / "go").touch()
    repeated = subprocess.run(same, **options, capture_output=True, text=True)
    assert repeated.returncode == 0, repeated.stdout + repeated.stderr
    assert read_json(folder / "results" / f"{RUN}.json") != EARLIER
    assert "not complete" not in (folder / "index.html").read_text()


def test_what_a_killed_run_forked_is_ended_before_the_next_begins(project: Path):
    """Run and keeper die in the same moment: only the kernel's lock tells of what it forked."""
    folder = project / "reports" / "demo"
    options = {"cwd": project, "env": clean_environment(project), "stdout": subprocess.DEVNULL}
    running = subprocess.Popen(command(project, "run", "demo", RUN), **options)
    wait_for(lambda: is_writing(folder) or running.poll() is not None)
    victims = [victim(project, name) for name in ("keeper", "run")]
    for process in victims:
        process.suspend()
    for process in victims:
        process.kill()
    running.wait(20)
    assert processes_of(project), "the forked process should have outlived them"
    (folder / "go").touch()
    repeated = execute(project, "run", "demo", RUN)
    assert repeated.returncode == 0, repeated.stdout + repeated.stderr
    assert "left behind" in repeated.stdout
    assert not processes_of(project)


def test_a_stopped_batch_ends_its_runs_and_says_so(project: Path):
    folder = project / "reports" / "demo"
    # What a shell starts in the background ignores SIGINT, and so would all that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    batch = subprocess.Popen(
        command(project, "profile", "demo"),
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(project),
    )
    signal.signal(signal.SIGINT, before)
    wait_for(lambda: is_writing(folder) or batch.poll() is not None)
    os.kill(batch.pid, signal.SIGINT)
    printed, _ = batch.communicate(timeout=300)
    assert batch.returncode == 1
    assert "NOT COMPLETE" in printed and "Traceback" not in printed
    assert not processes_of(project)
    assert "stopped" in (folder / "index.html").read_text()
