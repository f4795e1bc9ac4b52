"""The trials of a search, trained one after another.

Keras Tuner's own Tuner class is left out: on TensorFlow each of its trials imports tensorboard,
even where nothing is logged to it, and it starts a trial that was killed from its first epoch.
"""

import contextlib
import gc
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from nbhelpers import training, tuning_workers, workspace
from nbhelpers.batches import Batches
from nbhelpers.optimisers import Schedule
from nbhelpers.tuning_oracles import BEST, OBJECTIVE, STATE, trial_folder
from nbhelpers.tuning_trials import OUTCOME, SEARCHED

DEATHS = 3  # of the process before a trial's first epoch ended: then the trial counts as failed
IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class SearchSettings:
    """How to search. Whichever budget is used up first ends the search; begun trials are finished.

    Attributes:
        strategy: hyperband, bayesian or random.
        trials: at most so many. Hyperband trains many networks briefly and the best of them
            further, each time as a new trial; its first sweep needs 4 trials for 3 epochs, 13
            for 9, 40 for 27.
        minutes: of training, of all workers together.
        epochs: of a full trial.
        seed: of the proposed values, and with a trial's number of its weights and batch order.
    """

    strategy: str
    trials: int
    minutes: float
    epochs: int
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """What every trial is made with.

    Attributes:
        task: age or stage.
        schedule: of every trial, but for its epochs, learning rate, weight decay and seed.
        build: gives the uncompiled network of a trial's values and seed; see
            `tuning_space.cnn_settings`.
        batches: gives the training batches of a seed and an epoch, numbered from 0.
        tuning: the tuning split: trials are compared on nothing else.
    """

    task: str
    schedule: Schedule
    build: Callable[[dict, int], keras.Model]
    batches: Callable[[int, int], Batches]
    tuning: Batches


def work(oracle, place: Path, settings: SearchSettings, recipe: Recipe) -> None:
    """Train trials until the oracle has no more; one that fails is recorded with its reason.

    Args:
        oracle: of Keras Tuner, or a worker's view of its chief's.
        place: folder of the search.
    """
    name = tuning_workers.own_name()
    while (trial := tuning_workers.ask(oracle.create_trial, name)).status != "STOPPED":
        if trial.status == "IDLE":
            time.sleep(IDLE_SECONDS)
            continue
        workspace.log(f"trial {trial.trial_id}: {_words(trial.hyperparameters.values)}")
        started, outcome = time.monotonic(), {"worker": name, "reason": "", "history": []}
        try:
            with _counted_deaths(trial_folder(place, trial.trial_id)):
                outcome["history"], metrics = _train(trial, place, settings, recipe)
            trial.status = "COMPLETED"
            told = f"tuning loss {metrics[OBJECTIVE]:.3f}"
        except Exception as error:
            if isinstance(error.__cause__, OSError):  # a full disk is no fault of the network
                raise
            trial.status, metrics = "FAILED", {"seconds": time.monotonic() - started}
            outcome["reason"] = told = _reason(error)
        workspace.log(f"trial {trial.trial_id} {trial.status.lower()}: {told}")
        workspace.write_json(trial_folder(place, trial.trial_id) / OUTCOME, outcome)
        tuning_workers.ask(oracle.update_trial, trial.trial_id, metrics)
        tuning_workers.ask(oracle.end_trial, trial)
        gc.collect()  # the network of the trial, before the next one is built


def _train(trial, place: Path, settings: SearchSettings, recipe: Recipe) -> tuple[list, dict]:
    """Train one trial, from the weights of an earlier one where Hyperband says so."""
    values, own = trial.hyperparameters.values, trial_folder(place, trial.trial_id)
    first, last = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", settings.epochs)
    seed = int(workspace.hash_of([settings.seed, trial.trial_id]), 16) % 2**31
    keras.utils.set_random_seed(seed)
    network = recipe.build(values, seed)
    if values.get("tuner/trial_id"):
        with np.load(trial_folder(place, values["tuner/trial_id"]) / BEST) as kept:
            network.set_weights([kept[f"arr_{i}"] for i in range(len(kept.files))])
    history = training.fit(
        network,
        recipe.task,
        lambda epoch: recipe.batches(seed, first + epoch),
        recipe.tuning,
        replace(
            recipe.schedule,
            epochs=last - first,
            learning_rate=values["learning_rate"],
            weight_decay=values["weight_decay"],
            seed=seed,
        ),
        own / STATE,
        workspace.hash_of([place.name, trial.trial_id, _words(values)]),  # gRPC rounds values
    )
    loss = float(history["tuning_loss"].min())
    if not np.isfinite(loss):
        raise ArithmeticError("the tuning loss is not a finite number; the rate may be too high")
    if settings.strategy == "hyperband":
        with workspace.atomic_path(own / BEST) as temporary:
            np.savez(temporary, *network.get_weights())
    finite = history.astype(object).where(np.isfinite(history), None)  # JSON knows no NaN
    rows = finite.assign(epoch=history["epoch"] + first).to_dict("records")
    seconds = float(history["seconds"].sum())
    counts = {"epochs": len(history), "until_epoch": last, "weights": network.count_params()}
    return rows, {OBJECTIVE: loss, "seconds": seconds, **counts}


def _reason(error: Exception) -> str:
    """An error on one line; Keras colours the part of its own that says most."""
    plain = re.sub(r"\x1b\[\d*m", "", f"{type(error).__name__}: {error}")
    return " ".join(plain.split())[:300]


@contextlib.contextmanager
def _counted_deaths(folder: Path) -> Iterator[None]:
    """Refuse a trial that ended its process several times: memory, which no exception tells."""
    path = folder / "deaths"
    deaths = int(path.read_text() or 0) if path.exists() and not (folder / STATE).exists() else 0
    if deaths >= DEATHS:
        raise MemoryError(f"the process died {deaths} times in the first epoch; memory, probably")
    with workspace.atomic_path(path) as temporary:
        temporary.write_text(str(deaths + 1))
    try:
        yield
    finally:
        path.unlink()


def _words(values: dict) -> str:
    # In one order: values that were read from a file stand in another.
    return ", ".join(f"{name} {values[name]:.3g}" for name in SEARCHED)
