"""Processes that prepare radiographs side by side.

Threads would wait for each other: finding a hand is many short calls. A fork is unsafe beside
TensorFlow and in a Jupyter kernel, and `multiprocessing` runs a script's first lines again. So each
worker is a fresh Python that imports this room alone, is asked one line at a time, and ends when
nobody asks any more, however its owner ended.
"""

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2

from nbhelpers.hardware import cores
from nbhelpers.preparation import Preparation, prepare_image
from nbhelpers.radiograph import decode, read_bytes
from nbhelpers.store import Rows
from nbhelpers.workspace import InputError

COMMAND = "from nbhelpers.preparers import serve; serve()"
WAITING = 4  # radiographs asked for ahead, by worker
PATIENCE = 10.0  # seconds that a worker gets to end


def prepare_file(path: Path, row: int, preparation: Preparation, rows: Rows) -> dict:
    """Prepare one file into a row of the store; its record (see `geometry_table`)."""
    try:
        content = read_bytes(path)
        pixels = decode(content, path)
    except InputError as error:
        return {"unreadable": str(error)}
    picture, affine, found = prepare_image(pixels, preparation)
    rows.write(row, picture)
    return {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "affine": affine.ravel().tolist(),
        "found": found,
        "sha256": hashlib.sha256(content).hexdigest(),
        "unreadable": None,
    }


def prepare_files(
    files: list[Path], wanted: list[int], preparation: Preparation, rows: Rows
) -> Iterator[tuple[int, dict]]:
    """Row and record of each wanted row, in their order, prepared on all cores.

    Only a few are under way at any time, so memory does not grow with their number.
    """
    count = min(cores(), len(wanted))
    if count <= 1:
        with _one_thread():
            for row in wanted:
                yield row, prepare_file(files[row], row, preparation, rows)
        return
    with contextlib.ExitStack() as undo:
        idle: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(count):
            idle.put(undo.enter_context(_worker(preparation, rows)))

        def ask(row: int) -> tuple[int, dict]:
            worker = idle.get()
            try:
                return row, _answer(worker, {"row": row, "path": str(files[row])})
            finally:
                idle.put(worker)

        pool = ThreadPoolExecutor(count)
        undo.callback(pool.shutdown, wait=True, cancel_futures=True)
        yield from _in_order(pool, ask, wanted, WAITING * count)


def _in_order(pool: Executor, work: Callable, items: Iterable, waiting: int) -> Iterator:
    under_way: deque = deque()
    for item in items:
        under_way.append(pool.submit(work, item))
        if len(under_way) >= waiting:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


@contextlib.contextmanager
def _worker(preparation: Preparation, rows: Rows) -> Iterator[subprocess.Popen]:
    folder = str(Path(__file__).parents[1])
    known = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([folder, known] if known else [folder])
    worker = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        _send(worker, {"settings": asdict(preparation), "rows": asdict(rows)})
        yield worker
    finally:
        with contextlib.suppress(OSError):
            worker.stdin.close()
        try:
            worker.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        worker.stdout.close()


def _send(worker: subprocess.Popen, content: dict) -> None:
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(content).encode() + b"\n")
        worker.stdin.flush()


def _answer(worker: subprocess.Popen, question: dict) -> dict:
    _send(worker, question)
    line = worker.stdout.readline()
    if not line.endswith(b"\n"):
        raise InputError(
            f"a worker ended while it prepared {question['path']}, most likely for lack of memory. "
            "Set NBHELPERS_CORES to fewer cores and run again; what is done is kept."
        )
    answer = json.loads(line)
    if "refused" in answer:
        raise InputError(answer["refused"])
    return answer


def serve() -> None:
    """The worker: settings on the first line of standard input, then one question a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner is interrupted, and ends its workers
    cv2.setNumThreads(1)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    first = json.loads(sys.stdin.buffer.readline() or "null")
    if first is None:
        return
    preparation = Preparation(**first["settings"])
    rows = Rows(**first["rows"])
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            answer = prepare_file(Path(question["path"]), question["row"], preparation, rows)
        except InputError as error:
            answer = {"refused": str(error)}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(answer, allow_nan=False).encode() + b"\n")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV without threads of its own: the one core that may be used is enough for one."""
    own = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(own)
