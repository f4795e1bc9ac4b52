"""Another folder of radiographs, prepared and predicted as a finished run's own were.

What is made lies in `external/<name>/` of the run folder, laid out like a run folder: case table,
prepared pictures, geometry and prediction tables, so what reads those of a run reads these.
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import (
    cases,
    images,
    interval_files,
    intervals,
    model_views,
    near_copies,
    phantom,
    prediction,
    predictions,
    splits,
    workspace,
)
from nbhelpers.external_names import set_folder
from nbhelpers.intervals import TOLD_KIND, TOLD_LEVEL
from nbhelpers.other_cases import (
    COPY_COLUMNS,
    LEARNT_SPLITS,
    learnt_copies,
    read_other_cases,
    unlabelled,
)
from nbhelpers.workspace import InputError, atomic_path

SHOWN = ("case_id", "sex", "label_months", "outside")  # of the CSV, beside those of one model


def saved_models(run_folder: Path) -> list[tuple[str, str]]:
    """Name and task of every model of a run; raises InputError where there is none."""
    models = [
        (model, task)
        for task in predictions.TASKS
        for model in predictions.saved_models(run_folder, task)
    ]
    if not models:
        raise InputError(f"{run_folder} has no model. Run notebooks 01 to 05 into it first.")
    return models


def find_source(run_folder: Path, named: str, n_synthetic: int, seed: int) -> Path:
    """The folder to score: as named, else the run's own external one, else synthetic radiographs.

    Raises InputError where none is named and the run is of real radiographs: scores on synthetic
    ones would say nothing about it.
    """
    if named:
        return workspace.find_data_folder(named)
    facts = cases.load_data_facts(run_folder)["fingerprint"]
    if facts.get("external_folder"):
        return workspace.find_data_folder(facts["external_folder"])
    if not workspace.is_synthetic(facts["data_folder"]):
        raise InputError(
            "score_folder is empty, and this run was made from real radiographs. Name the folder "
            "to score: make score RUN=name DATA=folder."
        )
    drawn = phantom.folder_in(run_folder, n_synthetic, seed)
    return phantom.write_radiographs(drawn, n_synthetic, seed=seed)


def read_set(run_folder: Path, data_folder: Path, name: str) -> tuple[pd.DataFrame, dict]:
    """The set's cases (see `other_cases.read_other_cases`) and their fingerprint.

    Raises InputError where the set of that name was made from other data.
    """
    found = read_other_cases(data_folder, cases.load_data_facts(run_folder)["stage_cuts"])
    fingerprint = cases.fingerprint(data_folder, found)
    cases.require_same_fingerprint(set_folder(run_folder, name), fingerprint)
    return found, fingerprint


def prepare_set(
    run_folder: Path,
    found: pd.DataFrame,
    fingerprint: dict,
    name: str,
    exclude_unreadable: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prepare the radiographs in every view that a model of the run takes.

    Returns:
        The set's case table, and which of its cases the run learnt from
        (`other_cases.COPY_COLUMNS`): they are predicted, not scored.

    Raises InputError where the run's pictures were prepared by other code than this: the set's
    would not be like them.
    """
    wanted = model_views.preparations(run_folder, saved_models(run_folder))
    folder = set_folder(run_folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    for view, preparation in wanted.items():
        geometry = images.prepare_cases(found, preparation, folder, view, exclude_unreadable)
    table, excluded = cases.keep_readable(found, geometry)
    own = cases.load_cases(run_folder)
    learnt = pd.concat([learnt_copies(table, own), _near_copies(run_folder, table, own, name)])
    learnt = learnt.drop_duplicates("case_id", ignore_index=True)
    table = unlabelled(table, learnt["case_id"])
    cuts = cases.load_data_facts(run_folder)["stage_cuts"]
    cases.save_cases(folder, table, fingerprint, cuts, excluded)
    return table, learnt


def predict_set(run_folder: Path, name: str) -> None:
    """Predict the prepared set with every saved model, ensembles too, and write their tables.

    Months get the interval of `TOLD_KIND` and `TOLD_LEVEL`, where the model has intervals.
    """
    folder = set_folder(run_folder, name)
    table = cases.load_cases(folder)
    sex = splits.sex_codes(table["sex"])
    pictures = functools.partial(images.load_images, folder)
    for task in predictions.TASKS:
        models = [model for model, of in saved_models(run_folder) if of == task]
        said = prediction.predict_each(run_folder, models, task, pictures, sex)
        for model, predicted in said.items():
            ends = _ends(run_folder, model, predicted, table["sex"]) if task == "age" else None
            predictions.save_predictions(folder, model, task, table, predicted, ends)


def write_csv(run_folder: Path, name: str, model: str, outside: np.ndarray) -> Path:
    """Write `predictions.csv` of a set, for people: a row a case, what every model says of it.

    After the months of all models come the interval of `model` (percent in the columns' names), the
    stage that its months fall into (none where sex is unknown and matters), the stages that the
    classifiers name, and whether the picture is `outside` `[n]` what the models saw.
    """
    folder = set_folder(run_folder, name)
    facts, table = cases.load_data_facts(folder), cases.load_cases(folder)
    names = dict(enumerate(facts["stage_names"]))
    told = table[["case_id", "sex", "age_months"]].rename(columns={"age_months": "label_months"})
    said = {
        other: predictions.said_rows(folder, other, "age").set_index("case_id")["predicted_months"]
        for other in predictions.saved_models(folder, "age")
    }
    for other, of_other in said.items():
        told[f"{other}_months"] = of_other.loc[told["case_id"]].round(1).to_numpy()
    months = said[model].loc[told["case_id"]].to_numpy()
    ends = _ends(run_folder, model, months, told["sex"])
    if ends is not None:
        percent = round(100 * TOLD_LEVEL)
        told[f"{model}_lower_{percent}"], told[f"{model}_upper_{percent}"] = ends.round(1).T
    stage = cases.stage_of(months, told["sex"], facts["stage_cuts"])
    told[f"stage of {model}_months"] = pd.Series(stage).map(names)
    for other in predictions.saved_models(folder, "stage"):
        rows = predictions.said_rows(folder, other, "stage").set_index("case_id")
        likely = rows.loc[told["case_id"], predictions.STAGE_COLUMNS].to_numpy().argmax(axis=1)
        told[f"{other}_stage"] = pd.Series(likely).map(names)
    path = folder / "predictions.csv"
    with atomic_path(path) as temporary:
        told.assign(outside=outside).to_csv(temporary, index=False)
    return path


def _near_copies(
    run_folder: Path, table: pd.DataFrame, own: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Cases whose picture is nearly that of one that the run learnt from: COPY_COLUMNS."""
    view = model_views.view_of(run_folder, *saved_models(run_folder)[0])
    learnt = np.flatnonzero(own["split"].isin(LEARNT_SPLITS))
    pictures = images.load_images(run_folder, view)
    both = [
        *(pictures[row] for row in learnt),
        *images.load_images(set_folder(run_folder, name), view),
    ]
    together = pd.concat([own.iloc[learnt], table.assign(split="here")])[["case_id", "split"]]
    pairs = near_copies.find(both, together)
    pairs = pairs[(pairs["split"] != "here") & (pairs["other_split"] == "here")]
    told = pairs[["other_case_id", "case_id", "split"]].assign(why="it looks the same")
    return told.set_axis(COPY_COLUMNS, axis=1)


def _ends(run_folder: Path, model: str, months, sex: pd.Series) -> np.ndarray | None:
    if not interval_files.has_intervals(run_folder, model, "age"):
        return None
    fitted = interval_files.load_intervals(run_folder, model)
    return intervals.ends(fitted, months, sex, TOLD_KIND, TOLD_LEVEL)
