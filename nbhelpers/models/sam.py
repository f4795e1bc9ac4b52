"""Sharpness-aware minimisation over any Keras optimiser.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving
Generalization, ICLR 2021, arXiv:2010.01412, algorithm 1. A step moves the weights by rho along the
gradient, takes the gradient there, and gives that gradient to the optimiser at the weights it came
from. Both passes run in a stateless scope, so that nothing has to be put back: both start from the
same seed states and moving statistics, and what the second pass would write is dropped.
"""

import math

import keras
from keras import ops

from nbhelpers.workspace import InputError


class SharpnessAware(keras.Model):
    """A network whose training step is sharpness-aware.

    It shares layers and weights with `network`: compile and fit this one, then use and save the
    network. Evaluation and prediction are the network's own.

    Both passes see the same augmented batch and dropout masks and normalise by the batch. Seed
    states and moving statistics advance once, by the first pass; loss and metrics are the first
    pass's too. Only trainable weights are moved. The optimiser steps once, from the unmoved
    weights, with its schedule, weight decay, moving average and loss scaling as ever. Where the
    first gradient is zero or not finite the step is the plain optimiser's.

    On several devices (MirroredStrategy) each moves the weights along the gradient of its own share
    of the batch, as the paper does on several accelerators (m-sharpness).

    Args:
        network: a functional network, built.
        rho: length of the move in the space of all trainable weights, at least 0; 0 gives the
            plain optimiser, to the bit with `compile(jit_compile=False)`. The paper found 0.05
            good on most sets.

    Raises:
        InputError: rho is negative or not finite.
    """

    def __init__(self, network: keras.Model, rho: float = 0.05):
        if not (math.isfinite(rho) and rho >= 0):
            raise InputError(f"rho is {rho}; give a finite number of at least 0, such as 0.05.")
        super().__init__(network.input, network.output, name=network.name)
        self.rho = float(rho)

    def train_step(self, data):
        """One step on a batch, as Keras calls it."""
        import tensorflow as tf

        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trainable_variables
        weights = [tf.convert_to_tensor(variable.value) for variable in variables]

        def gradients_at(weights):
            # The scope knows what the pass would have written: it writes to no variable.
            mapping = list(zip(variables, weights, strict=True))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                with keras.StatelessScope(mapping, collect_losses=True) as scope:
                    predictions = self(x, training=True)
                    loss = self.compute_loss(x, y, predictions, sample_weight, training=True)
                    scaled = self.optimizer.scale_loss(loss)
            return tape.gradient(scaled, weights), (loss, predictions, scope)

        first, (loss, predictions, scope) = gradients_at(weights)
        moved = _moved(weights, first, self.optimizer.scale_loss(1.0), self.rho)
        second, _ = gradients_at(moved)
        # Not before the second pass, which must start from the same states.
        for variable in self.non_trainable_variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        self.optimizer.apply_gradients(zip(second, variables, strict=True))
        # Keras divides the loss by the number of replicas, whose gradients it then sums.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        cases = ops.shape(keras.tree.flatten(x)[0])[0]
        # Keras keeps the running mean of the loss as the first metric.
        self.metrics[0].update_state(loss * replicas, sample_weight=cases)
        return self.compute_metrics(x, y, predictions, sample_weight)


def _moved(weights: list, gradients: list, scale, rho: float) -> list:
    """The weights, moved by rho along the gradient of all of them.

    Args:
        weights: tensors of any shapes.
        gradients: of the same shapes; None where the loss does not depend on a weight.
        scale: the factor that the loss was multiplied by.
        rho: Euclidean length of the move.

    Returns:
        The moved weights; the weights unmoved where the gradient's norm is zero or not finite.
    """
    gradients = [None if g is None else ops.cast(g, "float32") / scale for g in gradients]
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients if g is not None))
    usable = ops.logical_and(ops.isfinite(norm), norm > 0)
    factor = rho / ops.where(usable, norm, 1.0)
    return [
        # Not `factor * gradient` alone: infinity times zero is no number.
        w if g is None else w + ops.cast(ops.where(usable, factor * g, 0.0), w.dtype)
        for w, g in zip(weights, gradients, strict=True)
    ]
