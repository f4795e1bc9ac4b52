"""From radiograph files to one array of prepared pictures, with the geometry of every case."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nbhelpers.geometry import (
    Frame,
    fit_frame,
    reduce_to,
    to_original,
    to_prepared,
    warp,
    whole_frame,
)
from nbhelpers.hand_finding import Hand, find_hand, hand_frame, hand_levels
from nbhelpers.hardware import cores, versions
from nbhelpers.radiograph import decode, read_bytes, read_header, read_image
from nbhelpers.store import PartialStore, open_store
from nbhelpers.workspace import (
    InputError,
    atomic_path,
    find_run_file,
    hash_of,
    log,
    progress,
    read_json,
    write_json,
)

__all__ = [
    "Preparation",
    "affine_of",
    "code_version",
    "load_geometry",
    "load_images",
    "load_preparation",
    "prepare_cases",
    "prepare_image",
    "read_image",
    "to_original",
    "to_prepared",
]

# The rooms whose source decides how a prepared picture looks.
ROOMS = ("images", "radiograph", "geometry", "collimation", "hand_outline", "hand_finding")
AFFINE = ("a", "b", "c", "d", "e", "f")
REMEDY = "Check the data folder or remove its row."

STEPS = {
    "hand": "find_hand",
    "upright": "turn_upright",
    "stretch": "stretch_contrast",
    "aspect": "keep_aspect",
}
SMALLEST_PICTURE, LARGEST_PICTURE = 16, 2048
LOOKED_AT = 112  # longer side, in pixels, of the picture on which the hand is sought
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
                f"image_size is {image_size}; choose {SMALLEST_PICTURE} to {LARGEST_PICTURE} pixels."
            )
        named = [step.strip() for step in steps.split(",") if step.strip()]
        unknown = [step for step in named if step not in STEPS]
        if unknown:
            raise InputError(f"steps: {unknown[0]!r} is unknown. Choose from {', '.join(STEPS)}.")
        return cls(image_size, **{field: step in named for step, field in STEPS.items()})


def prepare_image(
    pixels: np.ndarray, preparation: Preparation
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The prepared picture uint8 [size, size], the affine [2, 3] to it, and whether a hand was found.

    Where none is found the whole frame is shown as it stands.
    """
    size = preparation.image_size
    small = reduce_to(pixels, LOOKED_AT)
    wanted = preparation.find_hand or preparation.turn_upright
    hand = find_hand(small) if wanted else None
    up = hand.up if hand and preparation.turn_upright else (0.0, -1.0)
    if hand and preparation.find_hand:
        frame = _enlarged(hand_frame(hand, up), small.shape, pixels.shape)
    else:
        frame = whole_frame(pixels.shape, up)
    affine = fit_frame(frame, size, preparation.keep_aspect)
    table = _stretch(small, hand) if preparation.stretch_contrast else None
    return warp(pixels, affine, size, table), affine, hand is not None


def _enlarged(frame: Frame, small: tuple[int, int], full: tuple[int, int]) -> Frame:
    """A frame on the small radiograph, in pixels of the full one."""
    factor = max(full) / max(small)
    x, y = ((side + 0.5) * factor - 0.5 for side in frame.centre)
    return replace(frame, centre=(x, y), width=frame.width * factor, height=frame.height * factor)


def _stretch(small: np.ndarray, hand: Hand | None) -> np.ndarray:
    """The grey levels, uint8 [256], that spread the hand and its neighbourhood over 0..255."""
    if hand is None:
        low, high = np.percentile(small, [DARKEST, BRIGHTEST])
    else:
        low, high = hand_levels(small, hand)
    levels = (np.arange(256) - low) * (255 / max(high - low, 1))
    return levels.clip(0, 255).round().astype(np.uint8)


def code_version() -> str:
    """The first 16 hex digits of the SHA-256 of the source text that decides how pictures look."""
    folder = Path(__file__).parent
    text = b"".join((folder / f"{room}.py").read_bytes() for room in ROOMS)
    return hashlib.sha256(text).hexdigest()[:16]


