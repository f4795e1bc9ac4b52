"""Locks on files of a run folder. The system frees them with the process, however it ends."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from nbhelpers.workspace import InputError, explained_errors, log

PATIENCE = 10.0  # seconds that a process which was killed gets to disappear


@contextlib.contextmanager
def hold(path: Path, busy: str, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock; raises InputError(`busy`) when another process keeps it for `wait` seconds.

    `{process}` in `busy` becomes the number of the process that holds it, where that is known.
    """
    with explained_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _try(descriptor, shared, wait):
            holder = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
            raise InputError(busy.replace("{process}", holder))
        with explained_errors(path):
            os.pwrite(descriptor, b"%-20d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def end_leftovers(path: Path) -> None:
    """End what a killed run left behind: processes that still hold its kernel's lock.

    Raises InputError when they cannot be ended, so that no two kernels write the same files.
    """
    if not path.exists():
        return
    with explained_errors(path):
        descriptor = os.open(path, os.O_RDWR)
    try:
        if _try(descriptor, wait=1.0):
            return
        group = os.pread(descriptor, 20, 0).decode().strip()
        if group.isdigit() and int(group) > 1:
            log(f"ending process group {group}, left behind by a run that was killed")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(group), signal.SIGKILL)
        if not _try(descriptor, wait=PATIENCE):
            raise InputError(
                f"{path}: the kernel of an earlier run (process group {group or 'unknown'}) still "
                "writes. End it and run the same command again."
            )
    finally:
        os.close(descriptor)


def _try(descriptor: int, shared: bool = False, wait: float = 0.0) -> bool:
    """Take the lock, trying for `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
