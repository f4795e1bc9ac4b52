"""Heat maps: right where they can be computed by hand, alike after reload, alone and together."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import small_networks
from keras import layers
from notebook_code import functions

from nbhelpers.explain import grad_cam
from nbhelpers.models import networks, saved
from nbhelpers.workspace import InputError

SIDE, N = 32, 40  # more than a batch
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    light = rng.uniform(0.2, 1, (N, 1, 1))
    shown = (light * rng.integers(0, 256, (N, SIDE, SIDE))).astype(np.uint8)
    return shown, rng.choice([0.0, 1.0], N)


def network(task="age"):
    keras.utils.set_random_seed(0)
    return small_networks.custom_cnn(SIDE, CARD, task=task, widths=(4, 8))


@pytest.mark.parametrize("cells", [0, SIDE // 2])
def test_the_gradient_is_that_of_the_score_before_months(given, cells):
    """A small change of the features changes the score as the notebook's signed map says."""
    shown, sex = given[0][:4], given[1][:4]
    made = network()
    layer = grad_cam.feature_layer(made, cells)
    (signed_maps,) = functions("06_grad_cam", "signed_maps")
    one = SimpleNamespace(network=made, cells=cells, given=lambda rows: (shown, sex))
    signed = signed_maps(one, None, "hires_cam")
    found = grad_cam.coarse_maps(made, shown, sex, "hires_cam", cells=cells)
    np.testing.assert_allclose(found, abs(signed), atol=1e-4 * found.max())
    front = keras.Model(made.inputs[0], layer.output)
    back = keras.Model([layer.output, made.inputs[1]], made.get_layer("standard_age").output)
    features = keras.ops.convert_to_numpy(front(shown[..., None], training=False))

    def score(of):
        return keras.ops.convert_to_numpy(back([of, sex[:, None]], training=False))[:, 0]

    step = 1e-3
    slope = (score(features * (1 + step)) - score(features * (1 - step))) / (2 * step)
    # The sum of value times gradient is the slope along the features themselves.
    np.testing.assert_allclose(signed.sum(axis=(1, 2)), slope, rtol=0.02, atol=1e-3)


def test_the_feature_map_is_the_last_that_is_fine_enough_and_that_nothing_leads_around():
    radiograph, sex, x = networks.inputs(SIDE, CARD)
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    within = layers.Conv2D(4, 3, padding="same", name="within")(stem)
    whole = layers.Add(name="whole")([stem, within])
    low = layers.Conv2D(4, 3, strides=2, padding="same", name="low")(whole)
    pooled = layers.GlobalAveragePooling2D()(low)
    made = keras.Model([radiograph, sex], networks.output(pooled, "age", CARD), name="skips")
    assert grad_cam.feature_layer(made).name == "low"
    assert grad_cam.feature_layer(made, SIDE).name == "whole"
    around = layers.Concatenate()([pooled, layers.GlobalAveragePooling2D()(whole)])
    made = keras.Model([radiograph, sex], networks.output(around, "age", CARD), name="around")
    assert grad_cam.feature_layer(made).name == "whole"
    with pytest.raises(InputError, match="around has no feature map of 100 cells per side"):
        grad_cam.feature_layer(made, 100)
    flat = networks.output(layers.Flatten()(x), "age", CARD)
    with pytest.raises(InputError, match="plain has no convolution"):
        grad_cam.feature_layer(keras.Model([radiograph, sex], flat, name="plain"))


@pytest.mark.parametrize(("task", "method"), [("age", "grad_cam_pp"), ("stage", "hires_cam")])
def test_maps_are_a_case_s_own_alone_together_and_after_reload(given, tmp_path, task, method):
    shown, sex = given
    made = network(task)
    stage = np.arange(N) % 5 if task == "stage" else None
    maps = grad_cam.heat_maps(made, shown, sex, method, stage)
    assert maps.shape == shown.shape and (maps >= 0).all() and maps.max() > 0
    saved.save(network(task), tmp_path / "model.keras")
    loaded = saved.load(tmp_path / "model.keras")
    one = None if stage is None else stage[7:8]
    alone = grad_cam.heat_maps(loaded, shown[7:8], sex[7:8], method, one)
    np.testing.assert_allclose(alone[0], maps[7], rtol=1e-3, atol=1e-6 * maps.max())
    of_others = [grad_cam.heat_maps(made, shown, 1 - sex, method, stage)]
    if task == "stage":
        of_others.append(grad_cam.heat_maps(made, shown, sex, method, 4 - stage))
    assert all(abs(maps - other).max() > 0.01 * maps.max() for other in of_others)
