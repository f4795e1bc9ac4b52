"""What Keras's own `fit` is given: losses, the course of the rate, and callbacks.

A training that was killed goes on. One file, written after every epoch, atomically, is what it goes
on from. It holds all variables of the model (seed states of augmentation and dropout among them),
those of the optimiser (averaged weights among them), the weights of the best epoch and the history,
from which the counters of early stopping follow. The order of the batches follows from seed and
epoch.
"""

import json
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers import workspace
from nbhelpers.models import devices
from nbhelpers.models.batches import Batches
from nbhelpers.workspace import InputError

LOSSES = {"age": ("l1", "huber"), "stage": ("cross-entropy", "balanced cross-entropy")}
HUBER_MONTHS = 12.0  # errors below count squared: a year, to which most labels are rounded
WARMUP_SHARE = 0.05  # of all steps
PATIENCE = 10  # epochs without a better tuning loss before training stops


def loss_of(task: str, name: str = "") -> str | keras.losses.Loss:
    """Keras's loss of a task by its name in the parameters; empty: the first of the task.

    Raises InputError for a loss that is not of the task.
    """
    if name not in ("", *LOSSES[task]):
        raise InputError(f"loss {name!r}: write {' or '.join(LOSSES[task])} for task {task}.")
    if task == "stage":
        return "sparse_categorical_crossentropy"
    return keras.losses.Huber(HUBER_MONTHS) if name == "huber" else "mean_absolute_error"


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


def warm_up_and_decay(peak: float, steps: int) -> OncePerStep:
    """A rate that rises linearly to its peak over the first twentieth of the steps, then falls to
    zero along a cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    decay = max(1, steps - warmup)
    return OncePerStep(0.0, decay, warmup_target=peak, warmup_steps=warmup)


class Progress(keras.callbacks.SwapEMAWeights):
    """The course of a training: order of the batches, best epoch, early stopping, and its file.

    The optimiser averages the weights (`use_ema=True`). As `SwapEMAWeights` does it, the averages
    stand in for the weights wherever these are judged or kept; at the end the model holds those of
    its best epoch.

    Args:
        batches: that the model is trained on.
        epochs: of the training, those included that were trained before.
        path: file that a killed training goes on from, used again only by the same training; it
            stays until the caller has saved the model and removes it. None: a killed training
            starts again.
        about: whatever else the training depends on, as plain values.

    Attributes:
        history: a row an epoch: epoch, train_loss, tuning_loss, seconds.
        best: the weights of the epoch with the best tuning loss.
    """

    def __init__(
        self, batches: Batches, epochs: int, path: Path | None = None, about: object = None
    ):
        super().__init__(swap_on_epoch=True)
        self.batches, self.epochs, self.path, self.about = batches, epochs, path, about
        self.key = ""
        self.history: list[dict] = []
        self.best: list[np.ndarray] = []

    @property
    def since_best(self) -> int:
        """How many epochs ago the tuning loss was best; 0 before the first."""
        losses = [row["tuning_loss"] for row in self.history]
        finite = np.where(np.isfinite(losses), losses, np.inf)
        return len(losses) - 1 - int(finite.argmin()) if losses else 0

    # Keras swaps weights and averages on TensorFlow by adding and subtracting, which rounds: a
    # training that was gone on with would end with other bits. Here they change places.
    _tf_swap_variables = keras.callbacks.SwapEMAWeights._backend_swap_variables

    def on_epoch_begin(self, epoch, logs=None):
        """Keep what is behind (not earlier: now the plain weights are in place) and begin anew."""
        super().on_epoch_begin(epoch)
        self.keep()
        self.batches.begin(epoch)
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Add an epoch to the history, and its weights if it is the best."""
        super().on_epoch_end(epoch)
        losses = {"train_loss": float(logs["loss"]), "tuning_loss": float(logs["val_loss"])}
        seconds = time.monotonic() - self.started
        self.history.append({"epoch": epoch + 1, **losses, "seconds": seconds})
        if not self.since_best:
            self.best = self.model.get_weights()
        left = seconds * (self.epochs - epoch - 1)
        workspace.log(
            f"epoch {epoch + 1:3d} of {self.epochs}: training loss {losses['train_loss']:.3f}, "
            f"tuning loss {losses['tuning_loss']:.3f}, {seconds:.0f} s; at most {left:.0f} s left"
        )
        self.model.stop_training = self.since_best >= PATIENCE

    def on_train_end(self, logs=None):
        """Keep that the training has ended; then the weights of the best epoch are the model's."""
        self.keep()
        self.model.set_weights(self.best)

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

    def resume(self, model: keras.Model) -> int:
        """Go on from the file; anew where it is missing, damaged or another training's.

        Args:
            model: compiled.

        Returns:
            How many epochs are behind: `initial_epoch` of `fit`. All, where training had stopped.
        """
        devices.synchronise(model)
        model.optimizer.build(model.trainable_variables)
        self.key = training_key(model, self.batches, self.epochs, self.about)
        if self.path is not None and self.path.exists():
            self._read(model)
        return self.epochs if self.since_best >= PATIENCE else len(self.history)

    def _read(self, model: keras.Model) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                told = json.loads(str(kept["told"]))
                if told["key"] != self.key:
                    workspace.log(f"{self.path.name} belongs to another training; starting afresh")
                    return
                values = [kept[f"variable_{number}"] for number in range(len(_variables(model)))]
                best = [kept[f"best_{number}"] for number in range(told["best"])]
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            workspace.log(f"{self.path.name} cannot be read ({error}); starting afresh")
            return
        for variable, value in zip(_variables(model), values, strict=True):
            variable.assign(value)
        self.history, self.best = told["history"], best
        workspace.log(f"continuing after epoch {len(self.history)}")

    def table(self) -> pd.DataFrame:
        """The history, a row an epoch."""
        return pd.DataFrame(self.history)


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


def training_key(model: keras.Model, batches: Batches, epochs: int, about: object = None) -> str:
    """A hash of what a training depends on: network, loss, optimiser, cases, targets and epochs."""
    told = [layer.get_config() for layer in model.layers]
    told += map(keras.saving.serialize_keras_object, (model.optimizer, model.loss))
    told += [type(model).__name__, getattr(model, "rho", None), epochs, about]  # rho: SAM's
    given, rows = batches.material, batches.in_order
    fed = [part[rows].tolist() for part in (given.target, given.weights) if part is not None]
    fed += [rows.tolist(), batches.batch_size, batches.seed]
    return workspace.hash_of([_without_names(told), fed])


def _without_names(config: object) -> object:
    """A layer's settings; Keras numbers the names through, so they change by the cell."""
    if isinstance(config, dict):
        return {key: _without_names(value) for key, value in config.items() if key != "name"}
    return [_without_names(one) for one in config] if isinstance(config, list | tuple) else config
