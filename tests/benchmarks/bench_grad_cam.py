"""How much quicker heat maps are in batches than tf-keras-vis in a loop over single radiographs.

Both give Grad-CAM of the same convolutions and the same radiographs, the size of the feature map;
compiling is left out of both.
"""

import keras
import numpy as np
import small_networks
from run import ratio
from tf_keras_vis.gradcam import Gradcam

from nbhelpers.explain import grad_cam

SIZE, CASES = 112, 64
WIDTHS = (24, 48, 96, 192, 256)


def single_input(network: keras.Model) -> keras.Model:
    """The same convolutions and head, from scaled pixels and without sex, on their own."""
    x = pixels = keras.Input((SIZE, SIZE, 1))
    at = [layer.name for layer in network.layers].index("augmentation")
    last = network.get_layer("standard_age")
    for layer in network.layers[at + 1 :]:
        if layer is last:
            break
        if not isinstance(layer, keras.layers.InputLayer):
            x = layer.__class__.from_config(layer.get_config())(x)
    score = last.__class__.from_config(last.get_config())(x)
    return keras.Model(pixels, score)


def figures() -> dict[str, float]:
    keras.utils.set_random_seed(0)
    network = small_networks.custom_cnn(SIZE, widths=WIDTHS, convolutions=2, sex_input=False)
    theirs = Gradcam(single_input(network), clone=False)
    layer = grad_cam.feature_layer(network).name
    shown = np.random.default_rng(0).integers(0, 256, (CASES, SIZE, SIZE)).astype(np.uint8)

    def loop() -> None:
        look = {"seek_penultimate_conv_layer": False, "expand_cam": False}
        for one in shown[..., None].astype(np.float32) / 255:
            theirs(lambda score: score[:, 0], one[None], penultimate_layer=layer, **look)

    def batches() -> None:
        grad_cam.coarse_maps(network, shown, np.zeros(CASES), "grad_cam")

    return {"heat_map_speedup": ratio(loop, batches)}
