"""HOG features see edges and not exposure; trees on them learn and travel whole."""

import cv2
import numpy as np
import pytest
import xgboost

from nbhelpers.models import hog

SIZE = 48
SETTINGS = hog.HogSettings()


def stripes(angle_degrees: float) -> np.ndarray:
    """A picture whose grey levels change along one direction only."""
    y, x = np.mgrid[:SIZE, :SIZE]
    turn = np.deg2rad(angle_degrees)
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 0.7)
    return (127 + 90 * wave).astype(np.uint8)


@pytest.fixture(scope="module")
def hands():
    """Pictures of a disc that grows with age, faster in girls: 240 pictures, ages, sexes."""
    rng = np.random.default_rng(3)
    age = rng.uniform(10, 220, 240)
    sex = rng.integers(0, 2, 240).astype(np.float32)
    pictures = np.zeros((240, SIZE, SIZE), np.uint8)
    for picture, months, boy in zip(pictures, age, sex, strict=True):
        radius = 4 + months / 16 * (0.7 if boy else 1.0)
        x, y = rng.integers(22, 27, 2)
        cv2.circle(picture, (int(x), int(y)), round(radius), 180, -1, cv2.LINE_AA)
    pictures = pictures + rng.integers(0, 12, pictures.shape, dtype=np.uint8)
    return pictures, age, sex


def grow(columns, target, rounds: int, **more) -> xgboost.Booster:
    settings = {"objective": "reg:squarederror", "max_depth": 3, "colsample_bytree": 0.3, **more}
    return xgboost.train(settings, xgboost.QuantileDMatrix(columns, target), rounds)


@pytest.fixture(scope="module")
def grown(hands):
    pictures, age, sex = hands
    table = hog.features(pictures, SETTINGS)
    return grow(hog.with_sex(table, sex)[:160], age[:160], 100, learning_rate=0.1), table


@pytest.mark.parametrize("angle", [0, 40, 80, 120, 160])
def test_the_strongest_direction_is_that_of_the_gradient(angle):
    cells = hog.cell_histograms(stripes(angle), SETTINGS)
    strongest = cells.sum(axis=(0, 1)).argmax() * 180 / SETTINGS.orientations
    apart = abs(strongest - angle)
    assert min(apart, 180 - apart) <= 180 / SETTINGS.orientations / 2 + 1


def test_brightness_changes_nothing_and_contrast_little():
    picture = stripes(30)
    plain = hog.cell_histograms(picture, SETTINGS)
    np.testing.assert_allclose(hog.cell_histograms(picture + 30, SETTINGS), plain, atol=1e-3)
    faint = hog.cell_histograms(picture // 2, SETTINGS)
    assert np.abs(faint - plain).max() < 0.1
    assert np.abs(plain).max() > 0.3


def test_an_empty_picture_has_no_edges():
    assert not hog.cell_histograms(np.full((SIZE, SIZE), 90, np.uint8), SETTINGS).any()


def test_features_stand_in_the_order_of_the_pictures():
    pictures = np.stack([stripes(angle) for angle in (0, 45, 90)])
    table = hog.features(pictures, SETTINGS)
    for picture, row in zip(pictures, table, strict=True):
        np.testing.assert_array_equal(row, hog.cell_histograms(picture, SETTINGS).ravel())


def test_the_trees_beat_the_mean_and_sex_helps(hands, grown):
    _, age, sex = hands
    booster, table = grown
    test = slice(200, None)
    right = hog.predict_features(booster, table[test], sex[test], 0.5)
    wrong = hog.predict_features(booster, table[test], 1 - sex[test], 0.5)
    error = np.abs(right - age[test]).mean()
    assert error < 0.5 * np.abs(age[:160].mean() - age[test]).mean()
    assert error < np.abs(wrong - age[test]).mean()


def test_a_saved_model_needs_nothing_else(tmp_path, hands, grown):
    pictures, _, sex = hands
    booster, table = grown
    before = hog.predict_features(booster, table, sex, 0.4)
    hog.save(booster, tmp_path / "hog.age.ubj", SETTINGS, {"male_share": 0.4, "view": "hand"})
    again = hog.load(tmp_path / "hog.age.ubj")
    np.testing.assert_array_equal(hog.predict(again, pictures, sex), before)
    assert hog.model_facts(again)["view"] == "hand"
    assert [path.name for path in tmp_path.iterdir()] == ["hog.age.ubj"]


def test_unknown_sex_is_the_weighted_mean_of_both(grown):
    booster, table = grown
    girls = hog.predict_features(booster, table, np.zeros(240), 0.3)
    boys = hog.predict_features(booster, table, np.ones(240), 0.3)
    unknown = hog.predict_features(booster, table, np.full(240, np.nan), 0.3)
    np.testing.assert_allclose(unknown, 0.3 * boys + 0.7 * girls, rtol=1e-5)


def test_gain_falls_where_the_picture_tells_the_age():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 30, (200, SIZE, SIZE), dtype=np.uint8)
    age = rng.uniform(0, 200, 200)
    for picture, months in zip(pictures, age, strict=True):
        picture[6:18, 30 : 30 + int(months / 14)] = 200
    whole = hog.with_sex(hog.features(pictures, SETTINGS), np.zeros(200))
    booster = grow(whole, age, 60)
    cells = hog.importance_map(booster, SIZE, SETTINGS)
    assert cells.sum() == pytest.approx(1)
    middles = np.arange(SETTINGS.cell_pixels // 2, SIZE, SETTINGS.step_pixels)
    top, right = middles <= 24, middles >= 24
    assert cells[np.ix_(top, right)].sum() > 0.7
