"""Heat maps: right where they can be computed by hand, alike after reload, alone and together."""

import keras
import numpy as np
import pytest
from keras import layers
from test_features import liven

from nbhelpers.explain import checks, grad_cam
from nbhelpers.models import backbones, networks, saved
from nbhelpers.workspace import InputError

SIDE, N = 32, 40  # more than a batch
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    light = rng.uniform(0.2, 1, (N, 1, 1))
    shown = (light * rng.integers(0, 256, (N, SIDE, SIDE))).astype(np.uint8)
    return shown, rng.choice([0.0, 1.0], N)


def network(kind="cnn", task="age", **options):
    keras.utils.set_random_seed(0)
    if kind == "mobilenet":
        more = {"weights_path": None, "dense_units": 8, "sex_units": 4, "stages": 3}
        made = backbones.transfer_network("MobileNet0.25", SIDE, CARD, task=task, **more, **options)
        liven(made)
        return made
    return networks.custom_cnn(SIDE, CARD, task=task, widths=(4, 8), dense_units=16, **options)


def linear_network(channels=3):
    """A network whose age is a weighted mean of its feature map: its maps are known."""
    keras.utils.set_random_seed(0)
    radiograph, sex, x = networks.inputs(SIDE, CARD)
    x = layers.Conv2D(channels, 3, padding="same", activation="relu", name="conv")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model([radiograph, sex], networks.age_head(x, 120.0, 40.0))


def test_of_a_linear_head_the_map_is_the_weighted_features(given):
    shown, sex = given
    made = linear_network()
    features = keras.Model(made.inputs[0], made.get_layer("conv").output)
    seen = keras.ops.convert_to_numpy(features(shown[..., None], training=False))
    weights = made.get_layer("standard_age").get_weights()[0][:, 0]
    expected = (seen * weights).sum(axis=-1) / SIDE**2
    for method in ("grad_cam", "hires_cam"):
        both = grad_cam.coarse_maps(made, shown, sex, method)
        for sign, maps in zip((1, -1), both, strict=True):
            np.testing.assert_allclose(maps, np.maximum(sign * expected, 0), rtol=1e-4, atol=1e-8)