def prepare_cases(
    cases: pd.DataFrame,
    preparation: Preparation,
    run_folder: Path,
    view: str,
    exclude_unreadable: bool = False,
) -> pd.DataFrame:
    """Prepare the radiographs of all cases into the run folder, on all cores.

    cases: columns case_id and image_path. Returns the geometry, one row a case in the same order:
    case_id, original_width, original_height, a..f (the affine's two rows), found, image_sha256 and
    `unreadable`, null or the reason. With `exclude_unreadable` an unreadable radiograph is in
    neither images.<view>.npy nor geometry.<view>.parquet: drop its row from the case table too,
    `cases[geometry.unreadable.isna().to_numpy()]`, and all three stay aligned. Without it the
    first one stops the run before work starts, or as soon as its pixels turn out to be damaged.

    A preparation of the same files, settings and code is reused; one that was killed goes on.
    Raises InputError for unreadable files, a full disk, or another run at the same work.
    """
    run_folder = Path(run_folder)
    identity = {"settings": asdict(preparation), "code_version": code_version()}
    sources, problems = _sources(cases)
    key = hash_of(identity | {"sources": sources})
    finished = _finished(run_folder, view, key, cases)
    if finished is not None:
        _refuse(finished["unreadable"].dropna().tolist(), len(cases), exclude_unreadable)
        log(f"{view}: {len(cases):,} prepared radiographs are reused")
        return finished
    path = run_folder / f"images.{view}.npy"
    with PartialStore(path, key, len(cases), preparation.image_size) as store:
        if store.records:
            log(f"{view}: going on after {len(store.records):,} of {len(cases):,} radiographs")
        files = [Path(file) for file in cases["image_path"]]
        left = [row for row in range(len(cases)) if row not in store.records]
        problems |= _check_headers(files, [row for row in left if row not in problems])
        known = [record["unreadable"] for record in store.records.values() if record["unreadable"]]
        _refuse(known + [problems[row] for row in sorted(problems)], len(cases), exclude_unreadable)
        for row in sorted(problems):
            if row not in store.records:
                store.mark_done(row, {"unreadable": problems[row]})
        left = [row for row in left if row not in problems]
        for row, record in _prepare_rows(files, left, preparation, store, view):
            if record["unreadable"]:
                _refuse([record["unreadable"]], len(cases), exclude_unreadable)
            store.mark_done(row, record)
        geometry = _geometry(cases, store.records)
        unreadable = geometry["unreadable"].notna().to_numpy()
        if unreadable.all():
            raise InputError(
                f"None of the {len(cases)} radiographs can be read. "
                f"The first: {geometry['unreadable'].iloc[0]}"
            )
        description = run_folder / f"preparation.{view}.json"
        description.unlink(missing_ok=True)
        store.finish(set(np.nonzero(unreadable)[0].tolist()))
        with atomic_path(run_folder / f"geometry.{view}.parquet") as temporary:
            geometry[~unreadable].to_parquet(temporary, index=False)
        excluded = geometry.loc[unreadable, ["case_id", "unreadable"]].to_dict("records")
        content = identity | {
            "hash": hash_of(identity),
            "key": key,
            "view": view,
            "cases": int((~unreadable).sum()),
            "excluded": excluded,
            "versions": versions(),
        }
        write_json(description, content)
        store.forget()
    return geometry


def load_images(run_folder: Path, view: str) -> np.memmap:
    """The prepared pictures of a view, uint8 [n, size, size], read-only and memory-mapped.

    Raises InputError with the notebook to run where the view is not there or not finished.
    """
    described = read_json(find_run_file(Path(run_folder), f"preparation.{view}.json"))
    images = open_store(find_run_file(Path(run_folder), f"images.{view}.npy"))
    if len(images) != described["cases"]:
        raise InputError(
            f"images.{view}.npy holds {len(images)} pictures and preparation.{view}.json says "
            f"{described['cases']}. Run notebook 01_preprocessing again."
        )
    return images


def load_geometry(run_folder: Path, view: str) -> pd.DataFrame:
    """The geometry of a view, one row a prepared picture (see `prepare_cases`)."""
    return pd.read_parquet(find_run_file(Path(run_folder), f"geometry.{view}.parquet"))


def load_preparation(run_folder: Path, view: str) -> Preparation:
    """How a view was prepared, so that new radiographs can be prepared alike."""
    described = read_json(find_run_file(Path(run_folder), f"preparation.{view}.json"))
    return Preparation(**described["settings"])


def affine_of(geometry: pd.DataFrame, row: int) -> np.ndarray:
    """The affine float64 [2, 3] of one row of a geometry table."""
    return geometry.iloc[row][list(AFFINE)].to_numpy(np.float64).reshape(2, 3)


