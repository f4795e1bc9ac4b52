"""Copies that were saved again are found; different hands of one age are not taken for copies."""

import cv2
import numpy as np
import pandas as pd
import pytest

from nbhelpers.data import duplicates
from nbhelpers.phantom.dataset import draw_radiograph

SIDE, N = 112, 16


@pytest.fixture(scope="module")
def hands() -> np.ndarray:
    """Different boys of nearly one age, uint8 `[16, 112, 112]`."""
    drawn = [draw_radiograph("male", 110 + number, number, 256).pixels for number in range(N)]
    return np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in drawn])


def table_of(n: int) -> pd.DataFrame:
    split = np.where(np.arange(n) % 2, "test", "train")
    return pd.DataFrame({"case_id": [f"c{row}" for row in range(n)], "split": split})


def saved_as_jpeg(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)


def made_smaller(image):
    small = cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE))


def made_brighter(image):
    return np.clip(0.8 * image + 20, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [np.copy, saved_as_jpeg, made_smaller, made_brighter])
def test_a_copy_is_found_with_its_split(hands, change):
    images = np.concatenate([hands, change(hands[4])[None]])
    found = duplicates.find(images, table_of(N + 1))
    assert found[duplicates.COLUMNS[:4]].to_numpy().tolist() == [["c4", "train", "c16", "train"]]
    assert found.loc[0, "correlation"] > 0.95


def test_the_closest_pair_comes_first(hands):
    images = np.concatenate([hands, saved_as_jpeg(hands[1])[None], hands[2][None]])
    found = duplicates.find(images, table_of(N + 2))
    assert found["case_id"].tolist() == ["c2", "c1"]
    assert found["correlation"].is_monotonic_decreasing


def test_different_hands_and_empty_pictures_are_no_copies(hands):
    assert duplicates.find(hands, table_of(N)).empty
    assert duplicates.find(np.zeros((3, SIDE, SIDE), np.uint8), table_of(3)).empty
