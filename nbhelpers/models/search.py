"""Keras Tuner's search over custom CNNs: which network and rates give the best tuning loss.

The oracles that propose trials, requeueing, and the chief and workers of a search by several
processes are Keras Tuner's own. Which process is what, its three variables say:
KERASTUNER_TUNER_ID (`chief`, or any other name for a worker), KERASTUNER_ORACLE_IP and
KERASTUNER_ORACLE_PORT; chief and workers share the folder of the search.
"""

import gc
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError

from nbhelpers import workspace
from nbhelpers.models import training
from nbhelpers.models.batches import Material, training_batches, tuning_batches
from nbhelpers.models.training import Schedule
from nbhelpers.workspace import InputError

OBJECTIVE = "tuning_loss"
FAILURES_IN_A_ROW = 3
INITIAL_POINTS = 8  # random trials before the Gaussian process: one a hyperparameter
FACTOR = 3  # Hyperband trains the best third of a round further, three times as long
HISTORY, BEST = "history.csv", "best.weights.h5"  # files of a trial's folder
# Hyperband: Li et al., JMLR 18 (2018). Bayesian: a Gaussian process, upper confidence bound.
ORACLES = {
    "hyperband": keras_tuner.oracles.HyperbandOracle,
    "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    "random": keras_tuner.oracles.RandomSearchOracle,
}

WIDEST = 256  # channels: doubling from block to block ends here
CHOICES = ("first_width", "dense_units", "sex_units")
WHOLE = ("blocks", "convolutions")
LOGARITHMIC = ("learning_rate", "weight_decay")
# A network chosen by hand: the first trial, as far as the space holds it, so that no search ends
# below it.
KNOWN = {
    "blocks": 5,
    "first_width": 16,
    "convolutions": 2,
    "dropout": 0.2,
    "dense_units": 256,
    "sex_units": 32,
    "learning_rate": 1.5e-3,
    "weight_decay": 1e-4,
}


@dataclass(frozen=True)
class Space:
    """What is searched: (lowest, highest), or the values to choose from.

    Attributes:
        blocks: each halves the picture; a picture of s pixels has room for log2(s).
        first_width: channels of the first block; each further block doubles them, up to 256.
        convolutions: 3 x 3 convolutions of each block but the first, which has one.
        dropout: share of dense units dropped in training.
        dense_units, sex_units: units of the dense layer and of the sex branch; choices.
        learning_rate: peak of the rate; searched on a logarithmic scale.
        weight_decay: AdamW's; searched on a logarithmic scale.
    """

    blocks: tuple[int, int] = (4, 6)
    first_width: tuple[int, ...] = (12, 16, 24, 32)
    convolutions: tuple[int, int] = (1, 2)
    dropout: tuple[float, float] = (0.0, 0.5)
    dense_units: tuple[int, ...] = (64, 128, 256, 512)
    sex_units: tuple[int, ...] = (8, 16, 32, 64)
    learning_rate: tuple[float, float] = (5e-4, 4e-3)
    weight_decay: tuple[float, float] = (1e-5, 1e-2)


def hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """The space as Keras Tuner takes it; the defaults are the known network's values."""
    given = keras_tuner.HyperParameters()
    for name, values in asdict(space).items():
        nearest = min(max(KNOWN[name], min(values)), max(values))
        if name in CHOICES:
            known = min(values, key=lambda value: abs(value - nearest))
            given.Choice(name, list(values), default=known, ordered=True)
        elif name in WHOLE:
            given.Int(name, *values, default=nearest)
        else:
            sampling = "log" if name in LOGARITHMIC else "linear"
            given.Float(name, *values, sampling=sampling, default=nearest)
    return given


