"""Whatever is killed, no finished file is lost, and the same command works or names what runs."""

import os
import re
import signal
import subprocess
from pathlib import Path

import batch_tools as tools
import psutil
import pytest

from nbhelpers.workspace import read_json, write_json

pytestmark = pytest.mark.slow

RUN = "02_cnn_tuning"
EARLIER = {"run": RUN, "scores": [], "notes": ["of an earlier, complete attempt"]}
# Works for ever, unless `go` is there.
WORK = """import pathlib, time
here = pathlib.Path(run_folder)
(here / "begun").touch()
while not (here / "go").exists():
    time.sleep(0.05)
"""
MARKS = {
    "make": lambda words: words[0] == "make",
    "batch": lambda words: words[1:4] == ["-m", "nbhelpers.batch", "profile"],
    "snakemake": lambda words: words[1:3] == ["-m", "snakemake"],
    "run": lambda words: words[1:4] == ["-m", "nbhelpers.batch", "run"],
    "kernel": lambda words: words[1:3] == ["-m", "ipykernel_launcher"],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """In a folder whose name takes quoting, with the results of an earlier attempt."""
    folder = tools.write_project(
        tmp_path / "a {project} of two words", {RUN: ""}, n02=WORK + tools.SAVE
    )
    write_json(folder / "reports" / "demo" / "results" / f"{RUN}.json", EARLIER)
    yield folder
    for process in tools.processes_of(folder):
        process.kill()


def working(project: Path, name: str) -> list[psutil.Process]:
    """The processes of that kind that work on the project, the oldest first."""
    found = [one for one in tools.processes_of(project) if MARKS[name](one.cmdline())]
    return sorted(found, key=lambda one: one.create_time())


@pytest.mark.parametrize("name", MARKS)
def test_killed_anywhere_the_same_command_works_or_names_what_runs(project: Path, name: str):
    folder = project / "reports" / "demo"
    options = {"cwd": project, "env": tools.clean_environment(project)}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.Popen(tools.make_report(project), **options)
    tools.wait_for(lambda: (folder / "begun").exists() or first.poll() is not None)
    working(project, name)[0].kill()
    tools.wait_for(lambda: first.poll() is not None)
    assert first.returncode != 0
    assert read_json(folder / "results" / f"{RUN}.json") == EARLIER
    if name in ("run", "kernel"):
        first.communicate()
        tools.wait_for(lambda: not tools.processes_of(project), 20)
    else:
        held = [one.pid for kind in MARKS for one in working(project, kind) if kind != "make"]
        second = subprocess.run(tools.make_report(project), **options)
        assert second.returncode != 0
        named = re.search(r"is in use by process ([\d ]+)\. Wait for it, end it", second.stdout)
        assert named and {*map(int, named[1].split())} <= {*held}, second.stdout
    (folder / "go").touch()
    tools.wait_for(lambda: not tools.processes_of(project), 60)
    repeated = subprocess.run(tools.make_report(project), **options)
    assert repeated.returncode == 0, repeated.stdout
    assert read_json(folder / "results" / f"{RUN}.json") != EARLIER
    assert "not complete" not in (folder / "index.html").read_text()


def test_an_interrupted_batch_ends_its_runs_and_says_so(project: Path):
    folder = project / "reports" / "demo"
    # What a shell starts in the background ignores SIGINT, and so would all that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    options = {"cwd": project, "env": tools.clean_environment(project), "start_new_session": True}
    batch = subprocess.Popen(
        tools.command(project, "profile", "demo"), **options, stdout=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    tools.wait_for(lambda: (folder / "begun").exists() or batch.poll() is not None)
    os.killpg(batch.pid, signal.SIGINT)  # as a terminal does
    printed, _ = batch.communicate(timeout=300)
    assert batch.returncode == 1
    assert "NOT COMPLETE" in printed and "Traceback" not in printed
    tools.wait_for(lambda: not tools.processes_of(project), 10)
    assert "stopped" in (folder / "index.html").read_text()
