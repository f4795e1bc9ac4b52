"""The prediction intervals of a saved age model: `models/<model>.age.intervals.json`."""

from pathlib import Path

from nbhelpers import intervals, predictions
from nbhelpers.cases import load_data_facts
from nbhelpers.intervals import Intervals
from nbhelpers.workspace import InputError, find_run_file, read_json, write_json


def fit_intervals(run_folder: Path, model: str) -> Intervals:
    """Fit the intervals of a model on its calibration rows and write them.

    Raises InputError where the model has no labelled case of calibration.
    """
    rows = predictions.fitting_rows(run_folder, model, "age")
    rows = rows[(rows["split"] == "calibration") & rows["age_months"].notna()]
    if rows.empty:
        raise InputError(f"{model}.age predicts no case of calibration: intervals need some.")
    fitted = intervals.fit(
        rows["predicted_months"],
        rows["age_months"],
        rows["sex"],
        load_data_facts(run_folder)["stage_cuts"],
    )
    content = intervals.as_json(fitted) | {"model": model, "calibration_cases": len(rows)}
    write_json(run_folder / _name(model), content)
    return fitted


def load_intervals(run_folder: Path, model: str) -> Intervals:
    """The intervals of a model; raises InputError where they were not made, or are damaged."""
    path = find_run_file(run_folder, _name(model))
    return intervals.from_json(read_json(path), path.name)


def _name(model: str) -> str:
    return f"models/{model}.age.intervals.json"
