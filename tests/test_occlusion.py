"""Covering what matters moves the score; a map that marks it does better than chance."""

import numpy as np
import pytest

from nbhelpers import networks, occlusion, prediction

pytestmark = pytest.mark.keras
SIDE, N = 32, 30


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    shown = rng.integers(60, 120, (N, SIDE, SIDE)).astype(np.uint8)
    shown[:, 4:8, 20:24] = 250
    return shown, rng.choice([0.0, 1.0], N)


def corner(images, sex):
    """A score that sees the bright square alone."""
    return images[:, 4:8, 20:24].mean(axis=(1, 2)) + 5 * np.nan_to_num(sex)


def of_corner(n=N):
    maps = np.zeros((n, SIDE, SIDE), np.float32)
    maps[:, 4:8, 20:24] = 1
    return maps


def test_only_the_square_that_matters_is_marked(given):
    maps = occlusion.occlusion_maps(corner, *given)
    assert maps.shape == (N, 8, 8)
    assert (maps[:, 1, 5] > 100).all()
    maps[:, 1, 5] = 0
    assert (maps == 0).all()


def test_a_size_that_the_grid_does_not_divide_is_covered_whole(given):
    shown = given[0][:, :30, :27]
    seen = np.zeros(shown.shape[1:], int)

    def count(images, sex):
        nonlocal seen
        seen = seen + (images != shown).any(axis=0)
        return np.zeros(len(images))

    occlusion.occlusion_maps(count, shown, given[1], cells=4)
    assert (seen >= 1).all() and seen.max() == 1


def test_the_pictures_are_left_as_they_are(given):
    before = given[0].copy()
    occlusion.occlusion_maps(corner, *given)
    occlusion.curves(corner, *given, of_corner(), "deletion")
    occlusion.curves(corner, *given, of_corner(), "insertion")
    np.testing.assert_array_equal(given[0], before)


@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_the_right_map_beats_chance_and_the_wrong_one_does_not(given, kind):
    better = 1 if kind == "deletion" else -1
    maps = {
        "right": of_corner(),
        "wrong": 1 - of_corner(),
        "chance": occlusion.random_maps(N, SIDE),
    }
    told = {name: occlusion.curves(corner, *given, one, kind) for name, one in maps.items()}
    for curve in told.values():
        assert curve.shape == (N, occlusion.STEPS + 1) and (curve >= 0).all()
        # All begin alike and end alike.
        np.testing.assert_allclose(curve[:, [0, -1]], told["right"][:, [0, -1]])
    areas = {name: occlusion.areas(curve, kind) for name, curve in told.items()}
    found = occlusion.compare_areas(areas["right"], areas["chance"])
    assert better * found["value"] > 0 and found["lower"] * found["upper"] > 0
    wrong = occlusion.compare_areas(areas["wrong"], areas["chance"])
    assert better * wrong["value"] < 0


def test_deletion_begins_at_the_picture_and_insertion_ends_there(given):
    deletion = occlusion.curves(corner, *given, of_corner(), "deletion")
    insertion = occlusion.curves(corner, *given, of_corner(), "insertion")
    assert (deletion[:, 0] == 0).all() and (deletion[:, 1] > 50).all()
    assert (insertion[:, -1] == 0).all() and (insertion[:, 0] > 50).all()


def test_a_score_that_never_moves_has_no_area(given):
    told = occlusion.curves(
        lambda images, sex: np.zeros(len(images)), *given, of_corner(), "deletion"
    )
    assert np.isnan(occlusion.areas(told, "deletion")).all()


def test_controls_are_maps_of_every_picture():
    for maps in (occlusion.random_maps(3, SIDE), occlusion.centred_blob(3, SIDE)):
        assert maps.shape == (3, SIDE, SIDE) and maps.dtype == np.float32 and (maps >= 0).all()
    blob = occlusion.centred_blob(1, SIDE)[0]
    assert blob[SIDE // 2, SIDE // 2] > 10 * blob[0, 0]


def test_the_table_of_curves_has_every_step(given):
    told = {"right": occlusion.curves(corner, *given, of_corner(), "deletion")}
    table = occlusion.curve_table(told)
    assert len(table) == occlusion.STEPS + 1 and (table["n"] == N).all()
    assert table["share"].tolist()[:3] == [0, 0.1, 0.2]
    np.testing.assert_allclose(table["value"], told["right"].mean(axis=0))


def test_the_score_of_a_network_is_its_own_answer_about_the_pictures_as_they_are():
    card = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
    rng = np.random.default_rng(1)
    shown = rng.integers(0, 256, (70, SIDE, SIDE)).astype(np.uint8)
    sex = rng.choice([0.0, 1.0], 70)
    made = networks.custom_cnn(SIDE, card, widths=(4, 8), dense_units=8)
    said = prediction.predict(made, shown, sex, flip=False)
    np.testing.assert_allclose(occlusion.network_score(made)(shown, sex), said, rtol=1e-4)
    stager = networks.custom_cnn(SIDE, card, task="stage", widths=(4, 8), dense_units=8)
    stage = np.arange(70) % 5
    said = prediction.predict(stager, shown, sex, flip=False)[np.arange(70), stage]
    np.testing.assert_allclose(occlusion.network_score(stager, stage)(shown, sex), said, rtol=1e-4)


def test_a_map_on_the_grid_keeps_its_mean():
    maps = np.random.default_rng(0).random((3, SIDE, SIDE)).astype(np.float32)
    grid = occlusion.on_grid(maps)
    assert grid.shape == (3, 8, 8)
    np.testing.assert_allclose(grid.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), rtol=1e-5)
    assert occlusion.to_pictures(grid, SIDE).shape == maps.shape
