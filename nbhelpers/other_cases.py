"""Cases of another folder than a run's own: to be scored where they have ages, else predicted.

The folder is laid out as in `layouts`, but needs less: a table of ids and sexes without ages, or no
table at all, gives cases that are predicted; without a table every image is one, of unknown sex.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers.cases import COLUMNS, SCORED, beside, plain_text, read_labelled
from nbhelpers.labels import read_labels
from nbhelpers.layouts import find_any_tables, find_images
from nbhelpers.stages import parse_cuts, stage_of
from nbhelpers.tables import Table
from nbhelpers.workspace import InputError

LEARNT_SPLITS = ("train", "tuning", "calibration")
COPY_COLUMNS = ["case_id", "own_case_id", "own_split", "why"]
LABELS = ["sex", "age_months"]
MOST = 0.5  # of the ids that both have


def read_other_cases(folder: Path, stage_cuts: str) -> pd.DataFrame:
    """The case table of the folder, without `image_sha256`: split `external` or `unlabelled`.

    Case ids are as they stand in the folder. Raises InputError as `cases.read_cases` does.
    """
    parse_cuts(stage_cuts)
    folder = Path(folder).resolve()
    labelled, to_predict = find_any_tables(folder)
    parts = []
    if labelled is not None:
        images = find_images(folder, labelled, [to_predict] if to_predict else [], [])
        parts.append(beside(read_labelled(labelled, images), SCORED))
    if to_predict is not None:
        images = find_images(folder, to_predict, [labelled] if labelled else [], [])
        parts.append(beside(read_labels(to_predict, images), "unlabelled"))
    if not parts:
        parts.append(beside(_images_alone(folder), "unlabelled"))
    cases = pd.concat(parts, ignore_index=True)
    twice = cases["case_id"][cases["case_id"].duplicated()]
    if len(twice):
        raise InputError(f"{folder}: the id {twice.iloc[0]} stands in two tables. Rename one.")
    cases["stage"] = stage_of(cases["age_months"], cases["sex"], stage_cuts)
    return plain_text(cases[COLUMNS])


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


def unlabelled(cases: pd.DataFrame, case_ids: pd.Series) -> pd.DataFrame:
    """The cases, some of them without their label: predicted, never scored."""
    chosen = cases["case_id"].isin(case_ids)
    cases = cases.copy()
    cases.loc[chosen, "split"] = "unlabelled"
    cases.loc[chosen, "age_months"] = np.nan
    cases.loc[chosen, "stage"] = pd.NA
    return cases


def _matches(cases: pd.DataFrame, learnt: pd.DataFrame, keys: list[str], why: str) -> pd.DataFrame:
    source = learnt.assign(own_case_id=learnt["case_id"], own_split=learnt["split"])
    source = source.drop_duplicates(keys)[[*keys, "own_case_id", "own_split"]]
    both = cases.dropna(subset=keys).merge(source, on=keys)
    return both.assign(why=why)[COPY_COLUMNS]


def _images_alone(folder: Path) -> pd.DataFrame:
    """A case for every image, its id the file's name."""
    images = find_images(folder, None, [], [])
    if not images:
        raise InputError(
            f"{folder} holds neither a table nor an image (.png, .jpg, .jpeg). Name the folder of "
            "the radiographs."
        )
    rows = [(0, [name]) for name in sorted(images)]
    return read_labels(Table(folder, ("id",), {"id": 0}, rows), images)
