"""What Keras runs on: TensorFlow, GPUs, precision, several devices."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras

from nbhelpers.workspace import InputError, cores, log

FIRST_WITH_BFLOAT16 = (8, 0)  # compute capability of Ampere; T4 has 7.5, P100 6.0


def prepare(require_gpu: bool = False) -> Callable[[], contextlib.AbstractContextManager[int]]:
    """Set Keras's global dtype policy to what the slowest device does well, and log both.

    `mixed_bfloat16` from compute capability 8.0 (float32's range: no loss scaling). `mixed_float16`
    on older NVIDIA GPUs; Keras scales the loss and skips a few first steps until the scale fits. On
    a P100 (6.0), which has no tensor cores, it saves memory, half of the activations, rather than
    time. `float32` on a CPU and on GPUs that tell no capability. Weights are float32 under every
    policy, and heads compute in float32 by their own dtype.

    Returns `several_devices`, to train in. Raises InputError at once where a GPU is required and
    TensorFlow sees none.
    """
    seen = _seen_gpus()
    if require_gpu and not seen:
        raise InputError(
            "require_gpu is true and TensorFlow sees no GPU. Choose a GPU in Kaggle's Settings, "
            "Accelerator or Colab's Runtime, Change runtime type (elsewhere install TensorFlow "
            "with CUDA), or set require_gpu to false."
        )
    names, capabilities = [name for name, _ in seen], [capability for _, capability in seen]
    if not seen or None in capabilities:
        policy = "float32"
    else:
        new = min(capabilities) >= FIRST_WITH_BFLOAT16
        policy = "mixed_bfloat16" if new else "mixed_float16"
    keras.config.set_dtype_policy(policy)
    kinds = [f"{names.count(name)} × {name}" for name in dict.fromkeys(names)]
    log(f"TensorFlow on {' and '.join(kinds) or f'CPU ({cores()} cores)'}, {policy}")
    return several_devices


@contextlib.contextmanager
def several_devices(device_type: str = "gpu") -> Iterator[int]:
    """Spread each batch over all GPUs where there are several; otherwise change nothing.

    By MirroredStrategy (MultiWorkerMirroredStrategy fails under Keras 3, keras#20585). Build,
    compile, resume and fit inside; the batch size is that of all devices together. Outside, predict
    with what `saved.save` gives back: `predict` of a network from inside fails on a last batch that
    leaves a device empty.

    The shares of a batch draw the same random numbers for dropout and augmentation, since every
    device has a copy of the seed's state.

    Args:
        device_type: `gpu`; tests ask for `cpu` and make virtual ones first.

    Yields:
        The number of devices that share a batch.
    """
    names = keras.distribution.list_devices(device_type)
    if len(names) < 2:
        yield 1
    else:
        with _mirrored_strategy(tuple(names)).scope(), _overflow_anywhere_counts():
            yield len(names)


@functools.cache
def _mirrored_strategy(names: tuple[str, ...]):
    # One a process: a second one numbers its collective operations from the start again, and they
    # clash with those of the first ("Shape mismatch in the collective instance", tensorflow#62790).
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([name.upper() for name in names])


@contextlib.contextmanager
def _overflow_anywhere_counts() -> Iterator[None]:
    """Let Keras's loss scaling skip a step when the gradients of any device are not finite.

    `LossScaleOptimizer._tf_apply` (Keras 3.15) asks the first device alone, as if gradients had
    been summed before. They had not: an overflow on another device made weights NaN for good.
    """
    import tensorflow as tf

    scaler = keras.optimizers.LossScaleOptimizer
    own_are_finite = scaler.check_finite

    def all_are_finite(self, gradients):
        overflow = tf.cast(tf.logical_not(own_are_finite(self, gradients)), tf.float32)
        return tf.distribute.get_replica_context().all_reduce("SUM", overflow) == 0

    scaler.check_finite = all_are_finite
    try:
        yield
    finally:
        scaler.check_finite = own_are_finite


def sharing_devices() -> int:
    """How many devices share a batch here: 1 outside `several_devices`."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def synchronise(network: keras.Model) -> None:
    """Make BatchNorm use the statistics of the whole batch, not of one device's share.

    Otherwise every device normalises by its own share and keeps moving statistics of its own, of
    which saving and resuming know only the first device's. Call it before `fit`; it changes nothing
    where one device has the batch.
    """
    if sharing_devices() > 1:
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


def _seen_gpus() -> list[tuple[str, tuple[int, int] | None]]:
    """Name and compute capability of each GPU; no capability where it is not NVIDIA's."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    told = [details(device) for device in tf.config.get_visible_devices("GPU")]
    return [(gpu.get("device_name", "GPU"), gpu.get("compute_capability")) for gpu in told]
