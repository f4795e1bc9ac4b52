"""Cases of another folder: with ages, without, or images alone; and which of them were learnt."""

from conftest import write_image, write_radiographs

from nbhelpers.data import cases

CUTS = "gilsanz_ratib"


def read(folder):
    return cases.read_other_cases(folder, CUTS)


def with_hash(table):
    """As `cases.keep_readable` leaves it, the path standing for the file's content."""
    return table.assign(image_sha256=[path.rpartition("/")[2] for path in table["image_path"]])


def test_both_kinds_of_table_are_read_and_keep_their_ids(radiographs):
    write_image(radiographs / "boneage-test-dataset" / "9.png", seed=99)
    (radiographs / "boneage-test-dataset.csv").write_text("Case ID,Sex\n9,F\n")
    table = read(radiographs)
    assert table["split"].tolist() == ["external"] * 40 + ["unlabelled"]
    assert table["case_id"].iloc[[0, 1, -1]].tolist() == ["1377", "1378", "9"]
    assert table["stage"].notna().tolist() == [True] * 40 + [False] and table["fold"].isna().all()


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
