"""The fingerprint of a data set: which tables and images a run folder was made from.

It covers the bytes of the tables and the name, size and modification time of every image in use,
so it takes a second where hashing the pixels would take minutes. A copy that keeps times (`cp -a`,
`rsync -a`) has the same fingerprint, wherever it lies.
"""

import hashlib
from pathlib import Path

import pandas as pd

from nbhelpers.layouts import find_any_tables
from nbhelpers.workspace import InputError, hash_of, read_json


def fingerprint(
    data_folder: Path, cases: pd.DataFrame, external_folder: Path | None = None
) -> dict[str, object]:
    """`hash`, `data_folder`, `external_folder`, `tables` (name -> SHA-256), `images` (count).

    `cases` is the table as `read_cases` gave it, before any case was excluded. The folders are for
    people to read; the hash does not depend on where they lie.
    """
    folders = {"data": Path(data_folder).resolve()}
    if external_folder is not None:
        folders["external"] = Path(external_folder).resolve()
    tables = {}
    for label, folder in folders.items():
        for table in find_any_tables(folder):
            if table is not None:
                name = f"{label}/{table.path.relative_to(folder).as_posix()}"
                tables[name] = hashlib.sha256(table.path.read_bytes()).hexdigest()
    images = sorted(_image_facts(path, folders) for path in cases["image_path"])
    return {
        "hash": hash_of([tables, images]),
        "data_folder": str(folders["data"]),
        "external_folder": str(folders["external"]) if external_folder is not None else None,
        "tables": tables,
        "images": len(images),
    }


def _image_facts(image_path: str, folders: dict[str, Path]) -> tuple[str, int, int]:
    path = Path(image_path)
    facts = path.stat()
    # The deepest folder counts: an external folder may lie inside the data folder.
    by_depth = sorted(folders.items(), key=lambda item: -len(item[1].parts))
    for label, folder in by_depth:
        if path.is_relative_to(folder):
            name = f"{label}/{path.relative_to(folder).as_posix()}"
            return name, facts.st_size, facts.st_mtime_ns
    raise InputError(f"{image_path} lies in none of the folders of radiographs. Read them anew.")


def require_same_fingerprint(run_folder: Path, fingerprint: dict[str, object]) -> None:
    """Refuse a run folder made from other data; a folder without any data passes.

    Raises InputError naming both folders and both hashes.
    """
    path = run_folder / "data.json"
    if not path.exists():
        return
    before = read_json(path)["fingerprint"]
    if before["hash"] != fingerprint["hash"]:
        raise InputError(
            f"{run_folder} was made from other data: {before['data_folder']} "
            f"(fingerprint {before['hash']}), and this run reads {fingerprint['data_folder']} "
            f"(fingerprint {fingerprint['hash']}). Choose another run folder, or delete this one."
        )
