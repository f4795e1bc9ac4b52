"""Checks of heat maps: faithful ones beat maps that know nothing; covering what matters is seen."""

import keras
import numpy as np
import pandas as pd
import pytest
import small_networks
from notebook_code import functions

from nbhelpers.explain import checks, grad_cam
from nbhelpers.models import saved

SIDE, N = 32, 30
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    shown = rng.integers(60, 120, (N, SIDE, SIDE)).astype(np.uint8)
    shown[:, 4:8, 20:24] = 250
    return shown, rng.choice([0.0, 1.0], N)


def corner(images):
    """A score that sees the bright square alone."""
    return images[:, 4:8, 20:24].mean(axis=(1, 2))


def of_corner():
    maps = np.zeros((N, SIDE, SIDE), np.float32)
    maps[:, 4:8, 20:24] = 1
    return maps


def test_the_right_map_beats_the_controls_and_the_wrong_one_does_not(given):
    controls = checks.controls(N, SIDE)
    points, gains = checks.compare_maps(corner, given[0], {"right": of_corner()} | controls)
    assert set(zip(gains["kind"], gains["against"], strict=True)) == {
        (kind, control) for kind in checks.KINDS for control in controls
    }
    assert (gains["n"] == N).all() and (gains["lower"] > 0).all()
    ends = points[points["share"].isin([0, 1])].groupby(["kind", "share"])["value"]
    assert (ends.max() - ends.min() < 1e-9).all()  # all maps begin alike and end alike
    right = points[points["map"] == "right"].set_index(["kind", "share"])["value"]
    assert right["deletion", 0] == 0 < 50 < right["deletion", 0.1]
    assert right["insertion", 1] == 0 < 50 < right["insertion", 0]
    _, gains = checks.compare_maps(corner, given[0], {"wrong": 1 - of_corner()} | controls)
    assert (gains["value"] < 0).all()


def test_the_finest_map_that_is_as_good_as_the_best_is_chosen():
    table = pd.DataFrame({"cells": [0, 12, 24, 48], "value": [0.3, 0.6, 0.58, 0.4]})
    table = table.assign(lower=table["value"] - 0.1, upper=table["value"] + 0.1)
    (finest_as_good,) = functions("06_grad_cam", "finest_as_good")
    assert finest_as_good(table) == 24
    assert finest_as_good(table.assign(upper=table["value"])) == 12
    assert finest_as_good(table.assign(value=np.nan)) == 0


def test_only_the_square_that_matters_is_marked(given):
    before = given[0].copy()
    maps = checks.occlusion_maps(corner, given[0])
    np.testing.assert_array_equal(given[0], before)
    assert maps.shape == (N, 8, 8)
    assert (maps[:, 1, 5] > 100).all()
    maps[:, 1, 5] = 0
    assert (maps == 0).all()


def network(task="age"):
    keras.utils.set_random_seed(0)
    return small_networks.custom_cnn(SIDE, CARD, task=task)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_measures_are_those_of_the_network_after_reload_too(given, tmp_path, task):
    saved.save(network(task), tmp_path / "model.keras")
    made = saved.load(tmp_path / "model.keras")
    tried = checks.choose_cells(made, *given, "hires_cam")
    assert dict(zip(tried["cells"], tried["side"], strict=True)) == grad_cam.sides(made)
    told = checks.measure(made, *given, "hires_cam", tried["cells"].max())
    table = told.table.set_index("measure")
    random = told.sanity.iloc[-1]
    assert random["random_share"] == 1
    assert table.loc[checks.RANDOM, "value"] == random["value"] < 0.9
    controls = {checks.CHANCE, checks.BLOB}
    assert {name.split("gain on ")[1] for name in table.index if "gain" in name} == controls
    images, sex = given
    own = saved.predict(made, images, sex, flip=False)
    images = images.copy()
    images[:, 4:8, 20:24] = np.median(images, axis=(1, 2))[:, None, None]
    covered = saved.predict(made, images, sex, flip=False)
    if task == "stage":
        own, covered = (one[np.arange(N), own.argmax(axis=1)] for one in (own, covered))
    np.testing.assert_allclose(told.covered[:, 1, 5], own - covered, atol=1e-4)


def test_a_control_learns_from_shuffled_ages_and_leaves_the_network_alone(given):
    made = network()
    before = made.get_weights()
    learnt = (*given, np.linspace(20, 200, N))
    n, value, lower, upper = checks.like_shuffled(made, learnt, given, "hires_cam", 0, epochs=1)
    assert n == N and -1 < lower < value < upper < 0.9
    for mine, then in zip(made.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, then)
