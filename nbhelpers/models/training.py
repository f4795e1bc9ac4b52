"""Training with Keras's own `fit`, from the memory-mapped store; a killed training goes on.

One file, written after every epoch, atomically, is what a training goes on from. It holds all
variables of the model (seed states of augmentation and dropout among them), those of the optimiser
(averaged weights among them), the weights of the best epoch and the history, from which the
counters of early stopping follow. The order of the batches follows from seed and epoch.
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
from nbhelpers.models.batches import Batches, Material, training_batches, tuning_batches
from nbhelpers.workspace import InputError

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
    """Raise InputError for a loss that is not of the task."""
    if schedule.loss not in ("", *LOSSES[task]):
        allowed = " or ".join(LOSSES[task])
        raise InputError(f"loss {schedule.loss!r}: write {allowed} for task {task}.")


class OncePerStep(keras.optimizers.schedules.CosineDecay):
    """Keras's warm-up and cosine decay, worked out once a step.

    On TensorFlow Keras's weight decay asks for the rate anew for every variable: of EfficientNet's
    it made most of the time that building the graph takes, and four tenths of a step on a CPU.
    """

    def __call__(self, step):
        import tensorflow as tf

        if tf.executing_eagerly():
            return super().__call__(step)
        graph = tf.compat.v1.get_default_graph()
        if not hasattr(graph, "rate_of_step"):
            graph.rate_of_step = super().__call__(step)
        return graph.rate_of_step


def compile_model(model: keras.Model, task: str, schedule: Schedule, steps: int) -> None:
    """Give a model its loss and optimiser, with warm-up and cosine decay over `steps`."""
    check_schedule(schedule, task)
    warmup = max(1, round(schedule.warmup_share * steps))
    rate = OncePerStep(
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


class Averages(keras.callbacks.SwapEMAWeights):
    """Puts the averaged weights in place of the weights for evaluation and for what is kept.

    Keras swaps the two on TensorFlow by adding and subtracting, which rounds: a training that was
    gone on with would end with other bits. Here they change places.
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    _tf_swap_variables = keras.callbacks.SwapEMAWeights._backend_swap_variables


class Progress(keras.callbacks.Callback):
    """The course of a training: order of the batches, best epoch, early stopping, and its file.

    Stands after `Averages`, so that the weights it keeps are those that were judged.

    Attributes:
        history: a row an epoch.
        best: the weights of the epoch with the best tuning loss.
    """

    def __init__(self, batches: Batches, schedule: Schedule, path: Path | None, key: str):
        super().__init__()
        self.batches, self.schedule, self.path, self.key = batches, schedule, path, key
        self.history: list[dict] = []
        self.best: list[np.ndarray] = []

    @property
    def stalled(self) -> bool:
        """Whether the tuning loss has not become better for as many epochs as there is patience."""
        losses = [row["tuning_loss"] for row in self.history]
        return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= self.schedule.patience

    def on_epoch_begin(self, epoch, logs=None):
        """Keep what is behind (not earlier: now the plain weights are in place) and begin anew."""
        self.keep()
        self.batches.begin(epoch)
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Add an epoch to the history, and its weights if it is the best."""
        losses = {"train_loss": float(logs["loss"]), "tuning_loss": float(logs["val_loss"])}
        seconds = time.monotonic() - self.started
        if not self.history or losses["tuning_loss"] < min(
            row["tuning_loss"] for row in self.history
        ):
            self.best = self.model.get_weights()
        self.history.append({"epoch": epoch + 1, **losses, "seconds": seconds})
        workspace.log(
            f"epoch {epoch + 1:3d} of {self.schedule.epochs}: training loss "
            f"{losses['train_loss']:.3f}, tuning loss {losses['tuning_loss']:.3f}, {seconds:.0f} s"
        )
        self.model.stop_training = self.stalled

    def on_train_end(self, logs=None):
        """Keep that the training has ended."""
        self.keep()

    def keep(self) -> None:
        """Write all that the training goes on from, where it has a file."""
        if self.path is None or not self.history:
            return
        values = [keras.ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        arrays = {f"variable_{i}": value for i, value in enumerate(values)}
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best)}
        told = {"key": self.key, "history": self.history, "best": len(self.best)}
        with workspace.atomic_path(self.path) as temporary:
            np.savez(temporary, told=np.array(json.dumps(told)), **arrays)

    def restore(self, model: keras.Model) -> None:
        """Go on from the file; from the first epoch where it is missing, damaged or another's."""
        if self.path is None or not self.path.exists():
            return
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                told = json.loads(str(kept["told"]))
                if told["key"] != self.key:
                    workspace.log(f"{self.path.name} is of another training; starting anew")
                    return
                values = [kept[f"variable_{number}"] for number in range(len(_variables(model)))]
                best = [kept[f"best_{number}"] for number in range(told["best"])]
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            workspace.log(f"{self.path.name} cannot be read ({error}); starting anew")
            return
        for variable, value in zip(_variables(model), values, strict=True):
            variable.assign(value)
        self.history, self.best = told["history"], best
        workspace.log(f"going on after epoch {len(self.history)}")


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


