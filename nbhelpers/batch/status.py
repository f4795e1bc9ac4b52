"""What the batch remembers of each run, in `state/` of the run folder.

`<run>.json` says how the last attempt went. `<run>.done` stands while the run is complete and is
what Snakemake compares with the run's inputs; it holds what no input tells, the weights that the
run started from. It cannot be the results file: Snakemake deletes an output before it runs a job
again and after the job failed, so a failed repetition would lose figures that were finished.
"""

import json
import time
from pathlib import Path

from nbhelpers.workspace import log, write_json

FOLDER = "state"
RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


def done_path(run_folder: Path, run: str) -> Path:
    return run_folder / FOLDER / f"{run}.done"


def lock_path(run_folder: Path, name: str) -> Path:
    return run_folder / FOLDER / f"{name}.lock"


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
    try:
        return json.loads((run_folder / FOLDER / f"{run}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def mark_done(run_folder: Path, run: str, weights: str = "") -> None:
    """Stamp a run as complete; `weights` is what its network started from, "" where it has none."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(done_path(run_folder, run), {"time": now, "weights": weights})


def forget_incomplete(run_folder: Path, runs: list[str]) -> None:
    """A run whose results file is gone is not complete, whatever its stamp says."""
    for run in runs:
        if not results_path(run_folder, run).exists():
            done_path(run_folder, run).unlink(missing_ok=True)


def forget_other_weights(run_folder: Path, weights: dict[str, str]) -> None:
    """A run is not complete that started from other weights than asked for now (run -> weights)."""
    for run, wanted in weights.items():
        stamp = done_path(run_folder, run)
        if stamp.exists() and _stamped_weights(stamp) != wanted:
            log(f"{run} started from other weights; now weights={wanted}: it runs again")
            stamp.unlink()


def _stamped_weights(stamp: Path) -> str:
    try:
        return json.loads(stamp.read_text())["weights"]
    except ValueError:  # from before stamps held more than the time: no run had weights
        return ""


def settle(run_folder: Path, runs: list[str]) -> None:
    """Call runs stopped that were killed in the middle; only when nothing runs any more."""
    for run in runs:
        if read_state(run_folder, run).get("status") == RUNNING:
            message = "It was stopped before its end. The same command runs it again."
            write_state(run_folder, run, STOPPED, message=message)
