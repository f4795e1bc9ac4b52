"""Jupyter kernels for the batch: found by name, kept by `keeper`, reached without TCP ports."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode

from nbhelpers.batch import keeper
from nbhelpers.workspace import InputError, cores, hash_of

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
SOCKETS = Path("/tmp")  # a socket's path has at most about 100 characters, and TMPDIR may be long


class KeptKernelManager(AsyncKernelManager):
    """Starts the kernel under a keeper, so that it dies with this process however that ends."""

    transport = Unicode("ipc")
    lock = "-"

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command = super().format_kernel_cmd(extra_arguments)
        return [sys.executable, "-S", "-E", keeper.__file__, str(os.getpid()), self.lock, *command]


@contextmanager
def kernel_manager(lock: Path) -> Iterator[type[KeptKernelManager]]:
    """A manager class whose kernels hold `lock` and talk through sockets in a folder of their own.

    TCP ports are drawn before the kernel binds them, so kernels that start side by side clash.
    """
    place = SOCKETS if os.access(SOCKETS, os.W_OK) else Path(tempfile.gettempdir())
    prefix = f"nbhelpers-{hash_of(str(lock))}-"
    for left_behind in place.glob(f"{prefix}*"):  # by a run that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as folder:
        traits = {"lock": str(lock), "connection_file": Unicode(f"{folder}/kernel.json")}
        yield type("RunKernelManager", (KeptKernelManager,), traits)


def require_kernel(name: str, source: Path) -> None:
    """Raise InputError, naming the kernels there are, unless Jupyter knows the kernel `name`."""
    known = sorted(KernelSpecManager().find_kernel_specs())
    if name not in known:
        raise InputError(
            f"{source}: kernel_name: Jupyter has no kernel {name!r} (it has {', '.join(known)}). "
            "Choose one of these or install it with `python -m ipykernel install`."
        )


class LinePrinter:
    """A file for papermill that prints whole lines of a run's output, each with the run's name."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.rest = ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                print(f"{self.run} | {line.rsplit(chr(13), 1)[-1]}", flush=True)

    def flush(self) -> None:
        """Lines are printed at once."""


@contextmanager
def environment(use: int) -> Iterator[None]:
    """What a kernel of the batch finds in its environment."""
    before = dict(os.environ)
    shared = use < cores()
    os.environ.update(NBHELPERS_HEADLESS="1", NBHELPERS_CORES=str(use))
    if shared:
        for name in THREAD_SETTINGS:
            os.environ.setdefault(name, str(use))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
