"""Training on batches that stream from the memory-mapped store; a killed training goes on."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers import networks, sam, training_state, workspace
from nbhelpers.batches import Batches
from nbhelpers.optimisers import Schedule, compile_model


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

    The state of the training is in one file (see `training_state`), used again only under the same
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
    history, best = training_state.restore(model, state_path, key)
    while len(history) < schedule.epochs and not _stalled(history, schedule.patience):
        row, weights = _epoch(model, batches(len(history)), tuning, len(history) + 1)
        if not history or row["tuning_loss"] < min(past["tuning_loss"] for past in history):
            best = weights
        history.append(row)
        training_state.keep(model, history, best, state_path, key)
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
