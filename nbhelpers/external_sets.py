"""Another folder of radiographs, prepared and predicted as a finished run's own were.

What is made lies in `external/<name>/` of the run folder, laid out like a run folder: case table,
prepared pictures, geometry and prediction tables, so what reads those of a run reads these.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import (
    cases,
    images,
    interval_files,
    intervals,
    near_copies,
    phantom,
    prediction,
    predictions,
    splits,
    workspace,
)
from nbhelpers.external_names import set_folder
from nbhelpers.other_cases import (
    COPY_COLUMNS,
    LEARNT_SPLITS,
    learnt_copies,
    read_other_cases,
    unlabelled,
)
from nbhelpers.workspace import InputError, atomic_path

# What stands in prediction tables as an interval.
KIND, LEVEL = "mondrian", 0.9
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
    if not Path(facts["data_folder"]).is_relative_to(run_folder):
        raise InputError(
            "score_folder is empty, and this run was made from real radiographs. Name the folder "
            "to score: make score RUN=name DATA=folder."
        )
    drawn = run_folder / f"synthetic-{n_synthetic}-{seed}-v{phantom.VERSION}"
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
    folder = set_folder(run_folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    for view, prepared in _views(run_folder):
        preparation = images.load_preparation(run_folder, view)
        geometry = images.prepare_cases(found, preparation, folder, view, exclude_unreadable)
        if images.preparation_hash(folder, view) != prepared:
            raise InputError(
                f"The models of {run_folder.name} were made with pictures of preparation "
                f"{prepared}; this version of the suite prepares the view {view} differently "
                f"({images.preparation_hash(folder, view)}). Run the profile again, or score with "
                "the version that made the models."
            )
    table, excluded = cases.keep_readable(found, geometry)
    own = cases.load_cases(run_folder)
    learnt = pd.concat([learnt_copies(table, own), _near_copies(run_folder, table, own, folder)])
    learnt = learnt.drop_duplicates("case_id", ignore_index=True)
    table = unlabelled(table, learnt["case_id"])
    cuts = cases.load_data_facts(run_folder)["stage_cuts"]
    cases.save_cases(folder, table, fingerprint, cuts, excluded)
    return table, learnt


def predict_set(run_folder: Path, name: str) -> None:
    """Predict the prepared set with every saved model, ensembles too, and write their tables.

    Months get their interval of kind `KIND` and level `LEVEL`, where the model has intervals.
    """
    folder = set_folder(run_folder, name)
    table = cases.load_cases(folder)
    sex = splits.sex_codes(table["sex"])
    pictures = {view: images.load_images(folder, view) for view, _ in _views(run_folder)}
    for task in predictions.TASKS:
        models = [model for model, of in saved_models(run_folder) if of == task]
        said = prediction.predict_each(run_folder, models, task, pictures.__getitem__, sex)
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
    for other in predictions.saved_models(folder, "age"):
        rows = predictions.said_rows(folder, other, "age").set_index("case_id")
        told[f"{other}_months"] = rows.loc[told["case_id"], "predicted_months"].round(1).to_numpy()
    months = told[f"{model}_months"]
    ends = _ends(run_folder, model, months, told["sex"])
    if ends is not None:
        percent = round(100 * LEVEL)
        told[f"{model}_lower_{percent}"], told[f"{model}_upper_{percent}"] = ends.round(1).T
    stage = cases.stage_of(months, told["sex"], facts["stage_cuts"])
    told[f"stage of {model}_months"] = pd.Series(stage).map(names)
    for other in predictions.saved_models(folder, "stage"):
        rows = predictions.said_rows(folder, other, "stage").set_index("case_id")
        said = rows.loc[told["case_id"], predictions.STAGE_COLUMNS].to_numpy().argmax(axis=1)
        told[f"{other}_stage"] = pd.Series(said).map(names)
    path = folder / "predictions.csv"
    with atomic_path(path) as temporary:
        told.assign(outside=outside).to_csv(temporary, index=False)
    return path


def view_of(run_folder: Path, model: str) -> str:
    """The view that a model of ages takes; of an ensemble, that of its first member."""
    return prediction.model_views(run_folder, model, "age")[0][0]


def _views(run_folder: Path) -> list[tuple[str, str]]:
    """Every view that a model of the run takes, with its preparation's hash, each once."""
    of_models = [prediction.model_views(run_folder, *named) for named in saved_models(run_folder)]
    return list(dict.fromkeys(view for views in of_models for view in views))


def _near_copies(
    run_folder: Path, table: pd.DataFrame, own: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """Cases whose picture is nearly that of one that the run learnt from: COPY_COLUMNS."""
    view = _views(run_folder)[0][0]
    learnt = np.flatnonzero(own["split"].isin(LEARNT_SPLITS))
    pictures = images.load_images(run_folder, view)
    both = [*(pictures[row] for row in learnt), *images.load_images(folder, view)]
    together = pd.concat([own.iloc[learnt], table.assign(split="here")])[["case_id", "split"]]
    pairs = near_copies.find(both, together)
    pairs = pairs[(pairs["split"] != "here") & (pairs["other_split"] == "here")]
    told = pairs[["other_case_id", "case_id", "split"]].assign(why="it looks the same")
    return told.set_axis(COPY_COLUMNS, axis=1)


def _ends(run_folder: Path, model: str, months, sex: pd.Series) -> np.ndarray | None:
    if not interval_files.has_intervals(run_folder, model, "age"):
        return None
    fitted = interval_files.load_intervals(run_folder, model)
    return intervals.ends(fitted, months, sex, KIND, LEVEL)
