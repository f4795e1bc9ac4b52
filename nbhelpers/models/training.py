"""One network from the first step to the model that is saved: devices, precision, phases, resume.

A frozen backbone's head is trained on features computed once. A pretrained backbone that is to be
fine-tuned gets its head trained so first, since a random head's large gradients would wreck what
the backbone knows (Keras' guide to transfer learning); then everything is trained.

How a network is trained: schedule, loss, optimiser.

Training on batches that stream from the memory-mapped store; a killed training goes on.

The one file that a training goes on from: written after every epoch, atomically.

It holds all variables of the model (seed states of augmentation and dropout among them), those of
the optimiser (averaged weights among them), the weights of the best epoch and the history, from
which the counters of early stopping follow. The order of the batches follows from seed and epoch.
"""

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers import workspace
from nbhelpers.models import backbones, devices, features, networks, sam
from nbhelpers.models.batches import (
    EVALUATION_BATCH,
    Batches,
    Material,
    training_batches,
    tuning_batches,
    whole_batches,
)
from nbhelpers.workspace import InputError


def keep(model: keras.Model, history: list[dict], best: list, path: Path, key: str) -> None:
    """Write the state after an epoch; `best` are the weights of the best epoch."""
    values = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    arrays = {f"variable_{i}": value for i, value in enumerate(values)}
    arrays |= {f"best_{i}": weight for i, weight in enumerate(best)}
    arrays["told"] = np.array(json.dumps({"key": key, "history": history, "best": len(best)}))
    with workspace.atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def restore(model: keras.Model, path: Path, key: str) -> tuple[list[dict], list[np.ndarray]]:
    """Put a compiled model into the state of `path`; returns the history and the best weights.

    Both are empty, and the model is untouched, where there is no file, or one of another training
    (`key`), or a damaged one.
    """
    if not path.exists():
        return [], []
    try:
        with np.load(path, allow_pickle=False) as kept:
            told = json.loads(str(kept["told"]))
            if told["key"] != key:
                workspace.log(f"{path.name} is of another training; starting anew")
                return [], []
            values = [kept[f"variable_{number}"] for number in range(len(_variables(model)))]
            best = [kept[f"best_{number}"] for number in range(told["best"])]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        workspace.log(f"{path.name} cannot be read ({error}); starting anew")
        return [], []
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)
    workspace.log(f"going on after epoch {len(told['history'])}")
    return told["history"], best


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


OPTIMISERS = ("adamw", "adam", "sam")
LOSSES = {"age": ("l1", "huber"), "stage": ("cross-entropy", "balanced cross-entropy")}
HUBER_MONTHS = 12.0  # errors below count squared: a year, to which most labels are rounded


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        batch_size: radiographs a step.
        learning_rate: peak of the rate; linear warm-up, then cosine decay to zero.
        weight_decay: decoupled decay of AdamW, and of SAM over it.
        warmup_share: share of all steps spent warming up.
        patience: epochs without a better tuning loss before training stops.
        seed: of the batch order; with the epoch it fixes every batch.
        loss: l1 or huber (months) for age; cross-entropy for stage, or balanced, where the cases
            of a rare stage count more (`batches.class_weights`); empty: the first of the task.
        optimiser: adamw, adam, or sam (sharpness-aware minimisation over AdamW).
        averaging: momentum of the moving average of the weights over steps, which is what is
            evaluated and kept; 0 keeps the weights themselves.
        sam_rho: radius of SAM's perturbation.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_share: float = 0.05
    patience: int = 10
    seed: int = 0
    loss: str = ""
    optimiser: str = "adamw"
    averaging: float = 0.0
    sam_rho: float = 0.05


def check_schedule(schedule: Schedule, task: str) -> None:
    """Raise InputError for a loss that is not of the task, an unknown optimiser, or no training."""
    for name in ("epochs", "batch_size", "learning_rate"):
        if not getattr(schedule, name) > 0:
            raise InputError(f"{name} is {getattr(schedule, name)}; write more than 0.")
    if schedule.loss not in ("", *LOSSES[task]):
        allowed = " or ".join(LOSSES[task])
        raise InputError(f"loss {schedule.loss!r}: write {allowed} for task {task}.")
    if schedule.optimiser not in OPTIMISERS:
        raise InputError(f"optimiser {schedule.optimiser!r}: write {', '.join(OPTIMISERS)}.")


