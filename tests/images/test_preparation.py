"""Radiographs prepared into a run folder: geometry, resumption, reuse, order."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from nbhelpers import workspace
from nbhelpers.images import geometry, preparation, radiograph
from nbhelpers.phantom import dataset

ALL_STEPS = "hand, upright, stretch, aspect"


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Twelve synthetic radiographs as a case table."""
    folder = dataset.write_radiographs(tmp_path_factory.mktemp("phantom"), 12, size=256, workers=1)
    paths = sorted(folder.glob("boneage-training-dataset/*/*.png"))
    return pd.DataFrame({"case_id": [path.stem for path in paths], "image_path": map(str, paths)})


def run_bytes(folder: Path, view: str) -> tuple[bytes, str]:
    """What a run folder holds of a view: the pictures' bytes and the geometry as text."""
    stored = geometry.load_geometry(folder, view).to_json(double_precision=15)
    return (folder / f"images.{view}.npy").read_bytes(), stored


# Geometry


@settings(max_examples=200, deadline=None)
@given(
    x=st.floats(-500, 4000),
    y=st.floats(-500, 4000),
    tilt=st.floats(-180, 180),
    width=st.floats(20, 3000),
    height=st.floats(20, 3000),
    size=st.integers(16, 1024),
    aspect=st.booleans(),
)
def test_points_go_there_and_back(x, y, tilt, width, height, size, aspect) -> None:
    up = (float(np.sin(np.radians(tilt))), float(-np.cos(np.radians(tilt))))
    affine = geometry.fit_frame(geometry.Frame((x, y), up, width, height), size, aspect)
    points = np.array([[x, y], [x + 13.7, y - 250.1], [0.0, 0.0]])
    there = geometry.to_prepared(points, affine)
    np.testing.assert_allclose(geometry.to_original(there, affine), points, atol=1e-6)
    # The frame's centre is the picture's centre, and `up` goes up.
    np.testing.assert_allclose(there[0], (size - 1) / 2, atol=1e-6)
    above = geometry.to_prepared(points[:1] + np.array(up), affine)
    assert above[0, 1] < there[0, 1]
    assert above[0, 0] == pytest.approx(there[0, 0], abs=1e-6)


def test_a_frame_fills_the_picture() -> None:
    frame = geometry.Frame((100.0, 60.0), (0.0, -1.0), 80, 40)
    corners = np.array([[60.0, 40.0], [140.0, 80.0]])
    squeezed = geometry.to_prepared(corners, geometry.fit_frame(frame, 32, False))
    np.testing.assert_allclose(squeezed, [[-0.5, -0.5], [31.5, 31.5]])
    padded = geometry.to_prepared(corners, geometry.fit_frame(frame, 32, True))
    np.testing.assert_allclose(padded, [[-0.5, 7.5], [31.5, 23.5]])


@pytest.mark.parametrize("steps", ["", "aspect", "hand", "upright, aspect", ALL_STEPS])
@pytest.mark.parametrize("size", [64, 150, 300])
def test_a_bright_dot_lands_where_the_geometry_says(
    radiographs: pd.DataFrame, steps: str, size: int
) -> None:
    plain = radiograph.read_image(radiographs["image_path"][2])
    prepare = preparation.Preparation.from_steps(size, steps)
    _, affine, found = preparation.prepare_image(plain, prepare)
    assert found == ("hand" in steps or "upright" in steps)
    height, width = plain.shape
    for at in ((width * 0.45, height * 0.5), (width * 0.6, height * 0.7)):
        column, row = (round(side) for side in at)
        dotted = np.zeros_like(plain)
        dotted[row - 2 : row + 3, column - 2 : column + 3] = 255
        drawn = geometry.warp(dotted, affine, size).astype(float)
        rows, columns = np.mgrid[:size, :size]
        middle = [(columns * drawn).sum() / drawn.sum(), (rows * drawn).sum() / drawn.sum()]
        expected = geometry.to_prepared(np.array([[column, row]]), affine)[0]
        assert np.hypot(*(middle - expected)) < max(0.25, 0.1 * np.abs(affine[:, :2]).max())


@pytest.mark.parametrize("shape", [(300, 200), (201, 333), (40, 50)])
@pytest.mark.parametrize("size", [32, 100])
def test_no_steps_is_a_plain_resize_of_the_whole_frame(shape: tuple, size: int) -> None:
    noise = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    pixels = cv2.GaussianBlur(noise, (0, 0), 6)
    picture, affine, found = preparation.prepare_image(
        pixels, preparation.Preparation.from_steps(size, "")
    )
    shrinks = size <= min(shape)
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    np.testing.assert_array_equal(picture, cv2.resize(pixels, (size, size), interpolation=method))
    other = resize(pixels, (size, size), anti_aliasing=shrinks, preserve_range=True)
    assert np.abs(picture - other).mean() < 2
    assert not found
    corners = np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]])
    np.testing.assert_allclose(
        geometry.to_prepared(corners, affine), [[-0.5] * 2, [size - 0.5] * 2]
    )


