"""The fingerprint changes with the data and with nothing else."""

import os
import shutil

import pytest
from conftest import write_image, write_radiographs

from nbhelpers import workspace
from nbhelpers.data import cases
from nbhelpers.workspace import InputError

TABLE = "boneage-training-dataset.csv"
IMAGE = "boneage-training-dataset/boneage-training-dataset/1378.png"


def hash_of(folder, **options) -> str:
    return cases.fingerprint(folder, cases.read_cases(folder, **options), **options)["hash"]


def test_it_tells_what_it_covers(radiographs):
    fingerprint = cases.fingerprint(radiographs, cases.read_cases(radiographs))
    assert fingerprint["images"] == 40
    assert list(fingerprint["tables"]) == [f"data/{TABLE}"]
    assert fingerprint["data_folder"] == str(radiographs)
    assert fingerprint["external_folder"] is None


def test_it_stays_the_same(radiographs, tmp_path):
    before = hash_of(radiographs)
    (radiographs / "readme.txt").write_text("no table and no image")
    write_image(radiographs / "boneage-training-dataset" / "unused.png")
    assert hash_of(radiographs) == before
    shutil.copytree(radiographs, tmp_path / "copy", copy_function=shutil.copy2)
    assert hash_of(tmp_path / "copy") == before


def rewrite_table(folder):
    path = folder / TABLE
    path.write_text(path.read_text() + "\n")


def rename_image(folder):
    (folder / IMAGE).rename((folder / IMAGE).with_suffix(".jpg"))


def touch_image(folder):
    facts = (folder / IMAGE).stat()
    os.utime(folder / IMAGE, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def lengthen_image(folder):
    facts = (folder / IMAGE).stat()
    (folder / IMAGE).write_bytes((folder / IMAGE).read_bytes() + b"\0")
    os.utime(folder / IMAGE, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite_table, rename_image, touch_image, lengthen_image])
def test_it_changes_with_tables_and_images(radiographs, change):
    before = hash_of(radiographs)
    change(radiographs)
    assert hash_of(radiographs) != before


def test_an_external_folder_is_covered(radiographs, tmp_path):
    alone = hash_of(radiographs)
    external = write_radiographs(tmp_path / "external", cases=5)
    beside = hash_of(radiographs, external_folder=external)
    assert beside != alone
    touch_image(external)
    assert hash_of(radiographs, external_folder=external) != beside


def test_another_data_set_into_a_finished_folder(radiographs, tmp_path):
    run_folder = tmp_path / "run"
    table = cases.read_cases(radiographs)
    first = cases.fingerprint(radiographs, table)
    workspace.require_same_fingerprint(run_folder, first)
    cases.save_cases(run_folder, table, first)
    cases.save_cases(run_folder, table, first)

    other = write_radiographs(tmp_path / "other", cases=30)
    other_table = cases.read_cases(other)
    second = cases.fingerprint(other, other_table)
    with pytest.raises(InputError) as caught:
        cases.save_cases(run_folder, other_table, second)
    message = str(caught.value)
    for part in (str(run_folder), str(radiographs), str(other), first["hash"], second["hash"]):
        assert part in message
    assert "Choose another run folder" in message
    assert len(cases.load_cases(run_folder)) == 40
