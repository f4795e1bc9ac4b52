"""All radiographs of a case table, prepared on all cores into one array, with their geometry.

How one radiograph is prepared: hand found, turned upright, stretched, fitted into a square.

A store of pictures that survives being killed: one .npy file and a journal of the rows done.

The files that pictures are made from: whether they changed, and which cannot be read.

Processes that prepare radiographs side by side.

Threads would wait for each other: finding a hand is many short calls. A fork is unsafe beside
TensorFlow and in a Jupyter kernel, and `multiprocessing` runs a script's first lines again. So each
worker is a fresh Python that imports this file alone, is asked one line at a time, and ends when
nobody asks any more, however its owner ended.
"""

import contextlib
import hashlib
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nbhelpers import workspace
from nbhelpers.images.geometry import (
    Frame,
    fit_frame,
    geometry_table,
    load_geometry,
    records_of,
    reduce_to,
    save_geometry,
    warp,
    whole_frame,
)
from nbhelpers.images.hand import Hand, find_hand, hand_frame, hand_levels
from nbhelpers.images.radiograph import REMEDY, decode, read_bytes, read_header
from nbhelpers.workspace import (
    InputError,
    cores,
    explained_errors,
    find_run_file,
    hash_of,
    log,
    progress,
    read_json,
    versions,
    write_json,
)


def hash_sources(cases: pd.DataFrame) -> tuple[str, dict[int, str]]:
    """A hash of case ids, paths, sizes and times; and, by row, what is wrong with missing files."""
    digest, problems = hashlib.sha256(), {}
    for row, (case, file) in enumerate(zip(cases["case_id"], cases["image_path"], strict=True)):
        size = time = -1
        try:
            found = Path(file).stat()
            size, time = found.st_size, found.st_mtime_ns
        except OSError as error:
            problems[row] = f"{file} cannot be opened ({error.strerror}). {REMEDY}"
        digest.update(f"{case}\0{file}\0{size}\0{time}\n".encode())
    return digest.hexdigest()[:16], problems


def check_headers(files: list[Path], rows: list[int]) -> dict[int, str]:
    """What is wrong with headers, by row. In threads, since files may lie behind a network."""

    def check(row: int) -> tuple[int, str]:
        try:
            read_header(files[row])
        except InputError as error:
            return row, str(error)
        return row, ""

    with ThreadPoolExecutor(cores()) as pool:
        return {row: problem for row, problem in pool.map(check, rows) if problem}


def refuse(problems: list[str], total: int, accepted: bool) -> None:
    """Raise InputError naming the first of what is wrong with `total` files, unless accepted."""
    if problems and not accepted:
        raise InputError(
            f"{problems[0]} {len(problems)} of {total} radiographs cannot be read; "
            "exclude_unreadable = True goes on without them."
        )


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
            undo.enter_context(workspace.hold(self.path.with_name(f".{self.path.name}.lock"), busy))
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


VERSION = 1  # raise it by hand when the same settings give another picture of a radiograph
STEPS = {
    "hand": "find_hand",
    "upright": "turn_upright",
    "stretch": "stretch_contrast",
    "aspect": "keep_aspect",
}
SMALLEST_PICTURE, LARGEST_PICTURE = 16, 2048
LOOKED_AT = 112  # longer side, in pixels, of the picture on which the hand is sought
# A hand in a field smaller than this share of the frame is looked at again from closer.
SMALL_FIELD = 0.5
MOST_GROWTH = 2.5  # of the hand's area from one look to the next where both saw the hand
FIELD_MARGIN = 3  # pixels of the small radiograph kept around the field then
DARKEST, BRIGHTEST = 2.0, 99.5  # percentiles of a whole frame that become 0 and 255


@dataclass(frozen=True)
class Preparation:
    """How radiographs are prepared. image_size: side of the square picture, in pixels."""

    image_size: int
    find_hand: bool = True
    turn_upright: bool = True
    stretch_contrast: bool = True
    keep_aspect: bool = True

    @classmethod
    def from_steps(cls, image_size: int, steps: str) -> "Preparation":
        """Read a comma list of `hand`, `upright`, `stretch`, `aspect`; "" is a plain resize."""
        if not SMALLEST_PICTURE <= image_size <= LARGEST_PICTURE:
            raise InputError(
                f"image_size is {image_size}; choose {SMALLEST_PICTURE} to {LARGEST_PICTURE}."
            )
        named = [step.strip() for step in steps.split(",") if step.strip()]
        unknown = [step for step in named if step not in STEPS]
        if unknown:
            raise InputError(f"steps: {unknown[0]!r} is unknown. Choose from {', '.join(STEPS)}.")
        return cls(image_size, **{field: step in named for step, field in STEPS.items()})


