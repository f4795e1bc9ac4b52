"""Scores of a model by group of cases: for whom it errs.

Groups overlap: every case is in several.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import evaluation, interval_files, intervals, metrics
from nbhelpers.cases import load_data_facts
from nbhelpers.intervals import SEXES, TOLD_KIND, TOLD_LEVEL

ALL = "all"
BANDS_YEARS = (0, 5, 10, 15, 20)
SMALLEST = 2  # cases of a group that is scored
COLUMNS = ["model", "task", "split", "group", "metric", "n", "value", "lower", "upper"]
FEWEST = 10  # cases that an error with its interval is told of, where groups are many and small
OVER_MONTHS = (12, 24)
ERROR_COLUMNS = ["model", "split", "group", "metric", "n", "value", "lower", "upper", "too_few"]


def groups(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows `[n]` are in each group; groups without a case are left out."""
    years = rows["age_months"].to_numpy(float) / 12
    found = {ALL: np.ones(len(rows), bool)}
    found |= {sex: (rows["sex"] == sex).to_numpy() for sex in SEXES}
    for first, last in itertools.pairwise(BANDS_YEARS):
        found[f"{first} to {last} years"] = (first <= years) & (years < last)
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def sex_bands(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows `[n]` are in each sex by age band, "female, 5 to 10 years"; empty ones left out.

    A case of unknown sex is in none.
    """
    of = groups(rows)
    bands = [name for name in of if name not in (ALL, *SEXES)]
    both = {f"{sex}, {band}": of[sex] & of[band] for sex in SEXES if sex in of for band in bands}
    return {name: chosen for name, chosen in both.items() if chosen.any()}


def fine_groups(rows: pd.DataFrame, stage_names: Sequence[str]) -> dict[str, np.ndarray]:
    """`groups`, each true stage by its name, and `sex_bands`: which rows `[n]` are in each.

    `stage_names` are five, youngest first. A case without a stage is in none of them.
    """
    stage = rows["stage"].to_numpy(float, na_value=np.nan)
    by_stage = {name: stage == number for number, name in enumerate(stage_names)}
    by_stage = {name: chosen for name, chosen in by_stage.items() if chosen.any()}
    return groups(rows) | by_stage | sex_bands(rows)


def error_table(run_folder: Path, model: str, split: str) -> pd.DataFrame:
    """ERROR_COLUMNS, a row a group of `fine_groups` and metric, with 95 % intervals.

    `mae` and `signed_error` (predicted minus true), months, of which the second falls with true age
    for any model (see `agreement.error_slopes`); `over_12` and `over_24`, shares of cases further
    off than that; `qwk`, quadratic weighted kappa of the stage that the months fall into;
    `coverage`, the share of ages inside their interval of `TOLD_KIND` and `TOLD_LEVEL`, where the
    model has intervals. `n` counts the cases of that metric: kappa takes those with a stage alone.
    Where they are less than `FEWEST`, `too_few` is true and the figures are NaN. Kappa is lower in
    a group that spans fewer stages, so groups must not be ranked by it; of one true stage it is
    NaN.
    """
    rows = evaluation.case_errors(run_folder, model, "age", split)
    if interval_files.has_intervals(run_folder, model, "age"):
        rows = rows.assign(held=_held(run_folder, model, rows))
    names = load_data_facts(run_folder)["stage_names"]
    told = [
        _errors(rows[chosen]).assign(group=group)
        for group, chosen in fine_groups(rows, names).items()
    ]
    return pd.concat(told, ignore_index=True).assign(model=model, split=split)[ERROR_COLUMNS]


def stage_table(run_folder: Path, model: str, split: str) -> pd.DataFrame:
    """ERROR_COLUMNS of a model of stages: `accuracy` and `qwk` by group of `fine_groups`.

    With 95 % intervals, under the same rules as `error_table`. Cases without a stage do not count.
    """
    rows = evaluation.case_errors(run_folder, model, "stage", split)
    rows = rows[rows["stage"].notna()].reset_index(drop=True)
    names = load_data_facts(run_folder)["stage_names"]
    told = [
        _right(rows[chosen]).assign(group=group)
        for group, chosen in fine_groups(rows, names).items()
    ]
    return pd.concat(told, ignore_index=True).assign(model=model, split=split)[ERROR_COLUMNS]


def scores_by_group(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """COLUMNS, a row a group of `groups` and metric, with 95 % bootstrap intervals.

    Age: `mae` and `signed_error` (predicted minus true), months, and as `<model> (derived)` those
    of the stages that months fall into. Stage: `accuracy` and `qwk`. Groups of less than
    `SMALLEST` cases are left out.
    """
    rows = evaluation.case_errors(run_folder, model, task, split)
    blocks = []
    if task == "age":
        blocks.append(_by_group(rows, _age_scores).assign(model=model, task="age"))
        model += evaluation.DERIVED
    rows = rows[rows["stage"].notna() & rows["predicted_stage"].notna()].reset_index(drop=True)
    blocks.append(_by_group(rows, _stage_scores).assign(model=model, task="stage"))
    return pd.concat(blocks, ignore_index=True).assign(split=split)[COLUMNS]


def _by_group(rows: pd.DataFrame, score: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    scored = [
        score(rows[chosen]).assign(group=group)
        for group, chosen in groups(rows).items()
        if chosen.sum() >= SMALLEST
    ]
    return pd.concat(scored) if scored else pd.DataFrame(columns=COLUMNS)


def _age_scores(rows: pd.DataFrame) -> pd.DataFrame:
    error = rows["error_months"].to_numpy(float)
    told = {"mae": metrics.score_mean(abs(error)), "signed_error": metrics.score_mean(error)}
    table = pd.DataFrame(told.values(), columns=["n", "value", "lower", "upper"])
    return table.assign(metric=list(told))


def _stage_scores(rows: pd.DataFrame) -> pd.DataFrame:
    table = metrics.score_stages(rows["stage"], rows["predicted_stage"])
    return table[table["metric"].isin(["accuracy", "qwk"])]


def _errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Metric, n, value, lower, upper and `too_few` of one group."""
    error = rows["error_months"].to_numpy(float)
    stages = rows[["stage", "predicted_stage"]].dropna().to_numpy(int)
    scored = {"mae": (metrics.score_mean, abs(error)), "signed_error": (metrics.score_mean, error)}
    scored |= {f"over_{far}": (metrics.score_share, abs(error) > far) for far in OVER_MONTHS}
    scored["qwk"] = (_score_kappa, stages)
    if "held" in rows:
        scored["coverage"] = (metrics.score_share, rows["held"].to_numpy(bool))
    return _told(scored)


def _right(rows: pd.DataFrame) -> pd.DataFrame:
    """As `_errors`, of stages."""
    stages = rows[["stage", "predicted_stage"]].to_numpy(int)
    right = stages[:, 0] == stages[:, 1]
    return _told({"accuracy": (metrics.score_share, right), "qwk": (_score_kappa, stages)})


def _told(scored: dict[str, tuple[Callable, np.ndarray]]) -> pd.DataFrame:
    """Each metric's function of its values; less than `FEWEST` values are too few."""
    told = [
        score(values) if len(values) >= FEWEST else (len(values), np.nan, np.nan, np.nan)
        for score, values in scored.values()
    ]
    table = pd.DataFrame(told, columns=["n", "value", "lower", "upper"])
    return table.assign(metric=list(scored), too_few=table["n"] < FEWEST)


def _score_kappa(stages: np.ndarray) -> tuple[int, float, float, float]:
    """n, quadratic weighted kappa and its interval; stages `[n, 2]`, true and predicted."""
    truth, predicted = stages.T
    if len(np.unique(truth)) < 2:
        # Chance alone agrees as often as any model: the formula gives 0, however good the model.
        return len(truth), np.nan, np.nan, np.nan
    row = metrics.score_stages(truth, predicted).set_index("metric").loc["qwk"]
    return int(row["n"]), float(row["value"]), float(row["lower"]), float(row["upper"])


def _held(run_folder: Path, model: str, rows: pd.DataFrame) -> np.ndarray:
    """Whether the interval of each case `[n]` holds its true age."""
    fitted = interval_files.load_intervals(run_folder, model)
    ends = intervals.ends(fitted, rows["predicted_months"], rows["sex"], TOLD_KIND, TOLD_LEVEL)
    return intervals.inside(ends, rows["age_months"])
