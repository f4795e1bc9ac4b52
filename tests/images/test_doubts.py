"""Faulty pictures: repaired where that is certain, else marked, and then in no score."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from nbhelpers import predictions
from nbhelpers.data import cases
from nbhelpers.images import doubts, preparation, radiograph
from nbhelpers.images.geometry import to_original, to_prepared
from nbhelpers.phantom import dataset

SETTINGS = preparation.Preparation(64)
PLAIN = preparation.Preparation.from_steps(64, "")


@pytest.fixture(scope="module")
def drawn() -> list[np.ndarray]:
    """Six radiographs of children of 2 to 17 years."""
    ages = np.linspace(24, 204, 6)
    return [dataset.draw_radiograph("female", age, seed).pixels for seed, age in enumerate(ages)]


@pytest.mark.parametrize(
    ("word", "make"),
    [
        ("inverted", cv2.bitwise_not),
        ("turned", lambda pixels: np.rot90(pixels)),
        ("turned", lambda pixels: np.rot90(pixels, 2)),
        ("mirrored", lambda pixels: pixels[:, ::-1]),
    ],
)
def test_what_is_certain_is_repaired_and_said(drawn, word, make) -> None:
    """The prepared picture is that of the radiograph without the fault."""
    alike = []
    for pixels in drawn:
        before, _, words = preparation.prepare_image(pixels, SETTINGS)
        assert words == []
        picture, affine, words = preparation.prepare_image(
            np.ascontiguousarray(make(pixels)), SETTINGS
        )
        same = np.corrcoef(before.ravel(), picture.ravel())[0, 1] > 0.9
        alike.append(same and set(words) <= {word})
        points = np.array([[3.0, 5.0], [40.0, 20.0]])
        np.testing.assert_allclose(to_prepared(to_original(points, affine), affine), points)
    assert np.mean(alike) > 0.8  # five of six


@pytest.mark.parametrize(
    ("word", "make"),
    [
        ("blank", lambda pixels: np.zeros_like(pixels)),
        ("blank", lambda pixels: pixels // 64 + 250),
        ("few grey levels", lambda pixels: pixels // 16 * 16),
        ("two hands", lambda pixels: np.hstack([pixels, pixels[:, ::-1]])),
        ("cut off", lambda pixels: pixels[int(0.3 * len(pixels)) :]),
        ("too small", lambda pixels: np.pad(cv2.resize(pixels, (26, 32)), 4, mode="edge")),
        ("no hand", lambda pixels: data.coins()),
        ("no hand", lambda pixels: np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)),
    ],
)
def test_what_is_not_is_marked_whatever_the_steps(drawn, word, make) -> None:
    said = []
    for pixels in drawn:
        faulty = np.ascontiguousarray(make(pixels))
        words = preparation.prepare_image(faulty, SETTINGS)[2]
        assert words == preparation.prepare_image(faulty, PLAIN)[2]
        said.append(word in words and not doubts.is_scored(", ".join(words)))
    assert np.mean(said) >= 0.6


def test_a_photograph_in_colours_is_marked_and_a_tinted_film_is_not(drawn) -> None:
    def encoded(pixels: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    tinted = (drawn[0][..., None] * np.array([0.8, 0.9, 1.0])).astype(np.uint8)
    assert doubts.is_coloured(encoded(data.astronaut()))
    assert not doubts.is_coloured(encoded(tinted)) and not doubts.is_coloured(encoded(drawn[0]))


def test_a_marked_case_keeps_its_prediction_and_enters_no_split(tmp_path: Path) -> None:
    """Other cases keep their splits; a table of predictions says what is doubtful."""
    folder = dataset.write_radiographs(tmp_path / "data", 12, size=256)
    read = cases.read_cases(folder)
    blank = radiograph.read_image(read["image_path"][4]) * 0
    cv2.imwrite(read["image_path"][4], blank)
    geometry = preparation.prepare_cases(read, SETTINGS, tmp_path, "hand")
    table, _ = cases.keep_readable(read, geometry)
    assert table["split"][4] == "doubtful" and pd.isna(table["fold"][4])
    others = table.index != 4
    pd.testing.assert_series_equal(table["split"][others], read["split"][others])
    asked, _ = cases.keep_readable(read, geometry, score_doubtful=True)
    assert asked["split"].tolist() == read["split"].tolist()
    path = predictions.save_predictions(tmp_path, "model", "age", table, np.full(12, 100.0))
    saved = pd.read_parquet(path)
    assert saved["doubts"][4] == "blank, no hand" and not saved["hand_found"][4]
    assert saved["hand_found"].sum() >= 10
