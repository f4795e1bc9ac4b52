"""Worker processes: killed, refused a write, orphaned; a plain script may start them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from nbhelpers import workspace
from nbhelpers.images import preparation
from nbhelpers.images.preparation import Rows

SETTINGS = preparation.Preparation.from_steps(32, "stretch")
# No `if __name__ == "__main__"`: what a person types into a script or a cell.
SCRIPT = """
import sys
import pandas as pd
from pathlib import Path
from nbhelpers.images import preparation as images
cases = pd.read_json(sys.argv[1], dtype=False)
images.prepare_cases(cases, images.Preparation.from_steps(32, "stretch"), Path(sys.argv[2]), "all")
"""


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Six hundred cases of six radiographs, on two cores."""
    monkeypatch.setenv("NBHELPERS_CORES", "2")
    generator = np.random.default_rng(0)
    paths = [str(tmp_path / f"{number}.png") for number in range(6)]
    for path in paths:
        cv2.imwrite(path, generator.integers(0, 255, (300, 280), np.uint8))
    number = range(600)
    return pd.DataFrame(
        {"case_id": [str(n) for n in number], "image_path": [paths[n % 6] for n in number]}
    )


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_owner_leaves_no_workers_and_goes_on(cases: pd.DataFrame, tmp_path: Path) -> None:
    cases.to_json(tmp_path / "cases.json")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cases.json"), str(killed)]
    owner = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    journal = killed / ".images.all.npy.journal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and owner.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > 20:
            break
        time.sleep(0.005)
    workers = children(owner.pid)
    owner.send_signal(signal.SIGKILL)
    assert owner.wait() == -signal.SIGKILL
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
    assert 20 < journal.read_bytes().count(b"\n") < 601
    going_on = preparation.prepare_cases(cases, SETTINGS, killed, "all")
    pd.testing.assert_frame_equal(
        going_on, preparation.prepare_cases(cases, SETTINGS, whole, "all")
    )
    name = "images.all.npy"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_a_killed_worker_is_told_and_nothing_done_is_lost(
    cases: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, before = preparation._answer, children(os.getpid())

    def kill_in_passing(worker: subprocess.Popen, question: dict) -> dict:
        if question["row"] == 300:
            worker.kill()
        return answer(worker, question)

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_answer", kill_in_passing)
        with pytest.raises(workspace.InputError, match="NBHELPERS_CORES"):
            preparation.prepare_cases(cases, SETTINGS, tmp_path, "all")
    assert children(os.getpid()) == before
    journal = tmp_path / ".images.all.npy.journal"
    assert journal.read_bytes().count(b"\n") == 301
    preparation.prepare_cases(cases, SETTINGS, tmp_path, "all")
    assert len(preparation.load_images(tmp_path, "all")) == 600


def test_a_full_disk_in_a_worker_is_told(cases: pd.DataFrame) -> None:
    files = [Path(path) for path in cases["image_path"]]
    rows = Rows("/dev/full", 0, 32)
    with pytest.raises(workspace.InputError, match="disk is full"):
        list(preparation.prepare_files(files, [0, 1, 2], SETTINGS, rows))
