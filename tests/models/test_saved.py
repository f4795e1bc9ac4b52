"""Saved models say elsewhere what they said here, in a clean process."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import small_networks
from small_networks import CARD
from test_features import liven

from nbhelpers import workspace
from nbhelpers.models import ensembles, networks, saved
from nbhelpers.workspace import InputError

ROOT = Path(__file__).parents[2]
SIDE, N = 32, 150  # more than a batch of prediction
DATA = small_networks.light_tells_age(64, N - 64, SIDE)
PICTURES = DATA.images
SEX = np.where(np.arange(N) % 3 == 0, np.nan, DATA.sex)
# What a user does who has the file and this module; nothing that made the model is there.
CLEAN_PROCESS = """
import sys

import keras
import numpy as np
import nbhelpers.models.networks
for name in sys.argv[2:]:
    assert keras.models.load_model(name + ".keras")
from nbhelpers.models import saved

given = np.load("given.npz")
for name in ("cnn", "mobilenet"):
    np.save(name, saved.predict(saved.load(name + ".keras"), given["pictures"], given["sex"]))
"""


def network(seed=0, card=CARD, task="age"):
    keras.utils.set_random_seed(seed)
    return small_networks.custom_cnn(SIDE, card, task=task, seed=seed)


def save_members(folder, *cards):
    """Networks fold0, fold1 and so on."""
    for seed, card in enumerate(cards):
        saved.save(network(seed, card), folder / "models" / f"fold{seed}.age.keras")
    return tuple(f"fold{seed}" for seed in range(len(cards)))


@pytest.mark.slow
def test_a_clean_process_gets_the_same_bits_from_a_file_without_the_optimiser(tmp_path):
    """Of networks as a notebook leaves them: compiled, trained, with moved statistics."""
    np.savez(tmp_path / "given.npz", pictures=PICTURES, sex=SEX)
    mobilenet = small_networks.transfer_network("MobileNet0.25", SIDE, stages=3)
    liven(mobilenet)
    before = {}
    for name, model in {"cnn": network(), "mobilenet": mobilenet}.items():
        small_networks.fit(model, "age", DATA, 1, batch_size=32)
        before[name] = saved.predict(model, PICTURES, SEX)
        saved.save(model, tmp_path / f"{name}.keras")
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            held = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        assert len(held) and "optimizer" not in " ".join(held)
    command, env = [sys.executable, "-c", CLEAN_PROCESS], os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=env, check=True)
    for name, told in before.items():
        assert np.ptp(told) > 1e-3
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), told)


def test_a_prediction_is_the_mean_over_views_and_unknown_sexes(monkeypatch, capsys):
    model, views = network(), np.array(networks.VIEWS)
    # Each change goes either way as often as the other, with either way of any other.
    np.testing.assert_array_equal(views[:, :3].T @ views[:, :3], 4 * np.eye(3))
    assert not views.sum(axis=0).any()

    def plainly(draws):
        seen = networks.changed(PICTURES[..., None], draws)
        return model.predict_on_batch([seen, np.ones((N, 1))])[:, 0]

    mirrored = networks.changed(PICTURES[..., None], -np.eye(10)[0])
    np.testing.assert_array_equal(mirrored[..., 0], PICTURES[:, :, ::-1])
    each = [plainly(draws) for draws in views]
    assert np.ptp(each, axis=0).max() > 0.01
    girls, boys, unknown = (
        saved.predict(model, PICTURES, np.full(N, code)) for code in (0.0, 1.0, np.nan)
    )
    np.testing.assert_allclose(boys, np.mean(each, axis=0), rtol=1e-5)
    np.testing.assert_allclose(unknown, 0.25 * boys + 0.75 * girls, rtol=1e-5)
    # Rows are predicted alike whatever the company.
    rows, together = np.array([0, 9, 40, 95]), saved.predict(model, PICTURES, SEX)
    np.testing.assert_allclose(saved.predict(model, PICTURES, SEX, rows), together[rows], atol=1e-3)
    monkeypatch.setattr(saved, "LONG", 1)
    saved.predict(model, PICTURES, DATA.sex, rows)
    assert "predictions, batches of 128: 1 in" in capsys.readouterr().out


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "models" / "cnn.age.keras"
    saved.save(network(), path)
    kept = path.read_bytes()

    def fail(self, path, **options):
        Path(path).write_bytes(b"half a model")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        saved.save(network(), path)
    assert path.read_bytes() == kept
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_a_file_that_carries_code_is_refused(tmp_path):
    shown = keras.Input((1,))
    model = keras.Model(shown, keras.layers.Lambda(lambda x: x * 2)(shown))
    model.save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match="lambda"):
        saved.load(tmp_path / "code.keras")


def test_an_ensemble_knows_its_members(tmp_path, capsys):
    pictures, sex = PICTURES[:20], SEX[:20]

    def said(model):
        return saved.predict_each(tmp_path, [model], "age", lambda view: pictures, sex)[model]

    members = save_members(tmp_path, CARD, CARD)
    saved.save_ensemble(tmp_path, "cnn", ensembles.equal("age", members, 0.25))
    one, other = map(said, members)
    assert np.abs(one - other).max() > 0.01
    np.testing.assert_allclose(said("cnn"), (one + other) / 2)

    numbers = [[0.3, 0.5]], [7.0], [4.0], 0.25
    weighted = ensembles.Combination("linear", "age", ("cnn", "fold1"), *numbers)
    saved.save_ensemble(tmp_path, "of_ensembles", weighted)
    expected = 0.3 * said("cnn") + 0.5 * other + 7 + 4 * np.nan_to_num(sex, nan=0.25)
    np.testing.assert_allclose(said("of_ensembles"), expected)

    changed = tmp_path / "models" / "fold1.age.keras"
    saved.save(network(seed=2), changed)
    for fault in ("changed", "missing"):
        with pytest.raises(InputError, match=r"cnn\.age\.json .* fold1.* missing or was changed"):
            said("cnn")
        changed.unlink(missing_ok=fault == "missing")
    saved.save_ensemble(tmp_path, "cnn", ensembles.equal("age", members, 0.25))
    assert "no new radiograph" in capsys.readouterr().out and not any(tmp_path.rglob("cnn.*"))


def test_members_that_want_other_pictures_are_refused(tmp_path):
    members = save_members(tmp_path, CARD, CARD | {"preparation": "another"})
    with pytest.raises(InputError, match="fold1 wants pictures of preparation another, fold0 of"):
        saved.save_ensemble(tmp_path, "both", ensembles.equal("age", members, 0.5))


def test_saved_networks_are_those_with_predictions_and_the_first_of_folds(tmp_path, capsys):
    for name in ("lone.age", "cnn.age", "big_fold1.age", "big_fold0.age"):
        workspace.write_json(tmp_path / "models" / f"{name}.keras", {})
    for name in ("cnn.age", "big.age", "trees.age", "cnn.stage"):
        workspace.write_json(tmp_path / "predictions" / f"{name}.parquet", {})
    found = {key: path.name for key, path in saved.saved_networks(tmp_path).items()}
    assert found == {("big", "age"): "big_fold0.age.keras", ("cnn", "age"): "cnn.age.keras"}
    assert "big age is the mean of 2 networks" in capsys.readouterr().out