def compile_model(model: keras.Model, task: str, schedule: Schedule, steps: int) -> None:
    """Give a model its loss and optimiser, with warm-up and cosine decay over `steps`."""
    check_schedule(schedule, task)
    warmup = max(1, round(schedule.warmup_share * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=schedule.learning_rate,
        warmup_steps=warmup,
    )
    # Not Keras's default, "auto", which compiles with XLA: XLA has no kernel for the augmentation's
    # warp (ImageProjectiveTransformV3), so a step with it would not compile at all. Without the
    # warp, XLA made a step of the custom CNN twice as slow on 4 CPU cores.
    model.compile(_optimiser(schedule, rate), _loss(task, schedule.loss), jit_compile=False)


def _loss(task: str, name: str):
    if task == "stage":
        return "sparse_categorical_crossentropy"
    return keras.losses.Huber(delta=HUBER_MONTHS) if name == "huber" else "mean_absolute_error"


def _optimiser(schedule: Schedule, rate) -> keras.optimizers.Optimizer:
    averaging = {}
    if schedule.averaging:
        averaging = {"use_ema": True, "ema_momentum": schedule.averaging}
    if schedule.optimiser == "adam":
        return keras.optimizers.Adam(rate, **averaging)
    return keras.optimizers.AdamW(rate, weight_decay=schedule.weight_decay, **averaging)


def fit(
    network: keras.Model,
    task: str,
    batches: Callable[[int], Batches],
    tuning: Batches,
    schedule: Schedule,
    state_path: Path,
    key: str,
) -> pd.DataFrame:
    """Train, keep the weights of the best tuning loss, and go on after a kill.

    The state of the training is in one file (see below), used again only under the same
    `key`; it stays until the caller has saved the model and removes it.

    Args:
        batches: gives the training batches of an epoch, numbered from 0.
        tuning: the tuning split; its loss chooses the epoch.
        key: hash of whatever the training depends on.

    Returns:
        One row an epoch: epoch, train_loss, tuning_loss, seconds.
    """
    model = network
    if schedule.optimiser == "sam":
        model = sam.SharpnessAware(network, schedule.sam_rho)
    compile_model(model, task, schedule, schedule.epochs * len(batches(0)))
    model.optimizer.build(model.trainable_variables)
    history, best = restore(model, state_path, key)
    while len(history) < schedule.epochs and not _stalled(history, schedule.patience):
        row, weights = _epoch(model, batches(len(history)), tuning, len(history) + 1)
        if not history or row["tuning_loss"] < min(past["tuning_loss"] for past in history):
            best = weights
        history.append(row)
        keep(model, history, best, state_path, key)
        workspace.log(
            f"epoch {row['epoch']:3d} of {schedule.epochs}: training loss {row['train_loss']:.3f}, "
            f"tuning loss {row['tuning_loss']:.3f}, {row['seconds']:.0f} s"
        )
    network.set_weights(best)
    return pd.DataFrame(history)


def training_key(facts: dict, schedule: Schedule, rows: np.ndarray, network: keras.Model) -> str:
    """A hash of what a training depends on: data, network, schedule and backend."""
    return workspace.hash_of(
        {
            "facts": facts,
            "schedule": asdict(schedule),
            "rows": workspace.hash_of(np.asarray(rows).tolist()),
            "network": [networks.settings_of(layer) for layer in network.layers],
            "backend": keras.backend.backend(),
        }
    )


def _epoch(model, batches: Batches, tuning: Batches, number: int) -> tuple[dict, list]:
    """One pass: its row of the history, and the weights (averaged where asked) it was judged by."""
    started = time.monotonic()
    trained = []
    after_last_step = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: trained.extend(
            keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables
        )
    )
    fitted = model.fit(
        batches,
        verbose=int(workspace.interactive()),
        shuffle=False,
        callbacks=[after_last_step],
    )
    # With averaging, Keras has now put the averages in place of the weights: these are judged.
    tuning_loss = float(model.evaluate(tuning, verbose=0))
    weights = model.get_weights()
    for variable, value in zip(model.trainable_variables, trained, strict=True):
        variable.assign(value)
    train_loss = float(fitted.history["loss"][0])
    seconds = time.monotonic() - started
    row = {"epoch": number, "train_loss": train_loss, "tuning_loss": tuning_loss}
    return {**row, "seconds": seconds}, weights


def _stalled(history: list[dict], patience: int) -> bool:
    losses = [row["tuning_loss"] for row in history]
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= patience


