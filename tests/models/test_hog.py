"""HOG features see edges and not exposure; trees on them learn and travel whole."""

import numpy as np
import pandas as pd
import pytest
import xgboost

from nbhelpers import predictions
from nbhelpers.models import hog, saved
from nbhelpers.models.material import Material

SIZE = 48
SETTINGS = hog.HogSettings()


def stripes(angle_degrees: float) -> np.ndarray:
    """A picture whose grey levels change along one direction only."""
    y, x = np.mgrid[:SIZE, :SIZE]
    turn = np.deg2rad(angle_degrees)
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 0.7)
    return (127 + 90 * wave).astype(np.uint8)


@pytest.fixture(scope="module")
def grown():
    """Trees, pictures of a bar, top right, that grows with age, their features and sexes."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 30, (200, SIZE, SIZE), dtype=np.uint8)
    age, sex = rng.uniform(0, 200, 200), rng.integers(0, 2, 200)
    for picture, months, boy in zip(pictures, age, sex, strict=True):
        picture[6:18, 30 : 30 + int(months / (20 if boy else 14))] = 200
    table = hog.features(pictures, SETTINGS)
    matrix = xgboost.QuantileDMatrix(hog.with_sex(table, sex), age)
    return (
        xgboost.train({"max_depth": 3, "colsample_bytree": 0.3}, matrix, 60),
        pictures,
        table,
        sex,
    )


@pytest.mark.parametrize("angle", [0, 40, 80, 120, 160])
def test_the_strongest_direction_is_that_of_the_gradient(angle):
    cells = hog.cell_histograms(stripes(angle), SETTINGS)
    strongest = cells.sum(axis=(0, 1)).argmax() * 180 / SETTINGS.orientations
    apart = abs(strongest - angle)
    assert min(apart, 180 - apart) <= 180 / SETTINGS.orientations / 2 + 1


def test_brightness_changes_nothing_contrast_little_and_an_empty_picture_has_no_edges():
    picture = stripes(30)
    plain = hog.cell_histograms(picture, SETTINGS)
    np.testing.assert_allclose(hog.cell_histograms(picture + 30, SETTINGS), plain, atol=1e-3)
    faint = hog.cell_histograms(picture // 2, SETTINGS)
    assert np.abs(faint - plain).max() < 0.1 and np.abs(plain).max() > 0.3
    assert not hog.cell_histograms(np.full((SIZE, SIZE), 90, np.uint8), SETTINGS).any()


def test_changed_pictures_are_those_of_the_networks_training_but_not_mirrored(grown, monkeypatch):
    _, pictures, table, _ = grown
    rows = np.arange(150, 10, -1)
    changed = hog.changed_features(pictures, rows, SETTINGS, seed=3)
    assert (np.abs(changed - table[rows]).mean(axis=1) > 0.01).all()
    # The bar stays on the right: mirrored it would be on the left.
    cell = changed.reshape(len(rows), *hog.cell_histograms(pictures[0], SETTINGS).shape)
    assert (cell[:, :3, 4:].sum(axis=(1, 2, 3)) > cell[:, :3, :4].sum(axis=(1, 2, 3))).mean() > 0.9
    monkeypatch.setattr(hog, "AT_ONCE", 33)
    again = hog.changed_features(pictures, rows, SETTINGS, seed=3)
    np.testing.assert_allclose(again, changed, atol=0.02)
    assert np.abs(hog.changed_features(pictures, rows, SETTINGS, seed=4) - changed).max() > 0.1


def test_a_saved_model_needs_nothing_else(tmp_path, grown):
    booster, pictures, table, sex = grown
    path = tmp_path / "hog.age.ubj"
    hog.save(booster, path, SETTINGS, {"male_share": 0.4, "view": "hand"})
    again = xgboost.Booster(model_file=path)
    before = hog.predict_features(booster, table, sex, 0.4)
    np.testing.assert_array_equal(hog.predict(again, pictures, sex), before)
    assert hog.model_facts(again)["view"] == "hand"
    assert list(tmp_path.iterdir()) == [path]
    split = np.resize(["train", "tuning", "calibration", "test", "doubtful"], 200)
    known = pd.DataFrame({"case_id": np.arange(200).astype(str), "split": split, "sex": None})
    card = {"task": "age"}
    train = np.flatnonzero(split == "train")
    data = Material(pictures, sex, None, train, None, unknown_sex=0.4, table=known, card=card)
    saved.predict_unseen(tmp_path, "hog", {"hog": booster}, [data], table)
    written = predictions.all_rows(tmp_path, "hog", "age")
    assert written["split"].tolist() == split[split != "train"].tolist()
    np.testing.assert_array_equal(written["predicted_months"], before[split != "train"])


def test_sex_counts_and_unknown_sex_is_the_weighted_mean_of_both(grown):
    booster, _, table, _ = grown
    girls, boys, unknown = (
        hog.predict_features(booster, table, np.full(200, sex), 0.3) for sex in (0, 1, np.nan)
    )
    assert boys.mean() > girls.mean() + 1
    np.testing.assert_allclose(unknown, 0.3 * boys + 0.7 * girls, rtol=1e-5)


def test_gain_falls_where_the_picture_tells_the_age(grown):
    cells = hog.importance_map(grown[0], SIZE, SETTINGS)
    assert cells.sum() == pytest.approx(1)
    middles = np.arange(SETTINGS.cell_pixels // 2, SIZE, SETTINGS.step_pixels)
    assert cells[np.ix_(middles <= 24, middles >= 24)].sum() > 0.7
