"""The results file of a run, `results/<run>.json`: what the index shows and the README quotes.

Written last, by the notebook's last cell: a run is complete if its results file is there.

What another folder of radiographs is called in the run folder whose models score it.
"""

import math
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers.workspace import (
    InputError,
    find_run_file,
    find_run_files,
    hardware,
    read_json,
    require_same_fingerprint,
    versions,
    write_json,
)

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


SCORE_KEYS = ("model", "task", "split", "metric", "n", "value", "lower", "upper")
KEYS = (
    "run",
    "notebook",
    "profile",
    "title",
    "question",
    "parameters",
    "fingerprint",
    "manifest",
    "splits",
    "versions",
    "hardware",
    "seconds",
    "finished",
    "scores",
    "figures",
    "notes",
    "marks",
    "tables",
)


def save_results(
    run_folder: Path,
    *,
    run: str,
    profile: str,
    title: str,
    question: str,
    parameters: dict[str, object],
    seconds: float,
    scores: pd.DataFrame | None = None,
    figures: dict[str, float | int | str | None] | None = None,
    notes: tuple[str, ...] = (),
    marks: tuple[str, ...] = (),
    tables: dict[str, pd.DataFrame] | None = None,
    fingerprint: dict[str, object] | None = None,
) -> Path:
    """Write the results file of `run` (`<notebook>` or `<notebook>.<name>`); returns its path.

    `scores` is what `scores.evaluate` gives; NaN becomes null, infinity is refused. `figures`
    are key figures by name, `marks` short labels that stand beside the model wherever it is shown
    ("random weights"), `tables` what the index and the model card show beside the scores, by name;
    their rows become lists of objects, without their index. Fingerprint, split manifest, versions,
    hardware and the time are added.
    Raises InputError where the run folder's data are not those of `fingerprint` (as read at the
    start of the run, where given), or where other results there come from other data.
    """
    _require_run_name(run)
    facts = read_json(find_run_file(run_folder, "data.json"))
    if fingerprint is not None:
        require_same_fingerprint(run_folder, fingerprint)
    data_hash = facts["fingerprint"]["hash"]
    _require_same_data_beside(run_folder, run, data_hash)
    content = {
        "run": run,
        "notebook": run.partition(".")[0],
        "profile": profile,
        "title": title,
        "question": question,
        "parameters": {name: _plain(value, name) for name, value in parameters.items()},
        "fingerprint": data_hash,
        "manifest": facts["manifest"]["hash"],
        "splits": facts["manifest"]["counts"],
        "versions": versions(),
        "hardware": hardware(),
        "seconds": round(float(seconds), 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scores": _score_records(scores),
        "figures": {name: _plain(value, name) for name, value in (figures or {}).items()},
        "notes": [str(note) for note in notes],
        "marks": [str(mark) for mark in marks],
        "tables": {name: _records(table) for name, table in (tables or {}).items()},
    }
    path = run_folder / "results" / f"{run}.json"
    write_json(path, content)
    return path


def read_results(run_folder: Path, run: str) -> dict[str, object]:
    """The results of one run; raises InputError where it has not finished."""
    _require_run_name(run)
    return _read(find_run_file(run_folder, f"results/{run}.json"))


def read_all_results(run_folder: Path) -> list[dict[str, object]]:
    """The results of every finished run, of this folder and those attached, sorted by name."""
    return [_read(path) for path in find_run_files(run_folder, "results/*.json")]


def _require_same_data_beside(run_folder: Path, run: str, data_hash: str) -> None:
    for path in sorted((run_folder / "results").glob("[!.]*.json")):
        other = _read(path) if path.stem != run else {"fingerprint": data_hash}
        if other["fingerprint"] != data_hash:
            raise InputError(
                f"{run_folder} has results of {path.stem} from other data (fingerprint "
                f"{other['fingerprint']}, now {data_hash}). Choose another run folder, or delete "
                f"{path} and run it again."
            )


def _read(path: Path) -> dict[str, object]:
    content = read_json(path)
    if isinstance(content, dict):
        for key, empty in (("marks", []), ("tables", {})):  # older files have none
            content.setdefault(key, empty)
    lacking = [key for key in KEYS if key not in content] if isinstance(content, dict) else KEYS
    if lacking:
        raise InputError(f"{path} has no {lacking[0]!r}. Delete it and run the notebook again.")
    return content


def _require_run_name(run: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?", run):
        raise InputError(
            f"run {run!r}: write <notebook> or <notebook>.<name>, of letters, digits, '_' and '-'."
        )


def _score_records(scores: pd.DataFrame | None) -> list[dict[str, object]]:
    if scores is None:
        return []
    lacking = [key for key in SCORE_KEYS if key not in scores.columns]
    if lacking:
        raise ValueError(f"scores have no column {lacking[0]!r}; they need {SCORE_KEYS}.")
    return _records(scores[list(SCORE_KEYS)])


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    rows = table.to_dict("records")
    return [{str(key): _plain(value, str(key)) for key, value in row.items()} for row in rows]


def _plain(value: object, name: str) -> object:
    """Plain JSON: numpy and paths unwrapped, NaN and NA as null; infinity is refused."""
    if isinstance(value, dict):
        return {str(key): _plain(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item, name) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"{name} is infinite: a results file holds numbers.")
    return value if isinstance(value, bool | int | float | str) else str(value)
