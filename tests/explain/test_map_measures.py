"""What is told of the maps of a network: as its parts tell it, of ages and of stages."""

import keras
import numpy as np
import pytest

from nbhelpers.explain import checks, grad_cam
from nbhelpers.models import networks, saved

SIDE, N = 32, 8
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (N, SIDE, SIDE)).astype(np.uint8), rng.choice([0.0, 1.0], N)


def network(task="age", **options):
    keras.utils.set_random_seed(0)
    return networks.custom_cnn(SIDE, CARD, task=task, widths=(4, 8), dense_units=8, **options)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_measures_are_those_of_the_network_after_reload_too(given, tmp_path, task):
    saved.save(network(task), tmp_path / "model.keras")
    made = saved.load(tmp_path / "model.keras")
    cells = int(checks.best_cells(checks.choose_cells(made, *given, "hires_cam")))
    assert cells in grad_cam.sides(made)
    told = checks.measure(made, *given, "hires_cam", cells)
    assert list(told.table.columns) == checks.COLUMNS and (told.table["n"] == N).all()
    assert (told.table["lower"] <= told.table["value"]).all()
    table = told.table.set_index("measure")
    random = told.sanity.iloc[-1]
    assert random["random_share"] == 1
    assert table.loc[checks.RANDOM, "value"] == random["value"] < 0.9
    controls = {checks.CHANCE, checks.BLOB}
    assert {name.split("gain on ")[1] for name in table.index if "gain" in name} == controls
    score = checks.network_score(made, checks.named_stage(made, *given))
    np.testing.assert_allclose(told.covered, checks.occlusion_maps(score, *given), atol=1e-4)


def test_the_named_stage_is_the_likeliest(given):
    made = network("stage")
    said = saved.predict(made, *given, flip=False)
    np.testing.assert_array_equal(checks.named_stage(made, *given), said.argmax(axis=1))
    assert checks.named_stage(network(), *given) is None


def test_a_control_learns_from_shuffled_ages_and_leaves_the_network_alone(given):
    made = network()
    before = made.get_weights()
    shown, sex = given
    months = np.linspace(20, 200, N)
    other = checks.trained_on_shuffled(made, shown, sex, months, epochs=2)
    again = checks.trained_on_shuffled(made, shown, sex, months, epochs=2)
    for mine, then in zip(made.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, then)
    assert any((one != two).any() for one, two in zip(other.get_weights(), before, strict=True))
    for one, two in zip(other.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
