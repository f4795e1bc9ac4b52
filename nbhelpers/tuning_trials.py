"""The trials of a search as a table, and what came out best."""

from dataclasses import fields
from pathlib import Path

import pandas as pd

from nbhelpers import workspace
from nbhelpers.tuning_oracles import OBJECTIVE, trial_folder
from nbhelpers.tuning_space import CHOICES, WHOLE, Space
from nbhelpers.workspace import InputError

OUTCOME = "outcome.json"  # in a trial's folder: worker, reason of a failure, history
SEARCHED = tuple(field.name for field in fields(Space))
COUNTS = ("epochs", "until_epoch", "weights")


def trial_rows(search_folder: Path) -> pd.DataFrame:
    """One row a trial, in the order in which they began.

    Columns: trial, status (completed, failed or running), the values of `Space`, goes_on_from (the
    trial whose weights it began with, or empty), tuning_loss, seconds, epochs (trained in this
    trial), until_epoch (where it was to end, earlier trials counted), weights (how many), worker,
    reason (of a failure, or empty), folder.
    """
    kept = workspace.read_json(search_folder / "search.json")["trials"]
    return pd.DataFrame([_row(trial, search_folder) for trial in kept]).sort_values(
        "trial", ignore_index=True
    )


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The completed trials, best first; raises InputError with the reasons where there is none."""
    done = trials[trials["status"] == "completed"]
    if done.empty:
        reasons = "; ".join(sorted(set(trials["reason"]) - {""}))
        raise InputError(f"No trial of the search completed. Reasons: {reasons or 'none given'}.")
    return done.sort_values(OBJECTIVE, kind="stable", ignore_index=True)


def best_values(trials: pd.DataFrame) -> dict:
    """The searched values of the trial with the lowest tuning loss."""
    best = completed(trials).iloc[0]
    return {name: _plain(name, best[name]) for name in SEARCHED}


def histories(trials: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """Learning curves of the best trials: trial, epoch, train_loss, tuning_loss, seconds.

    A trial that went on from another one's weights brings the epochs of that one, too.
    """
    folders = dict(zip(trials["trial"], trials["folder"], strict=True))
    before = dict(zip(trials["trial"], trials["goes_on_from"], strict=True))
    parts = []
    for trial in completed(trials)["trial"][:count]:
        part = trial
        while part:
            history = workspace.read_json(Path(folders[part]) / OUTCOME)["history"]
            parts.append(pd.DataFrame(history).assign(trial=trial))
            part = before[part]
    curves = pd.concat(parts).sort_values(["trial", "epoch"], ignore_index=True)
    return curves[["trial", "epoch", "train_loss", "tuning_loss", "seconds"]]


def _row(trial: dict, search_folder: Path) -> dict:
    values = trial["hyperparameters"]["values"]
    folder = trial_folder(search_folder, trial["trial_id"])
    outcome = workspace.read_json(folder / OUTCOME) if (folder / OUTCOME).exists() else {}
    metrics = {
        name: metric["observations"][0]["value"][0]
        for name, metric in trial["metrics"]["metrics"].items()
    }
    return {
        "trial": trial["trial_id"],
        "status": trial["status"].lower(),
        **{name: _plain(name, values[name]) for name in SEARCHED},
        "goes_on_from": values.get("tuner/trial_id", ""),
        OBJECTIVE: metrics.get(OBJECTIVE, float("nan")),
        "seconds": metrics.get("seconds", float("nan")),
        **{name: int(metrics.get(name, 0)) for name in COUNTS},
        "worker": outcome.get("worker", ""),
        "reason": outcome.get("reason", ""),
        "folder": str(folder),
    }


def _plain(name: str, value) -> int | float:
    return int(value) if name in (*CHOICES, *WHOLE) else float(value)
