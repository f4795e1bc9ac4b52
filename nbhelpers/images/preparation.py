"""All radiographs of a case table, prepared on all cores into one array, with their geometry.

One radiograph: its hand is found and turned upright, its grey levels are stretched, and it is
fitted into a square. `Preparation` names which of these steps are taken. What is doubtful of it is
repaired or named (see `doubts`), with any steps. All of them go, as the cases stand in their table,
into `images.<view>.npy`, alongside `geometry.<view>.parquet` and `preparation.<view>.json`.
"""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pandas as pd

from nbhelpers import workspace
from nbhelpers.images import doubts, geometry
from nbhelpers.images.hand import Hand, find_hand, hand_frame, hand_levels
from nbhelpers.images.radiograph import decode, read_bytes, read_header
from nbhelpers.workspace import InputError, find_run_file, hash_of, read_json

VERSION = 2  # raise it by hand when the same settings give another picture of a radiograph
STEPS = {
    "hand": "find_hand",
    "upright": "turn_upright",
    "stretch": "stretch_contrast",
    "aspect": "keep_aspect",
}
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
        named = [step.strip() for step in steps.split(",") if step.strip()]
        unknown = [step for step in named if step not in STEPS]
        if unknown:
            raise InputError(f"steps: {unknown[0]!r} is unknown. Choose from {', '.join(STEPS)}.")
        return cls(image_size, **{field: step in named for step, field in STEPS.items()})


