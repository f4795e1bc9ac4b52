"""Grey levels reach each backbone in the range that it was trained on: once, and not twice."""

import dataclasses

import keras
import numpy as np
import pytest
import small_networks
from keras import layers

from nbhelpers.models import backbones, networks

CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5, "view": "hand"}
LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
MODULES = {
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "EfficientNetV2": "efficientnet_v2",
    "EfficientNet": "efficientnet",
    "ConvNeXt": "convnext",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    "ResNet50V2": "resnet_v2",
    "ResNet101V2": "resnet_v2",
    "ResNet152V2": "resnet_v2",
    "ResNet": "resnet",
    "DenseNet": "densenet",
    "MobileNetV3": "mobilenet_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNet": "mobilenet",
}


def preprocess_of_keras(backbone: str, pictures: np.ndarray) -> np.ndarray:
    """What the backbone's own module of Keras makes of grey pictures `[n, h, w, 1]`."""
    module = next(MODULES[start] for start in MODULES if backbone.startswith(start))
    three = np.repeat(pictures, 3, axis=-1).astype(np.float32)
    return getattr(keras.applications, module).preprocess_input(three)


def small_network(backbone="MobileNet0.25", **options):
    return small_networks.transfer_network(
        backbone, 32, CARD, task="age", weights_path=None, stages=1, dense_units=4, **options
    )


@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_every_grey_level_enters_as_keras_itself_would_have_it(backbone):
    radiograph, _, pixels = networks.inputs(16, CARD)
    stem = keras.Model(radiograph, backbones.stem(pixels, backbone, stages=1))
    expected = preprocess_of_keras(backbone, LEVELS)
    np.testing.assert_allclose(stem.predict(LEVELS, verbose=0), expected, rtol=0, atol=1e-4)


def test_a_row_of_another_family_is_refused(monkeypatch):
    network = small_network()
    backbones.assert_stem_range(network, "MobileNet0.25")
    for other in ("VGG16", "EfficientNetB0", "DenseNet121"):
        with pytest.raises(ValueError, match="normalised twice, or not at all"):
            backbones.assert_stem_range(network, other)
    row = backbones.find("MobileNet0.25")
    wrong = dataclasses.replace(row, offset=(-1.0, -1.0, -0.9))
    monkeypatch.setitem(backbones.BACKBONES, "MobileNet0.25", wrong)
    with pytest.raises(ValueError, match=r"MobileNet0\.25 wants"):
        backbones.assert_stem_range(network, "MobileNet0.25")


@pytest.mark.parametrize("backbone", ["VGG16", "MobileNet0.25", "EfficientNetB0"])
def test_pictures_normalised_twice_are_refused(backbone, monkeypatch):
    once = networks.inputs

    def twice(*arguments, **options):
        radiograph, sex, pixels = once(*arguments, **options)
        return radiograph, sex, layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)

    monkeypatch.setattr(networks, "inputs", twice)
    with pytest.raises(ValueError, match="normalised twice, or not at all"):
        small_network(backbone)


@pytest.mark.parametrize("backbone", ["VGG16", "MobileNet0.25"])
def test_pictures_not_normalised_are_refused(backbone, monkeypatch):
    def not_at_all(pixels, backbone, stages):
        grey = layers.Rescaling(127.5, offset=127.5)(pixels)
        return layers.Concatenate(name="stem_range")([grey] * 3)

    monkeypatch.setattr(backbones, "stem", not_at_all)
    with pytest.raises(ValueError, match="normalised twice, or not at all"):
        small_network(backbone)


def test_the_check_sees_pictures_as_prediction_does():
    """Without augmentation: the check would else fail by chance."""
    network = small_network(seed=3)
    for _ in range(5):
        backbones.assert_stem_range(network, "MobileNet0.25")
