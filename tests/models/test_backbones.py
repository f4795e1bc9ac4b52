"""Networks on backbones: grey levels and features as Keras' own, stages, files of weights."""

import functools
import inspect
import socket
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import small_networks
from keras import layers
from keras.src.legacy.saving import legacy_h5_format
from small_networks import CARD

from nbhelpers import workspace
from nbhelpers.models import backbones, networks
from nbhelpers.workspace import InputError

VGG_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
SIDE = 32
LEVELS = np.resize(np.arange(256, dtype=np.uint8), (1, 80, 80, 1))
PICTURES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 1), dtype=np.uint8)
QUICK = ["VGG16", "EfficientNetB0", "ConvNeXtTiny", "MobileNet0.25", "MobileNetV3Small"]
SLOW = ["EfficientNetV2B0", "Xception", "InceptionResNetV2", "ResNet50V2", "DenseNet121"]
FAMILIES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def network(backbone="MobileNet0.25", weights_path=None, side=None, stages=0):
    keras.utils.set_random_seed(0)
    side = side or max(SIDE, backbones.find(backbone).smallest_side)
    return small_networks.transfer_network(backbone, side, weights_path=weights_path, stages=stages)


def run(model, shown) -> np.ndarray:
    """What a model gives, without the graph that `predict` would compile for one batch."""
    return keras.ops.convert_to_numpy(model(shown, training=False))


def features(model) -> np.ndarray:
    given, seen = (model.get_layer(name).output for name in ("radiograph", "picture_features"))
    return run(keras.Model(given, seen), PICTURES)


@functools.cache
def filled(backbone: str) -> keras.Model:
    """Keras' own backbone, every weight off its initial value."""
    keras.utils.set_random_seed(0)
    build = backbones.application(backbone)
    plain = build(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    rng = np.random.default_rng(0)
    plain.set_weights([w + rng.uniform(0, 0.1, w.shape) for w in plain.get_weights()])
    return plain


def write(plain: keras.Model, path, legacy=True):
    if legacy:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, plain)
    else:
        plain.save_weights(path)
    return path


def preprocess_of_keras(backbone: str, shown: np.ndarray) -> np.ndarray:
    """What the backbone's own module of Keras makes of grey pictures `[n, h, w, 1]`."""
    function = getattr(keras.applications, backbone.partition("0.")[0])
    three = np.repeat(shown, 3, axis=-1).astype(np.float32)
    return inspect.getmodule(function).preprocess_input(three)


def expected_features(plain: keras.Model, backbone: str) -> np.ndarray:
    return run(plain, preprocess_of_keras(backbone, PICTURES)).mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("backbone", "legacy", "name"),
    [
        ("VGG16", True, "a.h5"),
        ("MobileNet0.25", True, "a.weights.h5"),
        ("VGG16", False, "a.weights.h5"),
        ("MobileNet0.25", False, "no_suffix"),
    ],
)
def test_features_are_those_of_keras_with_its_own_preprocessing(tmp_path, backbone, legacy, name):
    """From files of both layouts, whatever the name."""
    plain = filled(backbone)
    path = write(plain, tmp_path / "written.weights.h5", legacy).rename(tmp_path / name)
    expected, got = expected_features(plain, backbone), features(network(backbone, path))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_a_file_gives_efficientnet_what_imagenet_gives(tmp_path, monkeypatch):
    """Keras scales once more under weights="imagenet", and only there."""
    plain = keras.models.clone_model(filled("EfficientNetB0"))
    plain.set_weights(filled("EfficientNetB0").get_weights())
    normalisation = next(la for la in plain.layers if isinstance(la, layers.Normalization))
    mean, sd = np.array(backbones.MEAN), np.array(backbones.SD)
    normalisation.set_weights([mean, sd**2, np.array(0)])
    path = write(plain, tmp_path / "efficientnetb0_notop.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *a, **k: str(path))
    by_keras = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3)
    )
    expected = expected_features(by_keras, "EfficientNetB0")
    scale = np.abs(expected).max()
    got = features(network("EfficientNetB0", path))
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=1e-4)


