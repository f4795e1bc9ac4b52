"""Every layout is found and read; the case table is what the contract says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_image, write_radiographs

from nbhelpers.data import cases, splits, stages
from nbhelpers.workspace import InputError

TABLE = "boneage-training-dataset.csv"


def write_table(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_case_table_has_the_columns_of_the_contract(radiographs):
    table = cases.read_cases(radiographs)
    assert list(table.columns) == cases.COLUMNS
    assert len(table) == 40
    assert table["case_id"].iloc[0] == "1377"
    assert table["age_months"].iloc[:3].tolist() == [6.0, 108.0, 210.0]
    assert table["sex"].iloc[:2].tolist() == ["female", "male"]
    assert table["stage"].iloc[:3].tolist() == [0, 2, 4]
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in table["image_path"])
    assert table["fold"].notna().tolist() == (table["split"] == "train").tolist()
    assert str(table["stage"].dtype) == str(table["fold"].dtype) == "Int8"


@pytest.mark.parametrize("own_images", ["boneage-training-dataset", "pictures"])
def test_kaggles_set_without_ages_is_predicted_and_never_scored(radiographs, own_images):
    (radiographs / "boneage-training-dataset").rename(radiographs / own_images)
    # The same id as a training case: names are made distinct, and its image is no rival.
    write_table(radiographs / "boneage-test-dataset.csv", "Case ID,Sex\n4360,M\n1377,F\n")
    nested = radiographs / "boneage-test-dataset" / "boneage-test-dataset"
    for case in (4360, 1377):
        write_image(nested / f"{case}.png", seed=case)
    table = cases.read_cases(radiographs)
    added = table[table["split"] == "unlabelled"]
    assert added["case_id"].tolist() == ["unlabelled-4360", "unlabelled-1377"]
    assert added["sex"].tolist() == ["male", "female"]
    assert added[["age_months", "stage", "fold"]].isna().all(axis=None)
    assert [Path(path).parent for path in added["image_path"]] == [nested, nested]
    assert own_images in table[table["case_id"] == "1377"]["image_path"].iloc[0]


def test_the_labelled_splits_do_not_depend_on_what_lies_beside(radiographs):
    alone = cases.read_cases(radiographs)
    write_table(radiographs / "boneage-test-dataset.csv", "Case ID,Sex\n4360,M\n")
    write_image(radiographs / "boneage-test-dataset" / "4360.png")
    # Inside the data folder: its images are no rivals of those of the same ids.
    other = write_radiographs(radiographs / "other", cases=20)
    beside = cases.read_cases(radiographs, other)
    labelled = beside[~beside["split"].isin(["external", "unlabelled"])]
    pd.testing.assert_frame_equal(labelled.reset_index(drop=True), alone)
    assert (beside["split"] == "external").sum() == 20
    assert beside["case_id"].is_unique


PACKAGES = {
    # table, its header, the images: each of RSNA's packages beside the training set
    "validation": (
        "Validation Dataset.csv",
        ["Image ID", "male", "Bone Age (months)"],
        ["boneage-validation-dataset-1", "boneage-validation-dataset-2/boneage-validation-2"],
    ),
    "test": (
        "Bone age ground truth.xlsx",
        ["Case ID", "Sex", "Ground truth bone age (months)"],
        ["Test Set Images"] * 2,
    ),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_rsnas_other_packages(tmp_path, radiographs, package):
    name, header, images = PACKAGES[package]
    path = tmp_path / "package" / name
    boy, girl = ("TRUE", "FALSE") if "male" in header else ("M", "F")
    rows = [["4360", boy, 168.93], ["4361", girl, 7]]
    if path.suffix == ".xlsx":
        path.parent.mkdir()
        pd.DataFrame(rows, columns=header).to_excel(path, index=False)
    else:
        write_table(path, "\n".join(",".join(map(str, row)) for row in [header, *rows]))
    for row, place in zip(rows, images, strict=True):
        write_image(path.parent / place / f"{row[0]}.png")
    added = cases.read_cases(radiographs, path.parent).query("split == 'external'")
    assert added["case_id"].tolist() == ["external-4360", "external-4361"]
    assert added["age_months"].tolist() == [168.93, 7]
    assert added["sex"].tolist() == ["male", "female"]


def add_other_tables(folder: Path) -> None:
    write_table(folder / "truth.csv", "id,true_age_months,hand_length_mm\n1377,6.2,90\n")
    write_table(folder / "notes.csv", "who,what\nme,nothing\n")
    write_table(folder / "._boneage-training-dataset.csv", "\0\0")


def link_outside(folder: Path) -> None:
    image = folder / "boneage-training-dataset" / "boneage-training-dataset" / "1380.png"
    image.symlink_to(image.rename(folder.with_name("content")))
    (image.parent / "again").symlink_to(image.parent)  # in a circle


def move_down(folder: Path) -> None:
    moved = folder.rename(folder.with_name("real"))
    folder.mkdir()
    moved.rename(folder / "rsna")


LAYOUTS = {
    "other tables": add_other_tables,
    "another folder of images": lambda folder: write_image(folder / "thumbnails" / "1378.png"),
    "links": link_outside,
    "one level down": move_down,
}


@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS)
def test_however_the_folder_is_laid_out(radiographs, change):
    change(radiographs)
    assert len(cases.read_cases(radiographs)) == 40


HARMLESS = {
    "byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "Windows line ends": lambda raw: raw.replace(b"\n", b"\r\n"),
    "blank lines": lambda raw: b"\n" + raw.replace(b"\n", b"\n\n,,\n") + b"\n\n",
    "ids": lambda raw: raw.replace(b"1378,", b" 1378.0,").replace(b"1380,", b'"1380.PNG",'),
    "header": lambda raw: raw.replace(b"id,boneage,male", b"ID, Bone_Age ,MALE"),
    "extra columns": lambda raw: b"".join(
        b"%s,%s\n" % (line, b"site" if line.startswith(b"id") else b'"a, b"')
        for line in raw.splitlines()
    ),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_harmless_differences_simply_work(radiographs, change):
    before = cases.read_cases(radiographs)
    path = radiographs / TABLE
    path.write_bytes(change(path.read_bytes()))
    pd.testing.assert_frame_equal(cases.read_cases(radiographs), before)


def test_saved_cases_come_back(radiographs, tmp_path):
    table = cases.read_cases(radiographs)
    table.loc[3, "sex"] = None
    run_folder = tmp_path / "run"
    fingerprint = cases.fingerprint(radiographs, table)
    excluded = [{"case_id": "1377", "image_path": "1377.png", "reason": "cut short"}]
    table = table.iloc[1:].reset_index(drop=True)
    cases.save_cases(run_folder, table, fingerprint, excluded=excluded)
    loaded = cases.load_cases(run_folder)
    pd.testing.assert_frame_equal(loaded, table)
    facts = cases.load_data_facts(run_folder)
    assert facts["manifest"] == splits.split_manifest(loaded)
    assert facts["fingerprint"] == fingerprint
    assert facts["stage_names"] == list(stages.STAGE_NAMES["gilsanz_ratib"])
    assert facts["excluded"] == excluded


def prepared(table: pd.DataFrame, **changes: dict[int, object]) -> pd.DataFrame:
    """Geometry as `prepare_cases` gives it, with a few rows changed."""
    hashes = [f"sha-{row}" for row in range(len(table))]
    geometry = table[["case_id"]].assign(
        image_sha256=hashes, unreadable=None, found=True, doubts=""
    )
    for column, values in changes.items():
        for row, value in values.items():
            geometry.loc[row, column] = value
    return geometry


def test_unreadable_cases_are_left_out_and_external_copies_refused(radiographs):
    table = cases.read_cases(radiographs)
    kept, left_out = cases.keep_readable(table, prepared(table, unreadable={3: "cut short"}))
    assert kept["case_id"].tolist() == table["case_id"].drop(3).tolist()
    assert kept["image_sha256"].iloc[3] == "sha-4"
    where = table.loc[3, ["case_id", "image_path"]].to_dict()
    assert left_out == [where | {"reason": "cut short"}]
    table.loc[5, "split"] = "external"
    with pytest.raises(InputError, match=r"is the same file as case"):
        cases.keep_readable(table, prepared(table, image_sha256={2: "same", 5: "same"}))


def test_copies_of_one_file_are_never_in_two_splits(radiographs):
    table = cases.read_cases(radiographs)
    one = int(np.flatnonzero(table["split"] == "train")[0])
    other = int(np.flatnonzero(table["split"] == "test")[0])
    kept, _ = cases.keep_readable(table, prepared(table, image_sha256={one: "same", other: "same"}))
    assert kept["split"][one] == kept["split"][other] == table["split"][min(one, other)]
    assert kept["fold"].isna().tolist() == (kept["split"] != "train").tolist()
    rest = [row for row in range(len(table)) if row not in (one, other)]
    pd.testing.assert_series_equal(kept["split"][rest], table["split"][rest])
    # The same two files in a table of another order: nothing else changes.
    turned = table[::-1].reset_index(drop=True)
    of_turned = {len(table) - 1 - row: "same" for row in (one, other)}
    again, _ = cases.keep_readable(turned, prepared(turned, image_sha256=of_turned))
    columns = ["case_id", "split", "fold"]
    pd.testing.assert_frame_equal(again[::-1].reset_index(drop=True)[columns], kept[columns])
