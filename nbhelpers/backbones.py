"""Backbones of keras.applications in one flat network, each fed its own range of grey levels.

The backbone is built with `input_tensor=`, so that the network's graph is flat: features, Grad-CAM
and the saved file reach every layer. Between the radiograph and the backbone stands one affine map,
the layer `stem_range`, and `assert_stem_range` checks what leaves it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers

from nbhelpers import backbone_layers, networks, weight_files
from nbhelpers.backbone_layers import MEAN, SD
from nbhelpers.workspace import InputError

Triple = tuple[float, float, float]
# What each family's own `preprocess_input` makes of a grey level in [0, 255]: (scale, offset).
AS_IT_IS = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))  # these families normalise inside
PLUS_MINUS_ONE = ((1 / 127.5,) * 3, (-1.0, -1.0, -1.0))
BLUE_FIRST = ((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68))
STANDARD = (tuple(1 / (255 * s) for s in SD), tuple(-m / s for m, s in zip(MEAN, SD, strict=True)))
# Beginnings of names with their range and the smallest side that Keras admits, pixels; the first
# that fits counts.
FAMILIES = (
    ("VGG", BLUE_FIRST, 32),
    ("EfficientNet", AS_IT_IS, 32),
    ("ConvNeXt", AS_IT_IS, 32),
    ("Inception", PLUS_MINUS_ONE, 75),
    ("Xception", PLUS_MINUS_ONE, 71),
    ("DenseNet", STANDARD, 32),
    ("MobileNetV3", AS_IT_IS, 32),
    ("MobileNet", PLUS_MINUS_ONE, 32),
    ("ResNet50V2", PLUS_MINUS_ONE, 32),
    ("ResNet101V2", PLUS_MINUS_ONE, 32),
    ("ResNet152V2", PLUS_MINUS_ONE, 32),
    ("ResNet", BLUE_FIRST, 32),
)


@dataclass(frozen=True)
class Backbone:
    """A backbone of keras.applications.

    Attributes:
        build: its constructor.
        scale, offset: a grey level g in [0, 255] enters channel c as `scale[c] * g + offset[c]`.
        weight_file: name of the file without the classifier, as Keras caches it.
        smallest_side: of the pictures that the whole backbone takes, pixels.
    """

    name: str
    build: Callable[..., keras.Model]
    scale: Triple
    offset: Triple
    weight_file: str
    smallest_side: int


def _row(name: str) -> Backbone:
    (scale, offset), side = next(row[1:] for row in FAMILIES if name.startswith(row[0]))
    file_name = weight_files.WEIGHT_FILES[name]
    return Backbone(name, weight_files.constructor(name), scale, offset, file_name, side)


BACKBONES = {name: _row(name) for name in weight_files.WEIGHT_FILES}


def find(backbone: str) -> Backbone:
    """The row of a backbone; raises InputError with the nearest name."""
    weight_files.check_name(backbone)
    return BACKBONES[backbone]


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
    """A network on a backbone: [radiographs uint8, sex] to months or stage probabilities.

    Random weights come from Keras' global seed (`keras.utils.set_random_seed`). All layers are
    trainable; see `freeze`.

    Args:
        backbone: a name of `BACKBONES`.
        image_size: height and width of the prepared radiographs, pixels.
        facts: what the card carries; for age also `mean_months` and `spread_months` of training.
        weights_path: weights of the backbone without its classifier, in either of Keras' layouts
            (`.h5`, `.weights.h5`); None starts from random weights.
        stages: ends the backbone before its down-sampling number `stages + 1`, for quick runs;
            0 takes the whole. A part takes smaller pictures too, where Keras can build the whole.
        of_head: sex_input, sex_units, dense_units, dropout or standardise of `networks.head`.

    Raises:
        InputError: an unknown backbone, pictures too small for it, more stages than it has, or a
            file of weights that is damaged or another backbone's.
    """
    row = find(backbone)
    if image_size < row.smallest_side and not stages:
        raise InputError(_too_small(row, image_size))
    radiograph, sex, pixels = networks.inputs(image_size, facts, seed)
    stem = to_range(pixels, row)
    try:
        whole = row.build(include_top=False, weights=None, input_tensor=stem)
    except ValueError as error:
        if image_size < row.smallest_side:
            raise InputError(_too_small(row, image_size)) from error
        raise
    plain = backbone_layers.load(row.build, weights_path, backbone) if weights_path else None
    backbone_layers.fill(backbone_layers.after_stem(whole.layers), plain)
    maps = backbone_layers.end_of_stage(whole, stages) if stages else whole.output
    features = layers.GlobalAveragePooling2D(name="picture_features")(maps)
    output = networks.head(features, sex, task, facts, seed=seed, **of_head)
    name = f"{backbone}_{task}".lower().replace(".", "_")
    network = keras.Model([radiograph, sex], output, name=name)
    assert_stem_range(network, backbone)
    return network


def to_range(pixels, row: Backbone):
    """Pixels `[n, height, width, 1]` in [-1, 1] as three equal channels in the backbone's range."""
    channels = layers.Concatenate(name="three_channels", dtype="float32")([pixels] * 3)
    scale = [127.5 * a for a in row.scale]
    offset = [127.5 * a + b for a, b in zip(row.scale, row.offset, strict=True)]
    return layers.Rescaling(scale, offset=offset, name="stem_range", dtype="float32")(channels)


def assert_stem_range(network: keras.Model, backbone: str) -> None:
    """Raise ValueError unless black and white enter the backbone as its row says.

    Pictures normalised twice, or not at all, are the most reported mistake with these networks; it
    raises no error anywhere else.
    """
    row = find(backbone)
    radiograph = network.get_layer("radiograph").output
    stem = keras.Model(radiograph, network.get_layer("stem_range").output)
    grey = np.array([0, 255], np.uint8)
    got = stem(np.broadcast_to(grey[:, None, None, None], (2, *radiograph.shape[1:])))
    wanted = (grey[:, None] * np.array(row.scale) + row.offset)[:, None, None, :]
    got = keras.ops.convert_to_numpy(got)
    if not np.allclose(got, wanted, rtol=0, atol=1e-3 * np.ptp(wanted)):
        raise ValueError(
            f"{backbone} wants black and white as {wanted[0].round(3).tolist()} and "
            f"{wanted[1].round(3).tolist()}, but gets {got[0].min():.3f} to {got[0].max():.3f} and "
            f"{got[1].min():.3f} to {got[1].max():.3f}: normalised twice, or not at all?"
        )


def freeze(network: keras.Model) -> None:
    """Keep the backbone as it is in training; compile afterwards.

    For BatchNormalization `trainable = False` means in Keras that it also runs in inference mode:
    it normalises by its moving statistics and does not update them. Dropout inside a backbone
    (EfficientNet's skipped blocks) has nothing to freeze and goes on in training.
    """
    for layer in backbone_layers.of_network(network):
        layer.trainable = False


def unfreeze(network: keras.Model, batch_norm: bool) -> None:
    """Train the backbone too; compile afterwards.

    Args:
        batch_norm: False leaves BatchNormalization frozen, in inference mode (see `freeze`), as
            Keras' guide to transfer learning advises for fine-tuning; True trains it, which a
            backbone of random weights needs.
    """
    for layer in backbone_layers.of_network(network):
        layer.trainable = batch_norm or not isinstance(layer, layers.BatchNormalization)


def _too_small(row: Backbone, image_size: int) -> str:
    return (
        f"image_size is {image_size}; {row.name} takes pictures of at least {row.smallest_side} "
        "pixels a side. Prepare larger ones or choose another backbone."
    )
