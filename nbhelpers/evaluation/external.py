"""Another folder of radiographs: prepared and predicted as a finished run's own, and how like them.

What is made lies in `external/<name>/` of the run folder, laid out like a run folder: case table,
prepared pictures, geometry and prediction tables, so what reads those of a run reads these.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import predictions, workspace
from nbhelpers.data import cases as data_cases
from nbhelpers.data import duplicates, splits, stages
from nbhelpers.evaluation import conformal, scores
from nbhelpers.images.preparation import load_images, prepare_cases
from nbhelpers.models import saved
from nbhelpers.phantom import dataset
from nbhelpers.results import set_folder, set_name, set_source, split_name
from nbhelpers.workspace import InputError, atomic_path

TRAINING_SAMPLE = 2000  # pictures of train that are looked at
SEED = 0


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


def open_set(
    run_folder: Path, named: str, name: str, n_synthetic: int, seed: int, quick: bool = False
) -> tuple[str, pd.DataFrame, dict]:
    """The set to score: its name, its cases (see `cases.read_other_cases`) and their fingerprint.

    Args:
        named: its folder; empty: the run's own external one, else synthetic radiographs.
        name: empty: that of the folder.
        quick: synthetic radiographs will do for a run of real ones too, for a first look.

    Raises InputError where no folder is named and the run is of real radiographs, since scores on
    synthetic ones would say nothing about it, and where the set of that name is of another folder.
    """
    facts = data_cases.load_data_facts(run_folder)
    before = facts["fingerprint"]
    if named or before.get("external_folder"):
        source = workspace.find_data_folder(named or before["external_folder"])
    elif quick or workspace.is_synthetic(before["data_folder"]):
        source = dataset.folder_in(run_folder, n_synthetic, seed)
        dataset.write_radiographs(source, n_synthetic, seed=seed)
    else:
        raise InputError(
            "score_folder is empty, and this run was made from real radiographs. Name the folder "
            "to score: make score RUN=name DATA=folder."
        )
    name = name or set_name(run_folder, source)
    found = data_cases.read_other_cases(source, facts["stage_cuts"])
    fingerprint = data_cases.fingerprint(source, found)
    if set_source(run_folder, name) != str(source):  # its own labels may have been corrected
        workspace.require_same_fingerprint(set_folder(run_folder, name), fingerprint)
    return name, found, fingerprint


def prepare_set(
    run_folder: Path,
    found: pd.DataFrame,
    fingerprint: dict,
    name: str,
    exclude_unreadable: bool = False,
    score_doubtful: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, Path]:
    """Prepare the radiographs in every view that a model of the run takes.

    A case that a doubt marks is predicted, not scored, unless `score_doubtful` (`images.doubts`).

    Returns:
        The set's case table; which of its cases the run learnt from (`cases.COPY_COLUMNS`): they
        are predicted, not scored; and the folder of what is made of the set.

    Raises InputError where the run's pictures were prepared by other code than this: the set's
    would not be like them.
    """
    wanted = saved.preparations(run_folder, saved_models(run_folder))
    folder = set_folder(run_folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    for view, preparation in wanted.items():
        geometry = prepare_cases(found, preparation, folder, view, exclude_unreadable)
    table, excluded = data_cases.keep_readable(found, geometry, score_doubtful)
    own = data_cases.load_cases(run_folder)
    same = data_cases.learnt_copies(table, own)
    learnt = pd.concat([same, _near_copies(run_folder, table, own, name)])
    learnt = learnt.drop_duplicates("case_id", ignore_index=True)
    copied = table["case_id"].isin(learnt["case_id"])
    table.loc[copied, "split"] = "unlabelled"
    table.loc[copied, "age_months"], table.loc[copied, "stage"] = np.nan, pd.NA
    cuts = data_cases.load_data_facts(run_folder)["stage_cuts"]
    data_cases.save_cases(folder, table, fingerprint, cuts, excluded)
    return table, learnt, folder


def predict_set(run_folder: Path, name: str) -> None:
    """Predict the prepared set with every saved model, ensembles too, and write their tables."""
    folder = set_folder(run_folder, name)
    table = data_cases.load_cases(folder)
    sex = splits.sex_codes(table["sex"])
    pictures = functools.partial(load_images, folder)
    for task in predictions.TASKS:
        models = [model for model, of in saved_models(run_folder) if of == task]
        said = saved.predict_each(run_folder, models, task, pictures, sex)
        for model, predicted in said.items():
            predictions.save_predictions(folder, model, task, table, predicted)


def pictures(
    run_folder: Path, name: str, model: str
) -> tuple[Iterator[np.ndarray], Sequence[np.ndarray]]:
    """The pictures that a model of ages takes, uint8 `[height, width]` each: of train and of a set.

    Of train at most `TRAINING_SAMPLE`, drawn at random and read one by one.
    """
    view = saved.view_of(run_folder, model, "age")
    train = np.flatnonzero((data_cases.load_cases(run_folder)["split"] == "train").to_numpy())
    random, images = np.random.default_rng(SEED), load_images(run_folder, view)
    drawn = np.sort(random.choice(train, min(TRAINING_SAMPLE, len(train)), replace=False))
    return (images[row] for row in drawn), load_images(set_folder(run_folder, name), view)


def score_set(run_folder: Path, name: str) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """What `scores.evaluate` gives of every saved model; how often intervals hold the labels.

    The latter is `conformal.coverage` of all cases, of months (`intervals`) and of stages (`sets`),
    of every model that has some. The split has the name of the set.
    """
    folder = set_folder(run_folder, name)
    found, held = [], {"intervals": [], "sets": []}
    of_stage = data_cases.load_cases(folder)["stage"].notna().any()
    if not of_stage:
        print("no stage is scored: it takes the age and the sex, and no case has both")
    for model, task in saved_models(run_folder):
        if task == "stage" and not of_stage:
            continue
        found.append(scores.evaluate(folder, model, task, learnt_in=run_folder))
        if conformal.has_intervals(run_folder, model, task):
            shares = conformal.coverage(folder, model, task, "external", run_folder)
            of_all = shares[shares["group"] == scores.ALL].assign(model=model)
            held["intervals" if task == "age" else "sets"].append(of_all)
    table = pd.concat(found).drop_duplicates(["model", "task", "metric"])
    split = split_name(name)
    held = {title: pd.concat(of).assign(split=split) for title, of in held.items() if of}
    return table.assign(split=split), held


def write_csv(run_folder: Path, name: str, model: str, outside: np.ndarray) -> Path:
    """Write `predictions.csv` of a set, for people: a row a case, what every model says of it.

    After the months of all models come the interval of `model` (percent in the columns' names), the
    stage that its months fall into (none where sex is unknown and matters), the stages that the
    classifiers name, and whether the picture is `outside` `[n]` what the models saw.
    """
    folder = set_folder(run_folder, name)
    facts, table = data_cases.load_data_facts(folder), data_cases.load_cases(folder)
    names = dict(enumerate(facts["stage_names"]))
    told = table[["case_id", "doubts", "sex", "age_months"]].rename(
        columns={"age_months": "label_months"}
    )

    def said(other: str, task: str) -> pd.DataFrame:
        """What a model predicts of each case, in the order of the table."""
        return predictions.said_rows(folder, other, task).set_index("case_id").loc[told["case_id"]]

    for other in predictions.saved_models(folder, "age"):
        told[f"{other}_months"] = said(other, "age")["predicted_months"].round(1).to_numpy()
    months = said(model, "age")["predicted_months"].to_numpy()
    ends = conformal.told_ends(run_folder, model, months, told["sex"])
    if ends is not None:
        percent = round(100 * conformal.TOLD_LEVEL)
        told[f"{model}_lower_{percent}"], told[f"{model}_upper_{percent}"] = ends.round(1).T
    stage = stages.stage_of(months, told["sex"], facts["stage_cuts"])
    told[f"stage of {model}_months"] = pd.Series(stage).map(names)
    for other in predictions.saved_models(folder, "stage"):
        likely = said(other, "stage")[predictions.STAGE_COLUMNS].to_numpy().argmax(axis=1)
        told[f"{other}_stage"] = pd.Series(likely).map(names)
    path = folder / "predictions.csv"
    with atomic_path(path) as temporary:
        told.assign(outside=outside).to_csv(temporary, index=False)
    return path


def _near_copies(
    run_folder: Path, table: pd.DataFrame, own: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Cases whose picture is nearly that of one that the run learnt from."""
    view = saved.view_of(run_folder, *saved_models(run_folder)[0])
    learnt = np.flatnonzero(own["split"].isin(data_cases.LEARNT_SPLITS))
    pictures = load_images(run_folder, view)
    both = [
        *(pictures[row] for row in learnt),
        *load_images(set_folder(run_folder, name), view),
    ]
    together = pd.concat([own.iloc[learnt], table.assign(split="here")])[["case_id", "split"]]
    pairs = duplicates.find(both, together)
    pairs = pairs[(pairs["split"] != "here") & (pairs["other_split"] == "here")]
    told = pairs[["other_case_id", "case_id", "split"]].assign(why="it looks the same")
    return told.set_axis(data_cases.COPY_COLUMNS, axis=1)
