"""Keras Tuner's search over custom CNNs: which network and rates give the best tuning loss.

Keras Tuner's oracles propose trials, and a loop of our own trains them, so that a
killed search goes on within a trial, from its last epoch.

Which custom CNNs and rates a search looks at.

Keras Tuner's oracles, which propose trials: kept in one file, within budgets, for many workers.

Three things are added to what Keras Tuner brings. Its state lies in several files that are not
written atomically, and a trial that ran when the process was killed loses its owner; here one
atomic file holds all, and the owner gets its trial back. Its budget counts trials alone. Its chief
waits for ever for a worker that was killed; here a silent worker's trial goes to another one.

The trials of a search, trained one after another.

Keras Tuner's own Tuner class is left out: on TensorFlow each of its trials imports tensorboard,
even where nothing is logged to it, and it starts a trial that was killed from its first epoch.

The trials of a search as a table, and what came out best.

A search by several processes: a chief that proposes trials and workers that train them.

Which of them a process is, Keras Tuner's three variables say: KERASTUNER_TUNER_ID (`chief`, or any
other name for a worker), KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. They talk over gRPC and
share the folder of the search.
"""

import contextlib
import gc
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd
from keras_tuner.engine.trial import Trial

from nbhelpers import workspace
from nbhelpers.models import training
from nbhelpers.models.batches import Batches
from nbhelpers.models.training import Schedule
from nbhelpers.workspace import InputError

ALONE, CHIEF, WORKER = "alone", "chief", "worker"
NAME, ADDRESS, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
BEAT_SECONDS = 5.0
SILENCE_SECONDS = 60.0  # after which a worker counts as dead
PATIENCE_SECONDS = 600.0  # that a worker waits for its chief: it may still be reading the data
POLL_SECONDS = 0.5


def role() -> str:
    """`alone`, `chief` or `worker`; raises InputError when only some of the variables are set."""
    given = [name for name in (NAME, ADDRESS, PORT) if os.environ.get(name)]
    missing = [name for name in (NAME, ADDRESS, PORT) if name not in given]
    if given and missing:
        raise InputError(
            f"{', '.join(given)} is set, {', '.join(missing)} is not. A search by several "
            "processes needs all three; a search by one needs none."
        )
    if not given:
        return ALONE
    return CHIEF if os.environ[NAME] == CHIEF else WORKER


def own_name() -> str:
    """The name under which this process asks for trials."""
    return ALONE if role() == ALONE else os.environ[NAME]


def address() -> str:
    return f"{os.environ[ADDRESS]}:{os.environ[PORT]}"


def serve(oracle, folder: Path) -> None:
    """Hand out trials until the search is over and every living worker has been told so."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    oracle.is_lost = lost_from(folder)
    # One thread: calls come one after another. Without the option two chiefs could share a port.
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        bound = server.add_insecure_port(address())
    except RuntimeError:
        bound = 0
    if not bound:
        raise InputError(
            f"{address()} cannot be used: another program listens there, or the address is not "
            f"of this machine. Set {ADDRESS} and {PORT} to others, in all processes."
        )
    server.start()
    workspace.log(f"chief at {address()}: waiting for workers")
    while not oracle.finished or not all(map(oracle.is_lost, list(oracle.tuner_ids))):
        time.sleep(POLL_SECONDS)
    server.stop(grace=2).wait()


def client(oracle, is_over: Callable[[], bool]):
    """The chief's oracle as a worker sees it, or None when the search is already over."""
    import grpc
    from keras_tuner.src.distribute.oracle_client import OracleClient

    until = time.monotonic() + PATIENCE_SECONDS
    with grpc.insecure_channel(address()) as channel:
        ready = grpc.channel_ready_future(channel)
        while not is_over():
            try:
                ready.result(timeout=POLL_SECONDS)
                return OracleClient(oracle)
            except grpc.FutureTimeoutError:
                if time.monotonic() > until:
                    raise InputError(
                        f"No chief answers at {address()}. Start the same command with "
                        f"{NAME}={CHIEF}, and this one again."
                    ) from None
    return None


def ask(call: Callable, *arguments):
    """Call the oracle. What a dying chief cut off is asked again: each call may come twice."""
    if role() == ALONE:
        return call(*arguments)
    import grpc

    try:
        return call(*arguments)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        workspace.log(f"the chief at {address()} is gone; waiting for it to be started again")
        return call(*arguments)


@contextlib.contextmanager
def present(folder: Path) -> Iterator[None]:
    """Be one worker of a search: hold its name, and show every few seconds that it lives."""
    path, done = _sign(folder, own_name()), threading.Event()
    busy = f"{NAME}={own_name()} is already at work as process {{process}}. Choose another name."

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            path.touch()

    with workspace.hold(path, busy, wait=workspace.PATIENCE):
        path.touch()
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def lost_from(folder: Path) -> Callable[[str], bool]:
    """Tells whether a worker has given no sign for a minute.

    By this process's clock: only whether the sign changes is looked at, not the time it bears, so
    the clocks of two machines need not agree.
    """
    seen: dict[str, tuple[int, float]] = {}

    def is_lost(worker: str) -> bool:
        path, now = _sign(folder, worker), time.monotonic()
        mark = path.stat().st_mtime_ns if path.exists() else 0
        if worker not in seen or seen[worker][0] != mark:
            seen[worker] = (mark, now)
        return now - seen[worker][1] > SILENCE_SECONDS

    return is_lost


def _sign(folder: Path, worker: str) -> Path:
    return folder / "workers" / worker


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
            `cnn_settings`.
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
    name = own_name()
    while (trial := ask(oracle.create_trial, name)).status != "STOPPED":
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
        ask(oracle.update_trial, trial.trial_id, metrics)
        ask(oracle.end_trial, trial)
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
        One row a trial, see `trial_rows`.

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
    oracle = open_oracle(settings.strategy, searched, settings.epochs, settings.seed)
    if role() == WORKER:
        with present(place):
            distant = client(oracle, lambda: _is_over(place))
            if distant is not None:
                work(distant, place, settings, recipe)
    else:
        with workspace.hold(place / "lock", BUSY.format(folder=place), wait=workspace.PATIENCE):
            oracle.place(place, settings.trials, settings.minutes)
            if role() == ALONE:
                oracle.is_lost = lambda worker: True  # workers of an earlier start
                work(oracle, place, settings, recipe)
            elif not oracle.finished:
                serve(oracle, place)
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
