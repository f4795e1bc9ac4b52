"""Check the rows of a table against the images: id, image, sex and bone age of each radiograph.

- Ids are file names without suffix; `1377.0` and `1377.png` mean 1377.
- Bone ages are months, 0 to 240 (the RSNA set ends at 228).
- Sex is M/F, male/female or boy/girl, in a column `male` also True/False, yes/no or 1/0; an empty
  cell means unknown.
"""

import re
from pathlib import Path

import pandas as pd

from nbhelpers.layouts import IMAGE_SUFFIXES, Images
from nbhelpers.tables import Table
from nbhelpers.workspace import InputError

YOUNGEST, OLDEST = 0, 240
FAULTS_SHOWN = 5
SEX_WORDS = {
    "": None,
    "f": "female",
    "female": "female",
    "girl": "female",
    "m": "male",
    "male": "male",
    "boy": "male",
}
MALE_WORDS = {
    "true": "male",
    "yes": "male",
    "1": "male",
    "1.0": "male",
    "false": "female",
    "no": "female",
    "0": "female",
    "0.0": "female",
}


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
    path = _image_path(case, images)
    sex = _sex(table, cells)
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
    text, column = table.cell(cells, "sex"), table.column_name("sex")
    word = text.lower()
    words = SEX_WORDS | MALE_WORDS if column.lower() == "male" else SEX_WORDS
    if word not in words:
        known = "True or False" if column.lower() == "male" else "M or F"
        raise _Fault("sex", f"{text!r} is no sex", f"Write {known}, or leave it empty if unknown")
    return words[word]


def _age(text: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text):
        wrong = f"{text!r} is not a number" if text else "the bone age is empty"
        raise _Fault("age", wrong, "Write the age in months, as in 93.5, or remove the row")
    age = float(text)
    if not YOUNGEST <= age <= OLDEST:
        wrong = f"a bone age of {text} months is outside {YOUNGEST} to {OLDEST}"
        raise _Fault("age", wrong, "Correct it or remove the row; ages are months, not days")
    return age
