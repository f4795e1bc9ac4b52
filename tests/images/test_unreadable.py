"""Radiograph files that cannot be used: each test changes one thing in a folder that passes."""

import io
import sys
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


WAVE = np.outer(np.hanning(90), np.hanning(70))
GREY = (WAVE * 255).astype(np.uint8)
TWELVE = (WAVE * 4095).astype(np.uint16)


def coded(pixels, suffix=".png"):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def by_pillow(kind, image=GREY, mode=None, **options):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


def spoilt(pixels, at, level):
    pixels = pixels.copy()
    pixels[at] = level
    return pixels


@pytest.fixture
def cases(tmp_path, monkeypatch) -> pd.DataFrame:
    """Six small radiographs in a folder, as a case table, for one core."""
    monkeypatch.setenv("NBHELPERS_CORES", "1")
    folder = tmp_path / "data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(6)]
    for path in paths:
        cv2.imwrite(str(path), generator.integers(0, 255, (60, 50), np.uint8))
    return pd.DataFrame({"case_id": [path.stem for path in paths], "image_path": map(str, paths)})


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def write_text(path):
    path.write_text("not an image\n")


def halve(kind):
    """What writes the first half of a file of another kind."""
    return lambda path: path.write_bytes(by_pillow(kind)[: len(by_pillow(kind)) // 2])


def blank_the_middle(path):
    """Of a compressed TIFF, whose end is then still there."""
    content = by_pillow("TIFF", compression="tiff_lzw")
    path.write_bytes(content[:2000] + bytes(64) + content[2064:])


DAMAGES = {
    "cut short": truncate,
    "is damaged": flip_a_byte,
    "is not an image that can be read": write_text,
    "has 1 x 1 pixels": lambda path: Image.new("L", (1, 1)).save(path),
    "20000 x 6000 pixels": lambda path: Image.new("1", (20_000, 6_000)).save(path),
    "is empty": lambda path: path.write_bytes(b""),
    "cannot be opened": Path.unlink,
    "cut short ": halve("JPEG"),
    "is damaged ": halve("TIFF"),
    "is damaged  ": halve("BMP"),
    "is damaged   ": blank_the_middle,
    "not an image that can be read (PNG, JPEG, TIFF, BMP, WEBP or DICOM)": halve("WEBP"),
    "holds 2 pictures": lambda path: path.write_bytes(
        by_pillow("TIFF", save_all=True, append_images=[Image.fromarray(GREY)])
    ),
}


@pytest.mark.parametrize(("says", "damage"), DAMAGES.items(), ids=DAMAGES)
def test_one_clear_line_names_the_file_which_is_excluded_on_request(cases, tmp_path, says, damage):
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


def test_all_bad_headers_are_counted_before_any_work(cases, tmp_path, monkeypatch):
    monkeypatch.delattr(workspace, "parallel")
    for row in (1, 4):
        write_text(Path(cases["image_path"][row]))
    with pytest.raises(workspace.InputError, match=r"1\.png.* 2 of 6"):
        preparation.prepare_cases(cases, PLAIN, tmp_path, "whole")
    for path in cases["image_path"]:
        write_text(Path(path))
    with pytest.raises(workspace.InputError, match="None of 6"):
        preparation.prepare_cases(cases, PLAIN, tmp_path, "whole", exclude_unreadable=True)


ALPHA = np.zeros_like(GREY)
KINDS = {
    # file: how far its levels may lie from those of GREY, in the mean
    "16 bits": (coded(GREY.astype(np.uint16) * 257), 0.5),
    "12 bits in 16": (coded(TWELVE), 0.5),
    "a hot pixel": (coded(spoilt(TWELVE, (2, 2), 65535)), 0.6),
    "alpha": (coded(cv2.cvtColor(GREY, cv2.COLOR_GRAY2BGRA)), 0),
    "alpha of 0": (coded(np.dstack([GREY, GREY, GREY, ALPHA])), 0),
    "colour, 16 bits": (coded(cv2.cvtColor(TWELVE, cv2.COLOR_GRAY2BGR)), 0.5),
    **{f"PNG {mode}": (by_pillow("PNG", mode=mode), 0) for mode in ("L", "RGB", "P", "LA")},
    "TIFF": (by_pillow("TIFF", compression="tiff_lzw"), 0),
    "TIFF, 12 bits": (by_pillow("TIFF", TWELVE), 0.5),
    "TIFF, fractions": (by_pillow("TIFF", np.float32(np.where(WAVE < 0.99, WAVE, np.nan))), 9.0),
    "BMP": (by_pillow("BMP"), 0),
    "WebP": (by_pillow("WEBP", lossless=True), 0),
    "JPEG of a camera": (
        by_pillow("MPO", save_all=True, append_images=[Image.new("L", (9, 9))]),
        1.5,
    ),
    "JPEG of long metadata": (by_pillow("JPEG", quality=95, comment=b"x" * 60_000), 1.5),
}


@pytest.mark.parametrize(("content", "error"), KINDS.values(), ids=KINDS)
def test_depth_colour_and_kind_make_no_difference(tmp_path, content, error):
    (tmp_path / "file").write_bytes(content)
    radiograph.read_header(tmp_path / "file")
    read = radiograph.read_image(tmp_path / "file")
    assert (read.dtype, read.shape) == (np.uint8, GREY.shape)
    assert np.abs(read.astype(int) - GREY).mean() <= error
    assert len(np.unique(read)) > 120


def test_transparent_pixels_are_black():
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:, :20, 3], pixels[:, 20:, 3] = 0, 255
    read = radiograph.decode(coded(pixels), "half")
    assert (read[:, :20] == 0).all() and (read[:, 20:] == 200).all()


def test_a_label_burnt_in_takes_few_levels_and_an_even_picture_none():
    read = radiograph.decode(coded(spoilt(TWELVE, (slice(8), slice(12)), 65535)), "label")
    assert len(np.unique(read[10:])) > 120
    assert radiograph.decode(coded(np.full((40, 40), 999, np.uint16)), "even").max() == 0


@pytest.mark.parametrize("inverted", [False, True])
def test_dicom_is_read_or_says_what_reads_it(tmp_path, monkeypatch, inverted):
    pydicom = pytest.importorskip("pydicom")
    from pydicom import dataset, uid

    meta = dataset.FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data = dataset.FileDataset("a", {}, file_meta=meta, preamble=bytes(128))
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.Rows, data.Columns, data.SamplesPerPixel = *GREY.shape, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = (4095 - TWELVE if inverted else TWELVE).tobytes()
    pydicom.dcmwrite(tmp_path / "a.dcm", data)
    radiograph.read_header(tmp_path / "a.dcm")
    assert np.abs(radiograph.read_image(tmp_path / "a.dcm").astype(int) - GREY).mean() < 0.5
    content = (tmp_path / "a.dcm").read_bytes()
    for part, said in (
        (content[:-999], "is damaged, or compressed"),
        (content[:200], "is damaged"),
    ):
        with pytest.raises(workspace.InputError, match=f"a.dcm {said}"):
            radiograph.decode(part, "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(workspace.InputError, match=r"a.dcm is a DICOM file.*pip install pydicom"):
        radiograph.decode(content, "a.dcm")


@pytest.mark.parametrize("steps", ["hands", "hand upright", "hand,,turn"])
def test_unknown_steps_are_refused(steps):
    with pytest.raises(workspace.InputError, match="unknown"):
        preparation.Preparation.from_steps(64, steps)
