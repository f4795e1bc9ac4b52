"""Finding the hand on synthetic radiographs whose regions are known."""

import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest

from nbhelpers.images import geometry, hand, preparation, radiograph
from nbhelpers.phantom import dataset

SIZE = 96
FULL = preparation.Preparation.from_steps(SIZE, "hand, upright, stretch, aspect")
Radiographs = list[tuple[np.ndarray, list[str], np.ndarray]]


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Radiographs:
    """Forty radiographs: pixels, the regions' names, their boxes [17, 4] (x, y, x, y)."""
    folder = dataset.write_radiographs(tmp_path_factory.mktemp("hands"), 40, size=256, seed=5)
    drawn = []
    for path in sorted(folder.glob("regions/*.xml")):
        names, boxes = [], []
        for region in ElementTree.parse(path).getroot().iter("object"):
            names.append(region.findtext("name"))
            corners = ("xmin", "ymin", "xmax", "ymax")
            boxes.append([float(region.findtext(f"bndbox/{corner}")) for corner in corners])
        [image] = folder.glob(f"boneage-training-dataset/*/{path.stem}.png")
        drawn.append((radiograph.read_image(image), names, np.array(boxes)))
    return drawn


def corners_of(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, columns] for columns in ([0, 1], [2, 1], [0, 3], [2, 3])])


def is_held(corners: np.ndarray, affine: np.ndarray) -> bool:
    """Whether all points lie inside the prepared picture."""
    there = geometry.to_prepared(corners, affine)
    return bool((there > -0.5).all() and (there < SIZE - 0.5).all())


def is_upright(names: list[str], boxes: np.ndarray, affine: np.ndarray) -> bool:
    """Whether all DIP regions lie above the radius in the prepared picture."""
    middle = geometry.to_prepared((boxes[:, :2] + boxes[:, 2:]) / 2, affine)
    named = np.array(names)
    return bool((middle[named == "DIP", 1] < middle[named == "Radius", 1].min()).all())


def turned(pixels: np.ndarray, boxes: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The radiograph turned inside a black frame that holds it, and the corners of its boxes."""
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = (int(width * cosine + height * sine), int(width * sine + height * cosine))
    matrix[:, 2] += (np.array(size) - [width, height]) / 2
    return cv2.warpAffine(pixels, matrix, size), geometry.to_prepared(corners_of(boxes), matrix)


def test_the_crop_holds_every_region_and_little_else(radiographs: Radiographs) -> None:
    held, shares = [], []
    for pixels, _, boxes in radiographs:
        _, affine, words = preparation.prepare_image(pixels, FULL)
        held.append(not words and is_held(corners_of(boxes), affine))
        seen = geometry.warp(np.full_like(pixels, 255), affine, SIZE).mean() / 255
        shares.append(seen * SIZE**2 / abs(np.linalg.det(affine[:, :2])) / pixels.size)
    assert np.mean(held) >= 0.97
    assert np.median(shares) < 0.85


@pytest.mark.parametrize(
    ("degrees", "least"), [(0, 0.97), (30, 0.9), (-30, 0.9), (90, 0.8), (-90, 0.8), (180, 0.7)]
)
def test_hands_stand_upright(radiographs: Radiographs, degrees: int, least: float) -> None:
    """Large turns are made only where the evidence is clear, which closed fingers do not give."""
    upright, held = [], []
    for pixels, names, boxes in radiographs:
        picture, corners = turned(pixels, boxes, degrees)
        _, affine, _ = preparation.prepare_image(picture, FULL)
        held.append(is_held(corners, affine))
        quarters = corners.reshape(4, -1, 2)
        lying = np.concatenate([quarters.min(0), quarters.max(0)], 1)
        upright.append(is_upright(names, lying, affine))
    assert np.mean(upright) >= least
    assert np.mean(held) >= least


def test_steps_are_taken_one_by_one(radiographs: Radiographs) -> None:
    pixels, _, boxes = radiographs[3]
    picture, corners = turned(pixels, boxes, 25)
    for steps in ("hand", "hand, aspect", "hand, upright", "hand, upright, aspect", "upright"):
        prepare = preparation.Preparation.from_steps(SIZE, steps)
        _, affine, words = preparation.prepare_image(picture, prepare)
        assert words == []
        assert is_held(corners, affine)
        scales = np.linalg.norm(affine[:, :2], axis=1)
        assert (abs(scales[0] / scales[1] - 1) < 1e-9) == ("aspect" in steps)
        tilt = np.degrees(np.arctan2(affine[0, 1] / scales[0], affine[0, 0] / scales[0]))
        assert (abs(tilt) > 10) == ("upright" in steps)


def test_where_there_is_no_hand_the_whole_frame_is_shown() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (150, 100), np.uint8)
    plate = np.full((150, 100), 20, np.uint8)
    plate[30:120, 20:80] = 200
    assert hand.find_hand(noise) is None and hand.find_hand(plate) is None
    for grey in (0, 90, 255):
        _, affine, words = preparation.prepare_image(np.full((120, 80), grey, np.uint8), FULL)
        assert words == ["blank", "no hand"] and is_held(np.array([[0, 0], [79, 119]]), affine)


@pytest.mark.parametrize("outside", [0, 40, 230])
@pytest.mark.parametrize("tilt", [0, 8])
def test_the_field_is_found(radiographs: Radiographs, outside: int, tilt: int) -> None:
    pixels = cv2.resize(radiographs[0][0], (60, 80), interpolation=cv2.INTER_AREA)
    inner = (60 + pixels.astype(float) * 0.4).astype(np.uint8)
    matrix = cv2.getRotationMatrix2D((30, 40), tilt, 1)
    matrix[:, 2] += (22, 24)
    frame = cv2.warpAffine(inner, matrix, (104, 128), borderValue=outside)
    field = hand.find_field(frame.astype(np.float32))
    true = cv2.warpAffine(np.ones_like(inner), matrix, (104, 128), flags=cv2.INTER_NEAREST)
    shared = np.count_nonzero(field & true)
    assert shared / np.count_nonzero(field | true) > 0.7


def test_a_faint_hand_with_a_marker_is_found(radiographs: Radiographs) -> None:
    """A hand ten grey levels wide beside a white lead marker."""
    found = []
    for pixels, _, boxes in radiographs[:12]:
        faint = (20 + pixels * (10 / 255)).astype(np.uint8)
        faint[4:18, 4:10] = 255
        _, affine, words = preparation.prepare_image(faint, FULL)
        found.append("no hand" not in words and is_held(corners_of(boxes), affine))
    assert np.mean(found) >= 0.75


def test_the_same_hand_has_the_same_frame_at_every_resolution(radiographs: Radiographs) -> None:
    pixels, _, boxes = radiographs[7]
    large = cv2.resize(pixels, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    small_there = geometry.to_prepared(
        corners_of(boxes), preparation.prepare_image(pixels, FULL)[1]
    )
    scaled = (corners_of(boxes) + 0.5) * 5 - 0.5
    large_there = geometry.to_prepared(scaled, preparation.prepare_image(large, FULL)[1])
    assert np.abs(small_there - large_there).max() < 0.04 * SIZE