def _sources(cases: pd.DataFrame) -> tuple[str, dict[int, str]]:
    """A hash of case ids, paths, sizes and times; and, by row, what is wrong with missing files."""
    digest, problems = hashlib.sha256(), {}
    for row, (case, file) in enumerate(zip(cases["case_id"], cases["image_path"], strict=True)):
        size = time = -1
        try:
            found = os.stat(file)
            size, time = found.st_size, found.st_mtime_ns
        except OSError as error:
            problems[row] = f"{file} cannot be opened ({error.strerror}). {REMEDY}"
        digest.update(f"{case}\0{file}\0{size}\0{time}\n".encode())
    return digest.hexdigest()[:16], problems


def _check_headers(files: list[Path], rows: list[int]) -> dict[int, str]:
    problems = {}

    def check(row: int) -> tuple[int, str | None]:
        try:
            read_header(files[row])
        except InputError as error:
            return row, str(error)
        return row, None

    with ThreadPoolExecutor(cores()) as pool:
        for row, problem in pool.map(check, rows):
            if problem:
                problems[row] = problem
    return problems


def _refuse(problems: list[str], total: int, exclude_unreadable: bool) -> None:
    if problems and not exclude_unreadable:
        raise InputError(
            f"{problems[0]} ({len(problems)} of {total} radiographs cannot be read; "
            "exclude_unreadable = True goes on without them.)"
        )


def _prepare_rows(files, rows, preparation, store, view) -> Iterator[tuple[int, dict]]:
    """Prepare rows on all cores with threads: OpenCV works outside the interpreter's lock.

    At most a few radiographs wait at any time, so memory does not grow with the number of cases.
    """

    def work(row: int) -> tuple[int, dict]:
        try:
            content = read_bytes(files[row])
            pixels = decode(content, files[row])
        except InputError as error:
            return row, {"unreadable": str(error)}
        picture, affine, found = prepare_image(pixels, preparation)
        store.write(row, picture)
        return row, {
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "affine": affine.ravel().tolist(),
            "found": found,
            "sha256": hashlib.sha256(content).hexdigest(),
            "unreadable": None,
        }

    workers = cores()
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(workers)
    try:
        results = _in_order(pool, work, rows, 4 * workers)
        yield from progress(results, len(rows), f"{view}: radiographs prepared")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads_before)


def _in_order(pool: Executor, work: Callable, items: list, waiting: int) -> Iterator:
    queue: deque = deque()
    for item in items:
        queue.append(pool.submit(work, item))
        if len(queue) >= waiting:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def _geometry(cases: pd.DataFrame, records: dict[int, dict]) -> pd.DataFrame:
    ordered = [records[row] for row in range(len(cases))]
    table = pd.DataFrame({"case_id": cases["case_id"].astype(str).to_numpy()})
    table["original_width"] = np.array([r.get("width", 0) for r in ordered], np.int32)
    table["original_height"] = np.array([r.get("height", 0) for r in ordered], np.int32)
    affines = np.array([r.get("affine", [np.nan] * 6) for r in ordered], float).reshape(-1, 6)
    for column, values in zip(AFFINE, affines.T, strict=True):
        table[column] = values
    table["found"] = np.array([r.get("found", False) for r in ordered], bool)
    for column, field in (("image_sha256", "sha256"), ("unreadable", "unreadable")):
        table[column] = pd.Series([r.get(field) for r in ordered], dtype="string")
    return table


def _finished(run_folder: Path, view: str, key: str, cases: pd.DataFrame) -> pd.DataFrame | None:
    """The geometry of all cases if the run folder holds a finished preparation of this key."""
    description = run_folder / f"preparation.{view}.json"
    files = [run_folder / f"images.{view}.npy", run_folder / f"geometry.{view}.parquet"]
    if not all(file.exists() for file in [description, *files]):
        return None
    described = read_json(description)
    if described.get("key") != key:
        return None
    geometry = load_geometry(run_folder, view).set_index("case_id")
    geometry = geometry.reindex(cases["case_id"].astype(str).to_numpy())
    for excluded in described["excluded"]:
        geometry.loc[excluded["case_id"], "unreadable"] = excluded["unreadable"]
    fill = {"original_width": 0, "original_height": 0, "found": False}
    geometry = geometry.fillna(fill).astype(
        {"original_width": np.int32, "original_height": np.int32, "found": bool}
    )
    return geometry.rename_axis("case_id").reset_index()
