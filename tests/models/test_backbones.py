"""Networks on backbones: grey levels and features as Keras' own, weights, stages, files."""

import functools
import inspect

import h5py
import keras
import numpy as np
import pytest
import small_networks
from keras import layers
from keras.src.legacy.saving import legacy_h5_format
from small_networks import CARD

from nbhelpers.models import backbones, networks
from nbhelpers.workspace import InputError

SIDE = 32
LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
QUICK = ["VGG16", "EfficientNetB0", "ConvNeXtTiny", "MobileNet0.25", "MobileNetV3Small"]
SLOW = ["EfficientNetV2B0", "Xception", "InceptionResNetV2", "ResNet50V2", "DenseNet121"]
FAMILIES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def network(backbone="MobileNet0.25", side=None, **options):
    keras.utils.set_random_seed(0)
    side = side or max(SIDE, backbones.find(backbone).smallest_side)
    return small_networks.transfer_network(backbone, side, **options)


def pictures(side=SIDE, n=4):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, side, side, 1), dtype=np.uint8)


def sexes(n=4):
    return (np.arange(n, dtype=np.float32) % 2)[:, None]


def run(model, shown) -> np.ndarray:
    """What a model gives, without the graph that `predict` would compile for one batch."""
    return keras.ops.convert_to_numpy(model(shown, training=False))


def features(model, shown):
    radiograph = model.get_layer("radiograph").output
    return run(keras.Model(radiograph, model.get_layer("picture_features").output), shown)


@functools.cache
def filled(backbone: str) -> keras.Model:
    """Keras' own backbone, every weight off its initial value."""
    keras.utils.set_random_seed(0)
    build = backbones.find(backbone).build
    plain = build(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    rng = np.random.default_rng(0)
    plain.set_weights(
        [w + rng.uniform(0, 0.1, w.shape).astype(w.dtype) for w in plain.get_weights()]
    )
    return plain


def write_legacy(plain: keras.Model, path):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, plain)
    return path


def write_new(plain: keras.Model, path):
    plain.save_weights(path)
    return path


def preprocess_of_keras(backbone: str, shown: np.ndarray) -> np.ndarray:
    """What the backbone's own module of Keras makes of grey pictures `[n, h, w, 1]`."""
    function = getattr(keras.applications, backbone.partition("0.")[0])
    three = np.repeat(shown, 3, axis=-1).astype(np.float32)
    return inspect.getmodule(function).preprocess_input(three)


def expected_features(plain: keras.Model, backbone: str, shown) -> np.ndarray:
    return run(plain, preprocess_of_keras(backbone, shown)).mean(axis=(1, 2))


@pytest.mark.parametrize("backbone", ["VGG16", "MobileNet0.25"])
def test_features_are_those_of_keras_with_its_own_preprocessing(backbone, tmp_path):
    plain = filled(backbone)
    path = write_legacy(plain, tmp_path / "weights.h5")
    got = features(network(backbone, weights_path=path), pictures())
    expected = expected_features(plain, backbone, pictures())
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_a_file_gives_efficientnet_what_imagenet_gives(tmp_path, monkeypatch):
    """Keras scales once more under weights="imagenet", and only there."""
    plain = keras.models.clone_model(filled("EfficientNetB0"))
    plain.set_weights(filled("EfficientNetB0").get_weights())
    normalisation = next(la for la in plain.layers if isinstance(la, layers.Normalization))
    mean, sd = np.array(backbones.MEAN), np.array(backbones.SD)
    normalisation.set_weights([mean, sd**2, np.array(0)])
    path = write_legacy(plain, tmp_path / "efficientnetb0_notop.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *a, **k: str(path))
    by_keras = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3)
    )
    expected = expected_features(by_keras, "EfficientNetB0", pictures())
    got = features(network("EfficientNetB0", weights_path=path), pictures())
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=1e-4)
    trap = expected_features(plain, "EfficientNetB0", pictures())  # what Keras gives for a path
    assert np.abs(trap - expected).max() > 1e-2 * scale


