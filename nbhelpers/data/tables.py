"""Find and read the table and the images of a folder of radiographs, whichever way it is laid out.

Found by looking, not by a name that the user gives:

- Kaggle's copy of the RSNA set: `boneage-training-dataset.csv` and the images once or twice
  nested in `boneage-training-dataset/`; beside it, if wanted, the set without ages,
  `boneage-test-dataset.csv` and `boneage-test-dataset/`;
- RSNA's packages: `train.csv` and `boneage-training-dataset/`; `Validation Dataset.csv` and
  `boneage-validation-dataset-1/` and `-2/`; `Bone age ground truth.xlsx` (or `.csv`) and
  `Test Set Images/`;
- any folder with one table (CSV, text with tabs or semicolons, Excel) and images, nested as deep
  as they like.

So a table with ids and ages is *the* table; one with ids and sexes but no ages is a set to be
predicted; other tables are left alone, and named. All sheets of an Excel file that have the columns
are one table. Tables are sought in the folder itself, then one and two levels down. A folder named
like a table holds the images of that table and of no other. Two tables with ages, or two images of
one id, are two layouts: an error names both.

A new layout is a new name in `ID`, `AGE` or `SEX` or in the words for a sex. Columns are found by
name; case, spaces and punctuation do not matter (`Bone Age (months)` is `boneagemonths`). A column
that may hold bone ages but does not say in which unit, or of which reader, is not guessed at: it is
refused by name. Extra columns, lines above the header, blank lines, a byte order mark, Windows line
ends, `sep=;` and semicolons, tabs or bars in place of commas are all fine.

- Ids are file names without suffix; `1377.0` and `1377.png` mean 1377.
- Bone ages are months, 0 to 240 (the RSNA set ends at 228), or years where the column says so.
- Sex is M/F, male/female or boy/girl, in a column `male` or `female` also True/False, yes/no or
  1/0; an empty cell means unknown.
"""

import codecs
import csv
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nbhelpers.workspace import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
UNREAD_TABLES = (".xls", ".xlsb", ".ods", ".numbers", ".parquet", ".sav", ".dta", ".rds")
DELIMITERS = ",;\t|"
LINES_ABOVE = 10  # within which the header is looked for
# What each field may be called, without case, spaces and punctuation.
ID = r"id|(case|image|file)(id|name)?|imagefile(name)?|radiograph"
AGE = r"(groundtruth)?(boneage|skeletalage|ba)(in)?(months?|mos?|years?|yrs?)?|age(in)?months"
SEX = r"(is)?(fe)?male|sex(mf)?|gender(mf)?"
FIELDS = {"id": ID, "age": AGE, "sex": SEX}
NAMES_TO_OFFER = {"id": "id", "age": "boneage", "sex": "male or sex"}
MAYBE_AGE = re.compile(r"bone\W?_?age|skeletal\W?_?age|(?<![^\W_])(ba|gp|tw[23])(?![^\W_])", re.I)


@dataclass(frozen=True)
class Table:
    """A table or a sheet: `names` field -> its column, `rows` of (line, field -> text)."""

    name: str  # the file and the sheet
    path: Path
    header: list[str]
    names: dict[str, str]
    rows: list[tuple[int, dict[str, str]]]

    @property
    def age_unit(self) -> str:
        """`year` or `month` where the name of the column of ages says so, else ""."""
        name = _plain(self.names.get("age", ""))
        return "year" if re.search("year|yr", name) else "month" if "mo" in name else ""


def read_table(path: Path) -> list[Table]:
    """Read a table: every sheet of it that holds anything.

    Raises InputError where it cannot be read, is empty or names one field twice, and for a row of
    more cells than there are columns.
    """
    if path.suffix.lower() in UNREAD_TABLES:
        raise InputError(f"{path} is a table of a kind that is not read. Save it as .csv or .xlsx.")
    excel = path.suffix.lower() in (".xlsx", ".xlsm")
    tables = []
    for name, rows in (_read_excel(path) if excel else {str(path): _read_csv(path)}).items():
        stripped = [(line, [cell.strip() for cell in cells]) for line, cells in rows]
        filled = [(line, cells) for line, cells in stripped if any(cells)]
        tables += [_as_table(name, path, filled)] if filled else []
    if not tables:
        raise InputError(f"{path} is empty. It needs a header and one row for each radiograph.")
    return tables


