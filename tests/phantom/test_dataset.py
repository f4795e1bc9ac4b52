"""The folder of synthetic radiographs: layout, labels, determinism, stopped runs."""

import collections
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import pandas as pd
import pytest

from nbhelpers.phantom import dataset

IMAGES = Path("boneage-training-dataset") / "boneage-training-dataset"
BOXES = {"DIP": 4, "PIP": 5, "MCP": 5, "Radius": 1, "Ulna": 1, "Wrist": 1}
CASES = 9


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setenv("NBHELPERS_CORES", "1")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set."""
    folder = tmp_path_factory.mktemp("phantom") / "set"
    return dataset.write_radiographs(folder, CASES, size=256, seed=4)


def test_the_folder_is_laid_out_as_kaggles(written):
    table = pd.read_csv(written / "boneage-training-dataset.csv")
    assert list(table.columns) == ["id", "boneage", "male"] and len(table) == CASES
    assert table["male"].dtype == bool and table["boneage"].between(1, 228).all()
    images = sorted(path.name for path in (written / IMAGES).iterdir())
    assert images == [f"{case}.png" for case in table["id"]]
    truth = pd.read_csv(written / "truth.csv")
    assert (truth["id"] == table["id"]).all()
    assert (truth["label_months"] == table["boneage"]).all()
    assert truth["hand_length_mm"].between(50, 250).all()


def test_regions_are_pascal_voc_with_seventeen_boxes_in_the_frame(written):
    for path, found in ((written / IMAGES / "1.png", str(written / "regions")), ("/1.png", "")):
        assert dataset.regions_beside(pd.DataFrame({"image_path": [str(path)]})) == found
    files = sorted((written / "regions").iterdir())
    assert len(files) == CASES
    for path in files:
        root = ElementTree.parse(path).getroot()
        name = root.findtext("filename")
        pixels = cv2.imread(str(written / IMAGES / name), cv2.IMREAD_UNCHANGED)
        height, width = int(root.findtext("size/height")), int(root.findtext("size/width"))
        assert (height, width) == pixels.shape and max(pixels.shape) == 256
        assert path.stem == Path(name).stem
        things = root.findall("object")
        assert collections.Counter(thing.findtext("name") for thing in things) == BOXES
        for thing in things:
            left, top, right, bottom = (
                int(thing.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")
            )
            assert 0 <= left < right < width and 0 <= top < bottom < height


def test_workers_and_number_of_cases_change_no_case(written, tmp_path, monkeypatch):
    fewer = contents(dataset.write_radiographs(tmp_path / "fewer", 3, 256, 4))
    pictures = {name: data for name, data in fewer.items() if name.endswith((".png", ".xml"))}
    assert len(pictures) == 6 and pictures.items() <= contents(written).items()
    other = contents(dataset.write_radiographs(tmp_path / "other", 3, 256, 5))
    assert all(other[name] != data for name, data in pictures.items())
    monkeypatch.setenv("NBHELPERS_CORES", "2")
    parallel = dataset.write_radiographs(tmp_path / "parallel", CASES, 256, 4)
    assert contents(parallel) == contents(written)


def test_labels_are_distributed_as_in_the_real_set():
    cases = pd.DataFrame([dataset.draw_case(0, number) for number in range(6000)])
    label = cases["label_months"]
    assert label.min() >= 1 and label.max() <= 228
    assert label.mean() == pytest.approx(127.3, abs=2.0)
    assert label.std() == pytest.approx(41.2, abs=1.5)
    assert (cases["sex"] == "male").mean() == pytest.approx(0.54, abs=0.02)
    assert (label % 6 == 0).mean() == pytest.approx(0.806, abs=0.02)
    assert (label % 12 == 0).mean() == pytest.approx(0.579, abs=0.025)
    error = cases["rater_error_months"]
    grown = cases["true_age_months"] > 100
    assert error[grown].std() == pytest.approx(7.0, abs=0.3)
    assert error[cases["true_age_months"] < 36].std() < 3.0
    by_sex = cases.groupby("sex")["true_age_months"].mean()
    assert by_sex["male"] - by_sex["female"] == pytest.approx(17.7, abs=4)


def test_a_finished_folder_is_left_and_an_unfinished_one_drawn_again(written, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert dataset.write_radiographs(written, CASES, 256, 4) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before
    folder = shutil.copytree(written, tmp_path / "set")
    for name in ("truth.csv", "boneage-training-dataset.csv", f"{IMAGES}/1003.png"):
        (folder / name).unlink()
    (folder / IMAGES / "1004.png").write_bytes(b"half a pic")
    dataset.write_radiographs(folder, CASES, 256, 4)
    assert contents(folder) == contents(written)
