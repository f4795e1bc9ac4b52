"""A flat backbone's layers: where they begin, where a stage ends, and the weights in them."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from nbhelpers.workspace import InputError

# ImageNet's mean and SD by channel, red first, of values in [0, 1], as in keras.applications.
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A hundred-odd steps an epoch: with Keras' 0.99 to 0.999 the moving statistics would lag behind.
MOMENTUM = 0.9
DOWN_SAMPLING = 1.5  # a side that shrinks by less is an unpadded convolution's


def of_network(network: keras.Model) -> list[layers.Layer]:
    """The layers after `stem_range` and before `picture_features`, in order."""
    radiograph, features = (network.get_layer(n).output for n in ("radiograph", "picture_features"))
    return after_stem(keras.Model(radiograph, features).layers)[:-1]


def after_stem(chain: list) -> list:
    """The layers, or operations, of a chain after the layer `stem_range`."""
    names = [operation.name for operation in chain]
    return chain[names.index("stem_range") + 1 :]


def end_of_stage(whole: keras.Model, stages: int):
    """The feature map in which the first stages of a flat backbone end.

    A stage ends before the next down-sampling, at the last layer that all later ones get their
    input from: inside no residual block and in no branch.

    Args:
        whole: from the radiograph to the backbone's last feature map.
        stages: how many down-samplings the part holds.

    Raises:
        InputError: the backbone has fewer stages.
    """
    # A Sequential's own `output` is that of its inner graph, so the nodes are asked.
    nodes = [operation._inbound_nodes[0] for operation in after_stem(whole.operations)]
    made_at = {id(node.output_tensors[0]): place for place, node in enumerate(nodes)}
    last_use = list(range(len(nodes)))
    for place, node in enumerate(nodes):
        for tensor in node.input_tensors:
            if id(tensor) in made_at:
                last_use[made_at[id(tensor)]] = place
    side = nodes[0].input_tensors[0].shape[1]
    ends, stage, reach = {}, 0, 0
    for place, node in enumerate(nodes):
        tensor = node.output_tensors[0]
        if reach <= place and not isinstance(node.operation, layers.ZeroPadding2D):
            stage += tensor.shape[1] * DOWN_SAMPLING <= side
            side = tensor.shape[1]
            ends[stage] = tensor
        reach = max(reach, last_use[place])
    if not 0 < stages <= stage:
        raise InputError(
            f"backbone_stages is {stages}; {whole.name} has {stage} on these pictures. 0 takes all."
        )
    return ends[stages]


def fill(chain: list[layers.Layer], plain: keras.Model | None) -> None:
    """Copy a backbone's weights into its flat layers and make these ready for training.

    Args:
        chain: the layers of the flat backbone.
        plain: the same backbone with an input of its own; None leaves the weights random.
    """
    if plain is not None:
        # By order, not by name: Keras numbers the names of many layers through.
        for layer, loaded in zip(chain, plain.layers[1:], strict=True):
            layer.set_weights(loaded.get_weights())
    for layer in chain:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
        # EfficientNet B0 to B7 alone keeps its normalisation as weights. Keras divides its output
        # by the root of SD once more, but only under weights="imagenet"; a variance times SD is
        # the same.
        if isinstance(layer, layers.Normalization) and layer.weights:
            mean, variance, count = layer.get_weights()
            if plain is None:
                mean, variance = np.array(MEAN), np.array(SD) ** 2
            layer.set_weights([mean, variance * np.array(SD), count])
            layer.finalize_state()  # the layer works with copies of its weights


def load(build: Callable[..., keras.Model], path: Path, backbone: str) -> keras.Model:
    """A backbone without classifier, filled from a file in either of Keras' layouts.

    Raises InputError when the file is damaged or holds another network's weights.
    """
    plain = build(include_top=False, weights=None, input_shape=(224, 224, 3))
    try:
        with h5py.File(path) as file:
            legacy = "layer_names" in file.attrs or "model_weights" in file
        # Keras chooses its reader by the name, which does not always tell the layout.
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # Newer versions of Keras say this of lists that hold no layer of their own.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            link = Path(folder) / ("file.h5" if legacy else "file.weights.h5")
            link.symlink_to(path.resolve())
            plain.load_weights(link)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} is damaged or does not hold weights of {backbone} without its classifier "
            f"({reason}). Fetch it again, or name another file."
        ) from error
    if not all(np.isfinite(weight).all() for weight in plain.get_weights()):
        raise InputError(f"{path} is damaged: weights of {backbone} that are no numbers.")
    return plain