def test_random_efficientnet_sees_pictures_of_about_unit_spread():
    model = network("EfficientNetB0", stages=1)
    normalised = next(la for la in model.layers if isinstance(la, layers.Normalization))
    probe = keras.Model(model.get_layer("radiograph").output, normalised.output)
    low, high = (run(probe, np.full((1, SIDE, SIDE, 1), grey, np.uint8)) for grey in (0, 255))
    assert (low < -1).all() and (high > 1).all() and np.abs([low, high]).max() < 10


@pytest.mark.parametrize("fault", ["another's", "cut short", "no weights at all", "not numbers"])
def test_a_file_that_is_no_good_is_named(tmp_path, fault):
    plain = filled("MobileNetV3Small" if fault == "another's" else "MobileNet0.25")
    path = write(plain, tmp_path / "bad.weights.h5", legacy=False)
    if fault == "not numbers":
        with h5py.File(path, "r+") as file:
            file["layers/conv2d/vars/0"][...] = np.nan
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if fault == "no weights at all":
        path.write_text("404: not found")
    with pytest.raises(InputError, match=r"MobileNet0\.25") as raised:
        network("MobileNet0.25", path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "InceptionV3", "side": 64}, "image_size is 64; InceptionV3 .* at least 75"),
        ({"stages": -1}, "backbone_stages is -1; .* has 5"),
        ({"stages": 6}, "backbone_stages is 6; .* has 5"),
    ],
)
def test_too_small_pictures_and_too_many_stages_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        network(**options)


@pytest.mark.parametrize("backbone", ["VGG16", "MobileNet0.25"])
def test_a_stage_ends_before_the_next_down_sampling(backbone):
    _, _, pixels = networks.inputs(64, CARD)
    stem, application = backbones.stem(pixels, backbone), backbones.application(backbone)
    whole = application(include_top=False, weights=None, input_tensor=stem)
    chain = backbones.after_stem(whole.layers)
    for stages in (1, 2, 3, 4):
        end = backbones.end_of_stage(whole, stages)
        assert end.shape[1] == 64 // 2**stages
        place = next(number for number, layer in enumerate(chain) if layer.output is end)
        later = [la for la in chain[place + 1 :] if not isinstance(la, layers.ZeroPadding2D)]
        assert later[0].output.shape[1] == 64 // 2 ** (stages + 1)
    assert backbones.end_of_stage(whole, 5) is whole.output


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_saved_network_of_two_stages_predicts_the_same_bits(backbone, tmp_path):
    model = network(backbone, stages=2)
    side = model.inputs[0].shape[1]
    # Ends in no branch of squeeze and excitation, one pixel wide, which is no down-sampling.
    assert side / 8 <= model.get_layer("picture_features").input.shape[1] <= side / 4
    shown = (np.resize(PICTURES, (2, side, side, 1)), np.array([[0.0], [1.0]]))
    before = run(model, shown)
    assert np.isfinite(before).all() and (before[0] != before[1]).any()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    np.testing.assert_array_equal(run(again, shown), before)


@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_every_grey_level_enters_as_keras_itself_would_have_it(backbone):
    radiograph, _, pixels = networks.inputs(LEVELS.shape[1], CARD)
    stem = keras.Model(radiograph, backbones.stem(pixels, backbone))
    np.testing.assert_allclose(
        stem(LEVELS), preprocess_of_keras(backbone, LEVELS), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("backbone", "scale", "offset"),
    [("MobileNet0.25", 1 / 127.5, -1.0), ("VGG16", 127.5, 127.5)],  # twice; as if not at all
)
def test_pictures_not_normalised_once_are_refused(backbone, scale, offset):
    _, _, pixels = networks.inputs(SIDE, CARD)
    stem = backbones.stem(layers.Rescaling(scale, offset=offset)(pixels), backbone)
    whole = backbones.application(backbone)(include_top=False, weights=None, input_tensor=stem)
    with pytest.raises(ValueError, match="normalised twice, or not at all"):
        backbones.feature_maps(whole, backbone, None)


