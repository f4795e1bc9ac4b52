"""Scores of a model by group of cases: for whom it errs."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import evaluation, metrics

ALL = "all"
SEXES = ("female", "male")
BANDS_YEARS = (0, 5, 10, 15, 20)
SMALLEST = 2  # cases of a group that is scored
COLUMNS = ["model", "task", "split", "group", "metric", "n", "value", "lower", "upper"]


def groups(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows `[n]` are in each group; groups without a case are left out."""
    years = rows["age_months"].to_numpy(float) / 12
    found = {ALL: np.ones(len(rows), bool)}
    found |= {sex: (rows["sex"] == sex).to_numpy() for sex in SEXES}
    for first, last in itertools.pairwise(BANDS_YEARS):
        found[f"{first} to {last} years"] = (first <= years) & (years < last)
    return {name: chosen for name, chosen in found.items() if chosen.any()}


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
