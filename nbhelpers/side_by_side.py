"""One function of many files, called by fresh Pythons side by side.

Threads would wait for each other where a hand is sought, and other kinds of processes are unsafe
here (see `preparers`). Each worker imports one function alone, is asked one line at a time, and
ends when nobody asks any more, however its owner ended. Arrays come back as bytes, never pickled.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from nbhelpers.workspace import InputError, cores

COMMAND = "from nbhelpers.side_by_side import serve; from {0} import {1}; serve({1})"


Each = Callable[..., Iterator[np.ndarray]]


@contextlib.contextmanager
def workers(function: Callable[..., np.ndarray]) -> Iterator[Each]:
    """Workers, one a core, that end with the block; gives `each(paths, *arguments)`.

    It gives what `function(path, *arguments)` gives of each path, uint8, in their order. Raises
    InputError as the function does, and where a worker was ended from outside.

    Args:
        function: stands in a room under its own name. Its arguments are plain, as JSON has them.
    """
    count = cores()
    if count <= 1:

        def each(paths: Sequence[str | Path], *arguments: object) -> Iterator[np.ndarray]:
            with _one_thread():
                for path in paths:
                    yield function(path, *arguments)

        yield each
        return
    with contextlib.ExitStack() as undo:
        idle: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(count):
            idle.put(undo.enter_context(_worker(function)))
        pool = ThreadPoolExecutor(count)
        undo.callback(pool.shutdown, wait=True, cancel_futures=True)

        def ask(question: list) -> np.ndarray:
            worker = idle.get()
            try:
                return _answer(worker, question)
            finally:
                idle.put(worker)

        yield lambda paths, *arguments: pool.map(ask, [[str(path), *arguments] for path in paths])


@contextlib.contextmanager
def _worker(function: Callable) -> Iterator[subprocess.Popen]:
    folder = str(Path(__file__).parents[1])
    known = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([folder, known] if known else [folder])
    command = COMMAND.format(function.__module__, function.__name__)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", command], env=environment, **pipes) as worker:
        try:
            yield worker
        finally:
            with contextlib.suppress(OSError):
                worker.stdin.close()


def _answer(worker: subprocess.Popen, question: list) -> np.ndarray:
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(question).encode() + b"\n")
        worker.stdin.flush()
    line = worker.stdout.readline()
    answer = json.loads(line) if line.endswith(b"\n") else {}
    if "refused" in answer:
        raise InputError(answer["refused"])
    content = worker.stdout.read(int(np.prod(answer["shape"]))) if answer else b""
    if not answer or len(content) < np.prod(answer["shape"]):
        raise InputError(
            f"a worker ended while it looked at {question[0]}, most likely for lack of memory. "
            "Set NBHELPERS_CORES to fewer cores and run again."
        )
    return np.frombuffer(content, np.uint8).reshape(answer["shape"])


def serve(function: Callable[..., np.ndarray]) -> None:
    """The worker: a question a line of standard input, an answer a line and its bytes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt), _one_thread():
        for line in sys.stdin.buffer:
            try:
                made = np.ascontiguousarray(function(*json.loads(line)), np.uint8)
                answer, content = {"shape": made.shape}, made.tobytes()
            except InputError as error:
                answer, content = {"refused": str(error)}, b""
            answers.write(json.dumps(answer).encode() + b"\n" + content)
            answers.flush()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV without threads of its own: every core has a process already."""
    own = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(own)
