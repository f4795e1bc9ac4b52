"""A store of pictures that survives being killed: rows in one .npy file, a journal of those done."""

import contextlib
import errno
import fcntl
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np

from nbhelpers.workspace import InputError, explained_errors

SPARE_BYTES = 64 << 20  # left free on the disk for tables and logs


class PartialStore:
    """Pictures uint8 [rows, size, size] being written, any row at any time.

    `path` is the final file. Beside it, while unfinished, lie a `.partial` file with the rows and a
    `.journal` whose first line is `key` and whose others are one JSON record a finished row. A
    later store of the same key goes on where this one stopped; another key starts afresh.
    """

    def __init__(self, path: Path, key: str, rows: int, size: int) -> None:
        self.path, self.size = path, size
        self.partial = path.with_name(f".{path.name}.partial")
        self.journal = path.with_name(f".{path.name}.journal")
        self.records: dict[int, dict] = {}
        self._header = _npy_header((rows, size, size))
        self._rows = rows
        self._key = key

    def __enter__(self) -> "PartialStore":
        with explained_errors(self.path), contextlib.ExitStack() as undo:
            self._journal = undo.enter_context(open(self.journal, "a+b", buffering=0))
            _lock(self._journal, self.path)
            kept = self._read_journal()
            _check_space(self.path.parent, len(self._header) + self._rows * self.size**2, kept)
            self._pixels = undo.enter_context(open(self.partial, "r+b" if kept else "w+b", 0))
            if not kept:
                self._journal.truncate(0)
                self._journal.write(json.dumps(self._key).encode() + b"\n")
                self._pixels.write(self._header)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def write(self, row: int, picture: np.ndarray) -> None:
        """Write one picture; may be called from several threads."""
        with explained_errors(self.path):
            content = memoryview(np.ascontiguousarray(picture)).cast("B")
            offset = len(self._header) + row * self.size**2
            while content:
                written = os.pwrite(self._pixels.fileno(), content, offset)
                content, offset = content[written:], offset + written

    def mark_done(self, row: int, record: dict) -> None:
        """Note that a row is finished; `record` (JSON) is kept beside its number."""
        with explained_errors(self.path):
            line = json.dumps({"row": row} | record, allow_nan=False) + "\n"
            self._journal.write(line.encode())
        self.records[row] = record

    def finish(self, dropped: set[int]) -> None:
        """Rename the complete store into place, without the rows of `dropped`."""
        with explained_errors(self.path):
            if dropped:
                self._copy_without(dropped)
            else:
                self._pixels.truncate(len(self._header) + self._rows * self.size**2)
            os.fsync(self._pixels.fileno())
            os.replace(self.partial, self.path)

    def forget(self) -> None:
        """Remove the journal once everything that it was needed for is in place."""
        self.journal.unlink(missing_ok=True)

    def _copy_without(self, dropped: set[int]) -> None:
        kept = [row for row in range(self._rows) if row not in dropped]
        area = self.size**2
        copy = self.partial.with_suffix(".copy")
        with open(copy, "wb") as target:
            target.write(_npy_header((len(kept), self.size, self.size)))
            for row in kept:
                target.write(os.pread(self._pixels.fileno(), area, len(self._header) + row * area))
        os.replace(copy, self.partial)

    def _read_journal(self) -> bool:
        """Fill `records` from a journal of the same key; False where nothing can be gone on with."""
        self._journal.seek(0)
        lines = self._journal.read().split(b"\n")
        whole, torn = lines[:-1], lines[-1]
        if not whole or not self.partial.exists() or whole[0] != json.dumps(self._key).encode():
            return False
        for line in whole[1:]:
            record = json.loads(line)
            self.records[record.pop("row")] = record
        if torn:
            self._journal.truncate(self._journal.tell() - len(torn))
        return True


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def _lock(file: io.FileIO, path: Path) -> None:
    """One writer at a time; the lock ends with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise InputError(
                f"{path} is being written by another run. Wait for it, or choose another run folder."
            ) from None
        # Some network file systems know no locks; a second run there is the user's to avoid.


def _check_space(folder: Path, needed: int, kept: bool) -> None:
    free = shutil.disk_usage(folder).free
    if not kept and free < needed + SPARE_BYTES:
        raise InputError(
            f"{folder} has {free / 1e9:.2f} GB free and the pictures need {needed / 1e9:.2f} GB. "
            "Free some space or choose a smaller image_size."
        )


def open_store(path: Path) -> np.memmap:
    """The pictures uint8 [rows, size, size], read-only, read from disk as they are touched."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}). Delete it and run 01 again.") from None