def prepare_image(
    pixels: np.ndarray, preparation: Preparation
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The prepared picture uint8 [size, size], the affine [2, 3] to it, and what is doubtful of it.

    Doubts (see there) do not depend on the steps. Where no hand is found the whole frame is shown
    as it stands.
    """
    size, words = preparation.image_size, doubts.of_levels(pixels)
    small, hand, corner, factor = _look(pixels)
    plain = doubts.plainness(hand)
    if plain < doubts.PLAIN and not words:
        negative = cv2.bitwise_not(pixels)
        other = _look(negative)
        if doubts.plainness(other[1]) > doubts.PLAIN:
            pixels, (small, hand, corner, factor) = negative, other
            words = [doubts.INVERTED]
    if doubts.plainness(hand) < doubts.LEAST_PLAIN:
        hand = None
        words = [*words, doubts.NO_HAND]
    else:
        hand = doubts.right_way_up(hand)
        words = [*words, *doubts.of_hand(small, hand, factor)]
    if not (preparation.find_hand or preparation.turn_upright):
        small, hand = geometry.reduce_to(pixels, LOOKED_AT), None
    up = hand.up if hand and preparation.turn_upright else (0.0, -1.0)
    if hand and preparation.find_hand:
        frame = _enlarged(hand_frame(hand, up), factor, corner)
    else:
        frame = geometry.whole_frame(pixels.shape, up)
    affine = geometry.fit_frame(frame, size, preparation.keep_aspect)
    if doubts.MIRRORED in words:
        affine = geometry.compose(affine, np.array([[-1.0, 0, size - 1], [0, 1, 0]]))
    table = _stretch(small, hand) if preparation.stretch_contrast else None
    return geometry.warp(pixels, affine, size, table), affine, words


def _look(pixels: np.ndarray) -> tuple[np.ndarray, Hand | None, tuple[int, int], float]:
    """The small picture on which a hand is best seen, the hand, and where that picture lies.

    Returns:
        Small picture; hand; left upper corner (x, y) in pixels of the radiograph; pixels of the
        radiograph a pixel.
    """
    small = geometry.reduce_to(pixels, LOOKED_AT)
    factor = max(pixels.shape) / max(small.shape)
    hand = find_hand(small)
    if hand and factor > 1 and np.count_nonzero(hand.field) < SMALL_FIELD * hand.field.size:
        near, corner = _around(hand.field, pixels, factor)
        closer = geometry.reduce_to(near, LOOKED_AT)
        second = find_hand(closer)
        zoom = max(near.shape) / max(closer.shape)
        if second and _is_better(second, zoom, hand, factor):
            return closer, second, corner, zoom
    return small, hand, (0, 0), factor


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


def _enlarged(frame: geometry.Frame, factor: float, corner: tuple[int, int]) -> geometry.Frame:
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


def prepare_file(path: Path, preparation: Preparation) -> tuple[dict, np.ndarray | None]:
    """What the geometry says of one file, and its picture (None where it cannot be read)."""
    try:
        content = read_bytes(path)
        pixels = decode(content, path)
    except InputError as error:
        return {"unreadable": str(error)}, None
    picture, affine, words = prepare_image(pixels, preparation)
    if doubts.is_coloured(content):
        words = [*words, doubts.COLOURED]
    height, width = pixels.shape
    record = {
        "original_width": width,
        "original_height": height,
        **dict(zip(geometry.AFFINE, affine.ravel().tolist(), strict=True)),
        "found": doubts.NO_HAND not in words,
        "doubts": ", ".join(words),
        "image_sha256": hashlib.sha256(content).hexdigest(),
    }
    return record, picture


def prepare_cases(
    cases: pd.DataFrame,
    preparation: Preparation,
    run_folder: Path,
    view: str,
    exclude_unreadable: bool = False,
) -> pd.DataFrame:
    """Prepare the radiographs of all cases into the run folder, on all cores.

    cases: columns case_id and image_path. Returns the geometry, one row a case in the same order
    (see `geometry_table`). With `exclude_unreadable` an unreadable radiograph is in neither
    images.<view>.npy nor geometry.<view>.parquet: drop its row from the case table too,
    `cases[geometry["unreadable"].isna().to_numpy()]`, and all three stay aligned. Without it the
    first one stops the run, before work starts where its header or length tells.

    A finished preparation of the same files, settings and VERSION is reused; one that was killed
    starts again. Raises InputError for unreadable files and for a full disk.
    """
    described = {"settings": asdict(preparation), "version": VERSION}
    sources = _hash_sources(cases)
    finished = _finished(run_folder, view, preparation, sources)
    if finished:
        _refuse_unreadable(finished, exclude_unreadable)
        workspace.log(f"{view}: {len(cases):,} prepared radiographs are reused")
        return geometry.geometry_table(cases, finished)
    files = [Path(file) for file in cases["image_path"]]
    description = run_folder / f"preparation.{view}.json"
    with workspace.atomic_path(run_folder / f"images.{view}.npy") as temporary:
        for left_by_a_killed_run in run_folder.glob(f".images.{view}.*.npy"):
            left_by_a_killed_run.unlink()
        records = _write_pictures(temporary, files, preparation, view, exclude_unreadable)
        description.unlink(missing_ok=True)
    table = geometry.geometry_table(cases, records)
    unreadable = table["unreadable"].notna()
    geometry.save_geometry(run_folder, view, table[~unreadable])
    content = described | {
        "hash": hash_of(described),
        "key": hash_of(described | {"sources": sources}),
        "view": view,
        "cases": int((~unreadable).sum()),
        "excluded": {str(row): why for row, why in table["unreadable"][unreadable].items()},
        "versions": workspace.versions(),
    }
    workspace.write_json(description, content)
    return table


def _hash_sources(cases: pd.DataFrame) -> str:
    """A hash of case ids, paths, sizes and times; a missing file has size and time -1."""
    digest = hashlib.sha256()
    for case, file in zip(cases["case_id"], cases["image_path"], strict=True):
        size = time = -1
        with contextlib.suppress(OSError):
            found = Path(file).stat()
            size, time = found.st_size, found.st_mtime_ns
        digest.update(f"{case}\0{file}\0{size}\0{time}\n".encode())
    return digest.hexdigest()[:16]


def _finished(
    run_folder: Path, view: str, preparation: Preparation, sources: str
) -> list[dict] | None:
    """The records of all files if the run folder holds this preparation of them."""
    description = run_folder / f"preparation.{view}.json"
    files = [run_folder / f"images.{view}.npy", run_folder / f"geometry.{view}.parquet"]
    whole = all(file.exists() for file in [description, *files])
    described = read_json(description) if whole else {}
    told = {"settings": asdict(preparation), "version": VERSION, "sources": sources}
    if described.get("key") != hash_of(told):
        return None
    records = geometry.load_geometry(run_folder, view).drop(columns="unreadable").to_dict("records")
    for row, why in sorted(described["excluded"].items(), key=lambda item: int(item[0])):
        records.insert(int(row), {"unreadable": why})
    return records


def _write_pictures(
    path: Path, files: list[Path], preparation: Preparation, view: str, exclude_unreadable: bool
) -> list[dict]:
    """Prepare what is readable into a .npy file, in order; the records of all files.

    Every header is checked first. The file is written and not mapped into memory: a full disk is
    then an error that can be told, where a map would kill the process.
    """
    records = [{"unreadable": problem} for problem in _check_headers(files)]
    _refuse_unreadable(records, exclude_unreadable)
    readable = [row for row, record in enumerate(records) if not record.get("unreadable")]
    made = workspace.parallel(prepare_file, [files[row] for row in readable], preparation)
    with contextlib.closing(made), path.open("wb") as target:
        shown = workspace.progress(made, len(readable), f"{view}: radiographs prepared")
        _write_header(target, len(files), preparation.image_size)
        for row, (record, picture) in zip(readable, shown, strict=True):
            records[row] = record
            if picture is None:
                _refuse_unreadable(records, exclude_unreadable)
            else:
                target.write(picture)
        target.seek(0)  # numpy's header has room for another number of pictures
        kept = sum(not record.get("unreadable") for record in records)
        _write_header(target, kept, preparation.image_size)
    return records


def _check_headers(files: list[Path]) -> list[str | None]:
    """What is wrong with the header of each file. In threads: they may lie behind a network."""

    def problem(file: Path) -> str | None:
        try:
            read_header(file)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workspace.cores()) as pool:
        return list(pool.map(problem, files))


def _refuse_unreadable(records: list[dict], accepted: bool) -> None:
    """Raise InputError where a radiograph cannot be read, unless accepted; where none can, ever."""
    problems = [record["unreadable"] for record in records if record.get("unreadable")]
    if len(problems) == len(records):
        raise InputError(f"None of {len(records)} radiographs can be read. First: {problems[0]}")
    if problems and not accepted:
        raise InputError(
            f"{problems[0]} {len(problems)} of {len(records)} radiographs cannot be read; "
            "exclude_unreadable = True (make: UNREADABLE=exclude) goes on without them."
        )


def _write_header(target: BinaryIO, pictures: int, size: int) -> None:
    description = {"descr": "|u1", "fortran_order": False, "shape": (pictures, size, size)}
    np.lib.format.write_array_header_1_0(target, description)


def load_images(run_folder: Path, view: str) -> np.memmap:
    """The prepared pictures of a view, uint8 [n, size, size], read-only and memory-mapped.

    Raises InputError with the notebook to run where the view is not there or not finished.
    """
    described = read_description(run_folder, view)
    path = find_run_file(Path(run_folder), f"images.{view}.npy")
    with contextlib.suppress(ValueError, EOFError):
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(images) == described["cases"]:
            return images
    raise InputError(
        f"{path} is damaged or of another preparation. Delete it and run notebook 01_preprocessing "
        "again."
    )


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
