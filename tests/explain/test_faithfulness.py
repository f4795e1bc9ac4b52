"""A map that marks what the answer hangs on does better than maps that know nothing of it."""

import keras
import numpy as np
import pandas as pd
import pytest

from nbhelpers.explain import checks, grad_cam
from nbhelpers.models import networks

SIDE, N = 32, 30
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    shown = rng.integers(60, 120, (N, SIDE, SIDE)).astype(np.uint8)
    shown[:, 4:8, 20:24] = 250
    return shown, rng.choice([0.0, 1.0], N)


def corner(images, sex):
    """A score that sees the bright square alone."""
    return images[:, 4:8, 20:24].mean(axis=(1, 2)) + 5 * np.nan_to_num(sex)


def of_corner():
    maps = np.zeros((N, SIDE, SIDE), np.float32)
    maps[:, 4:8, 20:24] = 1
    return maps


def test_the_right_map_beats_the_controls_and_the_wrong_one_does_not(given):
    controls = checks.controls(N, SIDE)
    points, gains = checks.compare_maps(corner, *given, {"right": of_corner()} | controls)
    assert set(zip(gains["kind"], gains["against"], strict=True)) == {
        (kind, control) for kind in checks.KINDS for control in controls
    }
    assert (gains["n"] == N).all() and (gains["lower"] > 0).all()
    ends = points[points["share"].isin([0, 1])].groupby(["kind", "share"])["value"]
    assert (ends.max() - ends.min() < 1e-9).all()  # all maps begin alike and end alike
    _, gains = checks.compare_maps(corner, *given, {"wrong": 1 - of_corner()} | controls)
    assert (gains["value"] < 0).all()


def test_a_map_gains_nothing_on_itself(given):
    _, gains = checks.compare_maps(corner, *given, {"a": of_corner(), "b": of_corner()})
    assert (gains[["value", "lower", "upper"]] == 0).all(axis=None)


def test_the_curves_are_means_over_the_pictures_at_every_step(given):
    points, _ = checks.compare_maps(corner, *given, {"right": of_corner()})
    deletion = points[points["kind"] == "deletion"]
    assert deletion["share"].tolist()[:3] == [0, 0.1, 0.2] and (deletion["n"] == N).all()
    told = checks.curves(corner, *given, of_corner(), "deletion")
    np.testing.assert_allclose(deletion["value"], told.mean(axis=0))


def test_deletion_begins_at_the_picture_and_insertion_ends_there(given):
    before = given[0].copy()
    deletion = checks.curves(corner, *given, of_corner(), "deletion")
    insertion = checks.curves(corner, *given, of_corner(), "insertion")
    assert (deletion[:, 0] == 0).all() and (deletion[:, 1] > 50).all()
    assert (insertion[:, -1] == 0).all() and (insertion[:, 0] > 50).all()
    np.testing.assert_array_equal(given[0], before)


def test_a_map_that_moves_the_score_more_at_every_step_gains():
    """However far it moves it: a higher peak on the way is no fault in deletion."""
    mine, control = np.array([[0, 50, 35.0]]), np.array([[0, 25, 35.0]])
    assert checks.gains(mine, control, "deletion") == pytest.approx(25 / 60)
    assert checks.gains(mine, control, "insertion") == pytest.approx(-25 / 60)
    assert checks.gains(control, control, "deletion") == 0


def test_a_score_that_never_moves_tells_nothing(given):
    def still(images, sex):
        return np.zeros(len(images))

    maps = {"right": of_corner()} | checks.controls(N, SIDE)
    _, gains = checks.compare_maps(still, *given, maps)
    assert (gains["n"] == 0).all() and gains["value"].isna().all()


def test_controls_are_maps_of_every_picture():
    controls = checks.controls(3, SIDE)
    for maps in controls.values():
        assert maps.shape == (3, SIDE, SIDE) and maps.dtype == np.float32 and (maps >= 0).all()
    blob = controls[checks.BLOB][0]
    assert blob[SIDE // 2, SIDE // 2] > 10 * blob[0, 0]


def test_of_several_feature_maps_the_one_that_the_score_hangs_on_is_named(given):
    keras.utils.set_random_seed(0)
    network = networks.custom_cnn(SIDE, CARD, widths=(4, 8), dense_units=8)
    table = checks.by_cells(network, corner, *given, "hires_cam")
    sides = grad_cam.sides(network)
    assert dict(zip(table["cells"], table["side"], strict=True)) == sides and len(sides) == 2
    fine = sum(grad_cam.heat_maps(network, *given, "hires_cam", cells=table["cells"].iloc[1]))
    chance = {checks.CHANCE: checks.controls(N, SIDE)[checks.CHANCE]}
    _, gains = checks.compare_maps(corner, *given, {"fine": fine} | chance)
    assert table["value"].iloc[1] == pytest.approx(gains["value"].mean())


def test_the_finest_map_that_is_as_good_as_the_best_is_chosen():
    table = pd.DataFrame({"cells": [0, 12, 24, 48], "value": [0.3, 0.6, 0.58, 0.4]})
    table = table.assign(lower=table["value"] - 0.1, upper=table["value"] + 0.1)
    assert checks.best_cells(table) == 24
    assert checks.best_cells(table.assign(upper=table["value"])) == 12
    assert checks.best_cells(table.assign(upper=1.0)) == 48
    assert checks.best_cells(table.assign(value=np.nan, upper=np.nan)) == 0
