"""The augmentation does what its units say, in training only, and goes on from its seed's state."""

import cv2
import keras
import numpy as np
import pytest

from nbhelpers.models import networks

SIDE = 65  # odd: the middle is a pixel
MIRROR, ANGLE, SCALE, ACROSS, DOWN, GAMMA, CONTRAST, BRIGHTNESS = range(8)


def changed_in_training(layer, pictures):
    return keras.ops.convert_to_numpy(layer(pictures, training=True))


def smooth(n=4, seed=0, height=SIDE, width=SIDE):
    """Smooth pictures in [-1, 1], dark at the border, so that little depends on its pixels."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 1, (n, height, width)).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), 3) for picture in noise])
    signal = np.clip((blurred - 0.3) * 2, 0, 1)
    signal[:, :8] = signal[:, -8:] = 0
    signal[:, :, :8] = signal[:, :, -8:] = 0
    return np.stack([cv2.GaussianBlur(s, (0, 0), 2) for s in signal])[..., None] * 2 - 1


def reference(picture, draws):
    """The same change by OpenCV and NumPy: `[height, width]` in [-1, 1]."""
    height, width = picture.shape
    angle = np.deg2rad(7 * draws[ANGLE])
    mirror = np.diag([-1.0 if draws[MIRROR] < 0 else 1.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ mirror / (1 + 0.05 * draws[SCALE])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = 0.03 * np.array([width * draws[ACROSS], height * draws[DOWN]])
    # From a pixel of the result to the place in the picture where its grey level is read.
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    places = (np.stack([columns, rows], -1) - middle) @ linear.T + middle + shift
    # OpenCV's own warp rounds places to a 32nd of a pixel, so the four neighbours are mixed here.
    padded = np.pad(picture.astype(float), 20, constant_values=-1.0)
    x, y = np.moveaxis(places + 20, -1, 0)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = x - x0, y - y0
    warped = (1 - down) * ((1 - across) * padded[y0, x0] + across * padded[y0, x0 + 1]) + down * (
        (1 - across) * padded[y0 + 1, x0] + across * padded[y0 + 1, x0 + 1]
    )
    signal = ((warped + 1) / 2) ** np.exp(0.1 * draws[GAMMA])
    mean = signal.mean()
    signal = (signal - mean) * (1 + 0.1 * draws[CONTRAST]) + mean + 0.1 * draws[BRIGHTNESS]
    return np.clip(signal, 0, 1) * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (48, 64)])
def test_it_is_what_numpy_makes_of_the_same_draws(height, width):
    pictures = smooth(12, seed=3, height=height, width=width)
    draws = np.random.default_rng(4).uniform(-1, 1, (12, networks.DRAWS)).astype(np.float32)
    got = keras.ops.convert_to_numpy(networks.change(pictures, draws))
    expected = np.stack([reference(p[..., 0], d) for p, d in zip(pictures, draws, strict=True)])
    np.testing.assert_allclose(got[..., 0], expected, rtol=0, atol=1e-4)


def test_nothing_happens_outside_training():
    layer = networks.LightAugmentation(1)
    pictures = smooth()
    before = keras.ops.convert_to_numpy(layer.generator.state)
    for options in ({}, {"training": False}):
        same = keras.ops.convert_to_numpy(layer(pictures, **options))
        np.testing.assert_array_equal(same, pictures)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.generator.state), before)


def test_the_same_state_of_the_seed_gives_the_same_batch():
    pictures = smooth()
    layer, twin = networks.LightAugmentation(5), networks.LightAugmentation(5)
    first = changed_in_training(layer, pictures)
    np.testing.assert_array_equal(changed_in_training(twin, pictures), first)
    state = keras.ops.convert_to_numpy(layer.generator.state)
    second = changed_in_training(layer, pictures)
    assert np.abs(second - first).max() > 0.1
    layer.generator.state.assign(state)
    np.testing.assert_array_equal(changed_in_training(layer, pictures), second)
    other = changed_in_training(networks.LightAugmentation(6), pictures)
    assert np.abs(other - first).max() > 0.1


def test_pictures_of_a_batch_are_changed_each_in_its_own_way():
    pictures = np.repeat(smooth(1), 32, axis=0)
    changed = changed_in_training(networks.LightAugmentation(2), pictures)
    apart = np.abs(changed[:, None] - changed[None]).max(axis=(2, 3, 4))
    assert (apart + np.eye(32) > 0.05).all()
    mirrored = [np.abs(c - pictures[0, :, ::-1]).mean() for c in changed]
    plain = [np.abs(c - pictures[0]).mean() for c in changed]
    share = np.mean(np.array(mirrored) < np.array(plain))
    assert 0.2 < share < 0.8


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


def test_its_settings_survive_a_file(tmp_path):
    shown = keras.Input((SIDE, SIDE, 1))
    model = keras.Model(shown, networks.LightAugmentation(9)(shown))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.layers[-1].seed == 9
