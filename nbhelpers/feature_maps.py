"""The feature maps of a network, one of which heat maps are made from.

The last is coarse, of a few cells a side, and knows most; earlier ones are finer.
"""

import keras
from keras import layers

from nbhelpers.workspace import InputError

SCORES = {"age": "standard_age", "stage": "logits"}  # layers whose output is explained
TRIED = (0, 12, 24, 48)  # cells a side, from the coarsest map on
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
# They change the size of a feature map and find nothing new in it.
RESIZING = (
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
)


def task_of(network: keras.Model) -> str:
    """`age` or `stage`, by the network's head."""
    names = {layer.name for layer in network.layers}
    return next(task for task, score in SCORES.items() if score in names)


def feature_layer(network: keras.Model, cells: int = 0) -> layers.Layer:
    """The layer that makes the last feature map of at least `cells` cells a side.

    The score follows from this map (and the sex) alone: no connection leads around it. Raises
    InputError where the network has no convolution, or no such map.
    """
    first = next((n for n, one in enumerate(network.layers) if isinstance(one, CONVOLUTIONS)), None)
    if first is None:
        raise InputError(f"{network.name} has no convolution, so no feature map to explain it by.")
    made = [layer for layer in network.layers[first:] if len(layer.output.shape) == 4]
    maps = [layer for layer in made if not isinstance(layer, RESIZING)]
    fine = [layer for layer in maps if layer.output.shape[1] >= cells]
    found = next((layer for layer in reversed(fine) if rest_of(network, layer)), None)
    if found is None:
        raise InputError(
            f"{network.name} has no feature map of {cells} cells a side from which its score "
            "follows alone. Ask for fewer cells."
        )
    return found


def sides(network: keras.Model) -> dict[int, int]:
    """The network's feature maps: cells to ask `feature_layer` for, and the cells a side it has."""
    found = {0: feature_layer(network).output.shape[1]}
    for cells in TRIED[1:]:
        try:
            side = feature_layer(network, cells).output.shape[1]
        except InputError:
            break
        if side not in found.values():
            found[cells] = side
    return found


def rest_of(network: keras.Model, layer: layers.Layer) -> keras.Model | None:
    """From what a layer makes, and the sex, to the score; None where more than these is needed."""
    score = network.get_layer(SCORES[task_of(network)]).output
    try:
        return keras.Model([layer.output, *network.inputs[1:]], score)
    except ValueError:  # Keras' word for a graph that these inputs do not reach wholly
        return None
