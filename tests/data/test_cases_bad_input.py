"""Bad tables and folders: each test starts from a folder that passes and changes one thing."""

import shutil
from pathlib import Path

import pytest
from conftest import write_image, write_radiographs

from nbhelpers.data import cases
from nbhelpers.workspace import InputError

TABLE = "boneage-training-dataset.csv"
# The first three rows of the folder that passes stand on lines 2 to 4.
ROW = "1378,108,True"


@pytest.fixture
def folder(radiographs):
    assert len(cases.read_cases(radiographs)) == 40
    assert ROW in (radiographs / TABLE).read_text()
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
    "1378,inf,True": ("boneage", "'inf' is not a number", "age in months"),
    "1378,1_0,True": ("boneage", "'1_0' is not a number", "age in months"),
    '1378,"93,5",True': ("boneage", "'93,5' is not a number", "as in 93.5"),
    "1378,-3,True": ("boneage", "-3 months is outside 0 to 240", "Correct it"),
    "1378,300,True": ("boneage", "300 months is outside 0 to 240", "Correct it"),
    "1378,240.5,True": ("boneage", "240.5 months is outside 0 to 240", "Correct it"),
    "1378,108,maybe": ("male", "'maybe' is no sex", "True or False, or leave it empty"),
    "1378,108,2": ("male", "'2' is no sex", "True or False"),
    "99999,108,True": ("id", "there is no image 99999.png", "Add the image or remove the row"),
    ",108,True": ("id", "the id is empty", "Fill it in"),
    "1377,108,True": ("id", "'1377' stands on line 2 too", "Keep one"),
    "1377.0,108,True": ("id", "'1377' stands on line 2 too", "Keep one"),
    "../1378,108,True": ("id", "'../1378' is not a plain file name", "may not leave the folder"),
    "/etc/passwd,108,True": ("id", "is not a plain file name", "may not leave the folder"),
    "..,108,True": ("id", "is not a plain file name", "may not leave the folder"),
    "a\\1378,108,True": ("id", "is not a plain file name", "may not leave the folder"),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_named_in_one_line(folder, row):
    column, wrong, remedy = BAD_ROWS[row]
    change_row(folder, row)
    message = error_of(folder)
    assert message.startswith(f"{folder / TABLE}, line 3, column '{column}': ")
    assert wrong in message
    assert remedy in message
    assert "\n" not in message


def test_a_byte_order_mark_is_no_part_of_a_columns_name(folder):
    change_row(folder, ",108,True")
    path = folder / TABLE
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert "line 3, column 'id': the id is empty" in error_of(folder)


def test_a_row_with_too_many_cells(folder):
    change_row(folder, ROW + ",extra")
    message = error_of(folder)
    assert "line 3: 4 cells under 3 column names" in message
    assert "quotation marks" in message


def test_lines_are_counted_as_in_the_file(folder):
    path = folder / TABLE
    text = path.read_text().replace(ROW, "1378,300,True")
    path.write_text(text.replace("\n", "\n\n"))
    assert ", line 5, " in error_of(folder)
    path.write_text(text.replace("id,boneage,male", 'id,boneage,male,"a\nnote"'))
    assert ", line 4, " in error_of(folder)


def test_many_bad_rows_give_the_first_five_and_a_count(folder):
    path = folder / TABLE
    path.write_text(path.read_text().replace("True", "maybe"))
    lines = error_of(folder).split("\n")
    assert len(lines) == 6
    named = [line.split(", ")[1] for line in lines[:5]]
    assert named == ["line 3", "line 5", "line 7", "line 9", "line 11"]
    assert lines[5] == "15 more rows of this table have faults."


def test_a_missing_image(folder):
    (folder / "boneage-training-dataset" / "boneage-training-dataset" / "1378.png").unlink()
    message = error_of(folder)
    assert "line 3, column 'id': there is no image 1378.png" in message


def test_a_folder_in_place_of_an_image(folder):
    image = folder / "boneage-training-dataset" / "boneage-training-dataset" / "1378.png"
    image.unlink()
    image.mkdir()
    assert "there is no image 1378.png" in error_of(folder)


def test_an_image_linked_from_outside(folder, tmp_path):
    image = folder / "boneage-training-dataset" / "boneage-training-dataset" / "1378.png"
    image.rename(tmp_path / "1378.png")
    image.symlink_to(tmp_path / "1378.png")
    assert f"{image} is a link to a place outside" in error_of(folder)


def test_a_folder_of_images_linked_from_outside(folder, tmp_path):
    images = folder / "boneage-training-dataset"
    images.rename(tmp_path / "elsewhere")
    images.symlink_to(tmp_path / "elsewhere")
    assert "is a link to a place outside" in error_of(folder)