def cnn_settings(values: dict) -> dict:
    """A trial's values as keyword arguments of `networks.custom_cnn`."""
    first = int(values["first_width"])
    return {
        "widths": tuple(min(first * 2**block, WIDEST) for block in range(int(values["blocks"]))),
        "convolutions_per_block": int(values["convolutions"]),
        "dense_units": int(values["dense_units"]),
        "sex_units": int(values["sex_units"]),
        "dropout": float(values["dropout"]),
    }


SEARCHED = tuple(field.name for field in fields(Space))


@dataclass(frozen=True)
class SearchSettings:
    """How to search. Whichever budget is used up first ends the search; begun trials are finished.

    Attributes:
        strategy: hyperband, bayesian or random.
        trials: at most so many. Hyperband trains many networks briefly and the best of them
            further, each time as a new trial; its first sweep needs 4 trials for 3 epochs, 13
            for 9, 40 for 27.
        minutes: of training, of all workers together; a cap.
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
        build: gives the uncompiled network of a trial's values and seed; see `cnn_settings`.
        material: what a trial is trained on; trials are compared on its tuning split alone.
    """

    task: str
    schedule: Schedule
    build: Callable[[dict, int], keras.Model]
    material: Material


class _Kept:
    """What is added to Keras Tuner's oracles: one atomic file, the known network first, a cap.

    Keras Tuner's own files are not written atomically, and a search whose process is killed while
    it writes cannot be read again.
    """

    minutes: float

    def save(self) -> None:
        state = {"oracle": self.get_state()}
        state["trials"] = [trial.get_state() for trial in self.trials.values()]
        workspace.write_json(Path(self._get_oracle_fname()), state)

    def _save_trial(self, trial: Trial) -> None:
        """Nothing: `save` keeps all trials, so that no kill leaves two files that disagree."""

    def reload(self) -> None:
        kept = workspace.read_json(Path(self._get_oracle_fname()))
        trials = [Trial.from_state(state) for state in kept["trials"]]
        self.trials = {trial.trial_id: trial for trial in trials}
        self.set_state(kept["oracle"])
        # Those that ran when the process was killed start again, but for one that had just ended.
        begun = {trial.trial_id for trial in self.ongoing_trials.values()}
        self._retry_queue += sorted(begun - {*self.end_order})
        self.ongoing_trials = {}

    def populate_space(self, trial_id: str) -> dict:
        if self.used_up():
            return {"status": "STOPPED"}
        # The Gaussian process' generator is not kept; so a search gone on with proposes the same.
        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        return super().populate_space(trial_id)

    def used_up(self) -> str:
        """Why no new trial begins before all are made, or an empty text. One always completes."""
        ended = [self.trials[trial_id].status for trial_id in self.end_order]
        if ended[-FAILURES_IN_A_ROW:] == ["FAILED"] * FAILURES_IN_A_ROW:
            return f"{FAILURES_IN_A_ROW} trials failed in a row"
        seconds = sum(_metric(trial, "seconds", 0.0) for trial in self.trials.values())
        if seconds >= 60 * self.minutes and "COMPLETED" in ended:
            return f"the cap of {self.minutes:g} minutes of training was reached"
        return ""

    def _random_values(self) -> dict | None:
        """The known network first, so that a search never ends below it."""
        if not self.trials:
            return {entry.name: entry.default for entry in self.hyperparameters.space}
        return super()._random_values()


def open_oracle(settings: SearchSettings, space: keras_tuner.HyperParameters) -> keras_tuner.Oracle:
    """An oracle of Keras Tuner, with `_Kept` before its class, that minimises the tuning loss."""
    own = {
        "hyperband": {
            "max_epochs": settings.epochs,
            "factor": FACTOR,
            "hyperband_iterations": settings.trials,  # sweeps: trials end the search sooner
        },
        "bayesian": {"num_initial_points": INITIAL_POINTS},
        "random": {},
    }
    kind = type("Oracle", (_Kept, ORACLES[settings.strategy]), {})
    oracle = kind(
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        hyperparameters=space,
        allow_new_entries=False,
        tune_new_entries=False,
        seed=settings.seed + 1,  # Keras Tuner takes 0 for "no seed"
        max_consecutive_failed_trials=None,  # see used_up: its own way leaves a lock held
        **own[settings.strategy],
    )
    oracle.max_trials, oracle.minutes, oracle.verbose = settings.trials, settings.minutes, 0
    return oracle


