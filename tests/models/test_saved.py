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
from test_features import liven

from nbhelpers import workspace
from nbhelpers.models import batches, ensembles
from nbhelpers.models import saved as models_saved
from nbhelpers.workspace import InputError

ROOT = Path(__file__).parents[2]
SIDE, N = 32, 150  # more than a batch of prediction
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
MODELS = ("cnn.age", "cnn.stage", "mobilenet.age", "mobilenet.stage")
# What a user does who has the file and this module; nothing that made the model is there.
CLEAN_PROCESS = """
import sys
import keras
import numpy as np
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
        options = {"weights_path": None, "dense_units": 8, "sex_units": 4, "stages": 3}
        model = small_networks.transfer_network("MobileNet0.25", SIDE, CARD, task=task, **options)
        liven(model)
        return model
    return small_networks.custom_cnn(
        SIDE, card, task=task, widths=(4, 8), dense_units=16, seed=seed
    )


def trained(name, given):
    """A network after an epoch, as a notebook leaves it: compiled, with moved statistics."""
    model = network(name)
    rng = np.random.default_rng(3)
    target = rng.integers(0, 5, N) if name.endswith("stage") else rng.uniform(1, 228, N)
    fed = batches.Batches(given["pictures"], np.arange(64), given["sex"], target, 32)
    small_networks.fit(model, name.split(".")[1], fed, fed, 1, 1e-3)
    return model


@pytest.fixture(scope="module")
def given():
    """Radiographs and sexes, some of them unknown."""
    rng = np.random.default_rng(0)
    light = rng.uniform(0.2, 1, (N, 1, 1))
    shown = (light * rng.integers(0, 256, (N, SIDE, SIDE))).astype(np.uint8)
    return {"pictures": shown, "sex": rng.choice([0.0, 1.0, np.nan], N)}


@pytest.fixture(scope="module")
def saved(given, tmp_path_factory):
    """A folder with saved models, and what each predicted before it was saved."""
    folder = tmp_path_factory.mktemp("saved")
    np.savez(folder / "given.npz", **given)
    before = {}
    for name in MODELS:
        model = trained(name, given)
        before[name] = models_saved.predict(model, given["pictures"], given["sex"])
        models_saved.save(model, folder / f"{name}.keras")
    return folder, before


@pytest.mark.slow
def test_a_clean_process_gets_the_same_bits(saved):
    folder, before = saved
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_PROCESS, "told.npz", *MODELS],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    after = np.load(folder / "told.npz")
    for name in MODELS:
        assert np.ptp(before[name], axis=0).max() > 1e-3, name
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_flipping_averages_a_radiograph_and_its_mirror_image(given):
    model = network()
    known = {"sex": np.ones(N), "images": given["pictures"]}
    plain = models_saved.predict(model, **known, flip=False)
    mirrored = given["pictures"][:, :, ::-1]
    of_mirror = models_saved.predict(model, mirrored, np.ones(N), flip=False)
    assert np.abs(plain - of_mirror).max() > 0.01
    np.testing.assert_allclose(models_saved.predict(model, **known), (plain + of_mirror) / 2)


def test_the_file_holds_no_optimiser_and_its_name_is_whole_or_not_there(
    given, tmp_path, monkeypatch
):
    model = trained("cnn.age", given)
    path = tmp_path / "models" / "cnn.age.keras"
    models_saved.save(model, path)
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights:
        assert not [name for name in h5py.File(io.BytesIO(weights.read())) if "optimizer" in name]
    kept = path.read_bytes()

    def fail(self, path, **options):
        Path(path).write_bytes(b"half a model")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        models_saved.save(model, path)
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


def test_an_ensemble_knows_its_members(given, tmp_path):
    pictures, sex = given["pictures"][:20], given["sex"][:20]
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


def test_saved_networks_are_those_with_predictions(tmp_path):
    save_members(tmp_path)
    (tmp_path / "predictions").mkdir()
    assert models_saved.saved_networks(tmp_path) == {}
    for name in ("fold1.age", "trees.age", "fold0.stage"):
        (tmp_path / "predictions" / f"{name}.parquet").touch()
    found = models_saved.saved_networks(tmp_path)
    assert found == {("fold1", "age"): tmp_path / "models" / "fold1.age.keras"}


def test_the_first_fold_stands_for_a_cross_validated_network_in_words(tmp_path, capsys):
    for name in ("cnn.age.keras", "big_fold1.age.keras", "big_fold0.age.keras", "big.age.json"):
        workspace.write_json(tmp_path / "models" / name, {})
    (tmp_path / "predictions").mkdir()
    for name in ("cnn.age", "big.age"):
        (tmp_path / "predictions" / f"{name}.parquet").touch()
    found = models_saved.saved_networks(tmp_path)
    assert [path.name for path in found.values()] == ["big_fold0.age.keras", "cnn.age.keras"]
    assert list(found) == [("big", "age"), ("cnn", "age")]
    assert (
        "big age is the mean of 2 networks: big_fold0.age.keras is shown" in capsys.readouterr().out
    )
