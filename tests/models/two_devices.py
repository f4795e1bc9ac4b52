"""Train on one and on two virtual CPU devices and write what came out.

`test_devices.py` runs it, in a process of its own since devices are made before TensorFlow wakes:
`python tests/two_devices.py told.json`.
"""

import contextlib
import functools
import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import small_networks
import tensorflow as tf
from keras import layers

from nbhelpers.models import batches, devices, saved, training
from nbhelpers.models.batches import Batches
from nbhelpers.models.material import Material

SIZE, BATCH = 16, 16
TRAINED, TUNED = 77, 13  # the last batch of training and a case of tuning are left out
WHOLE = 4 * BATCH  # each shape of a batch is compiled anew, which takes most of the time here
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5, "view": "hand"}


devices.several_devices = functools.partial(devices.several_devices, "cpu")


def radiographs():
    """Pictures whose brightness tells the age, shifted by sex."""
    rng = np.random.default_rng(1)
    sex = rng.integers(0, 2, TRAINED + TUNED).astype(np.float32)
    light = rng.uniform(0, 1, len(sex))
    grain = rng.uniform(0, 40, (len(sex), SIZE, SIZE))
    months = (60 + 100 * light + 30 * sex).astype(np.float32)
    return (light[:, None, None] * 200 + grain).astype(np.uint8), sex, months


PICTURES, SEX, MONTHS = radiographs()


def training_batches(epoch, trained):
    rows = np.arange(trained)
    fed = Batches(PICTURES, rows, SEX, MONTHS, BATCH, seed=3, drop_short=True)
    fed.begin(epoch)
    return fed


def tuning_batches(target=MONTHS):
    return Batches(PICTURES, np.arange(TRAINED, TRAINED + TUNED - 1), SEX, target, BATCH)


def plain_network(frozen):
    """A CNN with BatchNorm, frozen or not, in which nothing is random."""
    keras.utils.set_random_seed(0)
    radiograph, sex = keras.Input((SIZE, SIZE, 1), dtype="uint8"), keras.Input((1,))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(radiograph)
    for width in (4, 8):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(trainable=not frozen)(x)
        x = layers.MaxPooling2D()(layers.Activation("relu")(x))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), sex])
    months = layers.Rescaling(40.0, offset=120.0)(layers.Dense(1)(x))
    return compiled(keras.Model([radiograph, sex], months))


def whole_network():
    """The custom CNN with augmentation, dropout and BatchNorm."""
    keras.utils.set_random_seed(0)
    sizes = {"widths": (4, 8), "convolutions_per_block": 1, "dense_units": 16, "dropout": 0.2}
    return small_networks.custom_cnn(SIZE, CARD, task="age", seed=0, **sizes)


def compiled(network):
    optimiser = keras.optimizers.AdamW(2e-3, weight_decay=1e-3)
    network.compile(optimiser, "mean_absolute_error", jit_compile=False)
    network.optimizer.build(network.trainable_variables)
    devices.synchronise(network)
    return network


def train(network, epochs, trained=WHOLE):
    """Training and tuning loss of each epoch."""
    losses = []
    for epoch in epochs:
        fitted = network.fit(training_batches(epoch, trained), verbose=0, shuffle=False)
        losses.append((fitted.history["loss"][0], tune(network)))
    return losses


def tune(network):
    return float(network.evaluate(tuning_batches(), verbose=0))


def farthest(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def compare(frozen, trained, epochs):
    """The same network on two devices and on one, BatchNorm's moving statistics compared too."""
    with devices.several_devices() as shares:
        on_two = plain_network(frozen)
        before = on_two.get_weights()
        losses_two = train(on_two, range(epochs), trained)
    on_one = plain_network(frozen)
    losses_one = train(on_one, range(epochs), trained)
    return {
        "shares": shares,
        "steps": int(keras.ops.convert_to_numpy(on_two.optimizer.iterations)),
        "weights_apart": farthest(on_two.get_weights(), on_one.get_weights()),
        "weights_moved": farthest(on_two.get_weights(), before),
        "losses_on_two": losses_two,
        "losses_on_one": losses_one,
    }


def everything_on():
    """All that is random switched on, as the notebooks train; stopped half-way and gone on with."""
    rows = np.arange(TRAINED), np.arange(TRAINED, TRAINED + TUNED)
    material = Material(PICTURES, SEX, MONTHS, *rows)

    def fit(name):
        with devices.several_devices():
            network = whole_network()
            fed = batches.training_batches(material, BATCH, 0), batches.tuning_batches(material)
            options = {"state": Path(name), "averaging": 0.5}
            history = small_networks.fit(network, "age", *fed, 4, 2e-3, **options)
        return saved.save(network, Path(name).with_suffix(".keras")), history

    with tempfile.TemporaryDirectory() as folder:
        network, history = fit(f"{folder}/whole.npz")
        keep = training.Progress.keep

        def keep_and_stop(progress):
            keep(progress)
            if len(progress.history) == 2:
                raise KeyboardInterrupt

        training.Progress.keep = keep_and_stop
        with contextlib.suppress(KeyboardInterrupt):
            fit(f"{folder}/stopped.npz")
        training.Progress.keep = keep
        again, resumed = fit(f"{folder}/stopped.npz")
    judged = again.predict(tuning_batches(None), verbose=0)[:, 0] - MONTHS[TRAINED:-1]
    return {
        "losses": history[["train_loss", "tuning_loss"]].to_numpy().tolist(),
        "gone_on_apart": farthest(network.get_weights(), again.get_weights()),
        "epochs": len(resumed),
        "tuning_apart": abs(float(np.abs(judged).mean()) - history["tuning_loss"].min()),
    }


def float16():
    """A few epochs in mixed float16, as on two T4; then gradients that fail on the second alone."""
    devices.set_precision("mixed_float16")
    with devices.several_devices():
        on_two = plain_network(frozen=False)
        losses = train(on_two, range(3))
        before = [keras.ops.convert_to_numpy(weight) for weight in on_two.trainable_weights]
        too_large = np.where(np.arange(len(SEX)) == BATCH - 1, 1e6, SEX)  # infinite in float16
        failing = Batches(PICTURES, np.arange(BATCH), too_large, MONTHS, BATCH)
        on_two.fit(failing, verbose=0)
        after = [keras.ops.convert_to_numpy(weight) for weight in on_two.trainable_weights]
    with tempfile.TemporaryDirectory() as folder:
        twin = saved.save(on_two, Path(folder) / "twin.keras")
    predicted = [net.predict(tuning_batches(None), verbose=0) for net in (on_two, twin)]
    return {
        "optimiser": type(on_two.optimizer).__name__,
        "losses": losses,
        "moved_by_failed_gradients": farthest(before, after),
        "twin_apart": farthest(predicted[:1], predicted[1:]),
    }


if __name__ == "__main__":
    virtual = [tf.config.LogicalDeviceConfiguration()] * 2
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, virtual)
    found = {
        "frozen": compare(frozen=True, trained=TRAINED, epochs=2),
        "synchronised": compare(frozen=False, trained=2 * BATCH, epochs=5),
        "all": everything_on(),
        "float16": float16(),
    }
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1))
