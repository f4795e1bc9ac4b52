"""Keras Tuner's search over custom CNNs: which network and rates give the best tuning loss.

Keras Tuner's oracles propose trials (`tuning_oracles`), and `tuning_loop` trains them, so that a
killed search goes on within a trial, from its last epoch.
"""

from dataclasses import asdict
from pathlib import Path

import keras
import pandas as pd

from nbhelpers import locks, tuning_loop, tuning_oracles, tuning_workers, workspace
from nbhelpers.tuning_loop import Recipe, SearchSettings
from nbhelpers.tuning_oracles import OBJECTIVE, STRATEGIES
from nbhelpers.tuning_space import Space, hyperparameters
from nbhelpers.tuning_trials import completed, trial_rows
from nbhelpers.workspace import InputError

BUSY = "{folder} is searched by process {{process}}. Wait for it, or end it."


def search(
    settings: SearchSettings,
    recipe: Recipe,
    folder: Path,
    key: str,
    space: Space | None = None,
) -> pd.DataFrame:
    """Search, or go on with the same search; alone, as its chief or as a worker.

    Args:
        folder: holds a folder for each search, named by a hash of all that the search depends on.
        key: hash of the data, the rows and the card.

    Returns:
        One row a trial, see `tuning_trials.trial_rows`.

    Raises InputError for settings that cannot be used, a damaged search, or when no trial
    completed. Sets the random seeds of Python, NumPy and Keras.
    """
    _check(settings)
    searched = hyperparameters(space or Space())
    told = {"settings": asdict(settings), "space": searched.get_config(), "key": key}
    told |= {"task": recipe.task, "schedule": asdict(recipe.schedule)}
    told |= {"backend": keras.backend.backend()}
    place = folder / f"{settings.strategy}-{workspace.hash_of(told)}"
    with workspace.explained_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    oracle = tuning_oracles.open_oracle(settings.strategy, searched, settings.epochs, settings.seed)
    if tuning_workers.role() == tuning_workers.WORKER:
        with tuning_workers.present(place):
            distant = tuning_workers.client(oracle, lambda: _is_over(place))
            if distant is not None:
                tuning_loop.work(distant, place, settings, recipe)
    else:
        with locks.hold(place / "lock", BUSY.format(folder=place), wait=locks.PATIENCE):
            oracle.place(place, settings.trials, settings.minutes)
            if tuning_workers.role() == tuning_workers.ALONE:
                oracle.is_lost = lambda worker: True  # workers of an earlier start
                tuning_loop.work(oracle, place, settings, recipe)
            elif not oracle.finished:
                tuning_workers.serve(oracle, place)
            workspace.log(f"search over: {oracle.used_up() or 'nothing left to try'}")
    trials = trial_rows(place)
    best = completed(trials).iloc[0]
    workspace.log(f"best of {len(trials)} trials: {best['trial']}, {best[OBJECTIVE]:.3f}")
    return trials


def _check(settings: SearchSettings) -> None:
    if settings.strategy not in STRATEGIES:
        allowed = ", ".join(STRATEGIES)
        raise InputError(f"strategy is {settings.strategy!r}; write one of {allowed}.")
    for name, least in {"trials": 1, "epochs": 1, "seed": 0}.items():
        if getattr(settings, name) < least:
            raise InputError(f"{name} is {getattr(settings, name)}; write {least} or more.")
    if not settings.minutes > 0:
        raise InputError(f"minutes is {settings.minutes}; write more than 0.")


def _is_over(place: Path) -> bool:
    path = place / "search.json"
    return path.exists() and workspace.read_json(path).get("finished", False)
