"""Light random changes of a radiograph in training, as one layer with one warp.

Flip, rotation, shift and scale are one affine map, so a picture is interpolated once: Keras' own
layers warp three times, and on a processor that alone costs a third of a small network's step.
The amounts are those of the best documented ablation on these radiographs; stronger ones gave
nothing there.
"""

import keras
from keras import layers, ops

ROTATION_DEGREES = 7.0
SHIFT_SHARE = 0.03  # of the picture's side
SCALE_SHARE = 0.05
GREY_SHARE = 0.1  # of the range for brightness, of the spread for contrast, of the exponent (gamma)
DRAWS = 8  # random numbers a picture: flip, angle, scale, two shifts, gamma, contrast, brightness


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
    """Warp and shade pictures `[n, height, width, 1]` by `draws` `[n, 8]` in [-1, 1].

    The columns: mirrored where negative, angle, scale, shift across, shift down, gamma, contrast,
    brightness. Zeros change nothing.
    """
    return _shade(_warp(pictures, draws), draws)


def _warp(pictures, draws):
    height, width = pictures.shape[1:3]
    mirror = ops.where(draws[:, 0] < 0, -1.0, 1.0)
    angle = draws[:, 1] * (ROTATION_DEGREES * 3.141592653589793 / 180)
    scale = 1.0 + SCALE_SHARE * draws[:, 2]
    cosine, sine = ops.cos(angle) / scale, ops.sin(angle) / scale
    # Keras maps output pixels to input pixels: x = a0 u + a1 v + a2, y = b0 u + b1 v + b2.
    a0, a1, b0, b1 = cosine * mirror, -sine, sine * mirror, cosine
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
    gamma, contrast, brightness = (draws[:, at, None, None, None] for at in (5, 6, 7))
    signal = ops.clip((pictures + 1) / 2, 0.0, 1.0)
    # A bare 0 to a power has no finite derivative, which Grad-CAM or SAM may ask for.
    signal = ops.power(signal + 1e-6, ops.exp(GREY_SHARE * gamma))
    mean = ops.mean(signal, axis=(1, 2, 3), keepdims=True)
    signal = (signal - mean) * (1 + GREY_SHARE * contrast) + mean + GREY_SHARE * brightness
    return ops.clip(signal, 0.0, 1.0) * 2 - 1
