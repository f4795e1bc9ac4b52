"""Where a network looks: maps from its last feature map and the gradient there, in batches.

- `grad_cam`: channels weighted by their mean gradient (Selvaraju et al., ICCV 2017);
- `grad_cam_pp`: Grad-CAM++, by positive gradients, places with strong ones counting more
  (Chattopadhay et al., WACV 2018);
- `hires_cam`: each value times its own gradient, so that a map shows no place that the network did
  not use (Draelos and Carin, arXiv:2011.08891).

The score whose gradient is taken is the age before it is rescaled to months, or the logit of a
stage. A map for `sign` 1 shows what speaks for an older hand, or for the stage; for -1, what speaks
against it.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import keras
import numpy as np
from keras import layers, ops

from nbhelpers.workspace import InputError

METHODS = ("grad_cam", "grad_cam_pp", "hires_cam")
SCORES = {"age": "standard_age", "stage": "logits"}  # layers whose output is explained
BATCH = 32
POOLING = (layers.MaxPooling2D, layers.AveragePooling2D)
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


def feature_layer(network: keras.Model) -> layers.Layer:
    """The layer that makes the last feature map, before any pooling that follows it.

    Raises InputError where the network has no convolution.
    """
    if not any(isinstance(layer, CONVOLUTIONS) for layer in network.layers):
        raise InputError(f"{network.name} has no convolution, so no feature map to explain it by.")
    maps = [layer for layer in network.layers if len(layer.output.shape) == 4]
    return [layer for layer in maps if not isinstance(layer, POOLING)][-1]


def heat_maps(
    network: keras.Model,
    images: np.ndarray,
    sex: np.ndarray,
    method: str = "grad_cam",
    stage: np.ndarray | None = None,
    sign: int = 1,
    flip: bool = True,
) -> np.ndarray:
    """What speaks for the score, float32 `[n, height, width]`, at least 0, of the pictures' size.

    Args:
        network: a model of ages or stages, as loaded; single or double input.
        images: uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown: the training share of boys stands for it.
        method: one of `METHODS`.
        stage: of a model of stages, the stage that each map explains, `[n]`.
        sign: 1 what speaks for the score, -1 against it.
        flip: average the radiograph and its mirror image, as predictions do.
    """
    coarse = coarse_maps(network, images, sex, method, stage, sign)
    if flip:
        mirrored = coarse_maps(network, images[:, :, ::-1], sex, method, stage, sign)
        coarse = (coarse + mirrored[:, :, ::-1]) / 2
    side = images.shape[2], images.shape[1]
    return np.stack([cv2.resize(one, side, interpolation=cv2.INTER_LINEAR) for one in coarse])


def coarse_maps(
    network: keras.Model,
    images: np.ndarray,
    sex: np.ndarray,
    method: str = "grad_cam",
    stage: np.ndarray | None = None,
    sign: int = 1,
) -> np.ndarray:
    """As `heat_maps`, of the size of the network's last feature map, for these pictures alone."""
    if method not in METHODS:
        raise InputError(f"method is {method!r}; choose from {', '.join(METHODS)}.")
    task = task_of(network)
    features_and_gradients = _compiled(network)
    share = network.get_layer("card").facts.get("male_share", 0.5)
    fed = np.nan_to_num(np.asarray(sex, np.float32), nan=share).reshape(-1, 1)
    units = 1 if task == "age" else 5
    wanted = np.zeros(len(images), int) if stage is None else np.asarray(stage, int)
    found = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        weights = sign * np.eye(units, dtype=np.float32)[wanted[rows]]
        features, gradients = features_and_gradients(images[rows, :, :, None], fed[rows], weights)
        found.append(_combined(method, features, gradients))
    return np.concatenate(found)


def task_of(network: keras.Model) -> str:
    """`age` or `stage`, by the network's head."""
    names = {layer.name for layer in network.layers}
    return next(task for task, score in SCORES.items() if score in names)


def _combined(method: str, features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Maps `[n, h, w]` out of features and gradients `[n, h, w, channels]`."""
    if method == "hires_cam":
        weighted = gradients * features
    elif method == "grad_cam":
        weighted = gradients.mean(axis=(1, 2), keepdims=True) * features
    else:
        weighted = _strong_places(features, gradients) * features
    return np.maximum(weighted.sum(axis=-1), 0).astype(np.float32)


def _strong_places(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Weights of the channels by Grad-CAM++, `[n, 1, 1, channels]`."""
    total = features.sum(axis=(1, 2), keepdims=True)
    below = 2 * gradients**2 + total * gradients**3
    alpha = np.divide(gradients**2, below, out=np.zeros_like(below), where=below != 0)
    together = alpha.sum(axis=(1, 2), keepdims=True)
    alpha = np.divide(alpha, together, out=np.zeros_like(alpha), where=together != 0)
    return (np.maximum(gradients, 0) * alpha).sum(axis=(1, 2), keepdims=True)


@lru_cache(maxsize=2)
def _compiled(network: keras.Model) -> Callable:
    """A function from images, sex and weights of the scores to features and gradients, arrays."""
    made = feature_layer(network).output
    shown = network.inputs[0]
    front = keras.Model(shown, made)
    score = network.get_layer(SCORES[task_of(network)]).output
    back = keras.Model([made, *network.inputs[1:]], score)

    def given(features, sex):
        return [features, sex] if len(back.inputs) > 1 else features

    if keras.backend.backend() == "jax":
        return _of_jax(front, back, given)
    return _of_tensorflow(front, back, given)


def _of_tensorflow(front: keras.Model, back: keras.Model, given: Callable) -> Callable:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def step(images, sex, weights):
        features = front(images, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(features)
            score = tf.reduce_sum(weights * back(given(features, sex), training=False))
        return features, tape.gradient(score, features)

    def run(images, sex, weights):
        return tuple(
            ops.convert_to_numpy(one).astype(np.float32) for one in step(images, sex, weights)
        )

    return run


def _of_jax(front: keras.Model, back: keras.Model, given: Callable) -> Callable:
    import jax

    @jax.jit
    def step(states, images, sex, weights):
        (front_states, back_states) = states
        features, _ = front.stateless_call(*front_states, images, training=False)

        def score(features):
            said, _ = back.stateless_call(*back_states, given(features, sex), training=False)
            return (weights * said).sum()

        return features, jax.grad(score)(features)

    def run(images, sex, weights):
        states = [
            (
                [v.value for v in model.trainable_variables],
                [v.value for v in model.non_trainable_variables],
            )
            for model in (front, back)
        ]
        return tuple(np.asarray(one, np.float32) for one in step(states, images, sex, weights))

    return run
