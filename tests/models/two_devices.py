"""Two virtual CPU devices learn like one; `test_devices.py` runs it.

In a process of its own, since devices are made before TensorFlow wakes.
"""

import functools
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import small_networks
import tensorflow as tf
import test_sam
from keras import layers

from nbhelpers.models import batches, devices, saved, training

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
        losses_two = train(on_two, 2, **tuning)
    on_one = plain_network()
    losses_one = train(on_one, 2, **tuning)
    assert shares == 2 and int(keras.ops.convert_to_numpy(on_two.optimizer.iterations)) == 4
    assert farthest(on_two.get_weights(), on_one.get_weights()) < 1e-5
    assert farthest(on_two.get_weights(), before) > 1e-3
    np.testing.assert_allclose(losses_two["val_loss"], losses_one["val_loss"], rtol=1e-5)


def everything_on():
    """All that is random switched on, as the notebooks train; gone on with from half-way."""

    def fit(path):
        with devices.several_devices():
            keras.utils.set_random_seed(0)
            network = small_networks.custom_cnn(SIZE, widths=(4,))
            options = {"state": path, "averaging": 0.5}
            history = small_networks.fit(network, "age", DATA, 4, **options)
        return saved.save(network, path.with_suffix(".keras")), history

    keep = training.Progress.keep
    with tempfile.TemporaryDirectory() as folder:
        stopped = Path(folder) / "stopped.npz"

        def keep_half(progress):
            keep(progress)
            if len(progress.history) == 2:
                shutil.copy(progress.path, stopped)

        training.Progress.keep = keep_half
        network, history = fit(Path(folder) / "whole.npz")
        training.Progress.keep = keep
        again, resumed = fit(stopped)
    assert len(resumed) == 4 and farthest(network.get_weights(), again.get_weights()) == 0
    losses = history[["train_loss", "tuning_loss"]]
    assert (losses.iloc[-1] < losses.iloc[0]).all()
    pictures, sex = (part[WHOLE.tuning][..., None] for part in (DATA.images, DATA.sex))
    judged = again.predict_on_batch([pictures, sex])[:, 0] - DATA.target[WHOLE.tuning]
    # What was kept is what was judged.
    assert abs(float(np.abs(judged).mean()) - losses["tuning_loss"].min()) < 1e-3


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
    assert isinstance(on_two.optimizer, keras.optimizers.LossScaleOptimizer)
    assert losses[-1] < losses[0] and farthest(before, after) == 0


def sharpness_aware():
    """Each device moves the weights along the gradient of its own share, as `sam` says."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    start = np.array([[1.0], [-2.0], [0.5]])
    with devices.several_devices():
        network = test_sam.line(start)
        aware = test_sam.compiled(network, keras.optimizers.SGD(0.1), 0.3)
        told = aware.fit(x, y, batch_size=8, shuffle=False, verbose=0).history["loss"][0]
    halves = [
        test_sam.after_a_step(start, x[rows], y[rows], np.ones(4), 0.3, 0.1)[0]
        for rows in (slice(4), slice(4, 8))
    ]
    assert farthest(network.get_weights(), [np.mean(halves, axis=0)]) < 1e-5
    assert abs(told - np.mean((x @ start - y) ** 2)) < 1e-4


if __name__ == "__main__":
    virtual = [tf.config.LogicalDeviceConfiguration()] * 2
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, virtual)
    for part in (one_against_two, everything_on, float16, sharpness_aware):
        part()