def _as_table(name: str, path: Path, rows: list[tuple[int, list[str]]]) -> Table:
    """A sheet, its header the first row that names two fields, else the first."""
    found = (at for at, (_, row) in enumerate(rows[:LINES_ABOVE]) if len(_columns(row)) > 1)
    start = next(found, 0)
    header = rows[start][1]
    for field, (first, *more) in _columns(header).items():
        if more:
            both = f"{first!r} and {more[0]!r} both give the {field}"
            raise InputError(f"{name}, header: {both}. Remove or rename one of them.")
    names = {field: column for field, (column,) in _columns(header).items()}
    filled = []
    for line, row in rows[start + 1 :]:
        if any(row[len(header) :]):
            wrong = f"{len(row)} cells under {len(header)} column names"
            remedy = "Put quotation marks around cells that hold a comma"
            raise InputError(f"{name}, line {line}: {wrong}. {remedy}.")
        cells = dict(itertools.zip_longest(header, row[: len(header)], fillvalue=""))
        filled.append((line, {field: cells[column] for field, column in names.items()}))
    return Table(name, path, header, names, filled)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _columns(header: Iterable[str]) -> dict[str, list[str]]:
    """The columns that give each field."""
    found = {
        field: [name for name in header if re.fullmatch(pattern, _plain(name))]
        for field, pattern in FIELDS.items()
    }
    return {field: names for field, names in found.items() if names}


def missing_columns(table: Table, fields: Iterable[str]) -> str:
    """One line that names the columns of `fields` that a table lacks; empty if it has them all."""
    lacking = [field for field in fields if field not in table.names]
    if not lacking:
        return ""
    names = " and ".join(f"for the {field} (name it {NAMES_TO_OFFER[field]})" for field in lacking)
    return f"{table.name}, header: no column {names}. Its columns are {_seen(table)}."


def _seen(table: Table) -> str:
    return ", ".join(map(repr, table.header[:8]))


def _doubt(table: Table) -> str:
    """One line that names the columns which may give the bone age where none does so plainly."""
    maybe = " or ".join(repr(name) for name in table.header if MAYBE_AGE.search(name))
    wrong = f"{table.name}, header: no column is plainly the bone age; {maybe} may be"
    remedy = "Name the right one boneage_months or boneage_years, or remove them"
    return f"{wrong}. {remedy}." if maybe and "age" not in table.names else ""


def _read_csv(path: Path) -> list[tuple[int, list[str]]]:
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text. Save it as CSV UTF-8.") from error
    first = [line for line in text.splitlines() if line.strip()][:LINES_ABOVE] or [""]
    # The first delimiter that splits some line into the most fields.
    delimiter = max(
        DELIMITERS, key=lambda each: max(len(_columns(line.split(each))) for line in first)
    )
    told = re.fullmatch('"?sep=(.)"?', first[0].strip())
    delimiter = told[1] if told else delimiter
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, line = [], 1
    try:
        for cells in reader:
            # A quoted cell may hold line breaks: a row is named by its first line.
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}. Save the table as CSV again.") from error
    return rows


def _read_excel(path: Path) -> dict[str, list[tuple[int, list[str]]]]:
    """The rows of each sheet. pandas reads past a dimension that is stored too small."""
    options = {"header": None, "dtype": object, "na_filter": False, "engine": "openpyxl"}
    try:
        sheets = pd.read_excel(path, sheet_name=None, **options)
    except Exception as error:  # openpyxl lets errors of zip, XML and its own through
        raise InputError(f"{path} is not a readable Excel file. Save it as .xlsx again.") from error
    return {
        f"{path}, sheet {name!r}": [
            (at, [*map(str, row)]) for at, row in enumerate(cells.to_numpy().tolist(), 1)
        ]
        for name, cells in sheets.items()
    }


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".dcm")
Images = dict[str, list[Path]]  # by name without suffix


def find_tables(folder: Path, labelled: bool = False) -> tuple[list[Table], dict[Path, str]]:
    """The table with ages and the one without, each sheet of them, and why others are not used.

    Raises InputError for two of a kind, for tables none of which can be used, and, of a folder that
    must be `labelled`, where none has ages.
    """
    for pattern in ("*", "*/*", "*/*/*"):
        paths = sorted(
            path
            for path in folder.glob(pattern)
            if path.suffix.lower() in TABLE_SUFFIXES + UNREAD_TABLES
            and not path.name.startswith((".", "~$"))
            and path.is_file()
        )
        tables, unused = [], {}
        for path in paths:
            is_text = path.suffix.lower() == ".txt"  # and may be any text
            try:
                tables += [sheet for sheet in read_table(path) if sheet.names or not is_text]
            except InputError as error:
                unused |= {} if is_text else {path: str(error)}
        if tables or unused:
            return _choose(folder, tables, unused, labelled)
    if labelled:
        raise InputError(
            f"{folder} holds no table (.csv or .xlsx), neither itself nor two levels down. "
            "Name the folder that holds the table and the images."
        )
    return [], {}