class _Tuner(BaseTuner):
    """Trains trials by a recipe, to their end.

    Not Keras Tuner's own Tuner class: on TensorFlow each of its trials imports tensorboard, even
    where nothing is logged to it.
    """

    def __init__(self, oracle, settings: SearchSettings, recipe: Recipe, place: Path):
        self.settings, self.recipe = settings, recipe
        super().__init__(oracle, directory=str(place.parent), project_name=place.name)

    def _get_tuner_fname(self) -> str:
        return self.oracle._get_oracle_fname()

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        if not self._is_worker():
            self.oracle.reload()

    def run_trial(self, trial: Trial) -> dict:
        """What Keras Tuner calls: metrics of a trial; FailedTrialError with the reason."""
        workspace.log(f"trial {trial.trial_id}: {_words(trial.hyperparameters.values)}")
        try:
            return self._train(trial)
        except Exception as error:
            # On one line, without the colours of Keras's own errors.
            plain = re.sub(r"\x1b\[\d*m", "", f"{type(error).__name__}: {error}")
            reason = " ".join(plain.split())[:300]
            workspace.log(f"trial {trial.trial_id} failed: {reason}")
            raise FailedTrialError(reason) from error
        finally:
            gc.collect()  # the network of the trial, before the next one is built

    def _train(self, trial: Trial) -> dict:
        """Train a trial, from the weights of an earlier one where Hyperband says so."""
        settings, recipe, values = self.settings, self.recipe, trial.hyperparameters.values
        seed = int(workspace.hash_of([settings.seed, trial.trial_id]), 16) % 2**31
        keras.utils.set_random_seed(seed)
        network = recipe.build(values, seed)
        if values.get("tuner/trial_id"):
            network.load_weights(Path(self.get_trial_dir(values["tuner/trial_id"])) / BEST)
        schedule = replace(
            recipe.schedule,
            epochs=values.get("tuner/epochs", settings.epochs),
            learning_rate=values["learning_rate"],
            weight_decay=values["weight_decay"],
            seed=seed,
        )
        history = training.fit(
            network,
            recipe.task,
            training_batches(recipe.material, schedule.batch_size, seed),
            tuning_batches(recipe.material),
            schedule,
            first_epoch=values.get("tuner/initial_epoch", 0),
        )
        loss = float(history["tuning_loss"].min())
        if not np.isfinite(loss):
            raise ArithmeticError(
                "the tuning loss is not a finite number; the rate may be too high"
            )
        workspace.log(f"trial {trial.trial_id} completed: tuning loss {loss:.3f}")
        folder = Path(self.get_trial_dir(trial.trial_id))
        history.to_csv(folder / HISTORY, index=False)
        if settings.strategy == "hyperband":
            network.save_weights(folder / BEST)
        return {
            OBJECTIVE: loss,
            "seconds": float(history["seconds"].sum()),
            "epochs": len(history),
            "until_epoch": schedule.epochs,
            "weights": network.count_params(),
        }


