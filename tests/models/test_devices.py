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
    assert devices.gpus() == ["Tesla T4"]


@pytest.mark.parametrize(
    ("seen", "policy"),
    [
        ([], "float32"),
        ([A100], "mixed_bfloat16"),
        ([T4, T4], "mixed_float16"),
        ([P100], "mixed_float16"),
        ([A100, T4], "mixed_float16"),
        ([AMD], "float32"),
    ],
)
def test_precision_is_what_the_slowest_gpu_does_well(monkeypatch, seen, policy):
    see(monkeypatch, *seen)
    assert devices.set_precision() == policy == keras.config.dtype_policy().name


def test_the_page_says_what_it_ran_on(monkeypatch):
    see(monkeypatch, T4, T4)
    devices.set_precision()
    assert devices.describe() == "TensorFlow on 2 × Tesla T4, mixed_float16"
    see(monkeypatch)
    devices.set_precision()
    assert re.fullmatch(r"TensorFlow on CPU \(\d+ cores\), float32", devices.describe())


def small_network():
    radiograph = keras.Input((8, 8, 1), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(radiograph)
    x = layers.BatchNormalization()(layers.Conv2D(3, 3)(x))
    return keras.Model(radiograph, layers.Dense(1, dtype="float32")(layers.Flatten()(x)))


def test_a_network_trained_in_half_precision_is_saved_in_float32(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    devices.set_precision("mixed_bfloat16")
    trained = small_network()
    twin = saved.save(trained, tmp_path / "twin.keras")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in twin.layers[1:]} == {"float32"}
    for one, other in zip(trained.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    low, full = trained.predict(pictures, verbose=0), twin.predict(pictures, verbose=0)
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
@pytest.mark.parametrize("batchnorm", ["frozen", "synchronised"])
def test_steps_on_two_devices_equal_those_on_one(on_two_devices, batchnorm):
    found = on_two_devices[batchnorm]
    assert found["shares"] == 2 and found["steps"] == {"frozen": 8, "synchronised": 10}[batchnorm]
    assert found["weights_apart"] < 1e-5 < 1e-3 < found["weights_moved"]
    for (_, tuning_two), (_, tuning_one) in zip(
        found["losses_on_two"], found["losses_on_one"], strict=True
    ):
        assert tuning_two == pytest.approx(tuning_one, rel=1e-5)


@pytest.mark.slow
def test_a_training_on_two_devices_learns_and_goes_on_to_the_bit(on_two_devices):
    found = on_two_devices["all"]
    training, tuning = zip(*found["losses"], strict=True)
    assert training[-1] < training[0] and tuning[-1] < tuning[0]
    assert found["epochs"] == 4 and found["gone_on_apart"] == 0.0
    assert found["tuning_apart"] < 1e-3  # what was kept is what was judged


@pytest.mark.slow
def test_float16_with_loss_scaling_learns_on_two_devices(on_two_devices):
    found = on_two_devices["float16"]
    assert found["optimiser"] == "LossScaleOptimizer"
    assert found["losses"][-1][0] < found["losses"][0][0]
    assert found["moved_by_failed_gradients"] == 0.0
    assert found["twin_apart"] < 2.0
