"""The fingerprint changes with the data and with nothing else."""

import shutil

import pytest
from conftest import write_image, write_radiographs

from nbhelpers.data import cases
from nbhelpers.workspace import InputError

TABLE = "boneage-training-dataset.csv"
IMAGE = "boneage-training-dataset/boneage-training-dataset/1378.png"


def hash_of(folder, **options) -> str:
    return cases.fingerprint(folder, cases.read_cases(folder, **options), **options)["hash"]


def test_it_stays_the_same_and_tells_what_it_covers(radiographs, tmp_path):
    before = cases.fingerprint(radiographs, cases.read_cases(radiographs))
    assert (before["images"], list(before["tables"])) == (40, [f"data/{TABLE}"])
    assert (before["data_folder"], before["external_folder"]) == (str(radiographs), None)
    (radiographs / "readme.txt").write_text("no table and no image")
    write_image(radiographs / "boneage-training-dataset" / "unused.png")
    assert hash_of(radiographs) == before["hash"]
    shutil.copytree(radiographs, tmp_path / "copy", copy_function=shutil.copyfile)  # new times
    assert hash_of(tmp_path / "copy") == before["hash"]


def rewrite_table(folder):
    path = folder / TABLE
    path.write_text(path.read_text() + "\n")


def rename_image(folder):
    (folder / IMAGE).rename((folder / IMAGE).with_suffix(".jpg"))


def change_image(folder):
    write_image(folder / IMAGE, side=9)


@pytest.mark.parametrize("change", [rewrite_table, rename_image, change_image])
def test_it_changes_with_tables_and_images(radiographs, change):
    before = hash_of(radiographs)
    change(radiographs)
    assert hash_of(radiographs) != before


def test_an_external_folder_is_covered(radiographs, tmp_path):
    alone = hash_of(radiographs)
    external = write_radiographs(tmp_path / "external", cases=5)
    beside = hash_of(radiographs, external_folder=external)
    assert beside != alone
    change_image(external)
    assert hash_of(radiographs, external_folder=external) != beside


def test_another_data_set_into_a_finished_folder(radiographs, tmp_path):
    run_folder = tmp_path / "run"
    table = cases.read_cases(radiographs)
    first = cases.fingerprint(radiographs, table)
    cases.save_cases(run_folder, table, first)
    assert cases.open_cases(run_folder, radiographs, "", "years")[1] == first
    other = write_radiographs(tmp_path / "other", cases=30)
    second = cases.fingerprint(other, cases.read_cases(other))
    with pytest.raises(InputError) as caught:
        cases.open_cases(run_folder, other, "", "years")
    for part in (str(run_folder), str(radiographs), str(other), first["hash"], second["hash"]):
        assert part in str(caught.value)
    assert len(cases.load_cases(run_folder)) == 40
    (other / TABLE).write_text("id,boneage,male\n1377,40,\n")
    with pytest.raises(InputError, match="no case has a stage, since no sex is known"):
        cases.open_cases(tmp_path / "new", other, "", "gilsanz_ratib")
