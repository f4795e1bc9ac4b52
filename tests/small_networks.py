"""Networks built and trained as the notebooks do it, and cases for them, small enough for tests."""

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


def custom_cnn(
    image_size: int,
    facts: dict = CARD,
    *,
    task: str = "age",
    widths: Sequence[int] = (4, 8),
    convolutions: int = 1,
    sex_input: bool = True,
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
    output = networks.head(x, sex, task, facts, sex_input=sex_input, seed=seed)
    return keras.Model([radiograph, sex], output, name=f"custom_cnn_{task}")


def transfer_network(
    backbone: str,
    image_size: int,
    facts: dict = CARD,
    *,
    task: str = "age",
    weights_path: Path | None = None,
    stages: int = 0,
    seed: int = 0,
    **of_head,
) -> keras.Model:
    """A network on a backbone, as notebook 03 puts it together."""
    radiograph, sex, pixels = networks.inputs(image_size, facts, seed)
    stem = backbones.stem(pixels, backbone, stages)
    application = backbones.application(backbone)
    whole = application(include_top=False, weights=None, input_tensor=stem)
    maps = backbones.feature_maps(whole, backbone, weights_path, stages)
    features = layers.GlobalAveragePooling2D(name="picture_features")(maps)
    output = networks.head(features, sex, task, facts, seed=seed, **of_head)
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
    patience: int = training.PATIENCE,
) -> pd.DataFrame:
    """Compile and train as the notebooks do; returns the history."""
    fed = batches.training_batches(material, batch_size, seed=7)
    model = sam.SharpnessAware(network, 0.05) if with_sam else network
    options = {"use_ema": True, "ema_momentum": averaging} if averaging else {}
    schedule = training.warm_up_and_decay(rate, epochs * len(fed))
    optimiser = keras.optimizers.AdamW(schedule, weight_decay=1e-4, **options)
    model.compile(optimiser, training.loss_of(task), jit_compile=False)
    progress = training.Progress(fed, epochs, state, about, patience)
    model.fit(
        fed,
        validation_data=batches.tuning_batches(material),
        initial_epoch=progress.resume(model),
        epochs=epochs,
        shuffle=False,
        callbacks=[training.Averages(), progress] if averaging else [progress],
        verbose=0,
    )
    return progress.table()