@pytest.mark.parametrize("size", [20, 64, 150, 500, 900])
def test_shrinking_moves_nothing(size: int) -> None:
    """A blob in the middle of a large radiograph stays in the middle, to a fraction of a pixel."""
    line = np.exp(-(((np.arange(801) - 400) / 90) ** 2))
    blob = (255 * np.outer(line, line)).astype(np.uint8)
    up = (float(np.sin(0.2)), float(-np.cos(0.2)))
    frame = geometry.Frame((400, 400), up, 760, 760)
    drawn = geometry.warp(blob, geometry.fit_frame(frame, size, True), size).astype(float)
    rows, columns = np.mgrid[:size, :size]
    middle = [(columns * drawn).sum() / drawn.sum(), (rows * drawn).sum() / drawn.sum()]
    np.testing.assert_allclose(middle, (size - 1) / 2, atol=0.006 + 2e-5 * size)


def test_shrinking_does_not_alias() -> None:
    """A pattern finer than the picture's pixels becomes even grey, turned or not."""
    rows, columns = np.mgrid[:1000, :1000]
    stripes = (127.5 + 127.5 * np.sin(2 * np.pi * (rows + 0.3 * columns) / 6)).astype(np.uint8)
    for tilt in (0, 10, 33):
        up = (float(np.sin(np.radians(tilt))), float(-np.cos(np.radians(tilt))))
        frame = geometry.Frame((500, 500), up, 640, 640)
        drawn = geometry.warp(stripes, geometry.fit_frame(frame, 64, True), 64)
        assert drawn[4:-4, 4:-4].std() < 15  # 63 without averaging


def test_stretching_uses_the_whole_range(radiographs: pd.DataFrame) -> None:
    plain = radiograph.read_image(radiographs["image_path"][0])
    faint = (100 + plain.astype(float) * (30 / 255)).astype(np.uint8)
    kept, _, _ = preparation.prepare_image(
        faint, preparation.Preparation.from_steps(96, "hand, aspect")
    )
    stretched, _, found = preparation.prepare_image(
        faint, preparation.Preparation.from_steps(96, ALL_STEPS)
    )
    assert found
    assert kept.max() <= 131
    assert np.percentile(stretched, 99.5) > 220
    # Averaging many faint levels gives more than there were.
    assert len(np.unique(stretched)) > 60


# Preparing all cases


@pytest.mark.parametrize("cores", ["1", "3"])
def test_prepared_cases_are_what_prepare_image_gives(
    radiographs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: str
) -> None:
    monkeypatch.setenv("NBHELPERS_CORES", cores)
    prepare = preparation.Preparation.from_steps(64, ALL_STEPS)
    table = preparation.prepare_cases(radiographs, prepare, tmp_path, "hand")
    stored = preparation.load_images(tmp_path, "hand")
    assert isinstance(stored, np.memmap)
    assert not stored.flags.writeable
    assert stored.dtype == np.uint8
    assert stored.shape == (12, 64, 64)
    for row, path in enumerate(radiographs["image_path"]):
        pixels = radiograph.read_image(path)
        picture, affine, found = preparation.prepare_image(pixels, prepare)
        np.testing.assert_array_equal(stored[row], picture)
        np.testing.assert_array_equal(geometry.affine_of(table, row), affine)
        assert found == table["found"][row]
        assert (table["original_height"][row], table["original_width"][row]) == pixels.shape
    pd.testing.assert_frame_equal(geometry.load_geometry(tmp_path, "hand"), table)
    assert preparation.load_preparation(tmp_path, "hand") == prepare
    described = json.loads((tmp_path / "preparation.hand.json").read_text())
    assert described["settings"] == asdict(prepare)
    assert described["version"] == preparation.VERSION


def test_order_and_neighbours_make_no_difference(radiographs: pd.DataFrame, tmp_path: Path) -> None:
    prepare = preparation.Preparation.from_steps(48, ALL_STEPS)
    preparation.prepare_cases(radiographs, prepare, tmp_path, "one")
    shuffled = radiographs.iloc[[7, 2, 11, 0]].reset_index(drop=True)
    preparation.prepare_cases(shuffled, prepare, tmp_path, "two")
    straight, mixed = (preparation.load_images(tmp_path, view) for view in ("one", "two"))
    np.testing.assert_array_equal(mixed, straight[[7, 2, 11, 0]])


