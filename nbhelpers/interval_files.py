"""The prediction intervals and sets of saved models, fitted on their calibration rows.

`models/<model>.age.intervals.json` and `models/<model>.stage.sets.json`.
"""

from pathlib import Path

import pandas as pd

from nbhelpers import intervals, predictions, stage_sets
from nbhelpers.cases import load_data_facts
from nbhelpers.intervals import Intervals
from nbhelpers.stage_sets import StageSets
from nbhelpers.workspace import InputError, find_run_file, find_run_files, read_json, write_json

NAMES = {"age": "models/{}.age.intervals.json", "stage": "models/{}.stage.sets.json"}


def fit_intervals(run_folder: Path, model: str) -> Intervals:
    """Fit the intervals of a model of ages and write them.

    Raises InputError where the model has no labelled case of calibration.
    """
    rows = _calibration(run_folder, model, "age")
    fitted = intervals.fit(
        rows["predicted_months"],
        rows["age_months"],
        rows["sex"],
        load_data_facts(run_folder)["stage_cuts"],
    )
    _write(run_folder, model, "age", intervals.as_json(fitted), len(rows))
    return fitted


def fit_sets(run_folder: Path, model: str) -> StageSets:
    """Fit the sets of a model of stages and write them; raises InputError as `fit_intervals`."""
    rows = _calibration(run_folder, model, "stage")
    probabilities = rows[predictions.STAGE_COLUMNS].to_numpy(float)
    fitted = stage_sets.fit(probabilities, rows["stage"].to_numpy(int))
    _write(run_folder, model, "stage", stage_sets.as_json(fitted), len(rows))
    return fitted


def load_intervals(run_folder: Path, model: str) -> Intervals:
    """The intervals of a model; raises InputError where they were not made, or are damaged."""
    path = find_run_file(run_folder, NAMES["age"].format(model))
    return intervals.from_json(read_json(path), path.name)


def has_intervals(run_folder: Path, model: str, task: str) -> bool:
    """Whether intervals or sets were fitted for a model: notebook 05 does it."""
    return bool(find_run_files(run_folder, NAMES[task].format(model)))


def load_sets(run_folder: Path, model: str) -> StageSets:
    """The sets of a model; raises InputError where they were not made, or are damaged."""
    path = find_run_file(run_folder, NAMES["stage"].format(model))
    return stage_sets.from_json(read_json(path), path.name)


def _calibration(run_folder: Path, model: str, task: str) -> pd.DataFrame:
    rows = predictions.fitting_rows(run_folder, model, task)
    label = "age_months" if task == "age" else "stage"
    rows = rows[(rows["split"] == "calibration") & rows[label].notna()]
    if rows.empty:
        raise InputError(f"{model}.{task} predicts no case of calibration: intervals need some.")
    return rows


def _write(run_folder: Path, model: str, task: str, content: dict, n: int) -> None:
    path = run_folder / NAMES[task].format(model)
    write_json(path, content | {"model": model, "calibration_cases": n})
