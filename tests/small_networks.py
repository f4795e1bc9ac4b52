"""Networks built and trained as the notebooks do it, and cases for them, small enough for tests."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import layers

from nbhelpers.models import backbones, batches, networks, sam, training
from nbhelpers.models.material import Material

CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


def light_tells_age(train: int, tuning: int, side: int, **more) -> Material:
    """Cases of training, then of tuning; how light a picture is tells the age, shifted by sex."""
    rng = np.random.default_rng(1)
    n = train + tuning
    sex, light = rng.integers(0, 2, n).astype(np.float32), rng.uniform(0, 1, n)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (n, side, side))).astype(np.uint8)
    months = (60 + 100 * light + 30 * sex).astype(np.float32)
    rows = np.arange(train), np.arange(train, n)
    return Material(pictures, sex, months, *rows, unknown_sex=0.25, **{"card": CARD} | more)


def start(code: str, *arguments: object, **variables: str) -> subprocess.Popen:
    """Python code in a process of its own, with the paths of this one."""
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | paths | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def head(features, sex, task: str, facts: dict, sex_input: bool = True, seed: int = 0):
    """The layers that the notebooks put after the features of a radiograph."""
    x = features
    if sex_input:
        known = layers.Dense(32, activation="relu", name="sex_features")(sex)
        x = layers.Concatenate(name="features")([x, known])
    x = layers.Dense(256, activation="relu", name="dense")(x)
    x = layers.Dropout(0.2, seed=seed + 6, name="dropout")(x)
    return networks.output(x, task, facts)


def custom_cnn(
    image_size: int,
    facts: dict = CARD,
    *,
    task: str = "age",
    widths: Sequence[int] = (4, 8),
    convolutions: int = 1,
    seed: int = 0,
) -> keras.Model:
    """A CNN as that of notebook 02, uncompiled: blocks of convolutions of some widths, and a head.

    Args:
        convolutions: of a block, but for the first, whose pictures are the largest.
    """
    radiograph, sex, x = networks.inputs(image_size, facts, seed)
    for block, width in enumerate(widths):
        for number in range(convolutions if block else 1):
            name = f"block{block + 1}_conv{number + 1}"
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D(name="picture_features")(x)
    output = head(x, sex, task, facts, seed=seed)
    return keras.Model([radiograph, sex], output, name=f"custom_cnn_{task}")


def transfer_network(
    backbone: str,
    image_size: int,
    facts: dict = CARD,
    *,
    task: str = "age",
    weights_path: Path | None = None,
    stages: int = 0,
    sex_input: bool = True,
) -> keras.Model:
    """A network on a backbone, as notebook 03 puts it together; its backbone is frozen."""
    radiograph, sex, pixels = networks.inputs(image_size, facts)
    stem, application = backbones.stem(pixels, backbone), backbones.application(backbone)
    base = application(include_top=False, weights=None, input_tensor=stem)
    maps = backbones.feature_maps(base, backbone, weights_path, stages)
    base.trainable = False
    features = layers.GlobalAveragePooling2D(name="picture_features")(maps)
    output = head(features, sex, task, facts, sex_input)
    return keras.Model([radiograph, sex], output, name=f"{backbone}_{task}".replace(".", "_"))


def fit(
    network: keras.Model,
    task: str,
    material: Material,
    epochs: int,
    rate: float = 2e-3,
    *,
    batch_size: int = 16,
    state: Path | None = None,
    about: object = None,
    averaging: float = 0.0,
    with_sam: bool = False,
) -> pd.DataFrame:
    """Compile and train as the notebooks do; returns the history."""
    fed, tuning = batches.of_splits(material, batch_size, seed=7)
    model = sam.SharpnessAware(network, 0.05) if with_sam else network
    schedule = training.warm_up_and_decay(rate, epochs * len(fed))
    averages = {"use_ema": True, "ema_momentum": averaging}
    optimiser = keras.optimizers.AdamW(schedule, weight_decay=1e-4, **averages)
    model.compile(optimiser, training.loss_of(task), jit_compile=False)
    progress = training.Progress(fed, epochs, state, about)
    model.fit(
        fed,
        validation_data=tuning,
        initial_epoch=progress.resume(model),
        epochs=epochs,
        shuffle=False,
        callbacks=[progress],
        verbose=0,
    )
    return progress.table()
