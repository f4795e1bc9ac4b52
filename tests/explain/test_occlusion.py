"""Covering what matters moves the score."""

import numpy as np
import pytest

from nbhelpers.explain import checks
from nbhelpers.models import networks, saved

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


def test_only_the_square_that_matters_is_marked(given):
    maps = checks.occlusion_maps(corner, *given)
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

    checks.occlusion_maps(count, shown, given[1], cells=4)
    assert (seen >= 1).all() and seen.max() == 1


def test_the_pictures_are_left_as_they_are(given):
    before = given[0].copy()
    checks.occlusion_maps(corner, *given)
    np.testing.assert_array_equal(given[0], before)


def test_the_score_of_a_network_is_its_own_answer_about_the_pictures_as_they_are():
    card = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
    rng = np.random.default_rng(1)
    shown = rng.integers(0, 256, (70, SIDE, SIDE)).astype(np.uint8)
    sex = rng.choice([0.0, 1.0], 70)
    made = networks.custom_cnn(SIDE, card, widths=(4, 8), dense_units=8)
    said = saved.predict(made, shown, sex, flip=False)
    np.testing.assert_allclose(checks.network_score(made)(shown, sex), said, rtol=1e-4)
    stager = networks.custom_cnn(SIDE, card, task="stage", widths=(4, 8), dense_units=8)
    stage = np.arange(70) % 5
    said = saved.predict(stager, shown, sex, flip=False)[np.arange(70), stage]
    np.testing.assert_allclose(checks.network_score(stager, stage)(shown, sex), said, rtol=1e-4)


def test_a_map_on_the_grid_keeps_its_mean():
    maps = np.random.default_rng(0).random((3, SIDE, SIDE)).astype(np.float32)
    grid = checks.on_grid(maps)
    assert grid.shape == (3, 8, 8)
    np.testing.assert_allclose(grid.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), rtol=1e-5)
    assert checks.to_pictures(grid, SIDE).shape == maps.shape
