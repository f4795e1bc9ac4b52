"""Pictures unlike those of training are told from those like them; calibration is measured."""

import numpy as np
import pandas as pd
import pytest

from nbhelpers.evaluation import external


def pictures(n, seed=0, side=32):
    """Smooth blobs of differing brightness, uint8 `[n, side, side]`."""
    random = np.random.default_rng(seed)
    light = random.uniform(120, 200, (n, 1, 1))
    noise = random.normal(0, 8, (n, side, side))
    ramp = np.linspace(0.2, 1, side)[None, :, None]
    return np.clip(light * ramp + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def train():
    return external.statistics(pictures(1500))


def test_pictures_like_those_of_training_are_hardly_ever_outside(train):
    assert external.outside(train, train).mean() == pytest.approx(0.01, abs=0.002)
    assert external.outside(train, external.statistics(pictures(1000, seed=1))).mean() < 0.025


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: 255 - shown,
        lambda shown: shown // 3,
        lambda shown: np.full_like(shown, 0),
        lambda shown: np.random.default_rng(0).integers(0, 256, shown.shape).astype(np.uint8),
        lambda shown: np.clip(shown.astype(int) * 3, 0, 255).astype(np.uint8),
    ],
    ids=["inverted", "dark", "empty", "noise", "overexposed"],
)
def test_other_pictures_are_outside(train, change):
    assert external.outside(train, external.statistics(change(pictures(50, seed=2)))).mean() > 0.9


def test_statistics_are_what_they_say():
    shown = np.zeros((3, 8, 8), np.uint8)
    shown[1] = 255
    shown[2, :4] = 100
    table = external.statistics(shown)
    assert table["brightness"].tolist() == [0, 255, 50]
    assert table["contrast"].tolist() == [0, 0, 50]
    assert table["black"].tolist() == [1, 0, 0.5]
    assert table["white"].tolist() == [0, 1, 0]
    assert table["sharpness"][0] == 0 < table["sharpness"][2]
    assert external.statistics(shown, np.array([1])).equals(table.iloc[[1]].reset_index(drop=True))


def test_the_table_names_what_differs(train):
    brighter = np.clip(pictures(200, seed=3).astype(int) + 60, 0, 255).astype(np.uint8)
    table = external.compare(train, external.statistics(brighter))
    assert table["difference, SD"].idxmax() == "brightness"
    assert table.loc["brightness", "out of range, %"] > 90
    flat = external.statistics(np.full((20, 8, 8), 7, np.uint8))  # all alike is no error
    assert not external.outside(flat, flat).any()
    assert np.isfinite(external.compare(flat, flat)["difference, SD"]).all()
    same = external.compare(train, train)
    assert (same["difference, SD"] == 0).all() and (same["out of range, %"] < 1.2).all()


def test_the_sample_is_of_train_alone(monkeypatch):
    table = pd.DataFrame({"split": ["train", "test"] * 50})
    assert (external.training_sample(table) == np.arange(0, 100, 2)).all()
    monkeypatch.setattr(external, "TRAINING_SAMPLE", 10)
    drawn = external.training_sample(table)
    assert len(drawn) == 10 and (drawn % 2 == 0).all() and (np.diff(drawn) > 0).all()


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 20.0), (1.0, 0.0), (2.0, -20.0)])
def test_calibration_finds_slope_and_shift(slope, offset):
    predicted = np.random.default_rng(0).uniform(20, 200, 400)
    noise = np.random.default_rng(1).normal(0, 5, 400)
    truth = offset + slope * predicted + noise
    told = external.calibration(truth, predicted).set_index("metric")
    assert told.loc["slope", "lower"] < slope + 0.02 and told.loc["slope", "upper"] > slope - 0.02
    assert told.loc["slope", "value"] == pytest.approx(np.polyfit(predicted, truth, 1)[0])
    assert told.loc["signed_error", "value"] == pytest.approx((predicted - truth).mean())
    assert (told["n"] == 400).all()