def fit(
    network: keras.Model,
    task: str,
    batches: Batches,
    tuning: Batches,
    schedule: Schedule,
    state_path: Path | None = None,
    key: str = "",
    first_epoch: int = 0,
) -> pd.DataFrame:
    """Train, keep the weights of the best tuning loss, and go on after a kill.

    Args:
        tuning: the tuning split; its loss chooses the epoch.
        state_path: the file that a killed training goes on from, used again only under the same
            `key`; it stays until the caller has saved the model and removes it. None: a killed
            training starts again.
        key: hash of whatever the training depends on.
        first_epoch: of `schedule.epochs`, where earlier ones have been trained elsewhere.

    Returns:
        One row an epoch: epoch, train_loss, tuning_loss, seconds.
    """
    model = network
    if schedule.optimiser == "sam":
        model = sam.SharpnessAware(network, schedule.sam_rho)
    epochs = schedule.epochs - first_epoch
    compile_model(model, task, schedule, epochs * len(batches))
    model.optimizer.build(model.trainable_variables)
    progress = Progress(batches, schedule, state_path, key)
    progress.restore(model)
    done = first_epoch + len(progress.history)
    if done < schedule.epochs and not progress.stalled:
        model.fit(
            batches,
            validation_data=tuning,
            initial_epoch=done,
            epochs=schedule.epochs,
            shuffle=False,
            callbacks=[Averages(), progress] if schedule.averaging else [progress],
            verbose=int(workspace.interactive()),
        )
    network.set_weights(progress.best)
    return pd.DataFrame(progress.history)


HEAD_EPOCHS = 15  # of the head before fine-tuning: on cached features they cost seconds
HEAD_RATE = 1e-3
AVERAGING = 0.99  # of the weights, over about a hundred steps


def fit_network(
    build: Callable[[], keras.Model],
    task: str,
    material: Material,
    schedule: Schedule,
    state_path: Path,
    *,
    frozen: bool = False,
    pretrained: bool = False,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train a network on every device there is: all of it, its head alone, or one after the other.

    Args:
        build: gives the uncompiled network, the same at every call.
        state_path: file that a killed training goes on from; the caller removes it once the model
            is saved (see `forget`).
        frozen: leave the backbone of a network of `backbones.transfer_network` as it is.
        pretrained: the backbone's weights were read from a file: unless it stays as it is, the head
            is trained first. Random ones are trained from the first step: a head on them has
            nothing to learn from.

    Returns:
        The network in float32 with the weights of its best epoch, and the history, that of the last
        phase.
    """
    with devices.several_devices():
        network = build()
        if frozen or pretrained:
            backbones.freeze(network)
            head_schedule = schedule if frozen else head_first(schedule)
            views = features.FEATURE_VIEWS if frozen else 1
            history = _fit_head(network, task, material, head_schedule, state_path, views)
        if pretrained and not frozen:
            backbones.unfreeze(network)
        if not frozen:
            devices.synchronise(network)
            fed = training_batches(material, schedule.batch_size, schedule.seed)
            key = training_key(network, schedule, material.train)
            tuning = tuning_batches(material)
            history = fit(network, task, fed, tuning, schedule, state_path, key)
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


def _fit_head(network, task, material, schedule, state_path, views: int) -> pd.DataFrame:
    """Train the head of a network whose backbone is frozen, on features computed once."""
    rows = np.concatenate([material.train, material.tuning])
    known = replace(
        material,
        images=features.compute(
            network, material.images, rows, material.train, views=views, seed=schedule.seed
        ),
    )
    kind = features.FeatureBatches
    return fit(
        features.head_network(network),
        task,
        training_batches(known, schedule.batch_size, schedule.seed, kind),
        tuning_batches(known, kind),
        schedule,
        head_state(state_path),
        training_key(network, schedule, material.train),
    )


def training_key(network: keras.Model, schedule: Schedule, rows: np.ndarray) -> str:
    """A hash of what a training depends on: data, network and schedule."""
    return workspace.hash_of(
        {
            "facts": networks.model_facts(network),
            "schedule": asdict(schedule),
            "rows": np.asarray(rows).tolist(),
            "network": [_without_names(layer.get_config()) for layer in network.layers],
        }
    )


def _without_names(config: object) -> object:
    """A layer's settings; Keras numbers the names through, so they change by the cell."""
    if isinstance(config, dict):
        return {key: _without_names(value) for key, value in config.items() if key != "name"}
    return (
        [_without_names(value) for value in config] if isinstance(config, list | tuple) else config
    )
