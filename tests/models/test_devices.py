"""What Keras runs on: TensorFlow, precision by GPU, and two devices that learn like one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import small_networks

from nbhelpers.models import devices, saved
from nbhelpers.workspace import InputError

SCRIPT = Path(__file__).with_name("two_devices.py")
T4, A100 = ("Tesla T4", (7, 5)), ("NVIDIA A100", (8, 0))
AMD = ("Instinct MI210", None)


@pytest.fixture(autouse=True)
def _policy_restored():
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def test_a_gpu_that_is_wanted_and_not_there_stops_at_once(monkeypatch):
    monkeypatch.setattr(devices, "_seen_gpus", list)
    with pytest.raises(InputError, match=r"require_gpu is true and .* sees no GPU\. Choose"):
        devices.prepare(True)


@pytest.mark.parametrize(
    ("seen", "policy", "told"),
    [
        ([], "float32", r"CPU \(\d+ cores\)"),
        ([A100], "mixed_bfloat16", "1 × NVIDIA A100"),
        ([T4, T4], "mixed_float16", "2 × Tesla T4"),
        ([A100, T4], "mixed_float16", "1 × NVIDIA A100 and 1 × Tesla T4"),
        ([AMD], "float32", "1 × Instinct MI210"),
    ],
)
def test_precision_is_what_the_slowest_gpu_does_well(monkeypatch, capsys, seen, policy, told):
    monkeypatch.setattr(devices, "_seen_gpus", lambda: seen)
    assert devices.prepare() is devices.several_devices
    assert keras.config.dtype_policy().name == policy
    assert re.search(rf"TensorFlow on {told}, {policy}\n", capsys.readouterr().out)


def test_a_network_trained_in_half_precision_is_saved_in_float32(tmp_path):
    given = [
        np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1)).astype(np.uint8),
        np.eye(4, 1),
    ]
    keras.config.set_dtype_policy("mixed_bfloat16")
    trained = small_networks.custom_cnn(16)
    twin = saved.save(trained, tmp_path / "twin.keras")
    assert {layer.compute_dtype for layer in twin.layers if layer.weights} == {"float32"}
    for one, other in zip(trained.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    low, full = (keras.ops.convert_to_numpy(model(given)) for model in (trained, twin))
    assert not np.array_equal(low, full)
    np.testing.assert_allclose(low, full, atol=0.05 * np.abs(full).max())


@pytest.mark.slow
def test_two_devices_learn_like_one():
    """What `two_devices.py` asserts, in a process of its own: devices are made before the rest."""
    env = os.environ | {"PYTHONPATH": f"{SCRIPT.parents[1]}:{SCRIPT.parents[2]}"}
    run = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr[-3000:]
