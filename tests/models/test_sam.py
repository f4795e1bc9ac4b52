"""The sharpness-aware step: gradient at the moved weights, one draw and one statistic a step."""

import keras
import numpy as np
import pytest
from keras import layers

from nbhelpers.models.sam import SharpnessAware
from nbhelpers.workspace import InputError

SIZE, N = 8, 12


def make_batch(seed=0):
    """([pictures uint8, sex], target, weights of the cases) of one batch."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (N, SIZE, SIZE, 1)).astype(np.uint8)
    sex = rng.integers(0, 2, (N, 1)).astype(np.float32)
    return (pictures, sex), rng.normal(1.0, 1.0, (N, 1)), np.linspace(0.5, 2.0, N)


def network():
    """Random flip, two convolutions with batch normalisation, dropout, a sex branch, a penalty."""
    keras.utils.set_random_seed(3)
    picture, sex = keras.Input((SIZE, SIZE, 1), dtype="uint8"), keras.Input((1,))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(picture)
    x = layers.RandomFlip("horizontal", seed=11)(x)
    for number in (1, 2):
        x = layers.Conv2D(4, 3, name=f"conv{number}", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
    x = layers.Concatenate()([layers.Flatten()(x), sex])
    x = layers.Dropout(0.4, seed=12)(x)
    output = layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.05))(x)
    return keras.Model([picture, sex], output)


def line(kernel, **options):
    """A network that is one linear unit without a bias, with the given weights."""
    entry = keras.Input((len(kernel),))
    unit = layers.Dense(1, use_bias=False, **options)
    model = keras.Model(entry, layers.Activation("linear", dtype="float32")(unit(entry)))
    unit.set_weights([np.reshape(kernel, (-1, 1))])
    return model


def compiled(model, optimiser, rho=None, loss="mse", **options):
    """What is fitted: the network itself, or its sharpness-aware double where rho is given."""
    fitted = model if rho is None else SharpnessAware(model, rho)
    fitted.compile(optimiser, loss, jit_compile=False, **options)
    return fitted


def step(model, batch):
    """One training step; returns the logs."""
    x, target, weight = batch
    return model.train_on_batch(x, target, sample_weight=weight, return_dict=True)


def assign(variables, numbers):
    for variable, value in zip(variables, numbers, strict=True):
        variable.assign(value)


def values(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def assert_near(found, expected, tolerance=2e-5):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def after_a_step(start, x, y, weight, rho, rate):
    """Weights of a linear unit after a sharpness-aware step on squared errors, and how it moved."""

    def gradient(kernel):
        return 2 * x.T @ (weight[:, None] * (x @ kernel - y)) / len(x)

    first = gradient(start)
    second = gradient(start + rho * first / np.linalg.norm(first))
    return start - rate * second, rate * (second - first)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_the_one_at_the_moved_weights(weighted):
    rng = np.random.default_rng(1)
    x, y, start = rng.normal(size=(6, 3)), rng.normal(size=(6, 1)), np.array([[1.0], [-2.0], [0.5]])
    weight = np.array([3.0, 1, 1, 2, 0, 1]) if weighted else np.ones(6)
    expected, moved = after_a_step(start, x, y, weight, 0.3, 0.1)
    model = line(start)
    aware = compiled(model, keras.optimizers.SGD(0.1), 0.3)
    aware.train_on_batch(x, y, sample_weight=weight if weighted else None)
    assert_near(model.get_weights(), [expected], 1e-6)
    assert np.abs(moved).max() > 0.01  # the plain step would not have passed


@pytest.mark.parametrize("frozen", [False, True])
def test_both_passes_share_the_draws_and_the_first_one_counts(frozen):
    """Two plain steps of Keras are the reference, the second from the moved weights.

    With a rate of 1 a plain step subtracts the gradient. The second starts from the states that
    the first started from, so it flips, drops and normalises as the first did.
    """
    rho = 0.5
    aware_network, plain = network(), network()
    for model in (aware_network, plain):
        model.get_layer("conv1").trainable = not frozen
    aware = compiled(aware_network, keras.optimizers.SGD(1.0), rho, metrics=["mae"])
    compiled(plain, keras.optimizers.SGD(1.0), metrics=["mae"])
    start = values(plain.trainable_variables)
    for number in range(3):
        # From the same weights each time, since a rate of 1 leads nowhere; the states go on.
        assign(aware_network.trainable_variables, start)
        plain.set_weights(aware_network.get_weights())
        states = values(plain.non_trainable_variables)
        here = make_batch(number)
        plain.reset_metrics()
        aware.reset_metrics()
        told = step(plain, here)
        kept = values(plain.non_trainable_variables)
        first = [a - b for a, b in zip(start, values(plain.trainable_variables), strict=True)]
        length = np.sqrt(sum(np.square(g).sum() for g in first))
        moved = [w + rho * g / length for w, g in zip(start, first, strict=True)]
        assign(plain.trainable_variables, moved)
        assign(plain.non_trainable_variables, states)
        step(plain, here)
        ended = values(plain.trainable_variables)
        second = [a - b for a, b in zip(moved, ended, strict=True)]
        assign(plain.non_trainable_variables, kept)
        assert max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)) > 0.01

        logs = step(aware, here)
        expected = [w - g for w, g in zip(start, second, strict=True)]
        assert_near(values(aware_network.trainable_variables), expected)
        assert_near(values(aware_network.non_trainable_variables), kept, 1e-6)
        assert logs == pytest.approx(told, rel=1e-5)


@pytest.mark.slow
def test_rho_0_is_the_plain_optimiser_to_the_bit_averages_and_schedule_too():
    ends = []
    for rho in (None, 0.0):
        model = network()
        rate = keras.optimizers.schedules.CosineDecay(0.0, 4, warmup_target=0.02, warmup_steps=2)
        averages = {"use_ema": True, "ema_momentum": 0.9}
        optimiser = keras.optimizers.AdamW(rate, 0.01, global_clipnorm=1.0, **averages)
        fitted = compiled(model, optimiser, rho, "mae")
        logs = [step(fitted, make_batch(number))["loss"] for number in range(5)]
        ends.append([*values([*model.variables, *optimiser.variables]), np.array(logs)])
    plain, aware = ends
    assert [v.tobytes() for v in aware] == [v.tobytes() for v in plain]


def test_loss_scaling_changes_nothing():
    # So large a scale that the scaled gradient has no norm in float32: it must be taken out first.
    ends = []
    for scaled in (False, True):
        model, optimiser = network(), keras.optimizers.SGD(0.05)
        if scaled:
            optimiser = keras.optimizers.LossScaleOptimizer(optimiser, initial_scale=2.0**100)
        aware = compiled(model, optimiser, rho=0.5)
        logs = [step(aware, make_batch())["loss"] for _ in range(2)]
        ends.append([*model.get_weights(), np.array(logs)])
    assert_near(ends[1], ends[0], 1e-5)


def test_no_gradient_and_one_beyond_float16_move_nothing_and_the_scale_falls():
    model = line([0.0, 0.0])
    compiled(model, keras.optimizers.SGD(0.1), rho=0.05).train_on_batch(
        np.ones((4, 2)), np.zeros((4, 1))
    )
    np.testing.assert_array_equal(model.get_weights()[0], 0.0)

    model = line([1.0, 0.5], dtype="mixed_float16")
    optimiser = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2e6)
    aware = compiled(model, optimiser, rho=0.1)
    before = model.get_weights()[0]
    for scale in (1e6, 5e5):
        aware.train_on_batch(np.full((4, 2), 8.0), np.full((4, 1), 100.0))
        np.testing.assert_array_equal(model.get_weights()[0], before)
        assert float(optimiser.dynamic_scale) == scale


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_a_bad_rho_is_named(rho):
    with pytest.raises(InputError, match=r"rho is .*at least 0"):
        SharpnessAware(line([1, 1]), rho)
