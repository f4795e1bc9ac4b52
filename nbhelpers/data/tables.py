"""Find and read the table and the images of a folder of radiographs, whichever way it is laid out.

Found by looking, not by a name that the user gives:

- Kaggle's copy of the RSNA set: `boneage-training-dataset.csv` and the images once or twice
  nested in `boneage-training-dataset/`; beside it, if wanted, the set without ages,
  `boneage-test-dataset.csv` and `boneage-test-dataset/`;
- RSNA's packages: `train.csv` and `boneage-training-dataset/`; `Validation Dataset.csv` and
  `boneage-validation-dataset-1/` and `-2/`; `Bone age ground truth.xlsx` (or `.csv`) and
  `Test Set Images/`;
- any folder with one CSV or Excel table and PNG or JPEG images, nested as deep as they like.

So a table with ids and ages is *the* table; one with ids and sexes but no ages is a set to be
predicted; other tables are left alone. Tables are sought in the folder itself, then one and two
levels down. A folder named like a table holds the images of that table and of no other. Two
tables with ages, or two images of one id, are two layouts: an error names both.

A new layout, of ages in months, is a new name in `COLUMN_NAMES` or in the words for a sex. Columns
are found by name; case, spaces and punctuation do not matter (`Bone Age (months)` is
`boneagemonths`). Extra columns, blank lines, a byte order mark, Windows line ends and semicolons or
tabs in place of commas are all fine.

- Ids are file names without suffix; `1377.0` and `1377.png` mean 1377.
- Bone ages are months, 0 to 240 (the RSNA set ends at 228).
- Sex is M/F, male/female or boy/girl, in a column `male` also True/False, yes/no or 1/0; an empty
  cell means unknown.
"""

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

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
FIELDS = tuple(COLUMN_NAMES)
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
    try:
        cells = pd.read_excel(path, header=None, dtype=object, na_filter=False, engine="openpyxl")
    except Exception as error:  # openpyxl lets errors of zip, XML and its own through
        raise InputError(f"{path} is not a readable Excel file. Save it as .xlsx anew.") from error
    return [(line, [*map(str, row)]) for line, row in enumerate(cells.to_numpy().tolist(), start=1)]


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Path of an image, and whether it lies inside the folder once links are followed.
Images = dict[str, list[tuple[Path, bool]]]


def find_tables(folder: Path, labelled: bool = False) -> tuple[Table | None, Table | None]:
    """The table with ages and the one without, each or both None where the folder has none.

    Raises InputError for two of a kind, for tables none of which can be used, and, of a folder that
    must be `labelled`, where none has ages.
    """
    for pattern in ("*", "*/*", "*/*/*"):
        paths = sorted(
            path
            for path in folder.glob(pattern)
            if path.suffix.lower() in TABLE_SUFFIXES
            and not path.name.startswith((".", "~$"))
            and path.is_file()
        )
        if paths:
            return _choose(folder, paths, FIELDS if labelled else ("id",))
    if labelled:
        raise InputError(
            f"{folder} holds no table (.csv or .xlsx), neither itself nor two levels down. "
            "Name the folder that holds the table and the images."
        )
    return None, None


def _choose(
    folder: Path, paths: list[Path], needed: tuple[str, ...]
) -> tuple[Table | None, Table | None]:
    tables, errors = [], []
    for path in paths:
        try:
            tables.append(read_table(path))
        except InputError as error:
            errors.append(str(error))
    labelled = [table for table in tables if {"id", "age"} <= set(table.columns)]
    to_predict = [table for table in tables if set(table.columns) == {"id", "sex"}]
    for rivals, kind in ((labelled, "bone ages"), (to_predict, "sexes but no bone ages")):
        if len(rivals) > 1:
            both = " and ".join(str(table.path) for table in rivals[:2])
            raise InputError(
                f"{folder} holds two layouts: {both} are both tables with {kind}. "
                "Keep one, or name the folder of one."
            )
    if labelled or (to_predict and "age" not in needed):
        return labelled[0] if labelled else None, to_predict[0] if to_predict else None
    if errors:
        raise InputError(errors[0])
    table = max(tables, key=lambda table: len(table.columns))
    raise InputError(
        missing_columns(table, needed)
        or f"{table.path} has ids but neither ages nor sexes. Add a column, such as sex, or take "
        "the table away: a folder of images alone is predicted too."
    )


def find_images(
    folder: Path, table: Table | None, other: Table | None = None, skip: Path | None = None
) -> Images:
    """Every image that may belong to `table`: name without suffix -> where it was found.

    Without a table, every image of the folder. A folder named like the `other` table, and the
    folder `skip`, are passed over.
    """
    own = table.path.with_suffix("") if table else folder
    inside = folder.resolve()
    passed = {path.resolve() for path in (other and other.path.with_suffix(""), skip) if path}
    images: Images = {}
    for place, folders, files in os.walk(own if own.is_dir() else folder, followlinks=True):
        real = Path(place).resolve()
        if real in passed:  # a link in a circle too
            folders.clear()
            continue
        passed.add(real)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for path in (Path(place, name) for name in sorted(files) if name[0] != "."):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                target = path.resolve() if path.is_symlink() else real
                images.setdefault(path.stem, []).append((path, target.is_relative_to(inside)))
    return images


