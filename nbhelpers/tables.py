"""Read a table of cases, CSV or Excel, as text with the line each row stands on.

Columns are found by name; case, spaces and punctuation do not matter (`Bone Age (months)` is
`boneagemonths`). Extra columns, blank lines, a byte order mark, Windows line ends and semicolons
or tabs in place of commas are all fine.
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from nbhelpers.workspace import InputError

TABLE_SUFFIXES = (".csv", ".xlsx")
# What each field may be called, without case, spaces and punctuation.
COLUMN_NAMES = {
    "id": ("id", "caseid", "imageid", "image", "imagename", "filename", "file"),
    "age": (
        "boneage",
        "boneagemonths",
        "boneageinmonths",
        "groundtruthboneage",
        "groundtruthboneagemonths",
        "agemonths",
        "ageinmonths",
    ),
    "sex": ("male", "sex", "sexmf", "gender"),
}
NAMES_TO_OFFER = {"id": "id", "age": "boneage", "sex": "male or sex"}


@dataclass(frozen=True)
class Table:
    """A table as text: `rows` holds (line in the file, cells); `columns` field -> position."""

    path: Path
    header: tuple[str, ...]
    columns: dict[str, int]
    rows: list[tuple[int, list[str]]]

    def column_name(self, field: str) -> str:
        """The name that the file itself gives to a field."""
        return self.header[self.columns[field]].strip()

    def cell(self, cells: list[str], field: str) -> str:
        """The text of a field in one row; empty where the row is short or the column missing."""
        position = self.columns.get(field, len(cells))
        return cells[position].strip() if position < len(cells) else ""


def read_table(path: Path) -> Table:
    """Read a table; raises InputError when it cannot be read or names one field twice."""
    lines = _read_excel(path) if path.suffix.lower() == ".xlsx" else _read_csv(path)
    filled = [(line, cells) for line, cells in lines if any(cell.strip() for cell in cells)]
    if not filled:
        raise InputError(f"{path} is empty. It needs a header and one row for each radiograph.")
    header = filled[0][1]
    return Table(path, tuple(header), _find_columns(path, header), filled[1:])


def _find_columns(path: Path, header: list[str]) -> dict[str, int]:
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in header]
    columns = {}
    for field, names in COLUMN_NAMES.items():
        found = [position for position, name in enumerate(plain) if name in names]
        if len(found) > 1:
            both = " and ".join(repr(header[position].strip()) for position in found)
            raise InputError(
                f"{path}, header: the columns {both} both give the {field}. "
                "Remove or rename one of them."
            )
        if found:
            columns[field] = found[0]
    return columns


def missing_columns(table: Table, fields: tuple[str, ...]) -> str:
    """One line that names the columns of `fields` that a table lacks; empty if it has them all."""
    lacking = [field for field in fields if field not in table.columns]
    if not lacking:
        return ""
    names = " and ".join(f"for the {field} (name it {NAMES_TO_OFFER[field]})" for field in lacking)
    seen = ", ".join(repr(name.strip()) for name in table.header[:8])
    return f"{table.path}, header: no column {names}. Its columns are {seen}."


def _read_csv(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text. Save it as CSV UTF-8.") from error
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, line = [], 1
    try:
        for cells in reader:
            # A quoted cell may hold line breaks: a row is named by its first line.
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}. Save the table as CSV anew.") from error
    return rows


def _read_excel(path: Path) -> list[tuple[int, list[str]]]:
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheet = book.worksheets[0]
        rows = [
            (line, [_text(value) for value in values])
            for line, values in enumerate(sheet.iter_rows(values_only=True), start=1)
        ]
        book.close()
    except Exception as error:  # openpyxl lets errors of zip, XML and its own through
        raise InputError(f"{path} is not a readable Excel file. Save it as .xlsx anew.") from error
    return rows


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
