"""Synthetic radiographs of left hands with known age, sex and regions, as an RSNA folder."""

import concurrent.futures
import functools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pandas as pd

from nbhelpers import workspace
from nbhelpers.phantom_drawing import SMALLEST, Radiograph, draw_radiograph
from nbhelpers.phantom_regions import voc_xml
from nbhelpers.phantom_sampling import draw_case

__all__ = ["Radiograph", "draw_case", "draw_radiograph", "write_radiographs"]

VERSION = 4  # raise it when the same settings give other pixels or tables
SETTINGS_FILE = "phantom.json"
UNFINISHED_FILE = "phantom.unfinished.json"
IMAGES = Path("boneage-training-dataset") / "boneage-training-dataset"
REGIONS = Path("regions")
TABLE = "boneage-training-dataset.csv"
TRUTH = "truth.csv"


def folder_in(run_folder: Path, n: int, seed: int) -> Path:
    """Where a run that has no radiographs draws its own; `workspace.is_synthetic` knows it."""
    return run_folder / f"synthetic-{n}-{seed}-v{VERSION}"


def regions_beside(cases: pd.DataFrame) -> str:
    """The folder of regions of a case table's synthetic radiographs; "" where there is none."""
    first = cases["image_path"].iloc[0]
    folder = Path(first).parents[len(IMAGES.parts)] / REGIONS if first else None
    return str(folder) if folder and folder.is_dir() else ""


def write_radiographs(
    folder: Path, n: int, size: int = 320, seed: int = 0, workers: int | None = None
) -> Path:
    """Write `n` radiographs in the layout of Kaggle's RSNA set, with regions and truth beside them.

    Case i is the same whatever `n` and `workers` are. A folder that is complete is left as it is;
    one that a stopped run left is completed. Returns `folder`. Raises InputError when the folder
    holds something else.
    """
    folder = Path(folder)
    settings = {"version": VERSION, "n": n, "size": size, "seed": seed}
    if size < SMALLEST or n < 1:
        raise workspace.InputError(
            f"size {size}, n {n}: synthetic radiographs need {SMALLEST} pixels and 1 case or more."
        )
    if _is_complete(folder, settings):
        return folder
    workspace.write_json(folder / UNFINISHED_FILE, settings)
    with workspace.explained_errors(folder):
        for name in (IMAGES, REGIONS):
            (folder / name).mkdir(parents=True, exist_ok=True)
    cases = [draw_case(seed, number) for number in range(n)]
    missing = [case for case in cases if not _image_path(folder, case).exists()]
    if missing:
        _write_all(folder, missing, size, workers)
    _write_tables(folder, cases)
    workspace.write_json(folder / SETTINGS_FILE, settings)
    (folder / UNFINISHED_FILE).unlink(missing_ok=True)
    return folder


def _is_complete(folder: Path, settings: dict) -> bool:
    """True when the folder holds just these radiographs; raises InputError when it holds others."""
    # Hidden names are temporary files of a run that was stopped.
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return False
    for name in (SETTINGS_FILE, UNFINISHED_FILE):
        if (folder / name).exists():
            if workspace.read_json(folder / name) != settings:
                break
            return name == SETTINGS_FILE
    raise workspace.InputError(
        f"{folder} holds something else than the synthetic radiographs asked for. "
        "Delete it or name another folder."
    )


def _image_path(folder: Path, case: dict) -> Path:
    return folder / IMAGES / f"{case['id']}.png"


def _write_all(folder: Path, cases: list[dict], size: int, workers: int | None) -> None:
    workers = min(workers or workspace.cores(), len(cases))
    write = functools.partial(_write_one, folder, size)
    if workers == 1:
        _show(map(write, cases), len(cases))
        return
    # Fresh processes: a fork would be unsafe beside TensorFlow's threads and in a kernel.
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, fresh, _start_worker) as pool:
        _show(pool.map(write, cases, chunksize=8), len(cases))


def _show(done: Iterator, total: int) -> None:
    for _ in workspace.progress(done, total, "radiographs drawn"):
        pass


def _start_worker() -> None:
    cv2.setNumThreads(1)  # the workers are as many as the cores
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed outright cannot stop its workers, so they watch it."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _write_one(folder: Path, size: int, case: dict) -> None:
    """Draw one case. The image comes last: where it exists, the regions do."""
    drawn = draw_radiograph(case["sex"], case["true_age_months"], case["drawing"], size)
    path = _image_path(folder, case)
    encoded = cv2.imencode(".png", drawn.pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
    xml = voc_xml(path.name, drawn.pixels.shape, drawn.boxes).encode()
    _replace(folder / REGIONS / f"{case['id']}.xml", xml)
    _replace(path, encoded)


def _replace(path: Path, content: bytes) -> None:
    """Write through a temporary name. No fsync for thousands of files: they can be drawn again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with workspace.explained_errors(path):
        temporary.write_bytes(content)
        temporary.replace(path)


def _write_tables(folder: Path, cases: list[dict]) -> None:
    table = pd.DataFrame(cases)
    public = pd.DataFrame(
        {"id": table["id"], "boneage": table["label_months"], "male": table["sex"] == "male"}
    )
    # Without `sex` nobody takes the truth for a table of cases to be predicted.
    truth = table.drop(columns="sex")
    for name, content in ((TRUTH, truth), (TABLE, public)):
        with workspace.atomic_path(folder / name) as temporary:
            content.to_csv(temporary, index=False)
