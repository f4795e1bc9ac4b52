"""Pretrained weights are found where they lie; where there are none, one message says how."""

import inspect
import socket
from pathlib import Path

import keras
import pytest

from nbhelpers import workspace
from nbhelpers.models import backbones
from nbhelpers.workspace import InputError

VGG_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """An empty Keras cache and an empty Kaggle; nobody may download."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(backbones.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(workspace, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.setattr(backbones.Backbone, "build", no_download)
    return tmp_path


def no_download(row, **options):
    pytest.fail(f"a download of {row.name} was tried")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_path_is_taken_and_a_wrong_one_named(tmp_path):
    own = put(tmp_path / "own" / "any.h5")
    assert backbones.find_weights("VGG16", str(own)) == own
    for wrong in (str(tmp_path / "own"), str(tmp_path / "absent.h5"), "Imagenet", ""):
        with pytest.raises(InputError, match=r"weights is .*no file.*imagenet if found") as raised:
            backbones.find_weights("VGG16", wrong)
        assert repr(wrong) in str(raised.value)


@pytest.mark.parametrize("weights", ["imagenet", "imagenet if found"])
@pytest.mark.parametrize(
    "place",
    [
        f"keras/models/{VGG_FILE}",
        f"kaggle/vgg/{VGG_FILE}",
        f"kaggle/datasets/somebody/keras/1/{VGG_FILE}",
        f"kaggle/a/b/c/d/e/{VGG_FILE}",
        f"kaggle/vgg/{VGG_FILE.removesuffix('.h5')}.weights.h5",
        f"tmp/.keras/models/{VGG_FILE}",  # Keras' cache where its home cannot be written
    ],
)
def test_imagenet_is_found_in_the_cache_and_on_kaggle(folders, weights, place):
    put(folders / "kaggle" / "other" / "efficientnetb0_notop.h5")
    expected = put(folders / place)
    assert backbones.find_weights("VGG16", weights) == expected


def test_imagenet_if_found_downloads_nothing():
    assert backbones.find_weights("VGG16", "imagenet if found") is None
    assert backbones.find_weights("VGG16", "none") is None


def test_imagenet_is_downloaded_where_it_is_not_found(folders, monkeypatch, capsys):
    asked = []

    def build(row, **options):
        asked.append(options)
        print("1/9 [....]")
        put(folders / "keras" / "models" / VGG_FILE)

    monkeypatch.setattr(backbones.Backbone, "build", build)
    found = backbones.find_weights("VGG16", "imagenet")
    assert found == folders / "keras" / "models" / VGG_FILE
    assert asked[0]["weights"] == "imagenet"
    assert asked[0]["include_top"] is False
    assert "[....]" not in capsys.readouterr().out


def test_with_no_way_to_get_them_one_error_says_how(folders, monkeypatch):
    limits = []

    def build(row, **options):
        limits.append(socket.getdefaulttimeout())
        raise Exception("URL fetch failure on https://x: None -- Name or service not known")

    monkeypatch.setattr(backbones.Backbone, "build", build)
    with pytest.raises(InputError) as raised:
        backbones.find_weights("VGG16", "imagenet")
    message = str(raised.value)
    for part in (
        "imagenet",
        "VGG16",
        "Name or service not known",
        f"attach a data set or model that holds {VGG_FILE}",
        str(folders / "keras" / "models" / VGG_FILE),
        "path",
        "WEIGHTS=none",
    ):
        assert part in message
    assert "\n" not in message
    # A server that is silent does not hold the run for ever, and others keep their own limit.
    assert 0 < limits[0] <= 60
    assert socket.getdefaulttimeout() is None


def test_what_pages_call_the_weights():
    path = Path("/data/mobilenet.weights.h5")
    assert backbones.weights_label(path, "imagenet", True) == "ImageNet"
    assert backbones.weights_label(path, "imagenet if found", False) == "ImageNet"
    assert backbones.weights_label(path, str(path), False) == "mobilenet.weights.h5"
    for weights in ("none", "imagenet if found"):
        assert backbones.weights_label(None, weights, False) == "random weights"
        assert backbones.weights_label(None, weights, True) == "random features"


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("VGG-16", "VGG16"), ("efficientnetb0", "EfficientNetB0"), ("Resnet50v2", "ResNet50V2")],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(InputError, match=f"backbone is '{wrong}'.*nearest name is '{near}'"):
        backbones.find_weights(wrong, "none")


def asked_of_keras(backbone: str, monkeypatch) -> str:
    """The file that the installed Keras itself would download."""
    asked = []

    class AskedError(Exception):
        pass

    def get_file(name, *rest, **options):
        asked.append(name)
        raise AskedError

    monkeypatch.undo()
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(AskedError):
        backbones.find(backbone).build(
            weights="imagenet", include_top=False, input_shape=(224, 224, 3)
        )
    return asked[0]


# One of each row of the table.
SMALL = ["VGG16", "MobileNet0.75", "MobileNetV3Small"]
LARGE = ["MobileNet", "MobileNet0.5", "MobileNet0.25", "MobileNetV2", "EfficientNetB0"]
LARGE += ["EfficientNetV2B0", "ConvNeXtTiny", "InceptionV3", "InceptionResNetV2", "Xception"]
LARGE += ["ResNet50", "ResNet50V2", "DenseNet121"]


@pytest.mark.parametrize(
    "backbone", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_the_file_is_the_one_that_keras_asks_for(backbone, monkeypatch):
    assert asked_of_keras(backbone, monkeypatch) == backbones.find(backbone).weight_file


def test_the_names_are_those_of_keras():
    kinds = ("VGG", "EfficientNet", "ConvNeXt", "Inception", "Xception", "ResNet", "DenseNet")
    of_keras = {
        name
        for name, thing in inspect.getmembers(keras.applications, inspect.isfunction)
        if name.startswith((*kinds, "MobileNet"))
    }
    narrow = {name for name in backbones.BACKBONES if name.startswith("MobileNet0")}
    assert set(backbones.BACKBONES) - narrow == of_keras
    assert len({row.weight_file for row in backbones.BACKBONES.values()}) == len(
        backbones.BACKBONES
    )
