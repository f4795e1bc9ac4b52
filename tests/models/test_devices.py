"""What Keras runs on: TensorFlow, precision by GPU, and two devices that learn like one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from nbhelpers.models import devices, saved
from nbhelpers.workspace import InputError

SCRIPT = Path(__file__).with_name("two_devices.py")
T4, A100, P100 = ("Tesla T4", (7, 5)), ("NVIDIA A100", (8, 0)), ("Tesla P100", (6, 0))
AMD = ("Instinct MI210", None)


@pytest.fixture(autouse=True)
def _policy_restored():
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def see(monkeypatch, *seen):
    monkeypatch.setattr(devices, "_seen_gpus", lambda: list(seen))


def test_a_gpu_that_is_wanted_and_not_there_stops_at_once(monkeypatch):
    see(monkeypatch)
    devices.prepare(False)
    with pytest.raises(InputError, match=r"require_gpu is true and .* sees no GPU\. Choose"):
        devices.prepare(True)
    see(monkeypatch, T4)
    devices.prepare(True)


@pytest.mark.parametrize(
    ("seen", "policy", "told"),
    [
        ([], "float32", r"CPU \(\d+ cores\)"),
        ([A100], "mixed_bfloat16", "1 × NVIDIA A100"),
        ([T4, T4], "mixed_float16", "2 × Tesla T4"),
        ([P100], "mixed_float16", "1 × Tesla P100"),
        ([A100, T4], "mixed_float16", "1 × NVIDIA A100 and 1 × Tesla T4"),
        ([AMD], "float32", "1 × Instinct MI210"),
    ],
)
def test_precision_is_what_the_slowest_gpu_does_well(monkeypatch, capsys, seen, policy, told):
    see(monkeypatch, *seen)
    devices.prepare()
    assert keras.config.dtype_policy().name == policy
    assert re.search(rf"TensorFlow on {told}, {policy}\n", capsys.readouterr().out)


def small_network():
    radiograph = keras.Input((8, 8, 1), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(radiograph)
    x = layers.BatchNormalization()(layers.Conv2D(3, 3)(x))
    return keras.Model(radiograph, layers.Dense(1, dtype="float32")(layers.Flatten()(x)))


def test_a_network_trained_in_half_precision_is_saved_in_float32(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    keras.config.set_dtype_policy("mixed_bfloat16")
    trained = small_network()
    twin = saved.save(trained, tmp_path / "twin.keras")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in twin.layers[1:]} == {"float32"}
    for one, other in zip(trained.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    low, full = (keras.ops.convert_to_numpy(model(pictures)) for model in (trained, twin))
    assert not np.array_equal(low, full)
    np.testing.assert_allclose(low, full, atol=0.05 * np.abs(full).max())


def test_without_several_gpus_nothing_changes():
    with devices.several_devices() as shares:
        assert shares == devices.sharing_devices() == 1
        network = small_network()
        devices.synchronise(network)
    assert not any(getattr(layer, "synchronized", False) for layer in network.layers)


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory):
    """What `two_devices.py` found."""
    told = tmp_path_factory.mktemp("two_devices") / "told.json"
    command = [sys.executable, SCRIPT, told]
    shared = {"PYTHONPATH": f"{SCRIPT.parents[1]}:{SCRIPT.parents[2]}"}
    options = {"capture_output": True, "text": True, "env": os.environ | shared}
    run = subprocess.run(command, **options)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(told.read_text())


@pytest.mark.slow
def test_steps_on_two_devices_equal_those_on_one(on_two_devices):
    found = on_two_devices["one_against_two"]
    assert found["shares"] == 2 and found["steps"] == 10
    assert found["weights_apart"] < 1e-5 < 1e-3 < found["weights_moved"]
    assert found["losses_on_two"] == pytest.approx(found["losses_on_one"], rel=1e-5)


@pytest.mark.slow
def test_a_training_on_two_devices_learns_and_goes_on_to_the_bit(on_two_devices):
    found = on_two_devices["everything_on"]
    training, tuning = zip(*found["losses"], strict=True)
    assert training[-1] < training[0] and tuning[-1] < tuning[0]
    assert found["epochs"] == 4 and found["gone_on_apart"] == 0.0
    assert found["tuning_apart"] < 1e-3  # what was kept is what was judged


@pytest.mark.slow
def test_float16_with_loss_scaling_learns_on_two_devices(on_two_devices):
    found = on_two_devices["float16"]
    assert found["optimiser"] == "LossScaleOptimizer"
    assert found["losses"][-1] < found["losses"][0]
    assert found["moved_by_failed_gradients"] == 0.0


@pytest.mark.slow
def test_a_sharpness_aware_step_moves_along_the_gradients_of_the_shares(on_two_devices):
    found = on_two_devices["sharpness_aware"]
    assert found["weights_apart"] < 1e-5 and found["loss_apart"] < 1e-4