def test_grad_cam_pp_of_a_linear_head_counts_channels_that_speak_for_it(given):
    shown, sex = given
    made = linear_network()
    features = keras.Model(made.inputs[0], made.get_layer("conv").output)
    seen = keras.ops.convert_to_numpy(features(shown[..., None], training=False))
    weights = made.get_layer("standard_age").get_weights()[0][:, 0] / SIDE**2
    # Equal gradients everywhere: alpha is 1 / places each, so a channel counts by its gradient.
    expected = (seen * np.maximum(weights, 0)).sum(axis=-1)
    maps, _ = grad_cam.coarse_maps(made, shown, sex, "grad_cam_pp")
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("cells", [0, SIDE // 2])
def test_the_gradient_is_that_of_the_score_before_months(given, cells):
    """A small change of the features changes the score as the HiRes map says."""
    shown, sex = given[0][:4], given[1][:4]
    made = network()
    layer = grad_cam.feature_layer(made, cells)
    assert layer.output.shape[1] >= cells and "pool" not in layer.name
    older, younger = grad_cam.coarse_maps(made, shown, sex, "hires_cam", cells=cells)
    assert older.shape[1:] == layer.output.shape[1:3]
    front = keras.Model(made.inputs[0], layer.output)
    back = keras.Model([layer.output, made.inputs[1]], made.get_layer("standard_age").output)
    features = keras.ops.convert_to_numpy(front(shown[..., None], training=False))

    def score(of):
        return keras.ops.convert_to_numpy(back([of, sex[:, None]], training=False))[:, 0]

    step = 1e-3
    slope = (score(features * (1 + step)) - score(features * (1 - step))) / (2 * step)
    # The sum of value times gradient is the slope along the features themselves.
    np.testing.assert_allclose((older - younger).sum(axis=(1, 2)), slope, rtol=0.02, atol=1e-3)


def test_the_feature_map_is_the_last_that_is_fine_enough_and_that_nothing_leads_around():
    made = network("mobilenet")
    sizes = [grad_cam.feature_layer(made, cells).output.shape[1] for cells in (0, 5, 16)]
    assert sizes == sorted(sizes) and sizes[1] >= 5 and sizes[2] >= 16
    radiograph, sex, x = networks.inputs(SIDE, CARD)
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    within = layers.Conv2D(4, 3, padding="same", name="within")(stem)
    whole = layers.Add(name="whole")([stem, within])
    low = layers.Conv2D(4, 3, strides=2, padding="same", name="low")(whole)
    pooled = layers.GlobalAveragePooling2D()(low)
    made = keras.Model([radiograph, sex], networks.age_head(pooled, 120.0, 40.0), name="skips")
    assert grad_cam.feature_layer(made).name == "low"
    assert grad_cam.feature_layer(made, SIDE).name == "whole"
    around = layers.Concatenate()([pooled, layers.GlobalAveragePooling2D()(whole)])
    made = keras.Model([radiograph, sex], networks.age_head(around, 120.0, 40.0), name="around")
    assert grad_cam.feature_layer(made).name == "whole"
    with pytest.raises(InputError, match="around has no feature map of 100 cells a side"):
        grad_cam.feature_layer(made, 100)


@pytest.mark.parametrize(
    ("kind", "task", "method"),
    [
        ("cnn", "age", "hires_cam"),
        ("cnn", "stage", "grad_cam"),
        ("mobilenet", "age", "grad_cam_pp"),
        ("mobilenet", "stage", "hires_cam"),
    ],
)
def test_maps_are_the_same_alone_together_and_after_reload(given, tmp_path, kind, task, method):
    shown, sex = given
    made = network(kind, task)
    stage = np.arange(N) % 5 if task == "stage" else None
    maps, against = grad_cam.heat_maps(made, shown, sex, method, stage)
    assert maps.shape == against.shape == shown.shape and maps.dtype == np.float32
    assert np.isfinite(maps).all() and (maps >= 0).all() and maps.max() > 0
    one = None if stage is None else stage[7:8]
    alone, _ = grad_cam.heat_maps(made, shown[7:8], sex[7:8], method, one)
    np.testing.assert_allclose(alone[0], maps[7], rtol=1e-3, atol=1e-6 * maps.max())
    fresh = network(kind, task)  # a network whose layers went into another model is not saved
    saved.save(fresh, tmp_path / "model.keras")
    loaded = saved.load(tmp_path / "model.keras")
    again = grad_cam.heat_maps(loaded, shown, sex, method, stage)
    np.testing.assert_allclose(again[0], maps, rtol=1e-4, atol=1e-6 * maps.max())
    np.testing.assert_allclose(again[1], against, rtol=1e-4, atol=1e-6 * against.max())


def test_a_mirrored_radiograph_has_the_mirrored_map(given):
    shown, sex = given
    made = network()
    maps, _ = grad_cam.heat_maps(made, shown, sex)
    mirrored, _ = grad_cam.heat_maps(made, shown[:, :, ::-1], sex)
    np.testing.assert_allclose(mirrored[:, :, ::-1], maps, rtol=1e-3, atol=1e-5 * maps.max())


def test_each_stage_has_its_own_map_and_sex_matters(given):
    shown, sex = given
    made = network(task="stage")
    maps = [grad_cam.heat_maps(made, shown, sex, stage=np.full(N, at))[0] for at in (0, 4)]
    assert abs(maps[0] - maps[1]).max() > 0.01 * maps[0].max()
    other, _ = grad_cam.heat_maps(made, shown, 1 - sex, stage=np.zeros(N))
    assert abs(maps[0] - other).max() > 0
    unknown = grad_cam.coarse_maps(made, shown, np.full(N, np.nan), stage=np.zeros(N))
    share = grad_cam.coarse_maps(made, shown, np.full(N, 0.25), stage=np.zeros(N))
    np.testing.assert_array_equal(unknown, share)
    made = network(sex_input=False)
    maps, _ = grad_cam.heat_maps(made, shown, sex)
    np.testing.assert_allclose(maps, grad_cam.heat_maps(made, shown, 1 - sex)[0])


def test_what_cannot_be_explained_is_refused(given):
    shown, sex = given
    with pytest.raises(InputError, match="method is 'cam'; choose from hires_cam"):
        grad_cam.heat_maps(network(), shown, sex, "cam")
    radiograph, known, x = networks.inputs(SIDE, CARD)
    flat = layers.Flatten()(x)
    plain = keras.Model([radiograph, known], networks.age_head(flat, 120.0, 40.0), name="plain")
    with pytest.raises(InputError, match="plain has no convolution"):
        grad_cam.heat_maps(plain, shown, sex)


def test_random_weights_change_the_map_and_not_that_of_an_edge_detector(given):
    shown, sex = given
    made = network()
    before = made.get_weights()

    def of_network(one):
        return grad_cam.coarse_maps(one, shown, sex, "hires_cam")[0]

    told = checks.likeness_by_depth(made, of_network, depths=3)
    assert (np.diff(told["random_share"]) > 0).all() and told["random_share"][0] == 0
    assert told["random_share"].iloc[-1] == 1
    assert told["value"][0] == pytest.approx(1)
    assert told["value"].iloc[-1] < 0.6
    assert checks.likeness(np.zeros((1, 4, 4)), np.eye(4)[None]).tolist() == [0]  # of a flat map
    control = checks.likeness_by_depth(made, lambda one: checks.edge_maps(shown), depths=3)
    assert (control["value"] > 0.999).all()
    for mine, then in zip(made.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, then)
