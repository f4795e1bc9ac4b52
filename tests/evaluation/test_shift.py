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


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: 255 - shown,
        lambda shown: shown // 3,
        lambda shown: np.random.default_rng(0).integers(0, 256, shown.shape).astype(np.uint8),
    ],
    ids=["inverted", "dark", "noise"],
)
def test_other_pictures_are_outside_and_those_like_training_hardly_ever(train, change):
    assert external.outside(train, external.statistics(pictures(1000, seed=1))).mean() < 0.025
    assert external.outside(train, external.statistics(change(pictures(50, seed=2)))).mean() > 0.9


def test_statistics_are_what_they_say():
    shown = np.zeros((3, 8, 8), np.uint8)
    shown[1] = 255
    shown[2, :4] = 100
    table = external.statistics(shown)
    assert table["brightness"].tolist() == [0, 255, 50]
    assert table["black"].tolist() == [1, 0, 0.5]
    brighter = external.compare(table, table.assign(brightness=table["brightness"] + 60))
    assert brighter["difference, SD"].idxmax() == "brightness"


def test_the_sample_is_of_train_alone(monkeypatch):
    table = pd.DataFrame({"split": ["train", "test"] * 50})
    monkeypatch.setattr(external, "TRAINING_SAMPLE", 10)
    drawn = external.training_sample(table)
    assert len(drawn) == 10 and (drawn % 2 == 0).all()


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
