"""Radiograph files that cannot be used: each test changes one thing in a folder that passes."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbhelpers import workspace
from nbhelpers.images import preparation, radiograph
from nbhelpers.images.geometry import load_geometry

PLAIN = preparation.Preparation.from_steps(32, "")


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Six small radiographs in a folder, as a case table, for one core."""
    monkeypatch.setenv("NBHELPERS_CORES", "1")
    folder = tmp_path / "data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(6)]
    for path in paths:
        cv2.imwrite(str(path), generator.integers(0, 255, (60, 50), np.uint8))
    return pd.DataFrame({"case_id": [path.stem for path in paths], "image_path": map(str, paths)})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def write_text(path: Path) -> None:
    path.write_text("not an image\n")


def truncate_jpeg(path: Path) -> None:
    coded = cv2.imencode(".jpg", np.arange(4800, dtype=np.uint8).reshape(60, 80))[1].tobytes()
    path.write_bytes(coded[: len(coded) // 2])


DAMAGES = {
    "cut short": truncate,
    "is damaged": flip_a_byte,
    "not a PNG or JPEG": write_text,
    "has 1 x 1 pixels": lambda path: Image.new("L", (1, 1)).save(path),
    "20000 x 6000 pixels": lambda path: Image.new("1", (20_000, 6_000)).save(path),
    "is empty": lambda path: path.write_bytes(b""),
    "cannot be opened": Path.unlink,
    "cut short ": truncate_jpeg,
}


@pytest.mark.parametrize(("says", "damage"), DAMAGES.items(), ids=DAMAGES)
def test_one_clear_line_names_the_file_which_is_excluded_on_request(
    cases: pd.DataFrame, tmp_path: Path, says: str, damage: Callable
) -> None:
    whole = preparation.prepare_cases(cases, PLAIN, tmp_path, "before")
    assert whole["unreadable"].isna().all()
    damage(Path(cases["image_path"][3]))
    with pytest.raises(workspace.InputError) as caught:
        preparation.prepare_cases(cases, PLAIN, tmp_path, "whole")
    message = str(caught.value)
    assert cases["image_path"][3] in message and "\n" not in message
    assert says.strip() in message and "1 of 6" in message
    assert not (tmp_path / "images.whole.npy").exists()

    geometry = preparation.prepare_cases(cases, PLAIN, tmp_path, "whole", exclude_unreadable=True)
    assert says.strip() in geometry["unreadable"][3]
    kept = geometry["unreadable"].isna().to_numpy()
    assert kept.tolist() == [True, True, True, False, True, True]
    np.testing.assert_array_equal(
        preparation.load_images(tmp_path, "whole"),
        preparation.load_images(tmp_path, "before")[kept],
    )
    stored = load_geometry(tmp_path, "whole")
    assert stored["case_id"].tolist() == cases["case_id"][kept].tolist()
    assert stored["image_sha256"].tolist() == whole["image_sha256"][kept].tolist()
    again = preparation.prepare_cases(cases, PLAIN, tmp_path, "whole", exclude_unreadable=True)
    pd.testing.assert_frame_equal(again, geometry)
    with pytest.raises(workspace.InputError, match="1 of 6"):
        preparation.prepare_cases(cases, PLAIN, tmp_path, "whole")


def test_all_bad_headers_are_counted_before_any_work(
    cases: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(workspace, "parallel")
    for row in (1, 4):
        write_text(Path(cases["image_path"][row]))
    with pytest.raises(workspace.InputError, match=r"1\.png.* 2 of 6"):
        preparation.prepare_cases(cases, PLAIN, tmp_path, "whole")
    for path in cases["image_path"]:
        write_text(Path(path))
    with pytest.raises(workspace.InputError, match="None of the 6"):
        preparation.prepare_cases(cases, PLAIN, tmp_path, "whole", exclude_unreadable=True)


def smooth_picture() -> np.ndarray:
    wave = np.outer(np.hanning(90), np.hanning(70))
    return (wave * 255).astype(np.uint8)


def test_depth_and_colour_make_no_difference(tmp_path: Path) -> None:
    grey = smooth_picture()
    variants = {
        "sixteen": grey.astype(np.uint16) * 257,
        "twelve bits in sixteen": (grey * (4095 / 255)).round().astype(np.uint16),
        "alpha": cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA),
        "colour16": cv2.cvtColor(grey.astype(np.uint16) * 257, cv2.COLOR_GRAY2BGR),
    }
    for name, pixels in variants.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    for mode in ("L", "RGB", "P", "LA"):
        Image.fromarray(grey).convert(mode).save(tmp_path / f"{mode}.png")
    for path in tmp_path.glob("*.png"):
        read = radiograph.read_image(path)
        assert (read.dtype, read.shape) == (np.uint8, grey.shape)
        assert np.abs(read.astype(int) - grey).max() <= 1, path.name


def test_transparent_pixels_are_black(tmp_path: Path) -> None:
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:, :20, 3], pixels[:, 20:, 3] = 0, 255
    cv2.imwrite(str(tmp_path / "half.png"), pixels)
    read = radiograph.read_image(tmp_path / "half.png")
    assert (read[:, :20] == 0).all()
    assert (read[:, 20:] == 200).all()


def test_jpeg_is_read_and_long_metadata_does_no_harm(tmp_path: Path) -> None:
    grey = smooth_picture()
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=95, comment=b"x" * 60_000)
    assert np.abs(radiograph.read_image(tmp_path / "a.jpg").astype(int) - grey).mean() < 2
    radiograph.read_header(tmp_path / "a.jpg")


@pytest.mark.parametrize("steps", ["hands", "hand upright", "hand,,turn"])
def test_unknown_steps_are_refused(steps: str) -> None:
    with pytest.raises(workspace.InputError, match="unknown"):
        preparation.Preparation.from_steps(64, steps)
