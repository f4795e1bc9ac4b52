"""A training that is killed with `kill -9` ends where one that ran through ends, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
VICTIM = Path(__file__).with_name("training_victim.py")


def start(out: Path, epochs: int, patience: int) -> subprocess.Popen:
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(VICTIM), str(out), str(epochs), str(patience)]
    shared = f"{VICTIM.parents[1]}:{VICTIM.parents[2]}"
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": shared})


def epochs_kept(out: Path) -> int:
    try:
        with np.load(out / "models" / ".cnn.age.training.npz") as kept:
            return len(json.loads(str(kept["told"]))["history"])
    except FileNotFoundError:
        return 0


def test_after_kill_9_it_ends_where_an_unbroken_run_ends(tmp_path: Path):
    epochs, patience = 40, 6  # it is ended by early stopping, after the kill
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, epochs, patience).wait(300) == 0
    victim = start(killed, epochs, patience)
    while epochs_kept(killed) < 3 and victim.poll() is None:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(60) == -signal.SIGKILL, "it ended before it was killed"
    assert 3 <= epochs_kept(killed) < epochs
    assert start(killed, epochs, patience).wait(300) == 0
    assert (killed / "history.csv").read_text() == (whole / "history.csv").read_text()
    assert epochs_kept(killed) < epochs
    with np.load(whole / "weights.npz") as one, np.load(killed / "weights.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
