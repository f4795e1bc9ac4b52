"""The files that pictures are made from: whether they changed, and which cannot be read."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from nbhelpers.hardware import cores
from nbhelpers.radiograph import REMEDY, read_header
from nbhelpers.workspace import InputError


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