def test_a_link_in_a_circle_ends(folder):
    (folder / "boneage-training-dataset" / "again").symlink_to(folder / "boneage-training-dataset")
    assert len(cases.read_cases(folder)) == 40


def test_an_empty_table(folder):
    (folder / TABLE).write_text("")
    assert error_of(folder).startswith(f"{folder / TABLE} is empty.")
    (folder / TABLE).write_text("\n\n")
    assert error_of(folder).startswith(f"{folder / TABLE} is empty.")


def test_a_header_without_rows(folder):
    (folder / TABLE).write_text("id,boneage,male\n")
    assert f"{folder / TABLE} has a header but no rows" in error_of(folder)


MISSING = {
    "id,boneage,male": ("key,boneage,male", "no column for the id (name it id)"),
    "boneage": ("when", "no column for the age (name it boneage)"),
    ",male": (",tall", "no column for the sex (name it male or sex)"),
}


@pytest.mark.parametrize("old", MISSING)
def test_a_missing_column(folder, old):
    new, said = MISSING[old]
    path = folder / TABLE
    path.write_text(path.read_text().replace(old, new, 1))
    message = error_of(folder)
    assert message.startswith(f"{path}, header: ")
    assert said in message
    assert "Its columns are" in message


def test_one_field_in_two_columns(folder):
    path = folder / TABLE
    path.write_text(path.read_text().replace("id,boneage,male", "id,boneage,male,sex", 1))
    assert "the columns 'male' and 'sex' both give the sex" in error_of(folder)


def test_ages_that_are_years(folder):
    path = folder / TABLE
    header, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    years = [f"{case},{int(age) / 12:.2f},{male}" for case, age, male in cells]
    path.write_text("\n".join([header, *years]))
    message = error_of(folder)
    assert f"{path}, column 'boneage': no age is over 20, so these look like years" in message
    assert "Multiply them by 12" in message
    # Whoever says months is believed: infants alone are no years.
    path.write_text("\n".join(["id,boneage_months,male", *years]))
    assert len(cases.read_cases(folder)) == 40


def test_a_table_that_is_not_utf8(folder):
    path = folder / TABLE
    raw = path.read_bytes().replace(b"id,boneage,male", b"id,boneage,male,note")
    path.write_bytes(raw.replace(b"1378,108,True", b"1378,108,True,\xe4"))
    assert f"{path}, line 3: not UTF-8 text" in error_of(folder)


def test_an_excel_file_that_is_none(folder):
    (folder / TABLE).rename(folder / "boneage-training-dataset.xlsx")
    assert "boneage-training-dataset.xlsx is not a readable Excel file" in error_of(folder)


def test_no_table_at_all(folder):
    (folder / TABLE).unlink()
    message = error_of(folder)
    assert f"{folder} holds no table" in message
    assert "Name the folder" in message


def test_two_tables_with_ages(folder):
    shutil.copy(folder / TABLE, folder / "Validation Dataset.csv")
    message = error_of(folder)
    assert f"{folder} holds two layouts" in message
    assert "Validation Dataset.csv" in message
    assert TABLE in message
    assert "Keep one, or name the folder of one" in message


def test_two_whole_sets_in_one_folder(folder, tmp_path):
    shutil.move(folder, tmp_path / "both" / "one")
    write_radiographs(tmp_path / "both" / "two", cases=20)
    assert "holds two layouts" in error_of(tmp_path / "both")


def test_two_images_of_one_id(folder):
    write_image(folder / "boneage-training-dataset" / "1378.jpg")
    message = error_of(folder)
    assert "line 3" in message
    assert "two layouts" in message
    assert "1378.jpg" in message
    assert "1378.png" in message


def test_only_a_set_without_ages(folder):
    path = folder / TABLE
    path.write_text("Case ID,Sex\n1377,M\n")
    assert "no column for the age" in error_of(folder)


def test_the_external_folder_is_checked_the_same(folder, tmp_path):
    external = write_radiographs(tmp_path / "external", cases=5)
    change_row(external, "1378,300,True")
    message = error_of(folder, external_folder=external)
    assert message.startswith(f"{external / TABLE}, line 3, column 'boneage'")


def test_an_id_that_takes_the_name_of_an_external_case(folder, tmp_path):
    external = write_radiographs(tmp_path / "external", cases=5)
    change_row(folder, "external-1377,108,True")
    images = folder / "boneage-training-dataset" / "boneage-training-dataset"
    (images / "1378.png").rename(images / "external-1377.png")
    message = error_of(folder, external_folder=external)
    assert "external-1377 is also the name given to a case of another table" in message


def test_bad_stage_cuts_are_named_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match="stage_cuts 'tanner'"):
        cases.read_cases(tmp_path / "nowhere", stage_cuts="tanner")
