"""What the batch remembers of each run, in `state/` of the run folder.

`<run>.json` says how the last attempt went. `<run>.done` stands while the run is complete and is
what Snakemake compares with the run's inputs; it holds what no input tells, the weights that the
run started from. It cannot be the results file: Snakemake deletes an output before it runs a job
again and after the job failed, so a failed repetition would lose figures that were finished.
"""

import json
import re
import time
from pathlib import Path

from nbhelpers.workspace import KAGGLE_WORKING, InputError, log, platform_name, write_json

FOLDER = "state"
RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


def find_run_folder(project: Path, named: str, name: str) -> Path:
    """The run folder: the one that is `named`, else that called `name` below `reports`.

    On Kaggle, where the project is attached and read-only, `reports` lies in the working folder.
    """
    if named:
        return Path(named).expanduser().resolve()
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise InputError(f"RUN={name!r} must be a plain name: letters, digits, points and dashes.")
    return (KAGGLE_WORKING if platform_name() == "kaggle" else project) / "reports" / name


def done_path(run_folder: Path, run: str) -> Path:
    return run_folder / FOLDER / f"{run}.done"


def results_path(run_folder: Path, run: str) -> Path:
    return run_folder / "results" / f"{run}.json"


def executed_path(run_folder: Path, run: str) -> Path:
    return run_folder / "executed" / f"{run}.ipynb"


def page_path(run_folder: Path, run: str) -> Path:
    return run_folder / f"{run}.html"


def write_state(run_folder: Path, run: str, status: str, **facts: object) -> dict[str, object]:
    """Record how a run stands: message, error (name of its class), cell, seconds."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state = {"run": run, "status": status, "time": now, **facts}
    write_json(run_folder / FOLDER / f"{run}.json", state)
    return state


def read_state(run_folder: Path, run: str) -> dict[str, object]:
    """How the last attempt went; `{}` when there was none."""
    path = run_folder / FOLDER / f"{run}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def mark_done(run_folder: Path, run: str, weights: str = "") -> None:
    """Stamp a run as complete; `weights` is what it started from, see `start_of`."""
    write_json(done_path(run_folder, run), {"weights": weights})


def forget_incomplete(run_folder: Path, weights: dict[str, str]) -> None:
    """Remove the stamps of runs that have no results, or began from something else than now asked.

    Args:
        weights: run -> what it is asked to start from: the weights of its network, `score` where
            doubtful cases are scored, else "".
    """
    for run, wanted in weights.items():
        stamp = done_path(run_folder, run)
        if not stamp.exists():
            continue
        if not results_path(run_folder, run).exists():
            stamp.unlink()
        elif json.loads(stamp.read_text(encoding="utf-8"))["weights"] != wanted:
            log(f"{run} runs again: it began otherwise, now {wanted or 'as the profile says'}")
            stamp.unlink()


def settle(run_folder: Path, runs: list[str]) -> None:
    """Call runs stopped that were killed in the middle; only when nothing runs any more."""
    for run in runs:
        if read_state(run_folder, run).get("status") == RUNNING:
            message = "It was stopped before its end. The same command runs it again."
            write_state(run_folder, run, STOPPED, message=message)