HEAD_EPOCHS = 15  # of the head before fine-tuning: on cached features they cost seconds
HEAD_RATE = 1e-3
AVERAGING = 0.99  # of the weights, over about a hundred steps


def fit_network(
    build: Callable[[], keras.Model],
    task: str,
    material: Material,
    schedule: Schedule,
    state_path: Path,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train all of a network on every device there is.

    Args:
        build: gives the uncompiled network, the same at every call.
        state_path: file that a killed training goes on from; the caller removes it once the model
            is saved.

    Returns:
        The network in float32 with the weights of its best epoch, and the history.
    """
    with devices.several_devices():
        network = build()
        history = _fit_all(network, task, material, schedule, state_path)
    return devices.float32_twin(build, network), history


def fit_transfer(
    build: Callable[[], keras.Model],
    task: str,
    material: Material,
    schedule: Schedule,
    state_path: Path,
    *,
    frozen: bool,
    pretrained: bool,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train a network on a backbone: its head alone, or its head and then everything.

    Args:
        build: as for `fit_network`; gives a network of `backbones.transfer_network`.
        frozen: leave the backbone as it is.
        pretrained: the backbone's weights were read from a file. Random ones that are not frozen
            are trained from the first step: a head on them has nothing to learn from.

    Returns:
        As `fit_network`; the history is that of the last phase.
    """
    with devices.several_devices():
        network = build()
        if frozen or pretrained:
            backbones.freeze(network)
            head_schedule = schedule if frozen else head_first(schedule)
            views = features.FEATURE_VIEWS if frozen else 1
            history = _fit_head(network, task, material, head_schedule, state_path, views)
        if not frozen:
            backbones.unfreeze(network, batch_norm=True)
            history = _fit_all(network, task, material, schedule, state_path)
    return devices.float32_twin(build, network), history


def head_first(schedule: Schedule) -> Schedule:
    """The schedule of the head before fine-tuning."""
    return replace(schedule, epochs=HEAD_EPOCHS, learning_rate=HEAD_RATE, optimiser="adamw")


def head_state(state_path: Path) -> Path:
    """Where the state of the head's own training is kept."""
    return state_path.with_name(f"{state_path.stem}.head{state_path.suffix}")


def forget(state_path: Path) -> None:
    """Remove what a killed training would have gone on from, once the model is saved."""
    for path in (state_path, head_state(state_path)):
        path.unlink(missing_ok=True)
    features.forget(*_features_of(state_path))


def _fit_head(network, task, material, schedule, state_path, views: int) -> pd.DataFrame:
    """Train the head of a network whose backbone is frozen, on features computed once."""
    folder, name = _features_of(state_path)
    rows = np.concatenate([material.train, material.tuning])
    known = features.compute(
        network,
        material.images,
        rows,
        material.train,
        folder,
        name,
        views=views,
        seed=schedule.seed,
    )
    columns = (material.sex, material.target)

    def of_epoch(epoch: int):
        of_train = features.FeatureBatches(
            known,
            material.train,
            *columns,
            schedule.batch_size,
            order=(schedule.seed, epoch),
            unknown_sex=material.unknown_sex,
            weights=material.weights,
        )
        return whole_batches(of_train, training=True)

    tuning = features.FeatureBatches(
        known,
        material.tuning,
        *columns,
        EVALUATION_BATCH,
        unknown_sex=material.unknown_sex,
    )
    key = workspace.hash_of([known.key, _key(network, material, schedule)])
    head = features.head_network(network)
    tuning = whole_batches(tuning, training=False)
    return fit(head, task, of_epoch, tuning, schedule, head_state(state_path), key)


def _fit_all(network, task, material, schedule, state_path) -> pd.DataFrame:
    devices.synchronise(network)
    ordered = training_batches(material, schedule.batch_size, schedule.seed)
    return fit(
        network,
        task,
        lambda epoch: whole_batches(ordered(epoch), training=True),
        whole_batches(tuning_batches(material), training=False),
        schedule,
        state_path,
        _key(network, material, schedule),
    )


def _features_of(state_path: Path) -> tuple[Path, str]:
    """Folder and name of the features of the model that is trained."""
    name = state_path.name.removeprefix(".").removesuffix(".training.npz")
    return state_path.parent.parent / "features", name


def _key(network, material, schedule) -> str:
    facts = networks.model_facts(network)
    return training_key(facts, schedule, material.train, network)
