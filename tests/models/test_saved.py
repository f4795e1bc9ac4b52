"""Saved models say elsewhere what they said here, in a clean process."""

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import small_networks
from small_networks import CARD
from test_features import liven

from nbhelpers import workspace
from nbhelpers.models import ensembles
from nbhelpers.models import saved as models_saved
from nbhelpers.workspace import InputError

ROOT = Path(__file__).parents[2]
SIDE, N = 32, 150  # more than a batch of prediction
DATA = small_networks.light_tells_age(64, N - 64, SIDE)
PICTURES = DATA.images
SEX = np.where(np.arange(N) % 3 == 0, np.nan, DATA.sex)
MODELS = ("cnn.stage", "mobilenet.age")
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
told = {}
for name in sys.argv[2:]:
    model = saved.load(name + ".keras")
    told[name] = saved.predict(model, given["pictures"], given["sex"])
assert not [name for name in sys.modules if name.startswith("tests")]
np.savez(sys.argv[1], **told)
"""


def network(name="cnn.age", seed=0, card=CARD):
    kind, task = name.split(".")
    keras.utils.set_random_seed(seed)
    if kind == "mobilenet":
        model = small_networks.transfer_network("MobileNet0.25", SIDE, card, task=task, stages=3)
        liven(model)
        return model
    return small_networks.custom_cnn(SIDE, card, task=task, seed=seed)


@pytest.mark.slow
def test_a_clean_process_gets_the_same_bits_from_a_file_without_the_optimiser(tmp_path):
    """Of networks as a notebook leaves them: compiled, trained, with moved statistics."""
    np.savez(tmp_path / "given.npz", pictures=PICTURES, sex=SEX)
    before = {}
    for name in MODELS:
        model, task = network(name), name.split(".")[1]
        target = DATA.target if task == "age" else np.arange(N) % 5
        small_networks.fit(model, task, replace(DATA, target=target), 1, batch_size=32)
        before[name] = models_saved.predict(model, PICTURES, SEX)
        path = tmp_path / f"{name}.keras"
        models_saved.save(model, path)
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights:
            held = [*h5py.File(io.BytesIO(weights.read()))]
        assert held and not [name for name in held if "optimizer" in name]
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_PROCESS, "told.npz", *MODELS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    after = np.load(tmp_path / "told.npz")
    for name in MODELS:
        assert np.ptp(before[name], axis=0).max() > 1e-3, name
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_a_prediction_is_the_mean_over_mirror_images_and_unknown_sexes(monkeypatch, capsys):
    model = network()

    def plainly(pictures):
        return model.predict_on_batch([pictures[..., None], np.ones((N, 1))])[:, 0]

    plain, of_mirror = plainly(PICTURES), plainly(PICTURES[:, :, ::-1])
    assert np.abs(plain - of_mirror).max() > 0.01
    girls, boys, unknown = (
        models_saved.predict(model, PICTURES, np.full(N, code)) for code in (0.0, 1.0, np.nan)
    )
    np.testing.assert_allclose(boys, (plain + of_mirror) / 2, rtol=1e-5)
    np.testing.assert_allclose(unknown, 0.25 * boys + 0.75 * girls, rtol=1e-5)
    # Rows are predicted alike whatever the company.
    rows, together = np.array([0, 9, 40, 95]), models_saved.predict(model, PICTURES, SEX)
    some = models_saved.predict(model, PICTURES, SEX, rows)
    np.testing.assert_allclose(some, together[rows], atol=1e-3)
    assert not capsys.readouterr().out
    monkeypatch.setattr(models_saved, "LONG", 1)
    models_saved.predict(model, PICTURES, DATA.sex, rows)
    assert "predictions, batches of 128: 1 in" in capsys.readouterr().out


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "models" / "cnn.age.keras"
    models_saved.save(network(), path)
    kept = path.read_bytes()

    def fail(self, path, **options):
        Path(path).write_bytes(b"half a model")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        models_saved.save(network(), path)
    assert path.read_bytes() == kept
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_a_file_that_carries_code_is_refused(tmp_path):
    shown = keras.Input((1,))
    model = keras.Model(shown, keras.layers.Lambda(lambda x: x * 2)(shown))
    model.save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match="lambda"):
        models_saved.load(tmp_path / "code.keras")


def save_members(folder, count=2):
    for number in range(count):
        models_saved.save(network(seed=number), folder / "models" / f"fold{number}.age.keras")
    return tuple(f"fold{number}" for number in range(count))


def test_an_ensemble_knows_its_members(tmp_path):
    pictures, sex = PICTURES[:20], SEX[:20]
    members = save_members(tmp_path)
    models_saved.save_ensemble(tmp_path, "cnn", ensembles.equal("age", members, 0.25))
    each = [models_saved.predict_saved(tmp_path, m, "age", pictures, sex) for m in members]
    mean = models_saved.predict_saved(tmp_path, "cnn", "age", pictures, sex)
    assert np.abs(each[0] - each[1]).max() > 0.01
    np.testing.assert_allclose(mean, (each[0] + each[1]) / 2)

    weighted = ensembles.Combination(
        "linear", "age", ("cnn", "fold1"), [[0.3, 0.5]], [7.0], [4.0], 0.25
    )
    models_saved.save_ensemble(tmp_path, "of_ensembles", weighted)
    said = models_saved.predict_saved(tmp_path, "of_ensembles", "age", pictures, sex)
    expected = 0.3 * mean + 0.5 * each[1] + 7 + 4 * np.nan_to_num(sex, nan=0.25)
    np.testing.assert_allclose(said, expected)

    changed = tmp_path / "models" / "fold1.age.keras"
    models_saved.save(network(seed=2), changed)
    for fault in ("changed", "missing"):
        with pytest.raises(InputError, match=r"cnn\.age\.json .* fold1 is missing or was changed"):
            models_saved.predict_saved(tmp_path, "cnn", "age", pictures, sex)
        changed.unlink(missing_ok=fault == "missing")
    with pytest.raises(InputError, match=r"nothing\.stage"):
        models_saved.predict_saved(tmp_path, "nothing", "stage", pictures, sex)


def test_members_that_want_other_pictures_are_refused(tmp_path):
    (first,) = save_members(tmp_path, 1)
    other = network(card=CARD | {"preparation": "another"})
    models_saved.save(other, tmp_path / "models" / "other.age.keras")
    with pytest.raises(InputError, match="other wants pictures of preparation another, fold0 of"):
        combination = ensembles.equal("age", (first, "other"), 0.5)
        models_saved.save_ensemble(tmp_path, "both", combination)


def test_saved_networks_are_those_with_predictions_and_the_first_of_folds(tmp_path, capsys):
    (tmp_path / "predictions").mkdir()
    names = ("lone.age", "cnn.age", "big_fold1.age", "big_fold0.age")
    for file in (*(f"{name}.keras" for name in names), "big.age.json"):
        workspace.write_json(tmp_path / "models" / file, {})
    assert models_saved.saved_networks(tmp_path) == {}
    for name in ("cnn.age", "big.age", "trees.age", "cnn.stage"):
        (tmp_path / "predictions" / f"{name}.parquet").touch()
    found = models_saved.saved_networks(tmp_path)
    assert list(found) == [("big", "age"), ("cnn", "age")]
    assert [path.name for path in found.values()] == ["big_fold0.age.keras", "cnn.age.keras"]
    told = capsys.readouterr().out
    assert "big age is the mean of 2 networks: big_fold0.age.keras is shown" in told
