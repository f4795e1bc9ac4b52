"""Keras Tuner's search over custom CNNs: which network and rates give the best tuning loss.

The oracles that propose trials, requeueing, and the chief and workers of a search by several
processes are Keras Tuner's own. Which process is what, its three variables say:
KERASTUNER_TUNER_ID (`chief`, or any other name for a worker), KERASTUNER_ORACLE_IP and
KERASTUNER_ORACLE_PORT; chief and workers share the folder of the search.
"""

import gc
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError

from nbhelpers import workspace
from nbhelpers.models import batches, training
from nbhelpers.models.material import Material
from nbhelpers.workspace import InputError

OBJECTIVE = "tuning_loss"
FAILURES_IN_A_ROW = 3
INITIAL_POINTS = 8  # random trials before the Gaussian process: one a hyperparameter
FACTOR = 3  # Hyperband trains the best third of a round further, three times as long
HISTORY, BEST = "history.csv", "best.weights.h5"  # files of a trial's folder
# Gives a compiled network, of hyperparameters, the steps it is trained for, and a seed.
Build = Callable[[keras_tuner.HyperParameters, int, int], keras.Model]


@dataclass(frozen=True)
class Settings:
    """How to search. Whichever budget is used up first ends the search; begun trials are finished.

    Attributes:
        strategy: hyperband, bayesian or random.
        trials: at most so many. Hyperband trains many networks briefly and the best of them
            further, each time as a new trial; its first sweep needs 4 trials for 3 epochs, 13
            for 9, 40 for 27.
        minutes: of training, of all workers together; a cap.
        epochs: of a full trial.
        batch_size: radiographs a step.
        seed: of the proposed values, and with a trial's number of its weights and batch order.
    """

    strategy: str
    trials: int
    minutes: float
    epochs: int
    batch_size: int
    seed: int = 0


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        trials: a row a trial, see `trial_rows`.
        best: hyperparameters of the trial with the lowest tuning loss.
        ended: why the search ended before all its trials were made, or an empty text.
    """

    trials: pd.DataFrame
    best: keras_tuner.HyperParameters
    ended: str


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


def open_oracle(settings: Settings, space: keras_tuner.HyperParameters) -> keras_tuner.Oracle:
    """An oracle of Keras Tuner, with `_Kept` before its class, that minimises the tuning loss."""
    oracles = keras_tuner.oracles
    # Hyperband: Li et al., JMLR 18 (2018). Bayesian: a Gaussian process, upper confidence bound.
    # Trials end a search by hyperband sooner than so many sweeps.
    sweeps = {"max_epochs": settings.epochs, "hyperband_iterations": settings.trials}
    kind, own = {
        "hyperband": (oracles.HyperbandOracle, sweeps | {"factor": FACTOR}),
        "bayesian": (oracles.BayesianOptimizationOracle, {"num_initial_points": INITIAL_POINTS}),
        "random": (oracles.RandomSearchOracle, {}),
    }[settings.strategy]
    oracle = type("Oracle", (_Kept, kind), {})(
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        hyperparameters=space,
        allow_new_entries=False,
        tune_new_entries=False,
        seed=settings.seed + 1,  # Keras Tuner takes 0 for "no seed"
        max_consecutive_failed_trials=None,  # see used_up: its own way leaves a lock held
        **own,
    )
    oracle.max_trials, oracle.minutes, oracle.verbose = settings.trials, settings.minutes, 0
    return oracle


class _Tuner(BaseTuner):
    """Trains trials to their end.

    Not Keras Tuner's own Tuner class: on TensorFlow each of its trials imports tensorboard, even
    where nothing is logged to it.
    """

    def __init__(self, oracle, build: Build, material: Material, settings: Settings, place: Path):
        self.build, self.material, self.settings = build, material, settings
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
        values = trial.hyperparameters.values
        shown = {name: value for name, value in values.items() if "tuner/" not in name}
        words = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
        workspace.log(f"trial {trial.trial_id}: {words}")
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
        settings, values = self.settings, trial.hyperparameters.values
        first = values.get("tuner/initial_epoch", 0)
        last = values.get("tuner/epochs", settings.epochs)
        seed = int(workspace.hash_of([settings.seed, trial.trial_id]), 16) % 2**31
        keras.utils.set_random_seed(seed)
        fed, tuning = batches.of_splits(self.material, settings.batch_size, seed)
        network = self.build(_whole(trial.hyperparameters), (last - first) * len(fed), seed)
        if values.get("tuner/trial_id"):
            network.load_weights(Path(self.get_trial_dir(values["tuner/trial_id"])) / BEST)
        progress = training.Progress(fed, last)
        network.fit(
            fed,
            validation_data=tuning,
            initial_epoch=first,
            epochs=last,
            shuffle=False,
            callbacks=[progress],
            verbose=0,
        )
        history = progress.table()
        loss = float(history["tuning_loss"].min())
        if not np.isfinite(loss):
            raise ArithmeticError("the tuning loss is not finite; the rate may be too high")
        workspace.log(f"trial {trial.trial_id} completed: tuning loss {loss:.3f}")
        folder = Path(self.get_trial_dir(trial.trial_id))
        history.to_csv(folder / HISTORY, index=False)
        if settings.strategy == "hyperband":
            network.save_weights(folder / BEST)
        return {
            OBJECTIVE: loss,
            "seconds": float(history["seconds"].sum()),
            "epochs": len(history),
            "until_epoch": last,
            "weights": network.count_params(),
        }


def search(build: Build, material: Material, settings: Settings, folder: Path) -> Search:
    """Search, or go on with the same search; alone, as its chief or as a worker.

    A trial whose process was killed starts again, finished ones are kept; a search that was broken
    off ends as one that ran through. A worker leaves with SystemExit once no trial is left: its
    chief goes on.

    Args:
        build: gives the compiled network of a trial; the first trial takes every default.
        material: what trials are trained on; they are compared on its tuning split alone.
        folder: holds a folder for each search, named by a hash of all that the search depends on.

    Raises InputError when no trial completed. Sets the random seeds of Python, NumPy and Keras.
    """
    searched = keras_tuner.HyperParameters()
    fed, _ = batches.of_splits(material, settings.batch_size, settings.seed)
    known = build(searched, settings.epochs * len(fed), settings.seed)
    key = training.training_key(known, fed, settings.epochs, material.card)
    told = [asdict(settings), searched.get_config(), key]
    place = folder / f"{settings.strategy}-{workspace.hash_of(told)}"
    oracle = open_oracle(settings, searched)
    tuner = _Tuner(oracle, build, material, settings, place)
    tuner.search()
    if tuner._is_worker():
        raise SystemExit
    trials = trial_rows(oracle, place)
    best = completed(trials).iloc[0]
    workspace.log(f"best of {len(trials)} trials: {best['trial']}, {best[OBJECTIVE]:.3f}")
    ended = oracle.used_up() if len(trials) < settings.trials else ""
    return Search(trials, _whole(oracle.trials[best["trial"]].hyperparameters), ended)


def _whole(given: keras_tuner.HyperParameters) -> keras_tuner.HyperParameters:
    """With whole numbers where a worker's connection made decimals of them."""
    for entry in given.space:
        if isinstance(entry.default, int):
            given.values[entry.name] = int(given.values[entry.name])
    return given


