"""Folders as people have them: read where that is plain, else refused; what is left is named."""

import codecs
import csv
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_image
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers.data import cases
from nbhelpers.data.tables import read_table
from nbhelpers.workspace import InputError

ROWS = "1,40,F\n2,50,M\n"
PLAIN = "id,boneage,sex\n" + ROWS
GIRL, BOY = pd.DataFrame([[1, 40, "F"]]), pd.DataFrame([[2, 50, "M"]])
HEADER = ["id", "boneage", "sex"]
INFO = pd.DataFrame({"Exported by": ["the archive"]})


def book(**sheets: pd.DataFrame):
    """What writes an Excel file of some sheets; those without a header get the usual one."""

    def write(path: Path) -> None:
        with pd.ExcelWriter(path) as writer:
            for name, rows in sheets.items():
                header = HEADER if rows.columns[0] == 0 else True
                rows.to_excel(writer, sheet_name=name, index=False, header=header)

    return write


def short_dimension(path: Path) -> None:
    """A table of two rows whose file says that it ends with the header."""
    from zipfile import ZipFile

    book(all=pd.concat([GIRL, BOY]))(path)
    with ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', content))


def fill(folder: Path, files: dict) -> Path:
    """Three images, 1.png to 3.png, and what is given: text, bytes, None for an image, or how."""
    for name, content in {"1.png": None, "2.png": None, "3.png": None, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            write_image(path)
        elif callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


BOTH = ([40, 50], ["female", "male"])
READ = {
    # files: (ages, sexes), what is said
    "fewer rows": ({"t.csv": PLAIN}, BOTH, "3 images, 2 with a row; 1 without and not used: 3.png"),
    "sep": ({"t.csv": "sep=;\r\n" + PLAIN.replace(",", ";")}, BOTH, "age in months from 'boneage'"),
    "tabs": ({"t.tsv": PLAIN.replace(",", "\t")}, BOTH, "t.tsv, rows: 2; id from 'id'"),
    "text": ({"t.txt": PLAIN.replace(",", "|")}, BOTH, "t.txt, rows: 2"),
    "UTF-16": ({"t.txt": codecs.BOM_UTF16_LE + PLAIN.encode("utf-16-le")}, BOTH, "rows: 2"),
    "lines above": ({"t.csv": f"Export, of 3 May\n\n{PLAIN}"}, BOTH, "rows: 2"),
    "BA": ({"t.csv": f"image file,BA,Gender (M/F)\n{ROWS}"}, BOTH, "age in months from 'BA'"),
    "years": (
        {"t.csv": "id,Bone Age (years),isFemale\n1,3.5,1\n2,14.33,no\n"},
        ([42, 171.96], ["female", "male"]),
        r"age in years from 'Bone Age \(years\)', sex from 'isFemale'",
    ),
    "skeletal": ({"t.csv": f"id,skeletal_age_mo,sex\n{ROWS}"}, BOTH, "from 'skeletal_age_mo'"),
    "false, M": ({"t.csv": "id,boneage,male\n1,40,false\n2,50,M\n"}, BOTH, "sex from 'male'"),
    "0 and 1": ({"t.csv": "id,boneage,male\n1,40,0\n2,50,1\n"}, BOTH, "sex from 'male'"),
    "words": ({"t.csv": "id,boneage,Sex\n1,40,Female\n2,50,boy\n"}, BOTH, "sex from 'Sex'"),
    "no sex known": ({"t.csv": "id,boneage,male\n1,40,\n2,50,\n"}, ([40, 50], [None] * 2), "sex"),
    "girls and boys": ({"t.xlsx": book(girls=GIRL, boys=BOY)}, BOTH, "sheet 'boys', rows: 1"),
    "info first": (
        {"t.xlsx": book(Info=INFO, Data=pd.concat([GIRL, BOY]))},
        BOTH,
        "not used: .*sheet 'Info', header: no column for the id",
    ),
    "dimension": ({"t.xlsx": short_dimension}, BOTH, "rows: 2"),
    "others": (
        {"t.csv": PLAIN, "t.xls": b"", "notes.csv": "who\nme\n", "a.gif": b"", "t/box.xml": ""},
        BOTH,
        r"(?s)t.xls is a table of a kind.*notes.csv, header: no .*used: 2 \(a.gif, box.xml\)",
    ),
    "age at the visit": (
        {"t.csv": f"id,chronological age,sex\n{ROWS}"},
        ([None] * 2, ["female", "male"]),
        "no bone age among 'id', 'chronological age', 'sex', so predicted and not scored",
    ),
    "prose": (
        {"readme.txt": "Hello, you", "deep/4.png": None},
        ([None] * 4, [None] * 4),
        r"not used: 1 \(readme.txt",
    ),
}


@pytest.mark.parametrize(("files", "read", "said"), READ.values(), ids=READ)
def test_a_table_is_read_and_what_is_not_used_is_named(tmp_path, capsys, files, read, said):
    table = cases.read_other_cases(fill(tmp_path / "set", files), "gilsanz_ratib")
    assert table["age_months"].replace(np.nan, None).tolist() == read[0]
    assert table["sex"].tolist() == read[1]
    assert (table["split"] == "external").tolist() == [age is not None for age in read[0]]
    assert re.search(said, capsys.readouterr().out)


REFUSED = {
    "mean": ({"t.csv": f"id,bone_age_mean,sex\n{ROWS}"}, "t.csv, header: .*'bone_age_mean' may be"),
    "readers": ({"t.csv": "id,BA 1,BA 2,sex\n1,2,3,F\n"}, "'BA 1' or 'BA 2' may be.*boneage_years"),
    "days": ({"t.csv": f"id,bone_age_days,sex\n{ROWS}"}, "'bone_age_days' may be"),
    "too old": ({"t.csv": "id,boneage_years,sex\n1,25,F\n"}, "25 years is outside 0 to 20"),
    "OpenDocument": ({"t.ods": b""}, "t.ods is a table of a kind .* Save it as .csv or .xlsx"),
    "sheet": (
        {"t.xlsx": book(girls=GIRL, boys=BOY.replace(50, "abc"))},
        "t.xlsx, sheet 'boys', line 2, column 'boneage': 'abc' is not a number",
    ),
    "twice": (
        {"t.xlsx": book(a=GIRL, b=GIRL)},
        "sheet 'b', line 2.*'1' is on line 2 of .*sheet 'a'",
    ),
    "no sex": (
        {"t.xlsx": book(Info=INFO, girls=GIRL.iloc[:, :2].set_axis(HEADER[:2], axis=1))},
        "t.xlsx, sheet 'girls', header: no column for the sex",
    ),
    "no ages": ({"t.csv": "id\n1\n"}, "t.csv has ids but neither ages nor sexes"),
    "a name": ({"t.csv": "name,sex\n1,M\n"}, "no column for the id"),
    "no image": ({"t.csv": "id,sex\nb,M\n"}, "line 2, column 'id': there is no image b.png"),
    "nothing known": ({"t.csv": "id,boneage\n1,30\n"}, "no column for the sex"),
    "infants": ({"t.csv": "id,boneage,sex\n1,7,M\n"}, "look like years"),
    "two folders": ({"deep/1.png": None}, "two layouts: .*1.png and .*deep/1.png"),
    "suffix twice": ({"1.png.png": None}, "two layouts: .*1.png and .*1.png.png"),
    "not UTF-8": ({os.fsdecode(b"caf\xe9.png"): None}, r"the name of .*caf\\xe9.png is not UTF-8"),
}


@pytest.mark.parametrize(("files", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_is_refused_by_name(tmp_path, files, said):
    with pytest.raises(InputError) as error:
        cases.read_other_cases(fill(tmp_path / "set", files), "gilsanz_ratib")
    assert re.search(said, str(error.value)), str(error.value)
    str(error.value).encode()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds neither a table nor an image"):
        cases.read_other_cases(tmp_path, "gilsanz_ratib")


@pytest.mark.parametrize("name", ["104.png.png", "Mu\u0308ller_7.PNG", "12.0.JPG", "1.2.840.0.tif"])
def test_images_are_found_by_any_name(tmp_path, name):
    write_image(tmp_path / name)
    (alone,) = cases.read_other_cases(tmp_path, "gilsanz_ratib")["case_id"]
    for text in (alone, name, unicodedata.normalize("NFC", name)):
        (tmp_path / "t.csv").write_text(f"id,boneage,sex\n{text},40,F\n", encoding="utf-8")
        (path,) = cases.read_other_cases(tmp_path, "gilsanz_ratib")["image_path"]
        assert path == str(tmp_path / name)


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
    rows = [["id", "boneage", "male", "last"], *rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    stripped = [[cell.strip() for cell in row] for row in rows[1:]]
    filled = [(row + [""] * 3)[:3] for row in stripped if any(row)]
    (table,) = read_table(path)
    assert [[*row.values()] for _, row in table.rows] == filled