def test_random_efficientnet_sees_pictures_of_about_unit_spread():
    model = network("EfficientNetB0", stages=1)
    normalised = next(la for la in model.layers if isinstance(la, layers.Normalization))
    probe = keras.Model(model.get_layer("radiograph").output, normalised.output)
    low, high = (run(probe, np.full((1, SIDE, SIDE, 1), grey, np.uint8)) for grey in (0, 255))
    assert (low < -1).all()
    assert (high > 1).all()
    assert np.abs([low, high]).max() < 10


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_legacy, "a.h5"),
        (write_legacy, "a.weights.h5"),
        (write_new, "a.weights.h5"),
        (write_new, "without_suffix"),
    ],
)
def test_both_layouts_are_read_whatever_the_name(tmp_path, write, name, recwarn):
    plain = filled("MobileNet0.25")
    path = write(plain, tmp_path / "written.weights.h5").rename(tmp_path / name)
    loaded = network(weights_path=path)
    for layer, own in zip(backbones.of_network(loaded), plain.layers[1:], strict=True):
        for got, expected in zip(layer.get_weights(), own.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert not [warning for warning in recwarn if "container" in str(warning.message)]


@pytest.mark.parametrize(
    ("fault", "write"),
    [
        ("another backbone's", write_new),
        ("of another width", write_legacy),
        ("cut short", write_legacy),
        ("cut short", write_new),
        ("no weights at all", write_legacy),
        ("not numbers", write_new),
    ],
)
def test_a_file_that_is_no_good_is_named(tmp_path, fault, write):
    written = {"another backbone's": "MobileNetV3Small", "of another width": "MobileNet0.5"}
    plain = filled(written.get(fault, "MobileNet0.25"))
    path = write(plain, tmp_path / "bad.weights.h5")
    if fault == "not numbers":
        with h5py.File(path, "r+") as file:
            file["layers/conv2d/vars/0"][...] = np.nan
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if fault == "no weights at all":
        path.write_text("404: not found")
    with pytest.raises(InputError, match=r"MobileNet0\.25") as raised:
        network(weights_path=path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(InputError, match=r"image_size is 64; InceptionV3 .* at least 75"):
        network("InceptionV3", side=64)
    with pytest.raises(InputError, match=r"image_size is 8; MobileNet0\.25 .* at least 32"):
        network(side=8)


@pytest.mark.parametrize(
    "backbone", ["VGG16", "MobileNet0.25", pytest.param("ResNet50", marks=pytest.mark.slow)]
)
def test_a_stage_ends_before_the_next_down_sampling(backbone):
    _, _, pixels = networks.inputs(64, CARD)
    stem, application = backbones.stem(pixels, backbone), backbones.application(backbone)
    whole = application(include_top=False, weights=None, input_tensor=stem)
    chain = backbones.after_stem(whole.layers)
    outputs = [layer.output for layer in chain]
    for stages in (1, 2, 3, 4):
        end = backbones.end_of_stage(whole, stages)
        assert end.shape[1] == 64 // 2**stages
        place = next(number for number, output in enumerate(outputs) if output is end)
        later = [la for la in chain[place + 1 :] if not isinstance(la, layers.ZeroPadding2D)]
        assert later[0].output.shape[1] == 64 // 2 ** (stages + 1)
    assert backbones.end_of_stage(whole, 5) is whole.output


def test_a_stage_ends_in_no_branch():
    """Squeeze-and-excitation branches are one pixel wide, which is no down-sampling."""
    for stages in (2, 3, 4):
        model = network("MobileNetV3Small", side=64, stages=stages)
        assert model.get_layer("picture_features").input.shape[1] == 64 // 2**stages


def test_more_stages_than_there_are_is_an_error():
    for stages in (-1, 6):
        with pytest.raises(InputError, match=f"backbone_stages is {stages}; .* has 5"):
            network(stages=stages)


def test_a_cut_backbone_takes_smaller_pictures_where_it_can_be_built():
    assert network("ResNet50", side=16, stages=1).output.shape == (None, 1)
    with pytest.raises(InputError, match=r"image_size is 16; VGG16 .* at least 32"):
        network("VGG16", side=16, stages=1)


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_saved_network_predicts_the_same_bits(backbone, tmp_path):
    model = network(backbone, stages=2)
    shown = (pictures(model.inputs[0].shape[1], n=2), sexes(2))
    before = run(model, shown)
    assert np.isfinite(before).all()
    assert (before[0] != before[1]).any()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    np.testing.assert_array_equal(run(again, shown), before)
    backbone_names = [la.name for la in backbones.of_network(model)]
    assert [la.name for la in backbones.of_network(again)] == backbone_names


def state(model, kind=layers.Layer) -> list[np.ndarray]:
    found = [la for la in backbones.of_network(model) if isinstance(la, kind)]
    return [weight for layer in found for weight in layer.get_weights()]


def train_a_step(model, backbone: bool):
    for layer in backbones.of_network(model):
        layer.trainable = backbone
    model.compile("adam", "mean_absolute_error", run_eagerly=True)
    model.train_on_batch((pictures(), sexes()), np.full((4, 1), 90.0))


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_frozen_backbone_stays_as_it_is_while_its_head_learns_and_fine_tuning_trains_both():
    model = network(stages=2)
    before, shown = state(model), features(model, pictures())
    head = model.get_layer("dense").get_weights()
    train_a_step(model, backbone=False)
    assert same(before, state(model))
    np.testing.assert_array_equal(features(model, pictures()), shown)
    assert not same(head, model.get_layer("dense").get_weights())
    convolutions, norms = state(model, layers.Conv2D), state(model, layers.BatchNormalization)
    train_a_step(model, backbone=True)
    assert not same(convolutions, state(model, layers.Conv2D))
    assert not same(norms, state(model, layers.BatchNormalization))


def test_the_layers_of_a_backbone_are_all_and_nothing_else():
    model = network()
    plain = backbones.find("MobileNet0.25").build(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)
    )
    names = [la.name for la in backbones.of_network(model)]
    assert names == [la.name for la in plain.layers[1:]]


@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_every_grey_level_enters_as_keras_itself_would_have_it(backbone):
    radiograph, _, pixels = networks.inputs(16, CARD)
    stem = keras.Model(radiograph, backbones.stem(pixels, backbone, stages=1))
    expected = preprocess_of_keras(backbone, LEVELS)
    np.testing.assert_allclose(stem(LEVELS), expected, rtol=0, atol=1e-4)


def test_a_row_of_another_family_is_refused():
    model = network(stages=1)
    backbones.assert_stem_range(model, "MobileNet0.25")
    for other in ("VGG16", "EfficientNetB0", "DenseNet121"):
        with pytest.raises(ValueError, match="normalised twice, or not at all"):
            backbones.assert_stem_range(model, other)


@pytest.mark.parametrize(
    ("backbone", "scale", "offset"),
    [
        ("MobileNet0.25", 1 / 127.5, -1.0),  # normalised twice
        ("EfficientNetB0", 1 / 127.5, -1.0),
        ("VGG16", 127.5, 127.5),  # as if not at all
    ],
)
def test_pictures_not_normalised_once_are_refused(backbone, scale, offset, monkeypatch):
    once = networks.inputs

    def otherwise(*arguments, **options):
        radiograph, sex, pixels = once(*arguments, **options)
        return radiograph, sex, layers.Rescaling(scale, offset=offset)(pixels)

    monkeypatch.setattr(networks, "inputs", otherwise)
    with pytest.raises(ValueError, match="normalised twice, or not at all"):
        network(backbone, stages=1)
