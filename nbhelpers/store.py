"""A store of pictures that survives being killed: one .npy file and a journal of the rows done."""

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbhelpers import locks
from nbhelpers.workspace import InputError, explained_errors, find_run_file, read_json

SPARE_BYTES = 64 << 20  # left free on the disk for tables and logs


@dataclass(frozen=True)
class Rows:
    """Where pictures are written: a file, the bytes before the first, the side of each in pixels.

    Rows are written with `pwrite` and not through a memory map: a full disk is then an error that
    can be told, where a map would kill the process.
    """

    path: str
    start: int
    size: int

    def write(self, row: int, picture: np.ndarray) -> None:
        """Write one picture; may be called from several threads and processes."""
        with explained_errors(Path(self.path)):
            descriptor = os.open(self.path, os.O_WRONLY)
            try:
                left = memoryview(np.ascontiguousarray(picture)).cast("B")
                offset = self.start + row * self.size**2
                while left:
                    written = os.pwrite(descriptor, left, offset)
                    left, offset = left[written:], offset + written
            finally:
                os.close(descriptor)


class PartialStore:
    """Pictures uint8 [rows, size, size] being written, any row at any time.

    `path` is the final file. Beside it, while unfinished, lie a `.partial` file with the rows and
    a `.journal` whose first line is `key` and whose others are one JSON record a finished row. A
    later store of the same key goes on where this one stopped; another key starts afresh.
    """

    def __init__(self, path: Path, key: str, rows: int, size: int) -> None:
        self.path, self.key, self.rows, self.size = path, key, rows, size
        self.partial = path.with_name(f".{path.name}.partial")
        self.journal = path.with_name(f".{path.name}.journal")
        self.records: dict[int, dict] = {}
        self._header = _npy_header((rows, size, size))
        self.pictures = Rows(str(self.partial), len(self._header), size)

    def __enter__(self) -> "PartialStore":
        busy = f"{self.path} is being written by process {{process}}. Wait for it to end."
        with contextlib.ExitStack() as undo:
            undo.enter_context(locks.hold(self.path.with_name(f".{self.path.name}.lock"), busy))
            with explained_errors(self.path):
                kept = self._read_journal()
                if not kept:
                    self._check_space()
                mode = "r+b" if kept else "w+b"
                self._pixels = undo.enter_context(self.partial.open(mode, buffering=0))
                self._pixels.write(self._header)
                # The journal starts afresh only after the file that it tells of.
                mode = "ab" if kept else "wb"
                self._log = undo.enter_context(self.journal.open(mode, buffering=0))
                if not kept:
                    self._log.write(json.dumps(self.key).encode() + b"\n")
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def mark_done(self, row: int, record: dict) -> None:
        """Note that a row is finished; `record` (JSON) is kept beside its number."""
        with explained_errors(self.path):
            line = json.dumps({"row": row} | record, allow_nan=False) + "\n"
            self._log.write(line.encode())
        self.records[row] = record

    def finish(self, dropped: set[int]) -> None:
        """Rename the complete store into place, without the rows of `dropped`."""
        with explained_errors(self.path):
            finished = self._copy_without(dropped) if dropped else self.partial
            with finished.open("rb") as written:
                os.fsync(written.fileno())
            finished.replace(self.path)

    def forget(self) -> None:
        """Remove the journal once everything that it was needed for is in place."""
        self.partial.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def _copy_without(self, dropped: set[int]) -> Path:
        kept = [row for row in range(self.rows) if row not in dropped]
        area = self.size**2
        copy = self.partial.with_suffix(".copy")
        with copy.open("wb") as target:
            target.write(_npy_header((len(kept), self.size, self.size)))
            for row in kept:
                offset = len(self._header) + row * area
                target.write(os.pread(self._pixels.fileno(), area, offset))
        return copy

    def _read_journal(self) -> bool:
        """Fill `records` from a journal of the same key; False where there is none."""
        if not (self.journal.exists() and self.partial.exists()):
            return False
        content = self.journal.read_bytes()
        first, *lines = content.split(b"\n")
        if first != json.dumps(self.key).encode() or not lines:
            return False
        torn = len(lines.pop())  # the line that was being written, empty where none was
        for line in lines:
            record = json.loads(line)
            self.records[record.pop("row")] = record
        if torn:
            os.truncate(self.journal, len(content) - torn)
        return True

    def _check_space(self) -> None:
        needed = len(self._header) + self.rows * self.size**2
        held = self.partial.stat().st_blocks * 512 if self.partial.exists() else 0
        free = shutil.disk_usage(self.path.parent).free + held
        if free < needed + SPARE_BYTES:
            raise InputError(
                f"{self.path.parent} has {free / 1e9:.2f} GB free and the pictures need "
                f"{needed / 1e9:.2f} GB. Free some space or choose a smaller image_size."
            )


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def load_images(run_folder: Path, view: str) -> np.memmap:
    """The prepared pictures of a view, uint8 [n, size, size], read-only and memory-mapped.

    Raises InputError with the notebook to run where the view is not there or not finished.
    """
    described = read_json(find_run_file(Path(run_folder), f"preparation.{view}.json"))
    images = _open(find_run_file(Path(run_folder), f"images.{view}.npy"))
    if len(images) != described["cases"]:
        raise InputError(
            f"images.{view}.npy holds {len(images)} pictures and preparation.{view}.json says "
            f"{described['cases']}. Run notebook 01_preprocessing again."
        )
    return images


def _open(path: Path) -> np.memmap:
    """The pictures uint8 [rows, size, size], read-only, read from disk as they are touched."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path} is damaged ({error}). Delete it and run notebook 01_preprocessing again."
        ) from None