def trial_rows(oracle: keras_tuner.Oracle, place: Path) -> pd.DataFrame:
    """One row a trial, in the order in which they began.

    Columns: trial, status (completed, failed or running), the searched values, goes_on_from (the
    trial whose weights it began with, or empty), tuning_loss, seconds, epochs (trained in this
    trial), until_epoch (where it was to end, earlier trials counted), weights (how many), reason
    (of a failure, or empty), folder.
    """
    rows = []
    for trial in oracle.trials.values():
        values = _whole(trial.hyperparameters).values
        rows.append(
            {
                "trial": trial.trial_id,
                "status": trial.status.lower(),
                **{entry.name: values[entry.name] for entry in oracle.hyperparameters.space},
                "goes_on_from": values.get("tuner/trial_id", ""),
                OBJECTIVE: _metric(trial, OBJECTIVE),
                "seconds": _metric(trial, "seconds"),
                **{of: int(_metric(trial, of, 0)) for of in ("epochs", "until_epoch", "weights")},
                "reason": (trial.message or "").rpartition("FailedTrialError: ")[2].strip(),
                "folder": str(place / f"trial_{trial.trial_id}"),
            }
        )
    return pd.DataFrame(rows).sort_values("trial", ignore_index=True)


def completed(trials: pd.DataFrame) -> pd.DataFrame:
    """The completed trials, best first; raises InputError with the reasons where there is none."""
    done = trials[trials["status"] == "completed"]
    if done.empty:
        reasons = "; ".join(sorted(set(trials["reason"]) - {""}))
        raise InputError(f"No trial of the search completed. Reasons: {reasons or 'none given'}.")
    return done.sort_values(OBJECTIVE, kind="stable", ignore_index=True)


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