def _choose(
    folder: Path, tables: list[Table], unused: dict[Path, str], needs_ages: bool
) -> tuple[list[Table], dict[Path, str]]:
    labelled = [table for table in tables if {"id", "age"} <= table.names.keys()]
    to_predict = [
        table for table in tables if table.names.keys() == {"id", "sex"} and not _doubt(table)
    ]
    for rivals, kind in ((labelled, "bone ages"), (to_predict, "sexes but no bone ages")):
        both = [str(path) for path in dict.fromkeys(table.path for table in rivals)][:2]
        if len(both) > 1:
            raise InputError(
                f"{folder} holds two layouts: {' and '.join(both)} are both tables with {kind}. "
                "Keep one, or name the folder of one."
            )
    if labelled or (to_predict and not unused and not needs_ages):
        for table in tables:
            if table not in labelled + to_predict:
                unused[table.path] = missing_columns(table, FIELDS)
        return labelled + to_predict, unused
    if unused:
        raise InputError(next(iter(unused.values())))
    table = max(tables, key=lambda table: len(table.names))
    raise InputError(
        _doubt(table)
        or missing_columns(table, FIELDS if needs_ages else ("id",))
        or f"{table.name} has ids but neither ages nor sexes. Add a column, such as sex, or remove "
        "the table: a folder of images alone is predicted too."
    )


def find_files(folder: Path, skip: Path | None = None) -> tuple[Images, list[Path]]:
    """Every image of a folder by its name without suffix, and all files of other kinds.

    Links are followed. The folder `skip` and hidden files are passed over.
    """
    passed = {skip}
    images: Images = {}
    others = []
    for place, folders, files in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in passed:  # a link in a circle too
            folders.clear()
            continue
        passed.add(real)
        # A link last: its images are better known by the place where they lie.
        shown = sorted(name for name in folders if name[0] != ".")
        folders[:] = sorted(shown, key=lambda name: Path(place, name).is_symlink())
        for path in (Path(place, name) for name in sorted(files) if name[0] != "."):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                images.setdefault(without_suffix(path.name), []).append(path)
            else:
                others.append(path)
    return images, others


def _images_of(table: Table, tables: list[Table], images: Images) -> Images:
    """The images that may belong to a table.

    They are those in the folder named like it; where it holds none, all that do not lie in the
    folder of another.
    """
    own = table.path.with_suffix("")
    others = {other.path.with_suffix("") for other in tables} - {own}
    has_own = any(own in path.parents for paths in images.values() for path in paths)

    def belongs(path: Path) -> bool:
        return own in path.parents if has_own else not others & {*path.parents}

    return {name: [*filter(belongs, paths)] for name, paths in images.items()}


