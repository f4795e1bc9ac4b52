"""Workers: answers in the order of the files, the function's own refusals, nobody left behind."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from nbhelpers import workspace
from nbhelpers.workspace import InputError


def looked_at(path, factor):
    """Four bytes: the file's number times a factor, and who answers; `7` cannot be read."""
    number = int(Path(path).stem)
    if number == 7:
        raise InputError(f"{path} is no radiograph.")
    if number == 9:
        os._exit(1)
    print("a library's chatter")
    return np.array([[number * factor, 0], list(divmod(os.getpid() % 65536, 256))], np.uint8)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def asked(numbers, cores, monkeypatch):
    monkeypatch.setenv("NBHELPERS_CORES", str(cores))
    with workspace.workers(looked_at) as each:
        return list(each([f"{number}.png" for number in numbers], 3))


@pytest.mark.parametrize("cores", [1, 3])
def test_answers_come_in_the_order_of_the_files(monkeypatch, cores):
    numbers = [5, 3, 1, 6, 2, 8, 0, 4] * 5
    told = asked(numbers, cores, monkeypatch)
    assert [int(one[0, 0]) for one in told] == [3 * number for number in numbers]
    answered_by = {tuple(one[1]) for one in told}
    own = divmod(os.getpid() % 65536, 256)
    assert (answered_by == {own}) if cores == 1 else (own not in answered_by)


def test_no_file_gives_no_answer(monkeypatch):
    assert asked([], 3, monkeypatch) == []


def test_workers_answer_again(monkeypatch):
    monkeypatch.setenv("NBHELPERS_CORES", "2")
    with workspace.workers(looked_at) as each:
        first, second = (list(each(["1.png", "2.png", "3.png"], factor)) for factor in (2, 5))
    assert [int(one[0, 0]) for one in first + second] == [2, 4, 6, 5, 10, 15]
    assert len({tuple(one[1]) for one in first + second}) <= 2


@pytest.mark.parametrize("cores", [1, 2])
def test_what_the_function_refuses_is_said(monkeypatch, cores):
    with pytest.raises(InputError, match=r"7\.png is no radiograph"):
        asked([1, 2, 7, 3], cores, monkeypatch)


def test_a_worker_that_is_ended_is_named(monkeypatch):
    with pytest.raises(InputError, match=r"a worker ended while it looked at 9\.png"):
        asked([1, 9, 2], 2, monkeypatch)


def test_workers_end_with_the_answers(monkeypatch):
    before = children()
    asked([1, 2, 3], 2, monkeypatch)
    end = time.monotonic() + 5
    while children() - before and time.monotonic() < end:
        time.sleep(0.05)
    assert not children() - before


def children():
    listed = Path(f"/proc/{os.getpid()}/task")
    if not listed.is_dir():
        pytest.skip("needs /proc")
    return {pid for task in listed.iterdir() for pid in (task / "children").read_text().split()}
