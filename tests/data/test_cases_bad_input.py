"""Bad tables and folders: each test starts from a folder that passes and changes one thing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_image, write_radiographs

from nbhelpers.data import cases
from nbhelpers.workspace import InputError

TABLE = "boneage-training-dataset.csv"
IMAGE = Path("boneage-training-dataset") / "boneage-training-dataset" / "1378.png"
# The first three rows of the folder that passes stand on lines 2 to 4.
ROW = "1378,108,True"


@pytest.fixture
def folder(radiographs):
    return radiographs


def error_of(folder: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        cases.read_cases(folder, **options)
    return str(caught.value)


def change_row(folder: Path, new: str) -> None:
    path = folder / TABLE
    path.write_text(path.read_text().replace(ROW, new))


BAD_ROWS = {
    # new row: (column, what the error says, remedy)
    "1378,abc,True": ("boneage", "'abc' is not a number", "age in months"),
    "1378,,True": ("boneage", "the bone age is empty", "remove the row"),
    "1378,nan,True": ("boneage", "'nan' is not a number", "age in months"),
    "1378,1_0,True": ("boneage", "'1_0' is not a number", "age in months"),
    '1378,"93,5",True': ("boneage", "'93,5' is not a number", "as in 93.5"),
    "1378,-3,True": ("boneage", "-3 months is outside 0 to 240", "Correct it"),
    "1378,240.5,True": ("boneage", "240.5 months is outside 0 to 240", "Correct it"),
    "1378,108,maybe": ("male", "'maybe' is no sex", "True or False, or leave it empty"),
    "99999,108,True": ("id", "there is no image 99999.png", "Add the image or remove the row"),
    ",108,True": ("id", "the id is empty", "Fill it in"),
    "1377.0,108,True": ("id", "'1377' is on line 2 of ", "Keep one"),
    "../1378,108,True": ("id", "'../1378' is not a plain file name", "may not leave the folder"),
    "a\\1378,108,True": ("id", "is not a plain file name", "may not leave the folder"),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_named_in_one_line(folder, row):
    column, wrong, remedy = BAD_ROWS[row]
    change_row(folder, row)
    message = error_of(folder)
    assert message.startswith(f"{folder / TABLE}, line 3, column '{column}': ")
    assert wrong in message and remedy in message
    assert "\n" not in message


def test_lines_are_counted_as_in_the_file_and_many_faults_cut_short(folder):
    path = folder / TABLE
    text = path.read_text()
    path.write_text(text.replace("True", "maybe"))
    *lines, last = error_of(folder).split("\n")
    assert [line.split(", ")[1] for line in lines] == [f"line {n}" for n in (3, 5, 7, 9, 11)]
    assert last == "15 more rows of this table have faults."
    text = text.replace(ROW, "1378,300,True").replace("\n", "\n\n")
    path.write_text(text)
    assert ", line 5, " in error_of(folder)
    path.write_text(text.replace("id,boneage,male", 'id,boneage,male,"a\nnote"'))
    assert ", line 6, " in error_of(folder)


def rewrite(old: bytes, new: bytes) -> Callable[[Path], None]:
    """What replaces a part of the table, once."""

    def change(folder: Path) -> None:
        path = folder / TABLE
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return change


def write(text: str) -> Callable[[Path], int]:
    return lambda folder: (folder / TABLE).write_text(text)


HEADER = b"id,boneage,male"
CHANGES = {
    # what is changed: (how, parts of the message)
    "cells": (
        rewrite(ROW.encode(), ROW.encode() + b",extra"),
        ["line 3: 4 cells under 3 column names", "quotation marks"],
    ),
    "image": (lambda folder: (folder / IMAGE).unlink(), ["line 3", "there is no image 1378.png"]),
    "blank": (write("\n\n"), [f"{TABLE} is empty."]),
    "no rows": (write("id,boneage,male\n"), [f"{TABLE} has a header but no rows"]),
    "only sexes": (write("Case ID,Sex\n1377,M\n"), ["no column for the age"]),
    "two columns": (rewrite(HEADER, HEADER + b",sex"), ["'male' and 'sex' both give the sex"]),
    "not UTF-8": (rewrite(ROW.encode(), b"1378,108,\xe4"), [f"{TABLE}, line 3: not UTF-8 text"]),
    "no table": (lambda folder: (folder / TABLE).unlink(), ["holds no table", "Name the folder"]),
    "two tables": (
        lambda folder: shutil.copy(folder / TABLE, folder / "Validation Dataset.csv"),
        ["holds two layouts", "Validation Dataset.csv", TABLE, "Keep one, or name the folder of"],
    ),
    "two images": (
        lambda folder: write_image(folder / IMAGE.parts[0] / "1378.jpg"),
        ["line 3", "two layouts", "1378.jpg", "1378.png"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_with_a_folder_is_named(folder, change):
    make, told = CHANGES[change]
    make(folder)
    message = error_of(folder)
    assert str(folder) in message
    assert [part for part in told if part not in message] == [], message


def test_ages_that_are_years(folder):
    path = folder / TABLE
    header, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    years = [f"{case},{int(age) / 12:.2f},{male}" for case, age, male in cells]
    path.write_text("\n".join([header, *years]))
    message = error_of(folder)
    assert f"{path}, column 'boneage': no age is over 20, so these look like years" in message
    assert "Name the column boneage_years" in message
    # Whoever names the unit is believed: infants alone are no years.
    for unit, oldest in (("months", 19), ("years", 228)):
        path.write_text("\n".join([f"id,boneage_{unit},male", *years]))
        assert cases.read_cases(folder)["age_months"].max() == oldest


def test_the_external_folder_is_checked_the_same(folder, tmp_path):
    external = write_radiographs(tmp_path / "external", cases=5)
    change_row(external, "1378,300,True")
    message = error_of(folder, external_folder=external)
    assert message.startswith(f"{external / TABLE}, line 3, column 'boneage'")
    change_row(folder, "external-1377,108,True")
    (folder / IMAGE).rename((folder / IMAGE).with_name("external-1377.png"))
    external = write_radiographs(tmp_path / "better", cases=5)
    message = error_of(folder, external_folder=external)
    assert "external-1377 is also the name given to a case of another table" in message
    assert "are both" in error_of(folder, external_folder=folder)


def test_bad_stage_cuts_are_named_before_anything_is_read(tmp_path):
    assert "stage_cuts 'tanner'" in error_of(tmp_path / "nowhere", stage_cuts="tanner")
