"""Radiographs prepared into a run folder: geometry, order, reuse, what a stopped run leaves."""

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers import workspace
from nbhelpers.images import geometry, preparation, radiograph
from nbhelpers.phantom import dataset

ALL_STEPS = "hand, upright, stretch, aspect"


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory) -> pd.DataFrame:
    """Twelve synthetic radiographs as a case table."""
    folder = dataset.write_radiographs(tmp_path_factory.mktemp("phantom"), 12, size=256)
    paths = sorted(folder.glob("boneage-training-dataset/*/*.png"))
    return pd.DataFrame({"case_id": [path.stem for path in paths], "image_path": map(str, paths)})


@given(
    x=st.floats(-500, 4000),
    y=st.floats(-500, 4000),
    tilt=st.floats(-180, 180),
    width=st.floats(20, 3000),
    height=st.floats(20, 3000),
    size=st.integers(16, 1024),
    aspect=st.booleans(),
)
def test_points_go_there_and_back(x, y, tilt, width, height, size, aspect):
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


def test_a_frame_fills_the_picture():
    frame = geometry.Frame((100.0, 60.0), (0.0, -1.0), 80, 40)
    corners = np.array([[60.0, 40.0], [140.0, 80.0]])
    squeezed = geometry.to_prepared(corners, geometry.fit_frame(frame, 32, False))
    np.testing.assert_allclose(squeezed, [[-0.5, -0.5], [31.5, 31.5]])
    padded = geometry.to_prepared(corners, geometry.fit_frame(frame, 32, True))
    np.testing.assert_allclose(padded, [[-0.5, 7.5], [31.5, 23.5]])


def middle_of(drawn):
    rows, columns = np.indices(drawn.shape)
    return [(columns * drawn).sum() / drawn.sum(), (rows * drawn).sum() / drawn.sum()]


@pytest.mark.parametrize("steps", ["", "aspect", "hand", "upright, aspect", ALL_STEPS])
@pytest.mark.parametrize("size", [64, 300])
def test_a_bright_dot_lands_where_the_geometry_says(radiographs, steps, size: int):
    plain = radiograph.read_image(radiographs["image_path"][2])
    prepare = preparation.Preparation.from_steps(size, steps)
    _, affine, words = preparation.prepare_image(plain, prepare)
    assert words == []
    height, width = plain.shape
    for at in ((width * 0.45, height * 0.5), (width * 0.6, height * 0.7)):
        column, row = (round(side) for side in at)
        dotted = np.zeros_like(plain)
        dotted[row - 2 : row + 3, column - 2 : column + 3] = 255
        drawn = geometry.warp(dotted, affine, size).astype(float)
        middle = middle_of(drawn)
        expected = geometry.to_prepared(np.array([[column, row]]), affine)[0]
        assert np.hypot(*(middle - expected)) < max(0.25, 0.1 * np.abs(affine[:, :2]).max())


@pytest.mark.parametrize("shape", [(300, 200), (201, 333), (40, 50)])
@pytest.mark.parametrize("size", [32, 100])
def test_no_steps_is_a_plain_resize_of_the_whole_frame(shape, size):
    pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    picture, affine, words = preparation.prepare_image(
        pixels, preparation.Preparation.from_steps(size, "")
    )
    method = cv2.INTER_AREA if size <= min(shape) else cv2.INTER_LINEAR
    np.testing.assert_array_equal(picture, cv2.resize(pixels, (size, size), interpolation=method))
    assert words == ["no hand"]
    ends = np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]])
    np.testing.assert_allclose(geometry.to_prepared(ends, affine), [[-0.5] * 2, [size - 0.5] * 2])


@pytest.mark.parametrize("size", [20, 150, 900])
def test_shrinking_moves_nothing(size):
    """A blob in the middle of a large radiograph stays in the middle, to a fraction of a pixel."""
    line = np.exp(-(((np.arange(801) - 400) / 90) ** 2))
    blob = (255 * np.outer(line, line)).astype(np.uint8)
    up = (float(np.sin(0.2)), float(-np.cos(0.2)))
    frame = geometry.Frame((400, 400), up, 760, 760)
    drawn = geometry.warp(blob, geometry.fit_frame(frame, size, True), size).astype(float)
    np.testing.assert_allclose(middle_of(drawn), (size - 1) / 2, atol=0.006 + 2e-5 * size)


def test_shrinking_does_not_alias():
    """A pattern finer than the picture's pixels becomes even grey, turned or not."""
    rows, columns = np.mgrid[:1000, :1000]
    stripes = (127.5 + 127.5 * np.sin(2 * np.pi * (rows + 0.3 * columns) / 6)).astype(np.uint8)
    for tilt in (0, 10, 33):
        up = (float(np.sin(np.radians(tilt))), float(-np.cos(np.radians(tilt))))
        frame = geometry.Frame((500, 500), up, 640, 640)
        drawn = geometry.warp(stripes, geometry.fit_frame(frame, 64, True), 64)
        assert drawn[4:-4, 4:-4].std() < 15  # 63 without averaging


def test_stretching_uses_the_whole_range(radiographs):
    plain = radiograph.read_image(radiographs["image_path"][0])
    faint = (100 + plain.astype(float) * (30 / 255)).astype(np.uint8)
    kept, stretched = (
        preparation.prepare_image(faint, preparation.Preparation.from_steps(96, steps))[0]
        for steps in ("hand, aspect", ALL_STEPS)
    )
    assert kept.max() <= 131
    assert np.percentile(stretched, 99.5) > 220
    # Averaging many faint levels gives more than there were.
    assert len(np.unique(stretched)) > 60


