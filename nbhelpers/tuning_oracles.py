"""Keras Tuner's oracles, which propose trials: kept in one file, within budgets, for many workers.

Three things are added to what Keras Tuner brings. Its state lies in several files that are not
written atomically, and a trial that ran when the process was killed loses its owner; here one
atomic file holds all, and the owner gets its trial back. Its budget counts trials alone. Its chief
waits for ever for a worker that was killed; here a silent worker's trial goes to another one.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial

from nbhelpers import workspace
from nbhelpers.workspace import InputError

OBJECTIVE = "tuning_loss"
FAILURES_IN_A_ROW = 3
ENDLESS = 10_000  # sweeps of Hyperband: the budgets end a search, not this
INITIAL_POINTS = 8  # random trials before the Gaussian process: one a hyperparameter
FACTOR = 3  # Hyperband trains the best third of a round further, three times as long
STATE, BEST = "training.npz", "best.npz"  # files of a trial's folder


class _Kept:
    """What the three oracles share; stands before Keras Tuner's class."""

    def place(self, folder: Path, trials: int, minutes: float) -> None:
        """Where the search is kept, and its budget; goes on with what is kept there already."""
        self._set_project_dir(str(folder.parent), folder.name)
        self.folder, self.path = folder, folder / "search.json"
        self.max_trials, self.minutes = trials, minutes
        self.finished, self.verbose = False, 0
        self.is_lost: Callable[[str], bool] = lambda worker: False
        if self.path.exists():
            self.reload()

    def save(self) -> None:
        state = {"oracle": self.get_state(), "finished": self.finished}
        state["trials"] = [trial.get_state() for trial in self.trials.values()]
        workspace.write_json(self.path, state)

    def _save_trial(self, trial: Trial) -> None:
        """Nothing: `save` keeps all trials, so that no kill leaves two files that disagree."""

    def reload(self) -> None:
        kept = workspace.read_json(self.path)
        try:
            trials = [Trial.from_state(state) for state in kept["trials"]]
            self.trials = {trial.trial_id: trial for trial in trials}
            self.set_state(kept["oracle"])
            self.finished = kept["finished"]
            # Keras Tuner frees a worker after it has saved, so a kill may fall between the two.
            for worker, trial in list(self.ongoing_trials.items()):
                if trial.trial_id in self.end_order:
                    self.ongoing_trials.pop(worker)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path} is damaged ({error!r}). Delete {self.folder} to search anew."
            ) from error

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """The worker's own unfinished trial, one that lost its worker, or a new one."""
        for worker, trial in list(self.ongoing_trials.items()):
            if worker != tuner_id and self.is_lost(worker):
                workspace.log(f"{worker} is gone; trial {trial.trial_id} goes to another")
                self._retry_queue.append(self.ongoing_trials.pop(worker).trial_id)
                self.tuner_ids.discard(worker)
        begun = tuner_id in self.ongoing_trials or bool(self._retry_queue)
        if self.finished or (not begun and self.used_up()):
            trial = Trial(keras_tuner.HyperParameters(), trial_id="", status="STOPPED")
        else:
            trial = super().create_trial(tuner_id)
        if trial.status == "STOPPED" and self.ongoing_trials:
            # The worker of one of these may yet be killed, or its result lead to a promotion.
            trial.status = "IDLE"
            self.tuner_ids.add(tuner_id)
        elif trial.status == "STOPPED":
            self.tuner_ids.discard(tuner_id)
            self.finished = True
            self.save()
        return trial

    def used_up(self) -> str:
        """Why no new trial begins, or an empty text. One trial always completes."""
        ended = [self.trials[trial_id].status for trial_id in self.end_order]
        if len(ended) >= FAILURES_IN_A_ROW and set(ended[-FAILURES_IN_A_ROW:]) == {"FAILED"}:
            return f"{FAILURES_IN_A_ROW} trials failed in a row"
        seconds = sum(
            trial.metrics.get_last_value("seconds")
            for trial in self.trials.values()
            if trial.metrics.exists("seconds")
        )
        if seconds >= 60 * self.minutes and "COMPLETED" in ended:
            return f"{self.minutes:g} minutes of training are used up"
        trials = len(self.trials)
        return f"{trials} trials are used up" if trials >= self.max_trials else ""

    @keras_tuner.synchronized
    def update_trial(self, trial_id: str, metrics: dict, step: int = 0) -> Trial:
        """Record what a trial reports; a trial reported twice counts once, a failed one too."""
        trial = self.trials[trial_id]
        if trial_id not in self.end_order:
            trial.metrics = type(trial.metrics)()
            for name, value in metrics.items():
                trial.metrics.update(name, value, step=step)
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Close a trial and delete what no other trial can start from."""
        if trial.trial_id in self.end_order:  # by another worker, when this one seemed dead
            self.ongoing_trials = {
                worker: own
                for worker, own in self.ongoing_trials.items()
                if own.trial_id != trial.trial_id
            }
            return
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        super().end_trial(trial)
        needed = self._parents()
        for trial_id in self.end_order:
            folder = trial_folder(self.folder, trial_id)
            (folder / STATE).unlink(missing_ok=True)
            if trial_id not in needed:
                (folder / BEST).unlink(missing_ok=True)

    def _random_values(self) -> dict | None:
        """The known network first, so that a search never ends below it."""
        if not self.trials:
            return {entry.name: entry.default for entry in self.hyperparameters.space}
        return super()._random_values()

    def _parents(self) -> set[str]:
        """Trials whose weights a begun or a future trial starts from."""
        begun = [trial.trial_id for trial in self.ongoing_trials.values()] + self._retry_queue
        values = [self.trials[trial_id].hyperparameters.values for trial_id in begun]
        needed = {value["tuner/trial_id"] for value in values if "tuner/trial_id" in value}
        for bracket in self.get_state().get("brackets", []):
            rounds = bracket["rounds"]
            for number, (past, promoted) in enumerate(itertools.pairwise(rounds), 1):
                places = self._get_size(bracket["bracket_num"], number) - len(promoted)
                waiting = {info["id"] for info in past} - {info["past_id"] for info in promoted}
                ended = [self.trials[i] for i in waiting if self.trials[i].status == "COMPLETED"]
                ended.sort(key=lambda trial: trial.score)
                needed |= {trial.trial_id for trial in ended[: max(0, places)]}
        return needed


class _Random(_Kept, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Hyperband(_Kept, keras_tuner.oracles.HyperbandOracle):
    pass


class _Bayesian(_Kept, keras_tuner.oracles.BayesianOptimizationOracle):
    def populate_space(self, trial_id: str) -> dict:
        # Its generator is not part of its state; so a resumed search proposes the same.
        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        return super().populate_space(trial_id)


def trial_folder(search_folder: Path, trial_id: str) -> Path:
    """Where a trial keeps its files."""
    return search_folder / f"trial_{trial_id}"


STRATEGIES = {"hyperband": _Hyperband, "bayesian": _Bayesian, "random": _Random}


def open_oracle(
    strategy: str, space: keras_tuner.HyperParameters, epochs: int, seed: int
) -> keras_tuner.Oracle:
    """An oracle that minimises the tuning loss; `place` says where it is kept.

    Hyperband: Li et al., JMLR 18 (2018). Bayesian: a Gaussian process, upper confidence bound.
    """
    own = {
        "hyperband": {"max_epochs": epochs, "factor": FACTOR, "hyperband_iterations": ENDLESS},
        "bayesian": {"num_initial_points": INITIAL_POINTS},
        "random": {},
    }
    return STRATEGIES[strategy](
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        hyperparameters=space,
        allow_new_entries=False,
        tune_new_entries=False,
        seed=seed + 1,  # Keras Tuner takes 0 for "no seed"
        max_consecutive_failed_trials=None,  # see used_up: its own way leaves a lock held
        **own[strategy],
    )
