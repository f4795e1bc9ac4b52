"""Training on batches that stream from the memory-mapped store; a killed training goes on."""

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers import networks, workspace
from nbhelpers.batches import Batches

PREDICTION_BATCH = 128


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        batch_size: radiographs a step.
        learning_rate: peak of AdamW's rate; linear warm-up, then cosine decay to zero.
        weight_decay: AdamW's decoupled decay.
        warmup_share: share of all steps spent warming up.
        patience: epochs without a better tuning loss before training stops.
        seed: of the batch order; with the epoch it fixes every batch.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_share: float = 0.05
    patience: int = 10
    seed: int = 0


def compile_model(model: keras.Model, task: str, schedule: Schedule, steps: int) -> None:
    """AdamW with warm-up and cosine decay; L1 in months, or cross-entropy over the stages."""
    warmup = max(1, round(schedule.warmup_share * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=schedule.learning_rate,
        warmup_steps=warmup,
    )
    loss = "mean_absolute_error" if task == "age" else "sparse_categorical_crossentropy"
    optimizer = keras.optimizers.AdamW(rate, weight_decay=schedule.weight_decay)
    model.compile(optimizer, loss)


def fit(
    model: keras.Model,
    task: str,
    batches: Callable[[int], Batches],
    tuning: Batches,
    schedule: Schedule,
    state_path: Path,
    key: str,
) -> pd.DataFrame:
    """Train, keep the weights of the best tuning loss, and go on after a kill.

    After each epoch one atomic file keeps all variables (seed states of augmentation and dropout
    among them), the optimiser's, the best weights and the history. It is used again only under the
    same `key`, and stays until the caller has saved the model and removes it.

    Args:
        batches: gives the training batches of an epoch, numbered from 0.
        tuning: the tuning split; its loss chooses the epoch.
        key: hash of whatever the training depends on.

    Returns:
        One row an epoch: epoch, train_loss, tuning_loss, seconds.
    """
    compile_model(model, task, schedule, schedule.epochs * len(batches(0)))
    model.optimizer.build(model.trainable_variables)
    history, best = _restore(model, state_path, key)
    while len(history) < schedule.epochs and not _stalled(history, schedule.patience):
        epoch, started = len(history), time.monotonic()
        fitted = model.fit(batches(epoch), verbose=int(workspace.interactive()), shuffle=False)
        tuning_loss = float(model.evaluate(tuning, verbose=0))
        row = {"epoch": epoch + 1, "train_loss": float(fitted.history["loss"][0])}
        row |= {"tuning_loss": tuning_loss, "seconds": time.monotonic() - started}
        if not history or tuning_loss < min(past["tuning_loss"] for past in history):
            best = model.get_weights()
        history.append(row)
        _keep(model, history, best, state_path, key)
        workspace.log(
            f"epoch {epoch + 1:3d} of {schedule.epochs}: training loss {row['train_loss']:.3f}, "
            f"tuning loss {tuning_loss:.3f}, {row['seconds']:.0f} s"
        )
    model.set_weights(best)
    return pd.DataFrame(history)


def training_key(facts: dict, schedule: Schedule, rows: np.ndarray, model: keras.Model) -> str:
    """A hash of what a training depends on: data, network, schedule and backend."""
    return workspace.hash_of(
        {
            "facts": facts,
            "schedule": asdict(schedule),
            "rows": workspace.hash_of(np.asarray(rows).tolist()),
            "network": [_settings(layer.get_config()) for layer in model.layers],
            "backend": keras.backend.backend(),
        }
    )


def _settings(config: object) -> object:
    """A layer's settings without names: Keras numbers them through, so they change by the cell."""
    if isinstance(config, dict):
        return {key: _settings(value) for key, value in config.items() if key != "name"}
    return [_settings(value) for value in config] if isinstance(config, list | tuple) else config


def save(model: keras.Model, path: Path) -> None:
    """Write the model atomically as `.keras`, without the optimiser."""
    with workspace.atomic_path(path) as temporary:
        model.save(temporary, include_optimizer=False)


def load(path: Path) -> keras.Model:
    """Read a model in safe mode."""
    return keras.saving.load_model(path, safe_mode=True, compile=False)


def predict(model: keras.Model, images: np.ndarray, sex: np.ndarray, flip: bool = True):
    """Months `[n]` or stage probabilities `[n, 5]` of prepared radiographs.

    Where sex is unknown (NaN): the mean over both sexes, weighted by the training share of boys,
    which the model's card carries.

    Args:
        images: uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown.
        flip: average the radiograph and its mirror image.
    """
    sex = np.asarray(sex, np.float32)
    known = _predict_views(model, images, np.nan_to_num(sex, nan=0.0), flip)
    unknown = np.flatnonzero(np.isnan(sex))
    if len(unknown):
        share = networks.model_facts(model)["male_share"]
        as_male = _predict_views(model, images[unknown], np.ones(len(unknown)), flip)
        known[unknown] = share * as_male + (1 - share) * known[unknown]
    return known[:, 0] if known.shape[1] == 1 else known


def _predict_views(model, images, sex, flip):
    views = (images, images[:, :, ::-1]) if flip else (images,)
    rows = np.arange(len(images))
    total = 0.0
    for view in views:
        batches = Batches(view, rows, sex, None, PREDICTION_BATCH)
        total = total + model.predict(batches, verbose=0).astype(np.float64)
    return total / len(views)


def _stalled(history: list[dict], patience: int) -> bool:
    losses = [row["tuning_loss"] for row in history]
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= patience


def _keep(model, history, best, path: Path, key: str) -> None:
    values = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    arrays = {f"variable_{i}": value for i, value in enumerate(values)}
    arrays |= {f"best_{i}": weight for i, weight in enumerate(best)}
    arrays["told"] = np.array(json.dumps({"key": key, "history": history, "best": len(best)}))
    with workspace.atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def _restore(model, path: Path, key: str) -> tuple[list[dict], list[np.ndarray]]:
    if not path.exists():
        return [], []
    try:
        with np.load(path, allow_pickle=False) as kept:
            told = json.loads(str(kept["told"]))
            if told["key"] != key:
                workspace.log(f"{path.name} is of another training; starting anew")
                return [], []
            for number, variable in enumerate(_variables(model)):
                variable.assign(kept[f"variable_{number}"])
            best = [kept[f"best_{number}"] for number in range(told["best"])]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        workspace.log(f"{path.name} cannot be read ({error}); starting anew")
        return [], []
    workspace.log(f"going on after epoch {len(told['history'])}")
    return told["history"], best


def _variables(model) -> list:
    return [*model.variables, *model.optimizer.variables]