@pytest.mark.parametrize("cores", ["1", "2"])
def test_prepared_cases_are_what_prepare_image_gives(radiographs, tmp_path, monkeypatch, cores):
    monkeypatch.setenv("NBHELPERS_CORES", cores)
    prepare = preparation.Preparation.from_steps(64, ALL_STEPS)
    shuffled = radiographs.iloc[[7, 2, 11, 0, 5]].reset_index(drop=True)
    table = preparation.prepare_cases(shuffled, prepare, tmp_path, "hand")
    stored = preparation.load_images(tmp_path, "hand")
    assert isinstance(stored, np.memmap) and not stored.flags.writeable
    assert stored.dtype == np.uint8 and stored.shape == (5, 64, 64)
    for row, path in enumerate(shuffled["image_path"]):
        pixels = radiograph.read_image(path)
        picture, affine, words = preparation.prepare_image(pixels, prepare)
        np.testing.assert_array_equal(stored[row], picture)
        np.testing.assert_array_equal(geometry.affine_of(table, row), affine)
        assert ", ".join(words) == table["doubts"][row] and table["found"][row]
        assert (table["original_height"][row], table["original_width"][row]) == pixels.shape
    pd.testing.assert_frame_equal(geometry.load_geometry(tmp_path, "hand"), table)
    assert preparation.load_preparation(tmp_path, "hand") == prepare
    assert preparation.read_description(tmp_path, "hand")["version"] == preparation.VERSION


def test_reused_only_when_nothing_changed(radiographs, tmp_path, monkeypatch):
    prepare = preparation.Preparation.from_steps(48, "")
    prepare_image, done = preparation.prepare_image, []
    monkeypatch.setenv("NBHELPERS_CORES", "1")
    monkeypatch.setattr(
        preparation, "prepare_image", lambda *of: done.append(of) or prepare_image(*of)
    )

    def work(cases: pd.DataFrame = radiographs, settings: preparation.Preparation = prepare) -> int:
        done.clear()
        table = preparation.prepare_cases(cases, settings, tmp_path, "whole")
        assert table["case_id"].tolist() == cases["case_id"].tolist()
        return len(done)

    assert (work(), work()) == (12, 0)
    assert work(settings=replace(prepare, stretch_contrast=True)) == 12
    assert work() == 12
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "VERSION", preparation.VERSION + 1)
        assert work() == 12
    assert work() == 12
    path = Path(radiographs["image_path"][5])
    kept = path.stat()
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1_000_000))
    assert work() == 12
    assert work(cases=radiographs[::-1].reset_index(drop=True)) == 12
    path = tmp_path / "preparation.whole.json"
    described = json.loads(path.read_text())
    del described["version"]  # as before versions were numbered
    path.write_text(json.dumps(described))
    assert preparation.read_description(tmp_path, "whole")["version"] == 1
    path.unlink()
    assert work() == 12


SCRIPT = """
import sys
import pandas as pd
from pathlib import Path
from nbhelpers.images.preparation import Preparation, prepare_cases
prepare_cases(pd.read_json(sys.argv[1], dtype=False), Preparation(300), Path(sys.argv[2]), "hand")
"""


def test_a_killed_run_leaves_no_workers_and_starts_again(radiographs, tmp_path, monkeypatch):
    """Its pictures are larger than what a pipe holds, so workers wait for someone to take them."""
    many = pd.concat([radiographs] * 200, ignore_index=True)
    many.to_json(tmp_path / "cases.json")
    run = tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cases.json"), str(run)]
    environment = os.environ | {"NBHELPERS_CORES": "2"}
    # The pipe of its output ends with the last process that holds it.
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 300**2 for path in run.glob(".images.hand.*.npy")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=15)
    assert [path.suffix for path in run.iterdir()] == [".npy"]
    monkeypatch.setenv("NBHELPERS_CORES", "1")
    preparation.prepare_cases(radiographs, preparation.Preparation(48), run, "hand")
    files = {"images.hand.npy", "geometry.hand.parquet", "preparation.hand.json"}
    assert {path.name for path in run.iterdir()} == files


def test_a_full_disk_is_told_and_what_was_finished_stays(radiographs, tmp_path, monkeypatch):
    monkeypatch.setenv("NBHELPERS_CORES", "1")
    prepare = preparation.Preparation.from_steps(48, "")
    preparation.prepare_cases(radiographs, prepare, tmp_path, "hand")
    finished = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(*_: object):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", refuse)
    with pytest.raises(workspace.InputError, match=r"the disk is full.*Free some space"):
        preparation.prepare_cases(radiographs, replace(prepare, image_size=64), tmp_path, "hand")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == finished


def test_damaged_pictures_are_told(radiographs, tmp_path):
    preparation.prepare_cases(radiographs, preparation.Preparation(48), tmp_path, "hand")
    path = tmp_path / "images.hand.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(workspace.InputError, match="is damaged"):
        preparation.load_images(tmp_path, "hand")
    np.save(path, np.zeros((11, 48, 48), np.uint8))
    with pytest.raises(workspace.InputError, match="of another preparation"):
        preparation.load_images(tmp_path, "hand")