def without_suffix(name: str) -> str:
    """A file's name without the suffixes of images, its letters composed: what ids are."""
    name = unicodedata.normalize("NFC", name)
    while name.lower().endswith(IMAGE_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def describe(
    tables: list[Table], unused: dict[Path, str], images: Images, used: set[str], others: list[Path]
) -> Iterator[str]:
    """What was read of a folder and what was not, a line each."""
    for table in tables:
        of = {"age": f"age in {table.age_unit or 'month'}s"}
        told = [f"{of.get(field, field)} from {name!r}" for field, name in table.names.items()]
        if "age" not in table.names:
            told += [f"no bone age among {_seen(table)}, so predicted and not scored"]
        yield f"{table.name}, rows: {len(table.rows):,}; {', '.join(told)}"
    yield from (f"not used: {line}" for line in unused.values())
    paths = [path for found in images.values() for path in found]
    left = [path.name for path in paths if str(path) not in used]
    if left:
        counts = f"{len(paths):,} images, {len(paths) - len(left):,} with a row; {len(left):,}"
        yield f"{counts} without and not used: {some(left)}"
    read = {table.path for table in tables} | unused.keys()
    if rest := [path.name for path in others if path not in read]:
        yield f"other files, not used: {len(rest):,} ({some(rest)})"


def some(names: Sequence[str]) -> str:
    """The first names, as any terminal can print them."""
    more = ["..."] if len(names) > FAULTS_SHOWN else []
    return ", ".join([*map(printable, names[:FAULTS_SHOWN]), *more])


def printable(name: str) -> str:
    """A name of a file, its bytes that are no text escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


YOUNGEST, OLDEST = 0, 240
OLDEST_IN_YEARS = OLDEST // 12
FAULTS_SHOWN = 5
SEX_WORDS = {"": None} | dict.fromkeys(("f", "female", "girl"), "female")
SEX_WORDS |= dict.fromkeys(("m", "male", "boy"), "male")
NO, YES = ("false", "no", "0", "0.0"), ("true", "yes", "1", "1.0")


class _Fault(Exception):
    """What is wrong in a row: the field, the fault and the remedy."""


def read_labels(tables: list[Table], images: Images) -> pd.DataFrame:
    """`case_id`, `image_path`, `sex` and `age_months` (null where a table has no ages).

    Args:
        tables: the sheets of one table with ages, of one without, or of both.
        images: of their folder.

    Raises InputError naming file, sheet, line, column and remedy of the first faulty rows.
    """
    records, faults = [], []
    seen: dict[tuple[str, bool], str] = {}
    for table in tables:
        if "age" in table.names and (lacking := missing_columns(table, FIELDS)):
            raise InputError(lacking)
        if not table.rows:
            raise InputError(f"{table.name} has a header but no rows. Fill it, or remove it.")
        own = _images_of(table, tables, images)
        for line, row in table.rows:
            try:
                case = _case_id(row["id"], own)
                here = f"line {line} of {table.name}"
                place = seen.setdefault((case, "age" in row), here)
                if place != here:
                    raise _Fault("id", f"the id {case!r} is on {place} too", "Keep one of the rows")
                sex = _sex(row["sex"], table.names["sex"]) if "sex" in row else None
                age = _age(row["age"], table.age_unit) if "age" in row else None
                records.append((case, str(_image_path(case, own)), sex, age))
            except _Fault as fault:
                field, wrong, remedy = fault.args
                # A folder of images alone has no lines.
                place = f", line {line}, column {table.names[field]!r}" if line else ""
                faults.append(f"{table.name}{place}: {wrong}. {remedy}.")
    if faults:
        more = len(faults) - FAULTS_SHOWN
        last = [f"{more:,} more rows of this table have faults."] if more > 0 else []
        raise InputError("\n".join(faults[:FAULTS_SHOWN] + last))
    cases = pd.DataFrame(records, columns=["case_id", "image_path", "sex", "age_months"])
    unsure = [table for table in tables if "age" in table.names and not table.age_unit]
    if unsure and cases["age_months"].max() <= OLDEST_IN_YEARS:
        raise InputError(
            f"{unsure[0].name}, column {unsure[0].names['age']!r}: no age is over "
            f"{OLDEST_IN_YEARS}, so these look like years. Name the column boneage_years, or "
            "boneage_months if they are months."
        )
    return cases.astype({"sex": object, "age_months": float})


def _case_id(text: str, images: Images) -> str:
    if not text:
        raise _Fault("id", "the id is empty", "Fill it in or remove the row")
    if re.search(r"[/\\\0-\x1f]", text) or text.startswith("."):
        wrong = f"the id {text!r} is not a plain file name"
        raise _Fault("id", wrong, "Ids may not leave the folder: no '/', no '\\', no leading '.'")
    name = without_suffix(text)
    if not images.get(name) and re.fullmatch(r"\d+\.0+", name):
        return name.partition(".")[0]
    return name


def _image_path(case: str, images: Images) -> Path:
    found = images.get(case)
    if not found:
        wrong = f"there is no image {case}.png (or {', '.join(IMAGE_SUFFIXES[1:])})"
        raise _Fault("id", wrong, "Add the image or remove the row")
    path, *more = found
    shown = printable(str(path))
    if more:
        wrong = f"two layouts: {shown} and {printable(str(more[0]))} are both images of {case!r}"
        raise _Fault("id", wrong, "Keep one of the two")
    if shown != str(path):
        raise _Fault("id", f"the name of {shown} is not UTF-8 text", "Rename the file")
    return path


def _sex(text: str, column: str) -> str | None:
    words, known, plain = SEX_WORDS, "M or F", _plain(column)
    if plain.endswith("male"):
        yes, no = ("female", "male") if "female" in plain else ("male", "female")
        words, known = words | dict.fromkeys(YES, yes) | dict.fromkeys(NO, no), "True or False"
    if text.lower() not in words:
        raise _Fault("sex", f"{text!r} is no sex", f"Write {known}, or leave it empty if unknown")
    return words[text.lower()]


def _age(text: str, unit: str) -> float:
    per_unit, unit = 12 if unit == "year" else 1, unit or "month"
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text):
        wrong = f"{text!r} is not a number" if text else "the bone age is empty"
        raise _Fault("age", wrong, f"Write the age in {unit}s, as in 93.5, or remove the row")
    if not YOUNGEST <= float(text) * per_unit <= OLDEST:
        wrong = f"a bone age of {text} {unit}s is outside {YOUNGEST} to {OLDEST // per_unit}"
        raise _Fault("age", wrong, f"Correct it or remove the row; ages are {unit}s, not days")
    return round(float(text) * per_unit, 6)
