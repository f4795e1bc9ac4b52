"""Networks built and trained as the notebooks do it, small enough for tests."""

from collections.abc import Sequence
from pathlib import Path

import keras
import pandas as pd
from keras import layers

from nbhelpers.models import backbones, networks, sam, training
from nbhelpers.models.batches import Batches
from nbhelpers.models.networks import SEX_UNITS


def custom_cnn(
    image_size: int,
    facts: dict,
    *,
    task: str = "age",
    widths: Sequence[int] = (16, 32, 64, 128, 256),
    convolutions_per_block: int = 2,
    dense_units: int = 256,
    sex_units: int = SEX_UNITS,
    dropout: float = 0.3,
    sex_input: bool = True,
    seed: int = 0,
) -> keras.Model:
    """A CNN of 3 x 3 convolutions with max pooling after each block and a sex branch.

    Args:
        image_size: height and width of the prepared radiographs, pixels.
        facts: what the card carries; for age also `mean_months` and `spread_months` of training.
        task: `age` (months) or `stage` (five probabilities).
        widths: channels of each block; the first block has one convolution, since its pictures are
            the largest and it costs most.

    Returns:
        An uncompiled model of [radiographs uint8, sex float32].
    """
    radiograph, sex, x = networks.inputs(image_size, facts, seed)
    for block, width in enumerate(widths):
        for number in range(convolutions_per_block if block else 1):
            x = _convolution(x, width, name=f"block{block + 1}_conv{number + 1}")
        x = layers.MaxPooling2D(name=f"block{block + 1}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="picture_features")(x)
    output = networks.head(
        x,
        sex,
        task,
        facts,
        sex_input=sex_input,
        sex_units=sex_units,
        dense_units=dense_units,
        dropout=dropout,
        seed=seed,
    )
    return keras.Model([radiograph, sex], output, name=f"custom_cnn_{task}")


def transfer_network(
    backbone: str,
    image_size: int,
    facts: dict,
    *,
    task: str,
    weights_path: Path | None,
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


def _convolution(x, width: int, name: str):
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
    # A hundred-odd steps an epoch: with the default of 0.99 the moving statistics lag behind.
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def fit(
    network: keras.Model,
    task: str,
    fed: Batches,
    tuning: Batches,
    epochs: int,
    rate: float = 2e-3,
    *,
    state: Path | None = None,
    about: object = None,
    averaging: float = 0.0,
    with_sam: bool = False,
    patience: int = training.PATIENCE,
) -> pd.DataFrame:
    """Compile and train as the notebooks do; returns the history."""
    model = sam.SharpnessAware(network, 0.05) if with_sam else network
    options = {"use_ema": True, "ema_momentum": averaging} if averaging else {}
    schedule = training.warm_up_and_decay(rate, epochs * len(fed))
    optimiser = keras.optimizers.AdamW(schedule, weight_decay=1e-4, **options)
    model.compile(optimiser, training.loss_of(task), jit_compile=False)
    progress = training.Progress(fed, epochs, state, about, patience)
    model.fit(
        fed,
        validation_data=tuning,
        initial_epoch=progress.resume(model),
        epochs=epochs,
        shuffle=False,
        callbacks=[training.Averages(), progress] if averaging else [progress],
        verbose=0,
    )
    return progress.table()
