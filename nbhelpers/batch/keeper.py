"""Keep one command, and end it with all that it started as soon as its owner is gone.

    python keeper.py OWNER LOCK command ...

OWNER is the number of the process that starts the keeper. LOCK is a file that stays locked while
the keeper, the command or a child of it lives ("-" for none). It is a script with nothing but the
standard library, so that it costs little beside a kernel:

- the owner is killed: the keeper gets a signal (on Linux; elsewhere it looks every second) and
  kills the command's process group;
- the keeper is killed: the command gets a signal; what it had started keeps LOCK locked, and the
  next run ends it by the group's number in LOCK;
- the command ends: the keeper kills what is left of the group and ends with the same status.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

LOOK_EVERY = 1.0  # seconds
PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def signal_when_parent_dies(number: int) -> bool:
    """Ask Linux to send this process a signal when its parent dies; False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number)) == 0


def die_with(parent: int) -> None:
    """End this process at once when `parent`, which must be its parent, is gone."""
    if not signal_when_parent_dies(signal.SIGKILL):
        threading.Thread(target=_look_after, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _look_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os._exit(1)


def keep(owner: int, lock: str, command: list[str]) -> int:
    """Run the command until it ends or the owner is gone; returns its status as a shell would."""
    held = _lock(lock)
    started: list[subprocess.Popen] = []

    def pass_on(number: int, _frame: object = None) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            for child in started:
                os.killpg(child.pid, number)

    signal.signal(signal.SIGTERM, lambda *_: pass_on(signal.SIGKILL) if started else os._exit(1))
    signal.signal(signal.SIGINT, pass_on)
    signal_when_parent_dies(signal.SIGTERM)
    if os.getppid() != owner:
        return 1
    child = subprocess.Popen(
        command,
        pass_fds=held,
        start_new_session=True,
        preexec_fn=lambda: signal_when_parent_dies(signal.SIGKILL),
        env={**os.environ, "JPY_PARENT_PID": str(os.getpid())},
    )
    started.append(child)
    for descriptor in held:
        os.pwrite(descriptor, b"%-20d\n" % child.pid, 0)
    while child.returncode is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=LOOK_EVERY)
        if os.getppid() != owner:
            pass_on(signal.SIGKILL)
    pass_on(signal.SIGKILL)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _lock(path: str) -> tuple[int, ...]:
    if path == "-":
        return ()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return (descriptor,)


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