def count_work(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The shapes of radiographs that are prepared from now on, in this process."""
    done: list[tuple] = []
    prepare_image = preparation.prepare_image

    def counted(pixels, settings):
        done.append(pixels.shape)
        return prepare_image(pixels, settings)

    monkeypatch.setenv("NBHELPERS_CORES", "1")
    monkeypatch.setattr(preparation, "prepare_image", counted)
    return done


def test_reused_only_when_nothing_changed(
    radiographs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = preparation.Preparation.from_steps(48, "")
    done = count_work(monkeypatch)

    def work(cases: pd.DataFrame = radiographs, settings: preparation.Preparation = prepare) -> int:
        done.clear()
        preparation.prepare_cases(cases, settings, tmp_path, "whole")
        return len(done)

    assert work() == 12
    before = run_bytes(tmp_path, "whole")
    assert work() == 0
    assert run_bytes(tmp_path, "whole") == before
    assert work(settings=replace(prepare, stretch_contrast=True)) == 12
    assert work() == 12
    monkeypatch.setattr(preparation, "VERSION", 2)
    assert work() == 12
    monkeypatch.undo()
    done = count_work(monkeypatch)
    assert work() == 12
    path = Path(radiographs["image_path"][5])
    kept = path.stat()
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1_000_000))
    assert work() == 12
    assert work(cases=radiographs[::-1].reset_index(drop=True)) == 12
    (tmp_path / "preparation.whole.json").unlink()
    assert work() == 12


def test_going_on_after_an_interruption_gives_the_same_bytes(
    radiographs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = preparation.Preparation.from_steps(48, ALL_STEPS)
    preparation.prepare_cases(radiographs, prepare, tmp_path, "hand")
    unbroken = run_bytes(tmp_path, "hand")
    broken = tmp_path / "broken"
    broken.mkdir()
    done = count_work(monkeypatch)
    counted = preparation.prepare_image

    def stop_after_five(pixels, settings):
        if len(done) >= 5:
            raise KeyboardInterrupt
        return counted(pixels, settings)

    monkeypatch.setattr(preparation, "prepare_image", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        preparation.prepare_cases(radiographs, prepare, broken, "hand")
    with pytest.raises(workspace.InputError, match="01_preprocessing"):
        preparation.load_images(broken, "hand")
    monkeypatch.setattr(preparation, "prepare_image", counted)
    done.clear()
    preparation.prepare_cases(radiographs, prepare, broken, "hand")
    assert 0 < len(done) < 12
    assert run_bytes(broken, "hand") == unbroken


SLOW_RUN = """
import sys, time
import pandas as pd
from pathlib import Path
from nbhelpers.images import preparation as images
work = images.prepare_image
def slow(pixels, settings):
    time.sleep(0.2)
    return work(pixels, settings)
images.prepare_image = slow
cases = pd.read_json(sys.argv[1], dtype=False)
images.prepare_cases(cases, images.Preparation.from_steps(48, "hand, upright, stretch, aspect"),
                     Path(sys.argv[2]), "hand")
"""


def test_a_killed_run_goes_on_to_the_same_bytes(radiographs: pd.DataFrame, tmp_path: Path) -> None:
    prepare = preparation.Preparation.from_steps(48, ALL_STEPS)
    radiographs.to_json(tmp_path / "cases.json")
    killed = tmp_path / "killed"
    killed.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, str(tmp_path / "cases.json"), str(killed)],
        env=os.environ | {"NBHELPERS_CORES": "1"},
        stdout=subprocess.DEVNULL,
    )
    journal = killed / ".images.hand.npy.journal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > 4:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 4 < journal.read_bytes().count(b"\n") < 13
    preparation.prepare_cases(radiographs, prepare, killed, "hand")
    preparation.prepare_cases(radiographs, prepare, tmp_path, "hand")
    assert run_bytes(killed, "hand") == run_bytes(tmp_path, "hand")
    assert not journal.exists()


def test_read_only_run_folder_is_told(
    radiographs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(workspace.InputError, match="Choose a folder"):
        preparation.prepare_cases(radiographs, preparation.Preparation(48), tmp_path, "hand")


def test_a_preparation_from_before_versions_were_numbered_is_of_version_1(
    radiographs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its description holds a hash of source code; it is reused, and models of it go on."""
    prepare = preparation.Preparation.from_steps(48, "")
    preparation.prepare_cases(radiographs, prepare, tmp_path, "whole")
    path = tmp_path / "preparation.whole.json"
    described = json.loads(path.read_text())
    before = {"settings": described["settings"], "code_version": "0123456789abcdef"}
    sources, _ = preparation.hash_sources(radiographs)
    old = {name: value for name, value in described.items() if name != "version"} | before
    old |= {"hash": workspace.hash_of(before)}
    old |= {"key": workspace.hash_of(before | {"sources": sources})}
    path.write_text(json.dumps(old))
    done = count_work(monkeypatch)
    preparation.prepare_cases(radiographs, prepare, tmp_path, "whole")
    assert not done and json.loads(path.read_text()) == old
    assert preparation.preparation_hash(tmp_path, "whole") == old["hash"]
    assert preparation.read_description(tmp_path, "whole")["version"] == 1
    monkeypatch.setattr(preparation, "VERSION", 2)
    preparation.prepare_cases(radiographs, prepare, tmp_path, "whole")
    assert len(done) == 12
