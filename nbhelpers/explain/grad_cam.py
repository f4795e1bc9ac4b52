"""Where a network looks: maps from a feature map and the gradient there, in batches.

- `grad_cam`: channels weighted by their mean gradient (Selvaraju et al., ICCV 2017);
- `grad_cam_pp`: Grad-CAM++, by positive gradients, places with strong ones counting more
  (Chattopadhay et al., WACV 2018);
- `hires_cam`: each value times its own gradient, so that a map shows no place that the network did
  not use (Draelos and Carin, arXiv:2011.08891).

The score whose gradient is taken is the age before it is rescaled to months, or the logit of a
stage. Maps have no sign: they show what the score depends on, on what raises it and on what lowers
it alike, since covering a place bears out that it matters, but hardly which way (notebook 06). The
last feature map is coarse, of a few cells a side, and knows most; earlier ones are finer.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import keras
import numpy as np
from keras import layers, ops

from nbhelpers.workspace import InputError

SCORES = {"age": "standard_age", "stage": "logits"}  # layers whose output is explained
BATCH = 32
TRIED = (0, 12, 24, 48)  # cells a side, from the coarsest map on
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
# They change the size of a feature map and find nothing new in it.
RESIZING = (layers.MaxPooling2D, layers.AveragePooling2D, layers.ZeroPadding2D, layers.Cropping2D)


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
            f"{network.name} has no feature map of {cells} cells per side from which its score "
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
        return keras.Model([layer.output, network.inputs[1]], score)
    except ValueError:  # Keras' word for a graph that these inputs do not reach wholly
        return None


def heat_maps(
    network: keras.Model,
    images: np.ndarray,
    sex: np.ndarray,
    method: str,
    stage: np.ndarray | None = None,
    cells: int = 0,
) -> np.ndarray:
    """How much the score depends on a place: float32 `[n, height, width]`, at least 0.

    Of the pictures' size; the mean of the maps of a radiograph and of its mirror image.

    Args:
        network: a model of ages or stages, as loaded.
        images: uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male, a share of boys where it is unknown.
        method: `hires_cam`, `grad_cam` or `grad_cam_pp`.
        stage: of a model of stages, the stage that each map explains, `[n]`.
        cells: see `feature_layer`.
    """
    own = coarse_maps(network, images, sex, method, stage, cells)
    mirrored = coarse_maps(network, images[:, :, ::-1], sex, method, stage, cells)
    size = images.shape[2], images.shape[1]
    return np.stack([cv2.resize(found, size) for found in (own + mirrored[:, :, ::-1]) / 2])


def coarse_maps(
    network: keras.Model,
    images: np.ndarray,
    sex: np.ndarray,
    method: str,
    stage: np.ndarray | None = None,
    cells: int = 0,
) -> np.ndarray:
    """As `heat_maps`, of the size of the feature map, for these pictures alone."""
    maps_of = _compiled(network, method, cells)
    fed = np.asarray(sex, np.float32)[:, None]
    units = network.get_layer(SCORES[task_of(network)]).output.shape[-1]
    wanted = np.zeros(len(images), int) if stage is None else np.asarray(stage, int)
    found = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        weights = np.eye(units, dtype=np.float32)[wanted[rows]]
        given = np.ascontiguousarray(images[rows, :, :, None]), fed[rows], weights
        found.append(maps_of(*map(ops.convert_to_tensor, given)))
    return ops.convert_to_numpy(ops.concatenate(found))


def _combined(method: str, features, gradients):
    """What raises the score, `[n, h, w]`, of features and gradients `[n, h, w, channels]`."""
    if method == "hires_cam":
        weighted = gradients * features
    elif method == "grad_cam":
        weighted = ops.mean(gradients, axis=(1, 2), keepdims=True) * features
    else:
        weighted = _strong_places(features, gradients) * features
    return ops.relu(ops.sum(weighted, axis=-1))


def _strong_places(features, gradients):
    """Weights of the channels by Grad-CAM++, `[n, 1, 1, channels]`."""
    total = ops.sum(features, axis=(1, 2), keepdims=True)
    alpha = _over(gradients**2, 2 * gradients**2 + total * gradients**3)
    alpha = _over(alpha, ops.sum(alpha, axis=(1, 2), keepdims=True))
    return ops.sum(ops.relu(gradients) * alpha, axis=(1, 2), keepdims=True)


def _over(part, whole):
    """One over the other, 0 where the other is 0."""
    none = ops.equal(whole, 0)
    return ops.where(none, 0.0, part / ops.where(none, 1.0, whole))


@lru_cache(maxsize=16)  # the networks and feature maps of one page
def _compiled(network: keras.Model, method: str, cells: int) -> Callable:
    """A function from images, sex and weights of the scores to maps, a tensor `[n, h, w]`."""
    import tensorflow as tf

    layer = feature_layer(network, cells)
    front, back = keras.Model(network.inputs[0], layer.output), rest_of(network, layer)

    # Traced once for all sizes of a batch.
    radiograph = tf.TensorSpec(front.inputs[0].shape, front.inputs[0].dtype)
    signature = [radiograph, tf.TensorSpec([None, 1]), tf.TensorSpec([None, None])]

    @tf.function(input_signature=signature)
    def step(images, sex, weights):
        features = front(images, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(features)
            score = tf.reduce_sum(weights * back([features, sex], training=False))
        gradients = tape.gradient(score, features)
        return sum(_combined(method, features, sign * gradients) for sign in (1, -1))

    return step.get_concrete_function()
