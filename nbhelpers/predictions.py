"""The prediction table: what a model says of each case, in one form for every kind of model.

`predictions/<model>.<task>.parquet` holds `case_id, split, fold, sex, age_months, stage`, then
`hand_found` and `doubts` (words of `images.doubts`, a comma between them), then `predicted_months`
(task "age"), or `p_stage_0` to `p_stage_4` (task "stage"). `fold` is filled only where a prediction
is out of fold: made by a member that was not trained on that case. A model that is the mean over
seeds has, beside its own table, one of each fit: `<model>_seed0` and so on.

Two ways lead to the rows. `fitting_rows` is for what fits or chooses something: it gives those of
calibration and never reads a label of the test split. `all_rows` is for the
evaluator, and a test sees to it that nothing else calls it.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers.parameters import OF_A_FIT
from nbhelpers.workspace import InputError, atomic_path, find_run_file, find_run_files

TASKS = ("age", "stage")
CASE_COLUMNS = ["case_id", "split", "fold", "sex", "age_months", "stage"]
IMAGE_COLUMNS = ["hand_found", "doubts"]
STAGE_COLUMNS = [f"p_stage_{stage}" for stage in range(5)]
VALUE_COLUMNS = {"age": ["predicted_months"], "stage": STAGE_COLUMNS}
SUM_TOLERANCE = 1e-3


def save_predictions(
    run_folder: Path,
    model: str,
    task: str,
    cases: pd.DataFrame,
    predicted: np.ndarray,
    out_of_fold: bool = False,
) -> Path:
    """Write the prediction table of a model, and a copy as CSV for its readers; returns its path.

    `cases` are rows of the case table and `predicted` their months [n] or probabilities [n, 5], in
    the same order. With `out_of_fold`, the rows of `train` were predicted by members that had not
    seen them. Raises ValueError for anything that is not a prediction of these cases.
    """
    path = run_folder / _file_name(model, task)
    types = {"fold": "Int8", "stage": "Int8", "hand_found": "boolean", "doubts": "string"}
    table = cases.reset_index(drop=True).reindex(columns=[*CASE_COLUMNS, *IMAGE_COLUMNS])
    table = table.astype(types)
    table["sex"] = table["sex"].astype(object).where(table["sex"].notna(), None)
    if not out_of_fold:
        table["fold"] = pd.array([None] * len(table), dtype="Int8")
    values = np.asarray(predicted, dtype=float)
    values, names = values.reshape(len(values), -1), VALUE_COLUMNS[task]
    if values.shape != (len(table), len(names)):
        raise ValueError(f"{len(table)} cases need {names}, not values of shape {values.shape}.")
    table[names] = values
    _check_table(table, task)
    if not OF_A_FIT.search(model):
        with atomic_path(path.with_suffix(".csv")) as temporary:
            table.to_csv(temporary, index=False)
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path


def _check_table(table: pd.DataFrame, task: str) -> None:
    """Raise ValueError unless `table` is a prediction table of `task`."""
    if table["case_id"].isna().any() or table["case_id"].duplicated().any():
        raise ValueError("A prediction table has each case once.")
    if table.loc[table["split"] != "train", "fold"].notna().any():
        raise ValueError("Only rows of train are out of fold.")
    values = table[VALUE_COLUMNS[task]].to_numpy(dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("A prediction is missing or not finite.")
    beyond = (values < -SUM_TOLERANCE).any() or (abs(values.sum(axis=1) - 1) > SUM_TOLERANCE).any()
    if task == "stage" and beyond:
        raise ValueError("The five stage probabilities of a case are 0 to 1 and sum to 1.")


def fitting_rows(run_folder: Path, model: str, task: str) -> pd.DataFrame:
    """The rows of calibration that have a label: the ones that something may be fitted on.

    Not those out of fold: one network makes them, the mean of all makes every other row.
    """
    rows = _read(run_folder, model, task, CASE_COLUMNS, [("split", "==", "calibration")])
    return rows[rows["age_months" if task == "age" else "stage"].notna()]


def said_rows(run_folder: Path, model: str, task: str) -> pd.DataFrame:
    """Every row without its label: what a model says, for an ensemble to combine."""
    return _read(run_folder, model, task, ["case_id", "split", "fold", "sex"])


def all_rows(run_folder: Path, model: str, task: str) -> pd.DataFrame:
    """Every row, the test split among them: for the evaluator alone."""
    return _read(run_folder, model, task, CASE_COLUMNS)


def require_saved(run_folder: Path, model: str, task: str) -> None:
    """Raise InputError, with the notebook to run, unless a named model has its prediction table.

    To be asked before a training whose model is to be compared with it.
    """
    find_run_file(run_folder, _file_name(model, task))


def saved_models(run_folder: Path, task: str) -> list[str]:
    """Names of the models that have a prediction table of `task`, sorted; not of single seeds."""
    paths = find_run_files(run_folder, f"predictions/*.{task}.parquet")
    names = sorted(path.name.split(".")[0] for path in paths)
    return [name for name in names if not OF_A_FIT.search(name)]


def seeds_of(run_folder: Path, model: str, task: str) -> list[str]:
    """Names of the single fits of a model that is the mean over seeds; else none."""
    paths = find_run_files(run_folder, f"predictions/{model}_seed*.{task}.parquet")
    return sorted(path.name.split(".")[0] for path in paths)


def _read(
    run_folder: Path, model: str, task: str, facts: list[str], rows: list | None = None
) -> pd.DataFrame:
    """Some columns of facts and the predictions; tables of earlier versions may hold more."""
    path = find_run_file(run_folder, _file_name(model, task))
    table = pd.read_parquet(path, columns=[*facts, *VALUE_COLUMNS[task]], filters=rows)
    _check_table(table, task)
    return table


def _file_name(model: str, task: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", model):
        raise InputError(f"model {model!r}: use letters, digits, '_' and '-' in a model's name.")
    return f"predictions/{model}.{task}.parquet"
