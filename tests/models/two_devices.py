"""Train on one and on two virtual CPU devices and write what came out.

`test_devices.py` runs it, in a process of its own since devices are made before TensorFlow wakes:
`python tests/models/two_devices.py told.json`.
"""

import contextlib
import functools
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import small_networks
import tensorflow as tf
from keras import layers

from nbhelpers.models import batches, devices, saved, training
from nbhelpers.models.sam import SharpnessAware

SIZE, BATCH = 16, 16
DATA = small_networks.light_tells_age(45, 13, SIZE)  # of both splits the last cases are left out
WHOLE = replace(DATA, train=DATA.train[: 2 * BATCH], tuning=DATA.tuning[:12])
devices.several_devices = functools.partial(devices.several_devices, "cpu")


def plain_network():
    """A CNN with BatchNorm in which nothing is random, compiled."""
    keras.utils.set_random_seed(0)
    radiograph, sex = keras.Input((SIZE, SIZE, 1), dtype="uint8"), keras.Input((1,))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(radiograph)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), sex])
    months = layers.Rescaling(40.0, offset=120.0)(layers.Dense(1)(x))
    network = keras.Model([radiograph, sex], months)
    optimiser = keras.optimizers.AdamW(2e-3, weight_decay=1e-3)
    network.compile(optimiser, "mean_absolute_error", jit_compile=False)
    network.optimizer.build(network.trainable_variables)
    devices.synchronise(network)
    return network


def farthest(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def train(network, epochs, **options):
    fed = batches.Batches(WHOLE, WHOLE.train, BATCH, seed=3)
    return network.fit(fed, epochs=epochs, shuffle=False, verbose=0, **options).history


def one_against_two():
    """The same network on two devices and on one, BatchNorm's moving statistics compared too."""
    tuning = {"validation_data": batches.Batches(WHOLE, WHOLE.tuning, BATCH)}
    with devices.several_devices() as shares:
        on_two = plain_network()
        before = on_two.get_weights()
        losses_two = train(on_two, 5, **tuning)
    on_one = plain_network()
    losses_one = train(on_one, 5, **tuning)
    return {
        "shares": shares,
        "steps": int(keras.ops.convert_to_numpy(on_two.optimizer.iterations)),
        "weights_apart": farthest(on_two.get_weights(), on_one.get_weights()),
        "weights_moved": farthest(on_two.get_weights(), before),
        "losses_on_two": losses_two["val_loss"],
        "losses_on_one": losses_one["val_loss"],
    }


def everything_on():
    """All that is random switched on, as the notebooks train; stopped half-way and gone on with."""

    def fit(path):
        with devices.several_devices():
            keras.utils.set_random_seed(0)
            network = small_networks.custom_cnn(SIZE, widths=(4,))
            options = {"state": path, "averaging": 0.5}
            history = small_networks.fit(network, "age", DATA, 4, **options)
        return saved.save(network, path.with_suffix(".keras")), history

    with tempfile.TemporaryDirectory() as folder:
        network, history = fit(Path(folder) / "whole.npz")
        keep, stopped = training.Progress.keep, Path(folder) / "stopped.npz"

        def keep_and_stop(progress):
            keep(progress)
            if len(progress.history) == 2:
                raise KeyboardInterrupt

        training.Progress.keep = keep_and_stop
        with contextlib.suppress(KeyboardInterrupt):
            fit(stopped)
        training.Progress.keep = keep
        again, resumed = fit(stopped)
    pictures, sex = (part[WHOLE.tuning][..., None] for part in (DATA.images, DATA.sex))
    judged = again.predict_on_batch([pictures, sex])[:, 0] - DATA.target[WHOLE.tuning]
    return {
        "losses": history[["train_loss", "tuning_loss"]].to_numpy().tolist(),
        "gone_on_apart": farthest(network.get_weights(), again.get_weights()),
        "epochs": len(resumed),
        "tuning_apart": abs(float(np.abs(judged).mean()) - history["tuning_loss"].min()),
    }


def float16():
    """A few epochs in mixed float16, as on two T4; then gradients that fail on the second alone."""
    keras.config.set_dtype_policy("mixed_float16")
    with devices.several_devices():
        on_two = plain_network()
        losses = train(on_two, 4)["loss"]
        before = [keras.ops.convert_to_numpy(weight) for weight in on_two.trainable_weights]
        too_large = np.where(np.arange(len(DATA.sex)) == BATCH - 1, 1e6, DATA.sex)
        failing = replace(WHOLE, sex=too_large)  # infinite in float16
        on_two.fit(batches.Batches(failing, np.arange(BATCH), BATCH), verbose=0)
        after = [keras.ops.convert_to_numpy(weight) for weight in on_two.trainable_weights]
    keras.config.set_dtype_policy("float32")
    return {
        "optimiser": type(on_two.optimizer).__name__,
        "losses": losses,
        "moved_by_failed_gradients": farthest(before, after),
    }


def sharpness_aware():
    """Each device moves the weights along the gradient of its own share, as `sam` says."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    start, rho, rate = np.array([[1.0], [-2.0], [0.5]]), 0.3, 0.1

    def gradient(kernel, rows):
        return 2 * x[rows].T @ (x[rows] @ kernel - y[rows]) / len(rows)

    def at_moved(rows):
        first = gradient(start, rows)
        return gradient(start + rho * first / np.linalg.norm(first), rows)

    with devices.several_devices():
        entry, unit = keras.Input((3,)), layers.Dense(1, use_bias=False)
        network = keras.Model(entry, unit(entry))
        unit.set_weights([start])
        aware = SharpnessAware(network, rho)
        aware.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
        told = aware.fit(x, y, batch_size=8, shuffle=False, verbose=0).history["loss"][0]
    expected = start - rate * np.mean([at_moved(np.arange(4)), at_moved(np.arange(4, 8))], axis=0)
    return {
        "weights_apart": farthest(network.get_weights(), [expected]),
        "loss_apart": abs(told - np.mean((x @ start - y) ** 2)),
    }


if __name__ == "__main__":
    virtual = [tf.config.LogicalDeviceConfiguration()] * 2
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, virtual)
    parts = (one_against_two, everything_on, float16, sharpness_aware)
    Path(sys.argv[1]).write_text(json.dumps({part.__name__: part() for part in parts}, indent=1))