def prepare_image(
    pixels: np.ndarray, preparation: Preparation
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The prepared picture uint8 [size, size], the affine [2, 3] to it, and if a hand was found.

    Where none is found the whole frame is shown as it stands.
    """
    size = preparation.image_size
    small, hand, corner = reduce_to(pixels, LOOKED_AT), None, (0, 0)
    factor = max(pixels.shape) / max(small.shape)
    if preparation.find_hand or preparation.turn_upright:
        hand = find_hand(small)
    if hand and factor > 1 and np.count_nonzero(hand.field) < SMALL_FIELD * hand.field.size:
        near, near_corner = _around(hand.field, pixels, factor)
        closer = reduce_to(near, LOOKED_AT)
        second = find_hand(closer)
        zoom = max(near.shape) / max(closer.shape)
        if second and _is_better(second, zoom, hand, factor):
            small, hand, corner, factor = closer, second, near_corner, zoom
    up = hand.up if hand and preparation.turn_upright else (0.0, -1.0)
    if hand and preparation.find_hand:
        frame = _enlarged(hand_frame(hand, up), factor, corner)
    else:
        frame = whole_frame(pixels.shape, up)
    affine = fit_frame(frame, size, preparation.keep_aspect)
    table = _stretch(small, hand) if preparation.stretch_contrast else None
    return warp(pixels, affine, size, table), affine, hand is not None


def _around(
    field: np.ndarray, pixels: np.ndarray, factor: float
) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of a radiograph around a field found on the small one, and its corner (x, y)."""
    rows, columns = np.nonzero(field)
    low = np.array([columns.min(), rows.min()]) - FIELD_MARGIN
    high = np.array([columns.max(), rows.max()]) + 1 + FIELD_MARGIN
    left, top = (int(max(side, 0) * factor) for side in low)
    right, bottom = (int(side * factor) for side in high)
    return pixels[top:bottom, left:right], (left, top)


def _is_better(second: Hand, zoom: float, first: Hand, factor: float) -> bool:
    """Whether a second look saw more of a hand; one that saw far more or less must score higher."""
    growth = np.count_nonzero(second.mask) * zoom**2 / np.count_nonzero(first.mask) / factor**2
    if 1 / MOST_GROWTH < growth < MOST_GROWTH:
        return growth > 1
    return second.score > first.score


def _enlarged(frame: Frame, factor: float, corner: tuple[int, int]) -> Frame:
    """A frame on the small radiograph, or on one of a part of it, in pixels of the full one."""
    x, y = (
        (side + 0.5) * factor - 0.5 + start
        for side, start in zip(frame.centre, corner, strict=True)
    )
    return replace(frame, centre=(x, y), width=frame.width * factor, height=frame.height * factor)


def _stretch(small: np.ndarray, hand: Hand | None) -> np.ndarray:
    """The grey levels, uint8 [256], that spread the hand and its neighbourhood over 0..255."""
    if hand is None:
        low, high = np.percentile(small, [DARKEST, BRIGHTEST])
    else:
        low, high = hand_levels(small, hand)
    levels = (np.arange(256) - low) * (255 / max(high - low, 1))
    return levels.clip(0, 255).round().astype(np.uint8)


def read_description(run_folder: Path, view: str) -> dict[str, object]:
    """What `preparation.<view>.json` says: settings, version, hash and more.

    One that holds the hash of source code instead of a version is of version 1.
    """
    described = read_json(find_run_file(Path(run_folder), f"preparation.{view}.json"))
    return {"version": 1, **described}


def load_preparation(run_folder: Path, view: str) -> Preparation:
    """How a view was prepared, so that new radiographs can be prepared alike."""
    return Preparation(**read_description(run_folder, view)["settings"])


def preparation_hash(run_folder: Path, view: str) -> str:
    """The hash of the settings and version of a view's preparation; saved models carry it."""
    return read_description(run_folder, view)["hash"]


COMMAND = "from nbhelpers.images.preparation import serve; serve()"
WAITING = 4  # radiographs asked for ahead, by worker
PATIENCE = 10.0  # seconds that a worker gets to end


def prepare_file(path: Path, row: int, preparation: Preparation, rows: Rows) -> dict:
    """Prepare one file into a row of the store; its record (see `geometry`)."""
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
    folder = str(Path(__file__).parents[2])
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


def prepare_cases(
    cases: pd.DataFrame,
    preparation: Preparation,
    run_folder: Path,
    view: str,
    exclude_unreadable: bool = False,
) -> pd.DataFrame:
    """Prepare the radiographs of all cases into the run folder, on all cores.

    cases: columns case_id and image_path. Returns the geometry, one row a case in the same order
    (see `geometry`). With `exclude_unreadable` an unreadable radiograph is in neither
    images.<view>.npy nor geometry.<view>.parquet: drop its row from the case table too,
    `cases[geometry["unreadable"].isna().to_numpy()]`, and all three stay aligned. Without it the
    first one stops the run, before work starts where its header or length tells.

    A preparation of the same files, settings and VERSION is reused; one that was killed goes on.
    Raises InputError for unreadable files, a full disk, or another run at the same work.
    """
    run_folder = Path(run_folder)
    described = {"settings": asdict(preparation), "version": VERSION}
    sources, problems = hash_sources(cases)
    key = hash_of(described | {"sources": sources})
    finished = _finished(run_folder, view, preparation, sources, cases)
    if finished is not None:
        refuse(finished["unreadable"].dropna().tolist(), len(cases), exclude_unreadable)
        log(f"{view}: {len(cases):,} prepared radiographs are reused")
        return finished
    path = run_folder / f"images.{view}.npy"
    with PartialStore(path, key, len(cases), preparation.image_size) as store:
        _fill(store, cases, problems, preparation, view, exclude_unreadable)
        geometry = geometry_table(cases, store.records)
        unreadable = geometry["unreadable"].notna().to_numpy()
        description = run_folder / f"preparation.{view}.json"
        description.unlink(missing_ok=True)
        store.finish(set(np.nonzero(unreadable)[0].tolist()))
        save_geometry(run_folder, view, geometry[~unreadable])
        reasons = geometry["unreadable"][unreadable]
        content = described | {
            "hash": hash_of(described),
            "key": key,
            "view": view,
            "cases": int((~unreadable).sum()),
            "excluded": {str(row): reason for row, reason in reasons.items()},
            "versions": versions(),
        }
        write_json(description, content)
        store.forget()
    return geometry


def _fill(
    store: PartialStore,
    cases: pd.DataFrame,
    problems: dict[int, str],
    preparation: Preparation,
    view: str,
    exclude_unreadable: bool,
) -> None:
    """Prepare what the store still lacks; every header is checked before any pixel is decoded."""
    if store.records:
        log(f"{view}: going on after {len(store.records):,} of {len(cases):,} radiographs")
    files = [Path(file) for file in cases["image_path"]]
    left = [row for row in range(len(files)) if row not in store.records | problems]
    problems = problems | check_headers(files, left)
    for row, record in store.records.items():
        if record["unreadable"]:
            problems[row] = record["unreadable"]
    unreadable = [problems[row] for row in sorted(problems)]
    refuse(unreadable, len(files), exclude_unreadable or len(problems) == len(files))
    for row in problems.keys() - store.records.keys():
        store.mark_done(row, {"unreadable": problems[row]})
    left = [row for row in left if row not in problems]
    done = prepare_files(files, left, preparation, store.pictures)
    for row, record in progress(done, len(left), f"{view}: radiographs prepared"):
        if record["unreadable"]:
            refuse([record["unreadable"]], len(files), exclude_unreadable)
        store.mark_done(row, record)
    if all(record["unreadable"] for record in store.records.values()):
        first = store.records[0]["unreadable"] if store.records else "The case table is empty."
        raise InputError(f"None of the {len(files)} radiographs can be read. The first: {first}")


def _finished(
    run_folder: Path, view: str, preparation: Preparation, sources: str, cases: pd.DataFrame
) -> pd.DataFrame | None:
    """The geometry of all cases if the run folder holds this preparation of these files."""
    description = run_folder / f"preparation.{view}.json"
    files = [run_folder / f"images.{view}.npy", run_folder / f"geometry.{view}.parquet"]
    if not all(file.exists() for file in [description, *files]):
        return None
    described = read_json(description)
    # Before versions were numbered a hash of source code stood there: that was version 1.
    by = "version" if "version" in described else "code_version"
    settings, key = described.get("settings"), described.get("key")
    told = {"settings": settings, by: described.get(by), "sources": sources}
    current = settings == asdict(preparation) and described.get("version", 1) == VERSION
    if not current or key != hash_of(told):
        return None
    records = {int(row): {"unreadable": why} for row, why in described["excluded"].items()}
    readable = (row for row in range(len(cases)) if row not in records)
    records |= dict(zip(readable, records_of(load_geometry(run_folder, view)), strict=True))
    return geometry_table(cases, records)
