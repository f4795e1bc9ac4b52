"""Another folder of radiographs: prepared and predicted like a finished run's own.

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
from nbhelpers.images.doubts import UNLIKE
from nbhelpers.images.preparation import load_images, prepare_cases
from nbhelpers.models import saved
from nbhelpers.phantom import dataset
from nbhelpers.results import set_folder, set_name, set_source, split_name
from nbhelpers.workspace import InputError, atomic_path

TRAINING_SAMPLE = 2000  # pictures of train whose grey levels are looked at
NETWORK_SAMPLE = 1000  # pictures of train that a network looks at


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


def pictures(
    run_folder: Path, name: str, model: str, own: str
) -> tuple[Iterator[np.ndarray], Iterator[np.ndarray], Sequence[np.ndarray]]:
    """The pictures that a model of ages takes, uint8 `[height, width]`, of three places.

    They are train, another split `own` of the run, and a set; those of the run are read one by one,
    of train at most `TRAINING_SAMPLE`, drawn evenly.
    """
    view = saved.view_of(run_folder, model, "age")
    rows = data_cases.load_cases(run_folder).groupby("split").indices
    images = load_images(run_folder, view)
    train = (images[row] for row in data_cases.evenly(rows["train"], TRAINING_SAMPLE))
    beside = (images[row] for row in rows[own])
    return train, beside, load_images(set_folder(run_folder, name), view)


def embeddings(run_folder: Path, name: str, of: Sequence[str]) -> tuple[str, dict[str, np.ndarray]]:
    """How the best network of ages on calibration sees pictures: see `saved.picture_features`.

    Args:
        of: splits of the run; of `train` at most `NETWORK_SAMPLE` pictures are drawn evenly.

    Returns:
        The network's name, and features `[n, k]` by split; those of the set are `here`. "" and {}
        where the run has no network.
    """
    files = saved.saved_networks(run_folder)
    ranking = scores.ranked(run_folder, "age").index
    best = next((model for model in ranking if (model, "age") in files), "")
    if not best:
        return "", {}
    network, view = saved.load(files[best, "age"]), saved.view_of(run_folder, best, "age")
    rows = data_cases.load_cases(run_folder).groupby("split").indices
    rows["train"] = data_cases.evenly(rows["train"], NETWORK_SAMPLE)
    own, here = load_images(run_folder, view), load_images(set_folder(run_folder, name), view)
    found = {split: saved.picture_features(network, own, rows[split]) for split in of}
    return best, found | {"here": saved.picture_features(network, here)}


def score_set(
    run_folder: Path, name: str, unlike: np.ndarray
) -> tuple[pd.DataFrame | None, dict[str, pd.DataFrame]]:
    """Predict the prepared set with every saved model, ensembles too, and score what has an age.

    Args:
        unlike: `[n]`, whether a case gets the word `UNLIKE` in its `doubts`, here and in the
            prediction tables.

    Returns:
        What `scores.evaluate` gives of every model, None where nothing has an age; and how often
        intervals hold the labels, `conformal.coverage` of all cases, of months (`intervals`) and of
        stages (`sets`), of every model that has some. The split has the name of the set.
    """
    folder = set_folder(run_folder, name)
    facts, table = data_cases.load_data_facts(folder), data_cases.load_cases(folder)
    marked = (table["doubts"] + ", " + UNLIKE).str.removeprefix(", ")
    table["doubts"] = table["doubts"].mask(unlike, marked)
    saved_as = facts["fingerprint"], facts["stage_cuts"], facts["excluded"]
    data_cases.save_cases(folder, table, *saved_as)
    labelled = table[table["split"] == data_cases.SCORED]
    has_label = {"age": len(labelled) > 0, "stage": labelled["stage"].notna().any()}
    if has_label["age"] and not has_label["stage"]:
        print("no stage is scored: that needs an age and a sex, and no case has both")
    sex, pictures = splits.sex_codes(table["sex"]), functools.partial(load_images, folder)
    found, held = [], {"intervals": [], "sets": []}
    for task, title in zip(predictions.TASKS, held, strict=True):
        models = predictions.saved_models(run_folder, task)
        said = saved.predict_each(run_folder, models, task, pictures, sex)
        for model, predicted in said.items():
            predictions.save_predictions(folder, model, task, table, predicted)
            if has_label[task]:
                found.append(scores.evaluate(folder, model, task, learnt_in=run_folder))
            if has_label[task] and conformal.has_intervals(run_folder, model, task):
                shares = conformal.coverage(folder, model, task, "external", run_folder)
                held[title].append(shares[shares["group"] == scores.ALL].assign(model=model))
    if not found:
        return None, {}
    scored = pd.concat(found).drop_duplicates(["model", "task", "metric"])
    split = split_name(name)
    held = {title: pd.concat(of).assign(split=split) for title, of in held.items() if of}
    return scored.assign(split=split), held


def write_csv(run_folder: Path, name: str, model: str, outside: np.ndarray) -> pd.DataFrame:
    """Write `predictions.csv` of a set, for people: a row per case, with all models' predictions.

    After the months of all models come the interval of `model` (percent in the columns' names), the
    stage that its months fall into (none where sex is unknown and matters), the stages that the
    classifiers name, and whether the picture is `outside` `[n]` what the models saw.
    """
    folder = set_folder(run_folder, name)
    facts, table = data_cases.load_data_facts(folder), data_cases.load_cases(folder)
    names = dict(enumerate(facts["stage_names"]))
    told = table[["case_id", "doubts", "sex"]].assign(label_months=table["age_months"])
    said = functools.partial(predictions.said_rows, folder)  # in the order of the table
    for other in predictions.saved_models(run_folder, "age"):
        told[f"{other}_months"] = said(other, "age")["predicted_months"].round(1)
    months = said(model, "age")["predicted_months"].to_numpy()
    ends = conformal.told_ends(run_folder, model, months, told["sex"])
    if ends is not None:
        percent = round(100 * conformal.TOLD_LEVEL)
        told[f"{model}_lower_{percent}"], told[f"{model}_upper_{percent}"] = ends.round(1).T
    stage = stages.stage_of(months, told["sex"], facts["stage_cuts"])
    told[f"stage of {model}_months"] = pd.Series(stage).map(names)
    for other in predictions.saved_models(run_folder, "stage"):
        likely = said(other, "stage")[predictions.STAGE_COLUMNS].to_numpy().argmax(axis=1)
        told[f"{other}_stage"] = pd.Series(likely).map(names)
    told["outside"] = outside
    with atomic_path(folder / "predictions.csv") as temporary:
        told.to_csv(temporary, index=False)
    return told


def _near_copies(
    run_folder: Path, table: pd.DataFrame, own: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Cases whose picture is nearly that of one that the run learnt from."""
    view = saved.view_of(run_folder, *saved_models(run_folder)[0])
    learnt = np.flatnonzero(own["split"].isin(data_cases.LEARNT_SPLITS))
    pictures, here = load_images(run_folder, view), load_images(set_folder(run_folder, name), view)
    both = [*(pictures[row] for row in learnt), *here]
    together = pd.concat([own.iloc[learnt], table.assign(split="here")])[["case_id", "split"]]
    pairs = duplicates.find(both, together)
    pairs = pairs[(pairs["split"] != "here") & (pairs["other_split"] == "here")]
    told = pairs[["other_case_id", "case_id", "split"]].assign(why="it looks the same")
    return told.set_axis(data_cases.COPY_COLUMNS, axis=1)
