"""Tables are read as text; whatever a file holds, the user gets a table or one clear error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers.data.tables import missing_columns, read_table
from nbhelpers.workspace import InputError

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "table.csv"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_clear_error(path, content):
    path.write_bytes(content)
    try:
        read_table(path)
    except InputError as error:
        assert str(path) in str(error)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_an_excel_file_or_a_clear_error(path, content, cut):
    excel = path.with_suffix(".xlsx")
    excel.write_bytes(b"PK\x03\x04" + content[:cut])
    with pytest.raises(InputError, match="not a readable Excel file"):
        read_table(excel)


@given(st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=6))
def test_cells_come_back_as_written(path, rows):
    import csv

    rows = [["id", "boneage", "male", "last"], *rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    stripped = [[cell.strip() for cell in row] for row in rows[1:]]
    filled = [(row + [""] * 3)[:3] for row in stripped if any(row)]
    (table,) = read_table(path)
    assert [[*row.values()] for _, row in table.rows] == filled


def test_a_short_row_has_empty_cells_and_a_chronological_age_is_no_bone_age(path):
    path.write_text("file_name,age,chronological age,Sex (M/F)\n1377\n")
    (table,) = read_table(path)
    assert table.rows == [(2, {"id": "1377", "sex": ""})]
    assert "no column for the age" in missing_columns(table, ("id", "age", "sex"))
