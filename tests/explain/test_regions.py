"""Boxes of regions: read from files that nobody vouches for, carried into prepared pictures."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers.explain import regions
from nbhelpers.images import geometry
from nbhelpers.phantom import dataset
from nbhelpers.phantom.film import Box, voc_xml
from nbhelpers.workspace import InputError

WIDTH, HEIGHT = 300, 400
BOXES = [
    Box("DIP", 40, 30, 70, 60),
    Box("DIP", 120, 20, 150, 45),
    Box("Radius", 100, 300, 200, 390),
    Box("Wrist", 80, 220, 230, 310),
]
VALID = voc_xml("1377.png", (HEIGHT, WIDTH), BOXES)
SIZE = np.array([WIDTH, HEIGHT])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("regions") / "1377.xml"


def cases_of(*ids: str) -> pd.DataFrame:
    return pd.DataFrame({"case_id": list(ids)})


def geometry_of(cases: pd.DataFrame, width: int = WIDTH, height: int = HEIGHT) -> pd.DataFrame:
    return cases.assign(original_width=width, original_height=height)


def table_of(*boxes: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(boxes, columns=["region", *regions.EDGES]).assign(case_id="1377")


@st.composite
def drawn_files(draw):
    width, height = draw(st.integers(2, 3000)), draw(st.integers(2, 3000))
    boxes = []
    for _ in range(draw(st.integers(1, 20))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
        boxes.append(Box(draw(st.sampled_from(regions.REGIONS)), left, top, right, bottom))
    return (height, width), boxes


@given(drawn_files())
def test_boxes_come_back_as_their_outer_edges(path, drawn):
    (height, width), boxes = drawn
    path.write_text(voc_xml("1377.png", (height, width), boxes))
    found = regions.read_boxes(path, np.array([width, height]))
    assert found["region"].tolist() == [box.name for box in boxes]
    edges = np.array([[box.left, box.top, box.right, box.bottom] for box in boxes])
    assert (found[["x_min", "y_min"]].to_numpy() == edges[:, :2] - 0.5).all()
    last = np.minimum(edges[:, 2:] + 0.5, np.array([width, height]) - 0.5)
    assert (found[["x_max", "y_max"]].to_numpy() == last).all()


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_clear_error(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        regions.read_boxes(path, SIZE)
    assert str(path) in str(caught.value)


FAULTS = {
    # what is changed: (in the valid file, into, what the error says)
    "cut off": (VALID[200:], "", "holds no Pascal VOC boxes"),
    "no size": ("size>", "scale>", "holds no Pascal VOC boxes"),
    "no boxes": ("object>", "thing>", "it has no box"),
    "other class": ("<name>Radius", "<name>Carpals", "box 3 is wrong"),
    "no class": ("<name>Radius</name>", "", "box 3 is wrong"),
    "no edge": ("<xmax>200</xmax>", "", "holds no Pascal VOC boxes"),
    "not a number": ("<xmax>200", "<xmax>nan", "box 3 is wrong"),
    "left of the frame": ("<xmin>100", "<xmin>-1", "box 3 is wrong"),
    "below the frame": ("<ymax>390", "<ymax>401", "box 3 is wrong"),
    "turned round": ("<xmin>100", "<xmin>200", "box 3 is wrong"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_file(path, fault):
    old, new, wrong = FAULTS[fault]
    assert old in VALID
    path.write_text(VALID.replace(old, new))
    with pytest.raises(InputError) as caught:
        regions.read_boxes(path, SIZE)
    assert str(path) in str(caught.value) and wrong in str(caught.value)


def test_edges_are_in_pixels_of_the_case_s_own_radiograph(path):
    path.write_text(VALID.replace("<ymax>390", "<ymax>400"))
    cases = cases_of("1377")
    found = regions.read_regions(path.parent, cases, geometry_of(cases))
    assert list(found) == regions.COLUMNS
    assert found["region"].tolist() == ["DIP", "DIP", "Radius", "Wrist"]
    assert found[regions.EDGES].to_numpy()[0] == pytest.approx([39.5, 29.5, 70.5, 60.5])
    assert found["y_max"].max() == HEIGHT - 0.5
    squeezed = regions.read_regions(path.parent, cases, geometry_of(cases, 100, 100))
    # 40 of 300 pixels lie left of the first box, 31 in it: 40 / 3 and 31 / 3 of 100.
    left, top, right, bottom = squeezed[regions.EDGES].to_numpy()[0]
    assert (left, right - left) == pytest.approx((40 / 3 - 0.5, 31 / 3))
    assert (top, bottom - top) == pytest.approx((30 / 4 - 0.5, 31 / 4))


def test_files_of_other_cases_are_counted_and_left_out(tmp_path, capsys):
    cases = cases_of("3", "1", "9")
    for name in ("1", "3", "2", "4"):
        (tmp_path / f"{name}.xml").write_text(VALID)
    (tmp_path / "2.xml").write_text("not looked at")
    (tmp_path / "._1.xml").write_bytes(b"\0")
    found = regions.read_regions(tmp_path, cases, geometry_of(cases))
    assert found["case_id"].unique().tolist() == ["3", "1"]
    assert "2 files are of cases of this set; 2 are of none" in capsys.readouterr().out


def test_a_folder_of_other_cases_or_of_none_is_refused(tmp_path):
    cases = cases_of("1")
    for number in (0, 1):
        with pytest.raises(InputError, match=rf"none of its {number} XML files is named after"):
            regions.read_regions(tmp_path, cases, geometry_of(cases))
        (tmp_path / "2.xml").write_text(VALID)
    (tmp_path / "1.xml").mkdir()
    with pytest.raises(InputError, match=r"1\.xml holds no Pascal VOC boxes"):
        regions.read_regions(tmp_path, cases, geometry_of(cases))


def test_every_file_that_phantom_writes_is_read(tmp_path):
    folder = dataset.write_radiographs(tmp_path, 2, size=dataset.SMALLEST, workers=1)
    cases = cases_of(*(path.stem for path in sorted((folder / "regions").glob("*.xml"))))
    found = regions.read_regions(folder / "regions", cases, geometry_of(cases, 64, 64))
    assert found.groupby("case_id").size().tolist() == [17, 17]
    assert set(found["region"]) == set(regions.REGIONS)


def turned(degrees: float, side: int = 96, keep_aspect: bool = True) -> np.ndarray:
    up = (float(np.sin(np.radians(degrees))), -float(np.cos(np.radians(degrees))))
    frame = geometry.Frame((140.0, 210.0), up, 260.0, 360.0)
    return geometry.fit_frame(frame, side, keep_aspect)


def wrist_mask(affine: np.ndarray, side: int) -> np.ndarray:
    boxes = table_of(("Wrist", 79.5, 219.5, 230.5, 310.5))
    return regions.region_masks(boxes, affine, side)["Wrist"]


@given(st.floats(-180, 180), st.booleans(), st.sampled_from([24, 48]))
def test_a_mask_holds_just_the_pixels_between_the_carried_corners(degrees, keep_aspect, side):
    affine = turned(degrees, side, keep_aspect)
    mask = wrist_mask(affine, side)
    corners = [[79.5, 219.5], [230.5, 219.5], [230.5, 310.5], [79.5, 310.5]]
    outline = geometry.to_prepared(corners, affine).astype(np.float32)
    for row, column in np.ndindex(side, side):
        depth = cv2.pointPolygonTest(outline, (column, row), True)
        if abs(depth) > 1e-3:
            assert mask[row, column] == (depth > 0)


@pytest.mark.parametrize("degrees", [0, 20, -75, 180])
def test_a_mask_lies_where_the_warped_radiograph_shows_the_box(degrees):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[220:311, 80:231] = 255
    shown = geometry.warp(pixels, turned(degrees), 96) > 127
    mask = wrist_mask(turned(degrees), 96)
    # They differ where the box's edge runs within a hair of a pixel's centre.
    assert np.mean(shown != mask) < 0.005
    middles = [np.argwhere(found).mean(axis=0) for found in (shown, mask)]
    assert middles[0] == pytest.approx(middles[1], abs=0.5)


def test_masks_by_region_and_their_union():
    boxes = table_of(
        ("Wrist", 80, 220, 230, 310),
        ("DIP", 40, 30, 70, 60),
        ("DIP", 120, 20, 150, 45),
        ("Ulna", 5000, 5000, 5100, 5100),
    )
    masks = regions.region_masks(boxes, turned(10), 96)
    assert list(masks) == ["DIP", "Ulna", "Wrist", "any"]
    assert masks["DIP"].dtype == bool and masks["DIP"].shape == (96, 96)
    assert cv2.connectedComponents(masks["DIP"].astype(np.uint8))[0] == 3
    assert not masks["Ulna"].any()
    assert (masks["any"] == (masks["DIP"] | masks["Wrist"])).all()
    alone = regions.region_masks(boxes[:1], turned(10), 96)
    assert (masks["Wrist"] == alone["Wrist"]).all()