EACH_ROW = [name.format(members[0]) for name, _, members, _, _ in backbones.FAMILIES]
QUICK_ROWS = ("VGG16", "MobileNet0.75", "MobileNetV3Small")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty Keras cache and an empty Kaggle; nobody may download."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(backbones.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(workspace, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.setattr(
        backbones.Backbone, "build", lambda row, **options: pytest.fail(f"downloads {row.name}")
    )
    return tmp_path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_path_is_taken_and_a_wrong_one_named(tmp_path):
    own = put(tmp_path / "own" / "any.h5")
    assert backbones.find_weights("VGG16", str(own)) == (own, "any.h5")
    for wrong in (str(tmp_path / "own"), str(tmp_path / "absent.h5"), "Imagenet", ""):
        with pytest.raises(InputError, match=r"weights is .*no file.*imagenet if found") as raised:
            backbones.find_weights("VGG16", wrong)
        assert repr(wrong) in str(raised.value)


@pytest.mark.parametrize(
    "place",
    [
        f"keras/models/{VGG_FILE}",
        f"kaggle/datasets/somebody/keras/1/{VGG_FILE}",
        f"kaggle/vgg/{VGG_FILE.removesuffix('.h5')}.weights.h5",
        f"tmp/.keras/models/{VGG_FILE}",  # Keras' cache where its home cannot be written
    ],
)
def test_imagenet_is_found_in_the_cache_and_on_kaggle(folders, place):
    put(folders / "kaggle" / "other" / "efficientnetb0_notop.h5")
    expected = put(folders / place)
    for weights in ("imagenet", "imagenet if found"):
        assert backbones.find_weights("VGG16", weights) == (expected, "ImageNet")


@pytest.mark.parametrize("weights", ["none", "imagenet if found"])
def test_nothing_is_downloaded_for_random_weights_which_are_called_so(folders, weights):
    assert backbones.find_weights("VGG16", weights) == (None, "random weights")
    assert backbones.find_weights("VGG16", weights, frozen=True) == (None, "random features")


def test_imagenet_is_downloaded_where_it_is_not_found(folders, monkeypatch, capsys):
    def build(row, weights, include_top, **options):
        print("1/9 [....]")
        assert (weights, include_top) == ("imagenet", False)
        put(folders / "keras" / "models" / VGG_FILE)

    monkeypatch.setattr(backbones.Backbone, "build", build)
    found, _ = backbones.find_weights("VGG16", "imagenet")
    assert found == folders / "keras" / "models" / VGG_FILE
    assert "[....]" not in capsys.readouterr().out


def test_with_no_way_to_get_them_one_error_says_how(folders, monkeypatch):
    limits = []

    def build(row, **options):
        limits.append(socket.getdefaulttimeout())
        raise Exception("URL fetch failure on https://x: None -- Name or service not known")

    monkeypatch.setattr(backbones.Backbone, "build", build)
    with pytest.raises(InputError, match=r"VGG16 .*Name or service not known") as raised:
        backbones.find_weights("VGG16", "imagenet")
    where = folders / "keras" / "models" / VGG_FILE
    for part in (f"attach a data set or model that holds {VGG_FILE}", str(where), "WEIGHTS=none"):
        assert part in str(raised.value)
    # A server that is silent does not hold the run for ever, and others keep their own limit.
    assert 0 < limits[0] <= 60
    assert socket.getdefaulttimeout() is None


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"'Resnet50v2'\. Did you mean ResNet50V2"):
        backbones.find_weights("Resnet50v2", "none")


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(n, marks=[] if n in QUICK_ROWS else pytest.mark.slow) for n in EACH_ROW],
)
def test_the_file_is_the_one_that_keras_asks_for(backbone, monkeypatch):
    def get_file(name, *rest, **options):
        raise LookupError(name)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    row = backbones.find(backbone)
    with pytest.raises(LookupError, match=rf"^{row.weight_file}$"):
        row.build(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
