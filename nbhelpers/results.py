"""The results file of a run, `results/<run>.json`: what the index shows and the README quotes.

Written last, by the notebook's last cell: a run is complete if its results file is there.

What another folder of radiographs is called in the run folder whose models score it.
"""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import parameters, predictions, quick, workspace
from nbhelpers.workspace import InputError, read_json

NOTEBOOK = "09_external"
FOLDER = "external"


def set_name(run_folder: Path, folder: Path) -> str:
    """What a run calls a folder of radiographs: lower case, digits, _ and -.

    It is the folder's name, with those of the folders that it lies in where another folder was
    scored under that name.
    """
    folder = Path(folder).resolve()
    longer = ("-".join(folder.parts[start:]) for start in range(len(folder.parts) - 1, 0, -1))
    names = (re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-") for name in longer)
    free = (one for one in names if one and set_source(run_folder, one) in ("", str(folder)))
    return next(free, "set")


def set_source(run_folder: Path, name: str) -> str:
    """The folder whose radiographs were scored under a name; "" where none were."""
    path = set_folder(run_folder, name) / "data.json"
    return read_json(path)["fingerprint"]["data_folder"] if path.exists() else ""


def set_folder(run_folder: Path, name: str) -> Path:
    """Where the files of a set lie; raises InputError for a name that is not plain."""
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise InputError(f"name {name!r}: write lower-case letters, digits, '_' and '-'.")
    return run_folder / FOLDER / name


def split_name(name: str) -> str:
    """What the scores on a set are filed under, alongside the splits of the run's own cases."""
    return f"{FOLDER} {name}"


def scored_runs(run_folder: Path, known: list[str]) -> list[str]:
    """Finished runs of the notebook that no profile names, sorted."""
    names = sorted(path.stem for path in (run_folder / "results").glob(f"{NOTEBOOK}.*.json"))
    return [name for name in names if name not in known]


SCORE_KEYS = ("model", "task", "split", "metric", "n", "value", "lower", "upper")
GIVEN = ("run", "run_folder", "profile")  # parameters that say who runs, not what is done
BANNER = (
    "> **These radiographs are drawn, not taken of children.** What follows shows how the suite "
    "works; its figures say nothing about real hands."
)
# What a results file may lack: one of an older version, or of a run that has none.
EMPTY = {"scores": [], "figures": {}, "notes": [], "marks": [], "tables": {}}
EMPTY |= {"parameters": {}, "versions": {}, "headline": ["", ""]}


@dataclass(frozen=True)
class Record:
    """A run of a notebook from its first cell to its results file.

    Attributes:
        folder: the run folder.
        run: `<notebook>` or `<notebook>.<name>`.
        profile: that the run belongs to.
        title: of the run, in a few words.
        parameters: of the notebook, as it got them; of a path only its last name.
        started: when, in seconds of the monotonic clock.
    """

    folder: Path
    run: str
    profile: str
    title: str
    parameters: dict[str, object]
    started: float


def begin(values: dict[str, object], title: str) -> Record:
    """Check a notebook's parameters, open its run folder, say what it uses, note when it started.

    Args:
        values: the notebook's variables, `globals()`.
        title: of the run, in a few words: what stands on its card.

    Raises InputError for a parameter that cannot be used, a folder that cannot be written or lacks
    what the notebook reads, a model to compare with that is not there, and another backend of Keras
    than TensorFlow.
    """
    declared, run = parameters.check(values), values["run"]
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?", run):
        raise InputError(
            f"run {run!r}: write <notebook> or <notebook>.<name>, of letters, digits, '_' and '-'."
        )
    if "keras" in sys.modules:
        workspace.require_tensorflow()
    small = bool(values.get("quick"))
    folder = workspace.open_run_folder(values["run_folder"], small)
    quick.require(folder, run.partition(".")[0], small, values.get("task", "age"))
    for path in workspace.find_run_files(folder, "data.json") if quick.reads(run) else []:
        say_source(read_json(path)["fingerprint"]["data_folder"], folder, path.parent)
    own = {name: values[name] for name in declared if name not in GIVEN}
    if own.get("compare_with"):
        predictions.require_saved(folder, own["compare_with"], own["task"])
    for name, value in own.items():  # results go to others, to whom folders here say nothing
        if isinstance(value, str) and "/" in value:
            own[name] = Path(value).name
    return Record(folder, run, values["profile"], title, own, time.monotonic())


def say_source(data_folder: Path | str, run_folder: Path, prepared: Path | None = None) -> None:
    """Say in one line what a notebook uses, with a banner where the suite drew the radiographs.

    Args:
        data_folder: that the radiographs were read from.
        run_folder: that the notebook writes into.
        prepared: the folder with the output of notebook 01, which may be attached; None in that.
    """
    of_01 = f", prepared in {prepared}" if prepared else ""
    origin = f"nbhelpers {workspace.own_version()}: radiographs of {data_folder}{of_01}"
    workspace.log(f"{origin}; outputs to {run_folder}")
    if workspace.is_synthetic(data_folder):
        from IPython.display import Markdown, display

        display(Markdown(BANNER))


def save(
    record: Record,
    *,
    headline: tuple[str, str],
    scores: pd.DataFrame | None = None,
    figures: dict[str, float | int | str | None] | None = None,
    notes: tuple[str, ...] = (),
    marks: tuple[str, ...] = (),
    tables: dict[str, pd.DataFrame] | None = None,
) -> None:
    """Write the results file of a run, `results/<run>.json`: its last step.

    Parameters, fingerprint, split manifest, versions, hardware and time are added.

    Args:
        headline: the one figure of the run: what it is, and its value as text.
        scores: what `scores.evaluate` gives; NaN becomes null, infinity is refused.
        figures: further figures by name.
        notes: what a reader of the index must know of the data.
        marks: short labels that stand with the model wherever it is shown ("random weights").
        tables: what the index and the model card show besides scores, by name; their rows become
            lists of objects, without their index.
    """
    run = record.run
    facts = read_json(workspace.find_run_file(record.folder, "data.json"))
    content = {
        "run": run,
        "notebook": run.partition(".")[0],
        "profile": record.profile,
        "title": record.title,
        "headline": [str(part) for part in headline],
        "parameters": _plain(record.parameters),
        "fingerprint": facts["fingerprint"]["hash"],
        "manifest": facts["manifest"]["hash"],
        "splits": facts["manifest"]["counts"],
        "versions": workspace.versions(),
        "hardware": workspace.hardware(),
        "seconds": round(time.monotonic() - record.started, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scores": [] if scores is None else _records(scores[list(SCORE_KEYS)]),
        "figures": _plain(figures or {}),
        "notes": [str(note) for note in notes],
        "marks": [str(mark) for mark in marks],
        "tables": {name: _records(table) for name, table in (tables or {}).items()},
    }
    workspace.write_json(record.folder / "results" / f"{run}.json", content)


def read_all_results(run_folder: Path) -> list[dict[str, object]]:
    """The results of every finished run, of this folder and those attached, sorted by name."""
    paths = workspace.find_run_files(run_folder, "results/*.json")
    return [EMPTY | read_json(path) for path in paths]


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [_plain(row) for row in table.to_dict("records")]


def _plain(value: object) -> object:
    """Plain JSON: NumPy and paths unwrapped, NaN and NA as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if pd.isna(value):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)
