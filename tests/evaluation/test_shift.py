"""Pictures unlike those of training are told from those like them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from notebook_code import functions

from nbhelpers.evaluation import external

distance, outside, statistics = functions("09_external", "distance", "outside", "statistics")


def pictures(n, seed=0, side=32):
    """Smooth blobs of differing brightness, uint8 `[n, side, side]`."""
    random = np.random.default_rng(seed)
    light = random.uniform(120, 200, (n, 1, 1))
    noise = random.normal(0, 8, (n, side, side))
    ramp = np.linspace(0.2, 1, side)[None, :, None]
    return np.clip(light * ramp + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: 255 - shown,
        lambda shown: shown // 3,
        lambda shown: np.random.default_rng(0).integers(0, 256, shown.shape).astype(np.uint8),
    ],
    ids=["inverted", "dark", "noise"],
)
def test_other_pictures_are_outside_and_those_like_training_hardly_ever(change):
    train = statistics(pictures(1500))
    assert outside(train, statistics(pictures(1000, seed=1))).mean() < 0.025
    assert outside(train, statistics(change(pictures(50, seed=2)))).mean() > 0.9


def test_what_lies_between_clusters_is_far_and_units_do_not_matter():
    """A blob of training on either side: the middle is unlike both, though its mean is theirs."""
    random = np.random.default_rng(0)

    def features(n, centre):
        return random.normal(0, 1, (n, 16)) + centre * random.choice((-1, 1), (n, 1))

    train, calibration = features(600, 8), features(600, 8)
    limit = np.quantile(distance(train, calibration), 0.99)
    assert (distance(train, features(600, 8)) > limit).mean() < 0.03
    between = features(50, 0)
    assert (distance(train, between) > limit).mean() > 0.9
    units = 10.0 ** np.arange(-8, 8)
    np.testing.assert_allclose(distance(train * units, between * units), distance(train, between))


def test_statistics_are_what_they_say():
    shown = np.zeros((3, 8, 8), np.uint8)
    shown[1] = 255
    shown[2, :4] = 100
    table = statistics(shown)
    assert table["mean grey level"].tolist() == [0, 255, 50]
    assert table["share black"].tolist() == [1, 0, 0.5]


def test_the_sample_is_of_train_alone(monkeypatch):
    table = pd.DataFrame({"split": ["train", "test"] * 50})
    shown = np.full((100, 8, 8), 255, np.uint8)
    shown[::2] = np.arange(50)[:, None, None]
    monkeypatch.setattr(external, "TRAINING_SAMPLE", 10)
    monkeypatch.setattr(external.data_cases, "load_cases", lambda folder: table)
    monkeypatch.setattr(external, "load_images", lambda folder, view: shown)
    monkeypatch.setattr(external.saved, "view_of", lambda *of: "hand")
    of_train, of_test, of_here = external.pictures(Path("run"), "part", "cnn", "test")
    drawn = statistics(of_train)["mean grey level"]
    assert of_here is shown and len(drawn) == 10
    assert drawn.max() < 50 and drawn.is_monotonic_increasing
    assert statistics(of_test)["mean grey level"].tolist() == [255] * 50
