"""What a frozen backbone sees: computed once, not once an epoch, and fed to the network's head.

A frozen backbone gives the same features for the same picture, so a few fixed views of each
training case take the place of an endless stream of changed ones. The head is trained on them and
shares its layers with the network: that is the whole network trained, ready to be saved, or to be
fine-tuned as a second phase.
"""

from dataclasses import replace

import keras
import numpy as np

from nbhelpers import workspace
from nbhelpers.models import networks
from nbhelpers.models.material import Material
from nbhelpers.workspace import InputError

BATCH_SIZE = 32  # at 512 px the first maps of VGG16 then take 2 GB each


def head_network(network: keras.Model) -> keras.Model:
    """The part of a network after its features: [features `[n, k]`, sex `[n, 1]`] to its output.

    It shares its layers with `network`: training it trains the head of `network`.
    """
    layer = {layer.name: layer for layer in network.layers}
    features = keras.Input(layer["picture_features"].output.shape[1:], name="known_features")
    sex = keras.Input((1,), name="sex")
    # Not cut out by keras.Model([picture_features.output, sex], ...): where one of the inputs is
    # the network's own, Keras 3.15 can save the network no more.
    x, last = features, "picture_features"
    if "sex_features" in layer:
        x, last = layer["features"]([features, layer["sex_features"](sex)]), "features"
    for after in network.layers[list(layer).index(last) + 1 :]:
        if not isinstance(after, keras.layers.InputLayer):
            x = after(x)
    return keras.Model([features, sex], x, name=f"{network.name}_head")


def compute(network: keras.Model, material: Material, views: int, seed: int = 0) -> np.ndarray:
    """The features of a network's frozen backbone, float32 `[view, case, k]`.

    Cases of training and tuning get a clean view, the first; those of training `views - 1` more,
    changed as in training (see `networks.change`) by draws that follow from `seed`, view and case.
    All other features are NaN.

    Args:
        network: with layers `scale`, `augmentation` and `picture_features`; it works in inference
            mode.

    Raises:
        InputError: features are no numbers.
    """
    images, width = material.images, network.get_layer("picture_features").output.shape[1]
    found = np.full((views, len(images), width), np.nan, np.float32)
    for view in range(views):
        if view < 2:  # the first is clean, all others are changed alike
            extractor = _extractor(network, changed=view == 1)
        # Drawn for all cases at once, so that the batch size does not change them.
        shape = (len(images), networks.DRAWS)
        draws = np.random.default_rng((seed, view)).uniform(-1, 1, shape).astype(np.float32)
        cases = material.train if view else np.concatenate([material.train, material.tuning])
        starts = range(0, len(cases), BATCH_SIZE)
        label = f"features, view {view + 1} of {views}, batches of {BATCH_SIZE}"
        for start in workspace.progress(starts, len(starts), label):
            # The last batch is filled up: another shape would be compiled anew.
            at = cases[np.arange(start, start + BATCH_SIZE) % len(cases)]
            pictures = images[at][..., None]
            seen = extractor.predict_on_batch([pictures, draws[at]] if view else pictures)
            if not np.isfinite(seen).all():
                raise InputError(
                    "Some features are infinite or not numbers. The weights do not suit the "
                    "backbone, or the precision is too low: choose float32 or other weights."
                )
            new = min(BATCH_SIZE, len(cases) - start)
            found[view, at[:new]] = seen[:new]
    return found


def head_on(
    network: keras.Model, material: Material, views: int, seed: int = 0
) -> tuple[keras.Model, Material]:
    """The head of a network with a frozen backbone, and what the backbone makes of the images.

    Training the head on that material trains the network's own; see `head_network` and `compute`.
    """
    found = compute(network, material, views, seed)
    return head_network(network), replace(material, features=found)


class _Change(keras.layers.Layer):
    """`networks.change` as a layer, which gets TensorFlow's own tensors.

    On Keras's symbolic tensors Keras 3.15 takes `[n, h, w, 1] + [n, 1, 1, 1]` for a bias by channel
    where n equals h, and shades the pictures wrongly.
    """

    def call(self, pictures, draws):
        return networks.change(pictures, draws)


def _extractor(network: keras.Model, changed: bool) -> keras.Model:
    """From radiographs, and draws of the augmentation where `changed`, to features."""
    layers = ("radiograph", "scale", "augmentation", "picture_features")
    radiograph, pixels, stem, features = (network.get_layer(name).output for name in layers)
    extractor = keras.Model(radiograph, features)
    if changed:
        draws = keras.Input((networks.DRAWS,), name="draws")
        seen = keras.Model(stem, features)(_Change(dtype="float32")(pixels, draws))
        extractor = keras.Model([radiograph, draws], seen)
    extractor.compile(jit_compile=False)  # XLA has no kernel for the warp of the augmentation
    return extractor
