"""The layers around a network do what their units say; so does the augmentation, in training."""

import keras
import numpy as np
import pytest
import small_networks
from scipy import ndimage
from small_networks import CARD

from nbhelpers.models import networks

SIDE = 65  # odd: the middle is a pixel
MIRROR, ANGLE, SCALE, ACROSS, DOWN, GAMMA, CONTRAST, BRIGHTNESS, ASPECT, SHARPNESS = range(10)


def smooth(n=4, seed=0, height=SIDE, width=SIDE):
    """Smooth pictures in [-1, 1], dark at the border, so that little depends on its pixels."""
    noise = np.random.default_rng(seed).uniform(0, 1, (n, height - 16, width - 16))
    signal = np.clip(ndimage.gaussian_filter(noise, (0, 3, 3)) * 2 - 0.6, 0, 1)
    framed = np.pad(signal, ((0, 0), (8, 8), (8, 8))).astype(np.float32)
    return ndimage.gaussian_filter(framed, (0, 2, 2))[..., None] * 2 - 1


def reference(picture, draws):
    """The same change by SciPy and NumPy: `[height, width]` in [-1, 1]."""
    height, width = picture.shape
    angle = np.deg2rad(7 * draws[ANGLE])
    mirror = np.diag([-1.0 if draws[MIRROR] < 0 else 1.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # From a pixel (x, y) of the result to the place in the picture where its grey level is read.
    squeeze = np.exp(0.3 * np.maximum([-draws[ASPECT], draws[ASPECT]], 0))  # across, down
    linear = np.diag(squeeze) @ turn @ mirror / (1 + 0.05 * draws[SCALE])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - linear @ middle + 0.03 * draws[[ACROSS, DOWN]] * (width, height)
    warped = ndimage.affine_transform(
        picture.astype(float), linear[::-1, ::-1], offset[::-1], order=1, cval=-1.0
    )
    signal = (warped + 1) / 2
    binomial = np.array([1, 4, 6, 4, 1]) / 16
    soft = ndimage.convolve(signal, np.outer(binomial, binomial), mode="constant")
    signal = np.clip(signal + draws[SHARPNESS] * (signal - soft), 0, 1)
    signal = signal ** np.exp(0.4 * draws[GAMMA])
    mean = signal.mean()
    signal = (signal - mean) * (1 + 0.1 * draws[CONTRAST]) + mean + 0.1 * draws[BRIGHTNESS]
    return np.clip(signal, 0, 1) * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (48, 64)])
def test_it_is_what_numpy_makes_of_the_same_draws(height, width):
    pictures = smooth(12, seed=3, height=height, width=width)
    draws = np.random.default_rng(4).uniform(-1, 1, (12, networks.DRAWS)).astype(np.float32)
    got = keras.ops.convert_to_numpy(networks.change(pictures, draws))
    expected = np.stack([reference(p[..., 0], d) for p, d in zip(pictures, draws, strict=True)])
    # An eighth of a grey level: near black the root of a rounding is not small.
    np.testing.assert_allclose(got[..., 0], expected, rtol=0, atol=1e-3)


def test_a_batch_follows_from_the_state_of_the_seed_which_travels_in_the_file(tmp_path):
    pictures = np.repeat(smooth(1), 32, axis=0)
    shown = keras.Input((SIDE, SIDE, 1))
    made = keras.Model(shown, networks.LightAugmentation(5)(shown))
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    first, second, again = (np.array(m(pictures, training=True)) for m in (made, made, loaded))
    np.testing.assert_array_equal(again, first)
    assert np.abs(second - first).max() > 0.1
    np.testing.assert_array_equal(made(pictures), pictures)  # outside training
    apart = np.abs(first[:, None] - first[None]).max(axis=(2, 3, 4))
    assert (apart + np.eye(32) > 0.05).all()  # each in its own way
    to_mirror, to_plain = (
        np.abs(first - p).mean(axis=(1, 2, 3)) for p in (pictures[:, :, ::-1], pictures)
    )
    assert 0.2 < np.mean(to_mirror < to_plain) < 0.8


def test_gradients_are_finite_where_there_is_no_signal():
    """Grad-CAM and SAM may ask for them: a bare 0 to a power has none."""
    keras.utils.set_random_seed(0)
    shown = keras.Input((16, 16, 1))
    black = {"kernel_initializer": "zeros", "bias_initializer": keras.initializers.Constant(-1.0)}
    x = keras.layers.Conv2D(1, 3, padding="same", **black)(shown)
    x = networks.LightAugmentation(0)(x)
    model = keras.Model(shown, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    model.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    model.train_on_batch(np.full((4, 16, 16, 1), -1.0, np.float32), np.ones((4, 1)))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize("task", ["age", "stage"])
def test_the_ends_compute_in_float32_whatever_the_precision(task):
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_networks.custom_cnn(32, task=task)
    finally:
        keras.config.set_dtype_policy(usual)
    ends = [model.get_layer("scale"), model.get_layer("augmentation"), *model.layers[-2:]]
    assert {layer.compute_dtype for layer in ends} == {"float32"}
    assert model.get_layer("card").compute_dtype == "uint8"
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"


def test_grey_levels_become_minus_one_to_one_and_output_months_by_the_card():
    facts = CARD | {"mean_months": 100.0, "spread_months": 30.0}
    radiograph, sex, pixels = networks.inputs(2, facts)
    x = keras.layers.Flatten()(pixels)
    model = keras.Model([radiograph, sex], [x, networks.output(x, "age", facts)])
    model.get_layer("standard_age").set_weights([np.full((4, 1), 0.25), np.zeros(1)])
    levels = np.broadcast_to(np.array([0, 51, 255], np.uint8)[:, None, None, None], (3, 2, 2, 1))
    seen, months = model([levels, np.zeros((3, 1))])
    np.testing.assert_allclose(seen[:, 0], [-1, -0.6, 1], atol=1e-6)
    np.testing.assert_allclose(months[:, 0], [70, 82, 130], atol=1e-4)
    assert networks.model_facts(model) == facts
