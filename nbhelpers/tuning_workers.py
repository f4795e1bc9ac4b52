"""A search by several processes: a chief that proposes trials and workers that train them.

Which of them a process is, Keras Tuner's three variables say: KERASTUNER_TUNER_ID (`chief`, or any
other name for a worker), KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. They talk over gRPC and
share the folder of the search.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

from nbhelpers import locks, workspace
from nbhelpers.workspace import InputError

ALONE, CHIEF, WORKER = "alone", "chief", "worker"
NAME, ADDRESS, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
BEAT_SECONDS = 5.0
SILENCE_SECONDS = 60.0  # after which a worker counts as dead
PATIENCE_SECONDS = 600.0  # that a worker waits for its chief: it may still be reading the data
POLL_SECONDS = 0.5


def role() -> str:
    """`alone`, `chief` or `worker`; raises InputError when only some of the variables are set."""
    given = [name for name in (NAME, ADDRESS, PORT) if os.environ.get(name)]
    missing = [name for name in (NAME, ADDRESS, PORT) if name not in given]
    if given and missing:
        raise InputError(
            f"{', '.join(given)} is set, {', '.join(missing)} is not. A search by several "
            "processes needs all three; a search by one needs none."
        )
    if not given:
        return ALONE
    return CHIEF if os.environ[NAME] == CHIEF else WORKER


def own_name() -> str:
    """The name under which this process asks for trials."""
    return ALONE if role() == ALONE else os.environ[NAME]


def address() -> str:
    return f"{os.environ[ADDRESS]}:{os.environ[PORT]}"


def serve(oracle, folder: Path) -> None:
    """Hand out trials until the search is over and every living worker has been told so."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    oracle.is_lost = lost_from(folder)
    # One thread: calls come one after another. Without the option two chiefs could share a port.
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        bound = server.add_insecure_port(address())
    except RuntimeError:
        bound = 0
    if not bound:
        raise InputError(
            f"{address()} cannot be used: another program listens there, or the address is not "
            f"of this machine. Set {ADDRESS} and {PORT} to others, in all processes."
        )
    server.start()
    workspace.log(f"chief at {address()}: waiting for workers")
    while not oracle.finished or not all(map(oracle.is_lost, list(oracle.tuner_ids))):
        time.sleep(POLL_SECONDS)
    server.stop(grace=2).wait()


def client(oracle, is_over: Callable[[], bool]):
    """The chief's oracle as a worker sees it, or None when the search is already over."""
    import grpc
    from keras_tuner.src.distribute.oracle_client import OracleClient

    until = time.monotonic() + PATIENCE_SECONDS
    with grpc.insecure_channel(address()) as channel:
        ready = grpc.channel_ready_future(channel)
        while not is_over():
            try:
                ready.result(timeout=POLL_SECONDS)
                return OracleClient(oracle)
            except grpc.FutureTimeoutError:
                if time.monotonic() > until:
                    raise InputError(
                        f"No chief answers at {address()}. Start the same command with "
                        f"{NAME}={CHIEF}, and this one again."
                    ) from None
    return None


def ask(call: Callable, *arguments):
    """Call the oracle. What a dying chief cut off is asked again: each call may come twice."""
    if role() == ALONE:
        return call(*arguments)
    import grpc

    try:
        return call(*arguments)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        workspace.log(f"the chief at {address()} is gone; waiting for it to be started again")
        return call(*arguments)


@contextlib.contextmanager
def present(folder: Path) -> Iterator[None]:
    """Be one worker of a search: hold its name, and show every few seconds that it lives."""
    path, done = _sign(folder, own_name()), threading.Event()
    busy = f"{NAME}={own_name()} is already at work as process {{process}}. Choose another name."

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            path.touch()

    with locks.hold(path, busy, wait=locks.PATIENCE):
        path.touch()
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def lost_from(folder: Path) -> Callable[[str], bool]:
    """Tells whether a worker has given no sign for a minute.

    By this process's clock: only whether the sign changes is looked at, not the time it bears, so
    the clocks of two machines need not agree.
    """
    seen: dict[str, tuple[int, float]] = {}

    def is_lost(worker: str) -> bool:
        path, now = _sign(folder, worker), time.monotonic()
        mark = path.stat().st_mtime_ns if path.exists() else 0
        if worker not in seen or seen[worker][0] != mark:
            seen[worker] = (mark, now)
        return now - seen[worker][1] > SILENCE_SECONDS

    return is_lost


def _sign(folder: Path, worker: str) -> Path:
    return folder / "workers" / worker