def search(
    settings: SearchSettings,
    recipe: Recipe,
    folder: Path,
    key: str,
    space: Space | None = None,
) -> tuple[pd.DataFrame, str]:
    """Search, or go on with the same search; alone, as its chief or as a worker.

    A trial whose process was killed starts again, finished ones are kept; a search that was broken
    off ends as one that ran through.

    Args:
        folder: holds a folder for each search, named by a hash of all that the search depends on.
        key: hash of the data, the rows and the card.

    Returns:
        One row a trial, see `trial_rows`, none for a worker; and why the search ended before all
        its trials were made, or an empty text.

    Raises InputError when no trial completed. Sets the random seeds of Python, NumPy and Keras.
    """
    searched = hyperparameters(space or Space())
    told = {"settings": asdict(settings), "space": searched.get_config(), "key": key}
    told |= {"task": recipe.task, "schedule": asdict(recipe.schedule)}
    place = folder / f"{settings.strategy}-{workspace.hash_of(told)}"
    oracle = open_oracle(settings, searched)
    tuner = _Tuner(oracle, settings, recipe, place)
    tuner.search()
    if is_worker():
        return pd.DataFrame(), ""
    trials = trial_rows(oracle, place)
    best = completed(trials).iloc[0]
    workspace.log(f"best of {len(trials)} trials: {best['trial']}, {best[OBJECTIVE]:.3f}")
    return trials, oracle.used_up() if len(trials) < settings.trials else ""


def is_worker() -> bool:
    """Whether this process only trains trials that the chief of a search hands out."""
    alone = "KERASTUNER_ORACLE_IP" not in os.environ
    return not alone and "chief" not in os.environ["KERASTUNER_TUNER_ID"]


def trial_rows(oracle: keras_tuner.Oracle, place: Path) -> pd.DataFrame:
    """One row a trial, in the order in which they began.

    Columns: trial, status (completed, failed or running), the values of `Space`, goes_on_from (the
    trial whose weights it began with, or empty), tuning_loss, seconds, epochs (trained in this
    trial), until_epoch (where it was to end, earlier trials counted), weights (how many), reason
    (of a failure, or empty), folder.
    """
    rows = []
    for trial in oracle.trials.values():
        values = trial.hyperparameters.values
        rows.append(
            {
                "trial": trial.trial_id,
                "status": trial.status.lower(),
                **{name: values[name] for name in SEARCHED},
                "goes_on_from": values.get("tuner/trial_id", ""),
                OBJECTIVE: _metric(trial, OBJECTIVE),
                "seconds": _metric(trial, "seconds"),
                **{
                    name: int(_metric(trial, name, 0))
                    for name in ("epochs", "until_epoch", "weights")
                },
                "reason": (trial.message or "").rpartition("FailedTrialError: ")[2].strip(),
                "folder": str(place / f"trial_{trial.trial_id}"),
            }
        )
    whole = dict.fromkeys((*CHOICES, *WHOLE), int)  # a worker's values came as decimals
    return pd.DataFrame(rows).astype(whole).sort_values("trial", ignore_index=True)


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The completed trials, best first; raises InputError with the reasons where there is none."""
    done = trials[trials["status"] == "completed"]
    if done.empty:
        reasons = "; ".join(sorted(set(trials["reason"]) - {""}))
        raise InputError(f"No trial of the search completed. Reasons: {reasons or 'none given'}.")
    return done.sort_values(OBJECTIVE, kind="stable", ignore_index=True)


def best_values(trials: pd.DataFrame) -> dict:
    """The searched values of the trial with the lowest tuning loss."""
    return completed(trials)[[*SEARCHED]].to_dict("records")[0]


def histories(trials: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """Learning curves of the best trials: trial, epoch, train_loss, tuning_loss, seconds.

    A trial that went on from another one's weights brings the epochs of that one, too.
    """
    by_name = trials.set_index("trial")
    parts = []
    for trial in completed(trials)["trial"][:count]:
        part = trial
        while part:
            history = pd.read_csv(Path(by_name.loc[part, "folder"]) / HISTORY)
            parts.append(history.assign(trial=trial))
            part = by_name.loc[part, "goes_on_from"]
    return pd.concat(parts).sort_values(["trial", "epoch"], ignore_index=True)


def _metric(trial: Trial, name: str, absent: float = float("nan")) -> float:
    return trial.metrics.get_last_value(name) if trial.metrics.exists(name) else absent


def _words(values: dict) -> str:
    return ", ".join(f"{name} {values[name]:.3g}" for name in SEARCHED)
