"""What another folder of radiographs is called in the run folder whose models score it."""

import re
from pathlib import Path

from nbhelpers.workspace import InputError

NOTEBOOK = "09_external"
FOLDER = "external"


def set_name(folder: Path) -> str:
    """The name of a folder of radiographs: lower case, digits, _ and -."""
    return re.sub(r"[^a-z0-9_-]+", "-", Path(folder).name.lower()).strip("-") or "set"


def set_folder(run_folder: Path, name: str) -> Path:
    """Where the files of a set lie; raises InputError for a name that is not plain."""
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise InputError(f"name {name!r}: write lower-case letters, digits, '_' and '-'.")
    return run_folder / FOLDER / name


def split_name(name: str) -> str:
    """What the scores on a set are filed under, beside the splits of the run's own cases."""
    return f"{FOLDER} {name}"


def scored_runs(run_folder: Path, known: list[str]) -> list[str]:
    """Finished runs of the notebook that no profile names, sorted."""
    names = sorted(path.stem for path in (run_folder / "results").glob(f"{NOTEBOOK}.*.json"))
    return [name for name in names if name not in known]
