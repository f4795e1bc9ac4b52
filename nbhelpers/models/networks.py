"""The layers around any network: card, augmentation, output.

A network takes uint8 radiographs `[n, height, width, 1]` and sex `[n, 1]` (0 female, 1 male).
Scaling, augmentation and the target's mean and spread are layers inside it, so that the saved file
alone gives months, or five stage probabilities.

The augmentation is one layer with one warp: flip, rotation, shift, scale and aspect are one affine
map, so a picture is interpolated once; Keras' own layers warp three times, and on a processor that
alone costs a third of a small network's step. Rotation, shift, scale, brightness and contrast
change by what the best documented ablation on these radiographs found to be enough. Aspect,
sharpness and gamma change by more, for radiographs from elsewhere: squeezed to a square or not,
scaled down with care or coarsely.
"""

import keras
import numpy as np
from keras import layers, ops

from nbhelpers.data.stages import STAGES

ROTATION_DEGREES = 7.0
SHIFT_SHARE = 0.03  # of the picture's side
SCALE_SHARE = 0.05
GREY_SHARE = 0.1  # of the range for brightness, of the spread for contrast
GAMMA = 0.4  # of the exponent, as its logarithm: 0.67 to 1.5
ASPECT = 0.3  # of width or height, as the logarithm: down to 0.74
SOFTENED = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # weights across and down: SD of 1 pixel
DRAWS = 10  # random numbers a picture, see `change`

# A prediction is the mean over these four views, as draws of `change`: mirrored or not, turned and
# scaled as far as in training, each way as often as the other and with either way of the others.
VIEWS = [(a, b, a * b, 0, 0, 0, 0, 0, 0, 0) for a in (-1, 1) for b in (-1, 1)]


@keras.saving.register_keras_serializable(package="nbhelpers")
class LightAugmentation(layers.Layer):
    """Changes pictures `[n, height, width, 1]` in [-1, 1] at random, in training only.

    Pixels from outside the picture are -1: no signal.

    Args:
        seed: of the layer's own generator, whose state is a variable of the model.
    """

    def __init__(self, seed: int = 0, **options):
        super().__init__(**options)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, pictures, training=False):
        if not training:
            return pictures
        shape = (ops.shape(pictures)[0], DRAWS)
        return change(pictures, keras.random.uniform(shape, -1.0, 1.0, seed=self.generator))

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}


def change(pictures, draws):
    """Warp and shade pictures `[n, height, width, 1]` by `draws` `[n, 10]` in [-1, 1].

    The columns: mirrored where negative, angle, scale, shift across, shift down, gamma, contrast,
    brightness, aspect (narrower to shorter), sharpness (softened to sharpened). Zeros change
    nothing.
    """
    return _shade(_warp(pictures, draws), draws)


def changed(pictures: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Pictures uint8 `[n, height, width, 1]`, changed by `draws` `[10]` or `[n, 10]`: uint8 again.

    Args:
        draws: see `change`.
    """
    draws = np.broadcast_to(draws, (len(pictures), DRAWS)).astype(np.float32)
    pixels = change(pictures / np.float32(127.5) - 1, draws)
    return ((ops.convert_to_numpy(pixels) + 1) * 127.5).round().astype(np.uint8)


def _warp(pictures, draws):
    height, width = pictures.shape[1:3]
    mirror = ops.where(draws[:, 0] < 0, -1.0, 1.0)
    angle = draws[:, 1] * (ROTATION_DEGREES * 3.141592653589793 / 180)
    scale = 1.0 + SCALE_SHARE * draws[:, 2]
    cosine, sine = ops.cos(angle) / scale, ops.sin(angle) / scale
    # Keras maps output pixels to input pixels: x = a0 u + a1 v + a2, y = b0 u + b1 v + b2.
    narrower, shorter = (ops.exp(ASPECT * ops.relu(way * draws[:, 8])) for way in (-1, 1))
    a0, a1 = narrower * cosine * mirror, -narrower * sine
    b0, b1 = shorter * sine * mirror, shorter * cosine
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    a2 = middle_x - a0 * middle_x - a1 * middle_y + draws[:, 3] * SHIFT_SHARE * width
    b2 = middle_y - b0 * middle_x - b1 * middle_y + draws[:, 4] * SHIFT_SHARE * height
    nothing = ops.zeros_like(a0)
    return ops.image.affine_transform(
        pictures,
        ops.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1),
        interpolation="bilinear",
        fill_mode="constant",
        fill_value=-1.0,
        data_format="channels_last",
    )


def _shade(pictures, draws):
    gamma, contrast, brightness, sharpness = (draws[:, at, None, None, None] for at in (5, 6, 7, 9))
    signal = (pictures + 1) / 2
    kernel = np.outer(SOFTENED, SOFTENED)[:, :, None, None].astype("float32")
    soft = ops.conv(signal, kernel, padding="same", data_format="channels_last")
    signal = ops.clip(signal + sharpness * (signal - soft), 0.0, 1.0)
    # A bare 0 to a power has no finite derivative, which Grad-CAM or SAM may ask for.
    signal = ops.power(signal + 1e-6, ops.exp(GAMMA * gamma))
    mean = ops.mean(signal, axis=(1, 2, 3), keepdims=True)
    signal = (signal - mean) * (1 + GREY_SHARE * contrast) + mean + GREY_SHARE * brightness
    return ops.clip(signal, 0.0, 1.0) * 2 - 1


@keras.saving.register_keras_serializable(package="nbhelpers")
class ModelCard(layers.Layer):
    """Passes radiographs through and carries facts about the model inside its file.

    Args:
        facts: plain values: view, preparation hash, share of boys in training, stage cuts.
    """

    def __init__(self, facts: dict, **options):
        super().__init__(**options)
        self.facts = dict(facts)

    def call(self, inputs):
        return inputs

    def get_config(self) -> dict:
        return {**super().get_config(), "facts": self.facts}


def model_facts(model: keras.Model) -> dict:
    """The facts that the model's card carries."""
    return model.get_layer("card").facts


def inputs(image_size: int, facts: dict, seed: int = 0):
    """The two inputs of every network, and the radiograph as pixels in [-1, 1], -1 no signal.

    Args:
        image_size: height and width of the prepared radiographs, pixels.
        facts: what the card carries.
        seed: of the augmentation.

    Returns:
        radiograph `[n, size, size, 1]` uint8, sex `[n, 1]`, and pixels `[n, size, size, 1]`.
    """
    radiograph = keras.Input((image_size, image_size, 1), dtype="uint8", name="radiograph")
    sex = keras.Input((1,), name="sex")
    x = ModelCard(facts, name="card", dtype="uint8")(radiograph)
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale", dtype="float32")(x)
    return radiograph, sex, LightAugmentation(seed, name="augmentation", dtype="float32")(x)


def output(features, task: str, facts: dict):
    """Months, or probabilities of the five stages, from features `[n, k]`, in float32.

    Months are one unit, scaled by the mean and SD of the training ages, which `facts` holds; before
    the softmax of stages stands the layer `logits`.
    """
    if task == "age":
        standard = layers.Dense(1, dtype="float32", name="standard_age")(features)
        scaling = {"offset": facts["mean_months"], "dtype": "float32", "name": "months"}
        return layers.Rescaling(facts["spread_months"], **scaling)(standard)
    logits = layers.Dense(STAGES, dtype="float32", name="logits")(features)
    return layers.Softmax(dtype="float32", name="stage_probabilities")(logits)
