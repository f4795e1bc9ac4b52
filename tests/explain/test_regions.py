"""Boxes of regions: read from files that nobody vouches for, carried into prepared pictures."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers.explain import regions
from nbhelpers.images import geometry
from nbhelpers.phantom.film import Box, voc_xml
from nbhelpers.workspace import InputError

WIDTH, HEIGHT = 300, 400
BOXES = [Box("DIP", 40, 30, 70, 60), Box("Radius", 100, 300, 200, 390)]
VALID = voc_xml("1377.png", (HEIGHT, WIDTH), BOXES)
SIZE = np.array([WIDTH, HEIGHT])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("regions") / "1377.xml"


def read(folder, *ids: str, width: int = WIDTH, height: int = HEIGHT) -> pd.DataFrame:
    cases = pd.DataFrame({"case_id": ids})
    geometry = cases.assign(original_width=width, original_height=height)
    return regions.read_regions(folder, cases, geometry)


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


@settings(max_examples=30)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_clear_error(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        regions.read_boxes(path, SIZE)
    assert str(path) in str(caught.value)


def test_edges_are_in_pixels_of_the_case_s_own_radiograph(path):
    path.write_text(VALID)
    squeezed = read(path.parent, "1377", width=100, height=100)
    # 40 of 300 pixels lie left of the first box, 31 in it: 40 / 3 and 31 / 3 of 100.
    left, top, right, bottom = squeezed[regions.EDGES].to_numpy()[0]
    assert (left, right - left) == pytest.approx((40 / 3 - 0.5, 31 / 3))
    assert (top, bottom - top) == pytest.approx((30 / 4 - 0.5, 31 / 4))


@pytest.mark.parametrize(
    ("old", "new"),
    [("<xmax>200", "<xmax>nan"), ("<xmin>100", "<xmin>200"), ("<ymax>390", "<ymax>401")],
)
def test_each_fault_is_named_with_its_file(path, old, new):
    path.write_text(VALID.replace(old, new))
    with pytest.raises(InputError, match=r"1377\.xml.*box 2 is wrong"):
        regions.read_boxes(path, SIZE)


def test_files_of_other_cases_are_counted_and_left_out(tmp_path, capsys):
    for name in ("1", "3", "2", "4"):
        (tmp_path / f"{name}.xml").write_text(VALID)
    found = read(tmp_path, "3", "1", "9")
    assert found["case_id"].unique().tolist() == ["3", "1"]
    assert "2 files match cases of this set; 2 match none" in capsys.readouterr().out
    with pytest.raises(InputError, match="none of its 4 XML files is named after"):
        read(tmp_path, "5")


@given(st.floats(-180, 180), st.booleans(), st.sampled_from([24, 48]))
def test_a_mask_holds_just_the_pixels_between_the_carried_corners(degrees, keep_aspect, side):
    up = (float(np.sin(np.radians(degrees))), -float(np.cos(np.radians(degrees))))
    frame = geometry.Frame((140.0, 210.0), up, 260.0, 360.0)
    affine = geometry.fit_frame(frame, side, keep_aspect)
    boxes = pd.DataFrame([("Wrist", 79.5, 219.5, 230.5, 310.5), ("DIP", 40, 30, 70, 60)])
    boxes = boxes.set_axis(["region", *regions.EDGES], axis=1)
    masks = regions.region_masks(boxes, affine, side)
    assert (masks["any"] == (masks["DIP"] | masks["Wrist"])).all()
    corners = [[79.5, 219.5], [230.5, 219.5], [230.5, 310.5], [79.5, 310.5]]
    outline = geometry.to_prepared(corners, affine).astype(np.float32)
    for row, column in np.ndindex(side, side):
        depth = cv2.pointPolygonTest(outline, (column, row), True)
        if abs(depth) > 1e-3:
            assert masks["Wrist"][row, column] == (depth > 0)
