"""All radiographs of a case table, prepared on all cores into one array, with their geometry."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers.geometry import to_original, to_prepared
from nbhelpers.geometry_table import (
    affine_of,
    geometry_table,
    load_geometry,
    records_of,
    save_geometry,
)
from nbhelpers.hardware import versions
from nbhelpers.preparation import (
    VERSION,
    Preparation,
    load_preparation,
    preparation_hash,
    prepare_image,
    read_description,
)
from nbhelpers.preparers import prepare_files
from nbhelpers.radiograph import read_image
from nbhelpers.sources import check_headers, hash_sources, refuse
from nbhelpers.store import PartialStore, load_images
from nbhelpers.workspace import (
    InputError,
    hash_of,
    log,
    progress,
    read_json,
    write_json,
)

__all__ = [
    "VERSION",
    "Preparation",
    "affine_of",
    "load_geometry",
    "load_images",
    "load_preparation",
    "preparation_hash",
    "prepare_cases",
    "prepare_image",
    "read_description",
    "read_image",
    "to_original",
    "to_prepared",
]


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
