"""The case table: one row a radiograph, with label, stage, split and fold.

`tables` finds the tables and the images of a folder and checks every row. `read_cases` reads a
run's own folder, `read_other_cases` one that is scored or predicted; the latter needs less: a table
without ages, or images alone.

The fingerprint of a data set tells which tables and images a run folder was made from: the bytes of
the tables and the name and size of every image in use, so it takes a second where hashing the
pixels would take minutes. A copy has the same fingerprint, wherever it lies and whatever its files'
times.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import workspace
from nbhelpers.data.splits import SHARES, assign_folds, assign_splits, split_manifest
from nbhelpers.data.stages import parse_cuts, stage_names, stage_of
from nbhelpers.data.tables import Table, describe, find_files, find_tables, read_labels, some
from nbhelpers.images.doubts import is_scored
from nbhelpers.workspace import InputError, find_run_file, read_json, require_same_fingerprint


def fingerprint(
    data_folder: Path, cases: pd.DataFrame, external_folder: Path | None = None
) -> dict[str, object]:
    """`hash`, `data_folder`, `external_folder`, `tables` (name -> SHA-256), `images` (count).

    `cases` is the table as `read_cases` gave it, before any case was excluded. The folders are for
    people to read; the hash does not depend on where they lie.
    """
    folders = {"data": Path(data_folder).resolve()}
    if external_folder is not None:
        folders["external"] = Path(external_folder).resolve()
    tables = {}
    for label, folder in folders.items():
        for path in {table.path for table in find_tables(folder)[0]}:
            name = f"{label}/{path.relative_to(folder).as_posix()}"
            tables[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    # The deepest folder counts: an external folder may lie inside the data folder.
    deepest_first = sorted(folders.items(), key=lambda item: -len(item[1].parts))
    images = sorted(_image_facts(Path(path), deepest_first) for path in cases["image_path"])
    return {
        "hash": workspace.hash_of([tables, images]),
        "data_folder": str(folders["data"]),
        "external_folder": str(folders["external"]) if external_folder is not None else None,
        "tables": tables,
        "images": len(images),
    }


def open_cases(
    run_folder: Path, data_folder: Path, external_folder: str, stage_cuts: str
) -> tuple[pd.DataFrame, dict[str, object]]:
    """The case table of a folder (see `read_cases`) and its fingerprint.

    Args:
        external_folder: another labelled folder, scored but never trained on; empty: none.

    Raises InputError where the run folder was made from other data, or no case has a stage.
    """
    external = workspace.find_data_folder(external_folder) if external_folder else None
    cases = read_cases(data_folder, external, stage_cuts)
    found = fingerprint(data_folder, cases, external)
    require_same_fingerprint(run_folder, found)
    if cases.loc[cases["split"] != SCORED, "stage"].isna().all():
        raise InputError(
            f"{data_folder}: no case has a stage, since no sex is known. Fill in the column of "
            "the sex, or set stage_cuts = 'years' in notebook 01."
        )
    return cases, found


def refuse_other_data(run_folder: Path, data: str) -> None:
    """Raise InputError when a run folder was made from other radiographs than there are now.

    Args:
        data: the folder of radiographs; empty: the one that the run folder was made from.
    """
    if not (run_folder / "data.json").exists():
        return
    facts = read_json(run_folder / "data.json")
    recorded = facts["fingerprint"]
    place = Path(data or recorded["data_folder"])
    if not place.is_dir():
        workspace.log(f"note: {place} is gone; later runs read what {run_folder.name} has kept")
        return
    open_cases(run_folder, place, recorded.get("external_folder") or "", facts["stage_cuts"])


def _image_facts(path: Path, folders: list[tuple[str, Path]]) -> tuple[str, int]:
    label, folder = next(item for item in folders if path.is_relative_to(item[1]))
    return f"{label}/{path.relative_to(folder).as_posix()}", path.stat().st_size


COLUMNS = ["case_id", "image_path", "sex", "age_months", "stage", "split", "fold"]
TEXT_COLUMNS = ["case_id", "image_path", "sex", "split", "image_sha256", "doubts"]
SCORED = "external"  # the split of another folder's cases


def read_cases(
    data_folder: Path, external_folder: Path | None = None, stage_cuts: str = "gilsanz_ratib"
) -> pd.DataFrame:
    """The case table of a folder of radiographs, without `image_sha256`.

    Columns: `case_id`, `image_path` (absolute), `sex` ("female", "male" or null), `age_months`,
    `stage` (Int8), `split`, `fold` (Int8, rows of train alone). Rows stand in the order of the
    tables: with ages, without ages, external. Ids of the latter two begin with their split, so that
    they are none of the data folder's. Everything is checked but the pixels: raises
    InputError with file, line, column and remedy.
    """
    parse_cuts(stage_cuts)
    data_folder = Path(data_folder).resolve()
    external = None if external_folder is None else Path(external_folder).resolve()
    if data_folder == external:
        raise InputError(
            f"external_folder and data_folder are both {data_folder}: cases that were trained on "
            "would be scored as external. Name another folder, or none."
        )
    own = _read_folder(data_folder, labelled=True, skip=external)
    has_age = own["age_months"].notna()
    added = [own[~has_age]]
    if external is not None:
        added.append(_read_folder(external, labelled=True, skip=data_folder))
    added = [each.assign(case_id=each["split"] + "-" + each["case_id"]) for each in added]
    parts = [_with_splits(own[has_age]), *(each for each in added if len(each))]
    return _checked(pd.concat(parts), stage_cuts)


def read_other_cases(folder: Path, stage_cuts: str) -> pd.DataFrame:
    """The case table of another folder, as `read_cases` gives it: `external` or `unlabelled`.

    Cases with ages can be scored, others are predicted: those of a table of ids and sexes, or,
    without a table, every image, of unknown sex. Case ids are as they stand in the folder. Raises
    InputError as `read_cases` does.
    """
    parse_cuts(stage_cuts)
    return _checked(_read_folder(Path(folder).resolve()), stage_cuts)


def _checked(cases: pd.DataFrame, stage_cuts: str) -> pd.DataFrame:
    twice = cases["case_id"][cases["case_id"].duplicated()]
    if len(twice):
        raise InputError(
            f"The id {twice.iloc[0]} is also the name given to a case of another table. "
            "Rename that id and its image."
        )
    cases = cases.reset_index(drop=True)
    cases["stage"] = stage_of(cases["age_months"], cases["sex"], stage_cuts)
    return plain_text(cases[COLUMNS])


def _read_folder(folder: Path, labelled: bool = False, skip: Path | None = None) -> pd.DataFrame:
    """The cases of a folder, scored where they have an age; prints what is used of it and what not.

    Without a table every image is a case, its id the file's name. See `tables.find_tables` for
    `labelled`, `tables.find_files` for `skip`.
    """
    tables, unused = find_tables(folder, labelled)
    images, others = find_files(folder, skip)
    if not tables and not images:
        raise InputError(
            f"{folder} holds neither a table nor an image. Name the folder of the radiographs."
        )
    rows = [(0, {"id": name}) for name in sorted(images)]
    alone = Table(str(folder), folder / "*", ["id"], {"id": "id"}, rows)
    cases = read_labels(tables or [alone], images)
    if not workspace.is_synthetic(folder):
        for line in describe(tables, unused, images, {*cases["image_path"]}, others):
            print(line)
    split = cases["age_months"].notna().map({True: SCORED, False: "unlabelled"})
    return cases.assign(split=split, fold=pd.array([None] * len(cases), dtype="Int8"))


def _with_splits(cases: pd.DataFrame) -> pd.DataFrame:
    split = assign_splits(cases["case_id"], cases["sex"], cases["age_months"])
    train = cases[split == "train"]
    fold = assign_folds(train["case_id"], train["sex"], train["age_months"])
    return cases.assign(split=split, fold=fold.reindex(cases.index))


def keep_readable(
    cases: pd.DataFrame, geometry: pd.DataFrame, score_doubtful: bool = False
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """The cases whose radiograph could be read, with what is known of it, and a list of the others.

    Added are `image_sha256`, `hand_found` and `doubts` (words of `images.doubts`). Copies of one
    file under several ids all get the split and fold of the one whose id comes first, so that no
    radiograph is both learnt and scored; a copy of one of them in the external folder raises
    InputError. A case that a doubt marks goes into the split `doubtful`, which is predicted, and
    neither learnt nor scored; the others keep their splits.

    Args:
        geometry: a row a case in the same order, as `prepare_cases` gives it.
        score_doubtful: leave marked cases in their splits.
    """
    readable = geometry["unreadable"].isna().to_numpy()
    left_out = cases.loc[~readable, ["case_id", "image_path"]]
    left_out = left_out.assign(reason=geometry.loc[~readable, "unreadable"].to_numpy())
    if len(left_out):
        print(
            f"{len(left_out):,} of {len(cases):,} radiographs cannot be read and are left out: "
            f"{some(left_out['case_id'])}"
        )
    known = {"image_sha256": "image_sha256", "hand_found": "found", "doubts": "doubts"}
    kept = cases.assign(**{name: geometry[of].to_numpy() for name, of in known.items()})[readable]
    kept = kept.reset_index(drop=True)
    own = kept["split"].isin(SHARES)
    # By id, so that the order of the table decides nothing.
    by_id = kept[own].sort_values("case_id", kind="stable")
    first = by_id.drop_duplicates("image_sha256").set_index("image_sha256")
    leaked = kept[(kept["split"] == "external") & kept["image_sha256"].isin(first.index)]
    if len(leaked):
        case = leaked.iloc[0]
        twin = first.loc[case["image_sha256"], "case_id"]
        raise InputError(
            f"{case['image_path']} is the same file as case {twin} of the data folder, one of "
            f"{len(leaked)}. Take such cases out of external_folder: they may have been trained on."
        )
    for column in ("split", "fold"):
        copied = kept["image_sha256"].map(first[column])
        kept[column] = kept[column].where(~own, copied.astype(kept[column].dtype))
    if not score_doubtful:
        marked = ~kept["doubts"].map(is_scored) & (kept["split"] != "unlabelled")
        kept.loc[marked, ["split", "fold"]] = "doubtful", pd.NA
    return kept, left_out.to_dict("records")


def save_cases(
    run_folder: Path,
    cases: pd.DataFrame,
    fingerprint: dict[str, object],
    stage_cuts: str = "gilsanz_ratib",
    excluded: list[dict[str, str]] | None = None,
) -> None:
    """Write `cases.parquet`, then `data.json`.

    `excluded` lists cases left out (`case_id`, `image_path`, `reason`); `cases` no longer has them,
    but the fingerprint covers them: it is taken of the table as `read_cases` gave it.
    """
    with workspace.atomic_path(run_folder / "cases.parquet") as temporary:
        cases.to_parquet(temporary, index=False)
    facts = {
        "fingerprint": fingerprint,
        "manifest": split_manifest(cases),
        "stage_cuts": stage_cuts,
        "stage_names": list(stage_names(stage_cuts)),
        "excluded": excluded or [],
    }
    workspace.write_json(run_folder / "data.json", facts)


def load_cases(run_folder: Path) -> pd.DataFrame:
    """The case table of a run folder, with `image_path` where the radiographs lie now.

    They are looked for where notebook 01 read them, then beside the case table, then among
    Kaggle's inputs, by their path within their folder; `image_path` is null where they are gone.
    Raises InputError where notebook 01 has not made the table.
    """
    path = find_run_file(run_folder, "cases.parquet")
    cases, facts = plain_text(pd.read_parquet(path)), load_data_facts(run_folder)
    for key in ("data_folder", "external_folder"):
        before = facts["fingerprint"].get(key)
        own = cases[cases["image_path"].str.startswith(f"{before}/", na=False)]
        if len(own) and not Path(own["image_path"].iloc[0]).is_file():
            first = own.iloc[0]
            now = _folder_now(before, first["image_path"], first["image_sha256"], path.parent)
            rest = own["image_path"].str.removeprefix(before)
            cases.loc[own.index, "image_path"] = None if now is None else str(now) + rest
    return cases


@functools.cache  # the case table is read many times in a notebook
def _folder_now(before: str, image: str, image_sha256: str, beside: Path) -> Path | None:
    """Where the folder `before` lies now, found by one of its images; None where it is gone."""
    inside = Path(image).relative_to(before)
    for found in (beside / Path(before).name / inside, *workspace.find_attached(inside.as_posix())):
        if found.is_file() and hashlib.sha256(found.read_bytes()).hexdigest() == image_sha256:
            return found.parents[len(inside.parts) - 1]
    return None


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of some rows, from the first to the last at even steps."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]


def report_originals(cases: pd.DataFrame) -> bool:
    """Whether the radiographs of a case table are still there; the log says so where they are not.

    To be asked before a training, so that nobody misses a picture only after it.
    """
    gone = int(cases["image_path"].isna().sum())
    if gone:
        workspace.log(
            f"note: the original radiographs of {gone:,} of {len(cases):,} cases are gone from "
            "where notebook 01 read them. What is drawn or computed from them is left out; attach "
            "them, or put them back, to have all of it."
        )
    return not gone


def plain_text(cases: pd.DataFrame) -> pd.DataFrame:
    """Text as Python objects with None for null, whichever pandas read it."""
    text = cases[cases.columns.intersection(TEXT_COLUMNS)].astype(object)
    return cases.assign(**text.where(text.notna(), None))


def load_data_facts(run_folder: Path) -> dict:
    """`data.json`: fingerprint, split manifest, stage cuts and names, excluded cases."""
    return read_json(find_run_file(run_folder, "data.json"))


LEARNT_SPLITS = ("train", "tuning", "calibration")
COPY_COLUMNS = ["case_id", "own_case_id", "own_split", "why"]
LABELS = ["sex", "age_months"]
MOST = 0.5  # of the ids that both have


def learnt_copies(cases: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Which cases a run learnt from: COPY_COLUMNS, a row a case.

    They are the same file as a case of its train, tuning or calibration split, or have the id, sex
    and age of one, as another rendering of the radiograph has; the latter only where most ids that
    both have agree so, since two hospitals may number alike. What the test split holds is no such
    case: no model learnt from it.

    Args:
        cases: of the other folder, with `image_sha256`.
        own: the run's case table.
    """
    learnt = own[own["split"].isin(LEARNT_SPLITS)]
    same_file = _matches(cases, learnt, ["image_sha256"], "the same file")
    same_label = _matches(cases, learnt, ["case_id", *LABELS], "the same id, sex and age")
    if len(same_label) < MOST * cases["case_id"].isin(learnt["case_id"]).sum():
        same_label = same_label.iloc[:0]
    told = pd.concat([same_file, same_label])
    return told.drop_duplicates("case_id", ignore_index=True)


def _matches(cases: pd.DataFrame, learnt: pd.DataFrame, keys: list[str], why: str) -> pd.DataFrame:
    source = learnt.assign(own_case_id=learnt["case_id"], own_split=learnt["split"])
    source = source.drop_duplicates(keys)[[*keys, "own_case_id", "own_split"]]
    both = cases.dropna(subset=keys).merge(source, on=keys)
    return both.assign(why=why)[COPY_COLUMNS]
