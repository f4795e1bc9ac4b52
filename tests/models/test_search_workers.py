"""A chief and its workers share one search, and none of them is needed to the end but the chief."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nbhelpers.models import search
from nbhelpers.workspace import InputError

VARIABLES = (search.NAME, search.ADDRESS, search.PORT)
PROCESS = """
    import os, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_search
    from nbhelpers.models import search
    from nbhelpers.workspace import InputError

    folder, name = Path(sys.argv[2]), os.environ["KERASTUNER_TUNER_ID"]
    search.BEAT_SECONDS, search.SILENCE_SECONDS = 0.5, 5.0

    def before_epoch(seed, epoch):
        until = time.monotonic() + 60
        while len(list(folder.glob("*/workers/*"))) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        if name == "doomed" and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = search.SearchSettings("random", trials=6, minutes=60, epochs=2, seed=1)
    trials = test_search.run(folder, settings, test_search.recipe(before_epoch=before_epoch))
    print("trials", len(trials), set(trials["status"]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def variables(monkeypatch):
    """Sets the three variables, or fewer of them."""

    def give(*values):
        for name, value in zip(VARIABLES, values, strict=False):
            monkeypatch.setenv(name, value)

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return give


def test_the_variables_say_who_a_process_is(variables):
    assert search.role() == "alone"
    variables("worker0", "127.0.0.1", "8000")
    assert search.role() == "worker"
    variables("chief", "127.0.0.1", "8000")
    assert search.role() == "chief"


def test_half_of_the_variables_is_an_error_that_names_the_other_half(variables):
    variables("worker0")
    with pytest.raises(InputError, match=r"KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT is not"):
        search.role()


def test_a_worker_is_lost_when_its_sign_stands_still(variables, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(search, "BEAT_SECONDS", 0.05)
    variables("worker0", "127.0.0.1", "8000")
    is_lost = search.lost_from(tmp_path)
    seen = []
    with search.present(tmp_path):
        for _ in range(12):
            seen.append(is_lost("worker0"))
            time.sleep(0.05)
    assert not any(seen)
    until = time.monotonic() + 10
    while not is_lost("worker0") and time.monotonic() < until:
        time.sleep(0.05)
    assert is_lost("worker0")


def test_two_workers_cannot_have_one_name(variables, tmp_path, monkeypatch):
    monkeypatch.setattr(search.workspace, "PATIENCE", 0.0)
    variables("worker0", "127.0.0.1", "8000")
    with (
        search.present(tmp_path),
        pytest.raises(InputError, match=f"worker0 is already at work as process {os.getpid()}"),
        search.present(tmp_path),
    ):
        pass


def test_a_worker_without_a_chief_says_so(variables, monkeypatch):
    monkeypatch.setattr(search, "PATIENCE_SECONDS", 0.0)
    variables("worker0", "127.0.0.1", str(free_port()))
    with pytest.raises(InputError, match="No chief answers at 127"):
        search.client(None, lambda: False)


def test_a_port_in_use_is_named(variables, tmp_path):
    class Idle:
        finished, tuner_ids = True, ()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        variables("chief", "127.0.0.1", port)
        with pytest.raises(InputError, match=f"127.0.0.1:{port} cannot be used"):
            search.serve(Idle(), tmp_path)


@pytest.mark.slow
def test_workers_share_a_search_and_a_killed_one_does_not_lose_it(tmp_path):
    code, here, port = textwrap.dedent(PROCESS), str(Path(__file__).parent), str(free_port())
    processes = {}
    for name in ("chief", "worker0", "worker1", "doomed"):
        environment = dict(zip(VARIABLES, (name, "127.0.0.1", port), strict=True))
        processes[name] = subprocess.Popen(
            [sys.executable, "-c", code, here, str(tmp_path)],
            env=os.environ | environment | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        told = {name: process.communicate(timeout=300)[0] for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    ended = {name: process.returncode for name, process in processes.items()}
    shown = "\n".join(f"{name}:\n{text[-1500:]}" for name, text in told.items())
    assert ended == {"chief": 0, "worker0": 0, "worker1": 0, "doomed": -signal.SIGKILL}, shown
    for name in ("chief", "worker0", "worker1"):
        assert "trials 6 {'completed'}" in told[name], shown
    trials = search.trial_rows(next(tmp_path.iterdir()))
    assert sorted(trials["trial"]) == [str(number) for number in range(6)]
    assert set(trials["worker"]) == {"worker0", "worker1"}
    assert "doomed is gone" in told["chief"]
    assert "going on after epoch 1" in told["worker0"] + told["worker1"]
