"""Cases of another folder: with ages, without, or images alone; and which of them were learnt."""

import re

import pytest
from conftest import write_image, write_radiographs

from nbhelpers.data import cases
from nbhelpers.workspace import InputError

CUTS = "gilsanz_ratib"


def read(folder):
    return cases.read_other_cases(folder, CUTS)


def with_hash(table):
    """As `cases.keep_readable` leaves it, the path standing for the file's content."""
    return table.assign(image_sha256=[path.rpartition("/")[2] for path in table["image_path"]])


def test_a_table_of_ids_and_sexes_is_predicted(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png")
    (tmp_path / "list.csv").write_text("Case ID,Sex\na,M\nb,\n")
    table = read(tmp_path)
    assert table["split"].tolist() == ["unlabelled"] * 2
    assert table["sex"].tolist() == ["male", None]
    assert table["age_months"].isna().all() and table["stage"].isna().all()


def test_a_folder_of_images_alone_is_predicted_with_unknown_sex(tmp_path):
    for name in ("b", "deep/a"):
        write_image(tmp_path / f"{name}.png")
    table = read(tmp_path)
    assert table["case_id"].tolist() == ["a", "b"]
    assert table["sex"].isna().all() and set(table["split"]) == {"unlabelled"}


def test_both_kinds_of_table_are_read_and_keep_their_ids(radiographs):
    write_image(radiographs / "boneage-test-dataset" / "9.png", seed=99)
    (radiographs / "boneage-test-dataset.csv").write_text("Case ID,Sex\n9,F\n")
    table = read(radiographs)
    assert table["split"].tolist() == ["external"] * 40 + ["unlabelled"]
    assert table["case_id"].iloc[[0, 1, -1]].tolist() == ["1377", "1378", "9"]
    assert table["stage"].notna().tolist() == [True] * 40 + [False] and table["fold"].isna().all()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "holds neither a table nor an image"),
        ({"a.png": None, "deep/a.png": None}, "two layouts: .*a.png and .*a.png"),
        ({"a.png": None, "t.csv": "id\na\n"}, "t.csv has ids but neither ages nor sexes"),
        ({"a.png": None, "t.csv": "name,sex\na,M\n"}, "no column for the id"),
        ({"a.png": None, "t.csv": "id,sex\nb,M\n"}, "line 2, column 'id': there is no image b"),
        ({"a.png": None, "t.csv": "id,boneage\na,30\n"}, "no column for the sex"),
        ({"a.png": None, "t.csv": "id,boneage,sex\na,7,M\n"}, "look like years"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, files, told):
    for name, text in files.items():
        if text is None:
            write_image(tmp_path / name)
        else:
            (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert re.search(told, str(error.value)), str(error.value)


def test_copies_of_what_was_learnt_are_found_by_content(radiographs, tmp_path):
    own = with_hash(cases.read_cases(radiographs))
    here = own.assign(case_id="x" + own["case_id"], split="external")
    found = cases.learnt_copies(here, own).set_index("case_id")
    learnt = own[own["split"] != "test"]
    assert set(found.index) == set("x" + learnt["case_id"])
    assert (found["why"] == "the same file").all()
    told = found.loc["x" + learnt["case_id"], ["own_case_id", "own_split"]]
    assert (told.to_numpy() == learnt[["case_id", "split"]].to_numpy()).all()


def test_another_rendering_is_found_by_id_sex_and_age(radiographs, tmp_path):
    own = with_hash(cases.read_cases(radiographs))
    other = write_radiographs(tmp_path / "other", first_id=1377)
    here = with_hash(read(other)).assign(image_sha256="new")
    found = cases.learnt_copies(here, own)
    assert set(found["case_id"]) == set(own.loc[own["split"] != "test", "case_id"])
    assert (found["why"] == "the same id, sex and age").all()
    older = here.assign(age_months=here["age_months"] + 1)
    assert cases.learnt_copies(older, own).empty, "an id alone is a number like any other"
    assert cases.learnt_copies(here.assign(sex=None), own).empty


def test_ids_that_agree_by_chance_are_no_copies(radiographs):
    own = with_hash(cases.read_cases(radiographs))
    here = own.assign(split="external", image_sha256="new")
    learnt = own.index[own["split"] != "test"]
    here.loc[learnt[: len(learnt) * 3 // 4], "age_months"] += 1
    assert cases.learnt_copies(here, own).empty
