"""Heat maps against tf-keras-vis, which many know; it explains networks of one input."""

import keras
import numpy as np
import pytest
from keras import layers
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

from nbhelpers.explain import grad_cam
from nbhelpers.models import networks

CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
SIDE, N, TINY = 48, 12, 1e-12


def scored(x):
    """Two convolutions and an age."""
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="fine")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="coarse")(x)
    x = layers.Dense(8, activation="tanh")(layers.GlobalMaxPooling2D()(x))
    return networks.output(x, "age", CARD)


@pytest.fixture(scope="module")
def made():
    """A network of ages, what it makes of a radiograph first, and the rest with a single input.

    tf-keras-vis needs a gradient down to the input, and there is none to whole grey levels.
    """
    keras.utils.set_random_seed(0)
    radiograph, sex, x = networks.inputs(SIDE, CARD)
    network = keras.Model([radiograph, sex], scored(x))
    first = keras.Model(radiograph, x)
    pixels = keras.Input((SIDE, SIDE, 1))
    single = keras.Model(pixels, scored(pixels))
    single.set_weights(network.get_weights()[-len(single.get_weights()) :])
    return network, first, keras.Model(pixels, single.get_layer("standard_age").output)


@pytest.mark.parametrize("cells", [0, SIDE])
@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp"])
def test_maps_are_those_of_tf_keras_vis(made, method, cells):
    network, first, single = made
    shown = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE)).astype(np.uint8)
    theirs = {"grad_cam": Gradcam, "grad_cam_pp": GradcamPlusPlus}[method](single, clone=False)
    layer = grad_cam.feature_layer(network, cells).name
    given = first(shown[..., None])
    score = np.asarray(single(given))[:, 0]
    expected = 0
    for sign in (1, -1):  # maps have no sign: what raises the score and what lowers it
        of_sign = theirs(
            lambda score, sign=sign: sign * score[:, 0],
            given,
            penultimate_layer=layer,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
        # Their Grad-CAM++ is of the score's exponential: a factor a radiograph.
        factor = np.exp(sign * score) if method == "grad_cam_pp" else np.ones(N)
        expected = expected + np.asarray(of_sign) / factor[:, None, None]
    found = grad_cam.coarse_maps(network, shown, np.zeros(N), method, cells=cells)
    assert found.max(axis=(1, 2)).min() > TINY
    np.testing.assert_allclose(found, expected, atol=1e-3 * found.max())