YOUNGEST, OLDEST = 0, 240
FAULTS_SHOWN = 5
FEMALE, MALE = ("f", "female", "girl"), ("m", "male", "boy")
NOT_MALE, IS_MALE = ("false", "no", "0", "0.0"), ("true", "yes", "1", "1.0")
SEX_WORDS = {"": None, **dict.fromkeys(FEMALE, "female"), **dict.fromkeys(MALE, "male")}
MALE_WORDS = SEX_WORDS | dict.fromkeys(NOT_MALE, "female") | dict.fromkeys(IS_MALE, "male")


class _Fault(Exception):
    """What is wrong in a row: the field, the fault and the remedy."""


def read_labels(table: Table, images: Images) -> pd.DataFrame:
    """`case_id`, `image_path`, `sex` and `age_months` (null where the table has no ages).

    Raises InputError naming file, line, column and remedy of the first faulty rows.
    """
    if not table.rows:
        raise InputError(f"{table.path} has a header but no rows. Add a row for each radiograph.")
    records, faults = [], []
    lines: dict[str, int] = {}
    for line, cells in table.rows:
        try:
            records.append(_read_row(table, cells, images, lines))
            lines[records[-1][0]] = line
        except _Fault as fault:
            field, wrong, remedy = fault.args
            column = f", column {table.column_name(field)!r}" if field else ""
            faults.append(f"{table.path}, line {line}{column}: {wrong}. {remedy}.")
    if faults:
        more = len(faults) - FAULTS_SHOWN
        last = [f"{more:,} more rows of this table have faults."] if more > 0 else []
        raise InputError("\n".join(faults[:FAULTS_SHOWN] + last))
    cases = pd.DataFrame(records, columns=["case_id", "image_path", "sex", "age_months"])
    return cases.astype({"sex": object, "age_months": float})


def _read_row(table: Table, cells: list[str], images: Images, lines: dict[str, int]) -> tuple:
    if any(cell.strip() for cell in cells[len(table.header) :]):
        wrong = f"{len(cells)} cells under {len(table.header)} column names"
        raise _Fault("", wrong, "Put cells that hold a comma into quotation marks")
    case = _case_id(table.cell(cells, "id"))
    if case in lines:
        wrong = f"the id {case!r} stands on line {lines[case]} too"
        raise _Fault("id", wrong, "Keep one of the two rows")
    path, sex = _image_path(case, images), _sex(table, cells)
    age = _age(table.cell(cells, "age")) if "age" in table.columns else None
    return case, str(path), sex, age


def _case_id(text: str) -> str:
    if not text:
        raise _Fault("id", "the id is empty", "Fill it in or remove the row")
    if re.search(r"[/\\\0-\x1f]", text) or text.startswith("."):
        wrong = f"the id {text!r} is not a plain file name"
        raise _Fault("id", wrong, "Ids may not leave the folder: no '/', no '\\', no leading '.'")
    stem, dot, suffix = text.rpartition(".")
    if dot and (f".{suffix.lower()}" in IMAGE_SUFFIXES or re.fullmatch(r"\d+\.0+", text)):
        return stem
    return text


def _image_path(case: str, images: Images) -> Path:
    found = images.get(case, [])
    if not found:
        wrong = f"there is no image {case}.png (or .jpg, .jpeg)"
        raise _Fault("id", wrong, "Add the image or remove the row")
    if len(found) > 1:
        wrong = f"two layouts: {found[0][0]} and {found[1][0]} are both images of {case!r}"
        raise _Fault("id", wrong, "Keep one of the two")
    path, inside = found[0]
    if not inside:
        wrong = f"the image {path} is a link to a place outside the folder of radiographs"
        raise _Fault("id", wrong, "Put the image itself into the folder")
    return path


def _sex(table: Table, cells: list[str]) -> str | None:
    if "sex" not in table.columns:
        return None
    text, asks_male = table.cell(cells, "sex"), table.column_name("sex").lower() == "male"
    words, known = (MALE_WORDS, "True or False") if asks_male else (SEX_WORDS, "M or F")
    if text.lower() not in words:
        raise _Fault("sex", f"{text!r} is no sex", f"Write {known}, or leave it empty if unknown")
    return words[text.lower()]


def _age(text: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text):
        wrong = f"{text!r} is not a number" if text else "the bone age is empty"
        raise _Fault("age", wrong, "Write the age in months, as in 93.5, or remove the row")
    age = float(text)
    if not YOUNGEST <= age <= OLDEST:
        wrong = f"a bone age of {text} months is outside {YOUNGEST} to {OLDEST}"
        raise _Fault("age", wrong, "Correct it or remove the row; ages are months, not days")
    return age
