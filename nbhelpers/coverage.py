"""How often intervals and sets hold the truth, and how wide they are, by split and group."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import evaluation, interval_files, intervals, metrics, predictions, stage_sets
from nbhelpers.cases import load_data_facts
from nbhelpers.conformal import LEVELS
from nbhelpers.intervals import KINDS
from nbhelpers.subgroups import ALL, groups

REDRAWS = 20
SEED = 0
SET_COLUMNS = ["kind", "level", "group", "n", "coverage", "lower", "upper", "mean_stages"]
COLUMNS = ["kind", "level", "group", "n", "coverage", "lower", "upper", "width_months"]


def coverage(
    run_folder: Path, model: str, split: str, fitted_in: Path | None = None
) -> pd.DataFrame:
    """COLUMNS, a row a kind, level and group: all, each sex, each band of true age.

    `coverage` is a share with its 95 % interval, `width_months` the mean width.
    `fitted_in` is the run folder that holds the intervals, if it is another.
    """
    rows = evaluation.case_errors(run_folder, model, "age", split)
    fitted = interval_files.load_intervals(fitted_in or run_folder, model)
    told = []
    for kind in KINDS:
        for level in LEVELS:
            limits = intervals.ends(fitted, rows["predicted_months"], rows["sex"], kind, level)
            held = intervals.inside(limits, rows["age_months"])
            for group, chosen in groups(rows).items():
                score = metrics.score_share(held[chosen])
                width = float(np.ptp(limits[chosen], axis=1).mean())
                told.append((kind, level, group, *score, width))
    return pd.DataFrame(told, columns=COLUMNS)


def set_coverage(
    run_folder: Path, model: str, split: str, fitted_in: Path | None = None
) -> pd.DataFrame:
    """SET_COLUMNS, as `coverage` for sets of stages, groups by true stage among them.

    `mean_stages` is how many of the five stages a set holds on average.
    """
    rows = evaluation.case_errors(run_folder, model, "stage", split)
    rows = rows[rows["stage"].notna()].reset_index(drop=True)
    stage, names = rows["stage"].to_numpy(int), load_data_facts(run_folder)["stage_names"]
    of_group = groups(rows) | {names[at]: stage == at for at in np.unique(stage)}
    probabilities = rows[predictions.STAGE_COLUMNS].to_numpy(float)
    fitted = interval_files.load_sets(fitted_in or run_folder, model)
    told = []
    for kind, level in itertools.product(stage_sets.KINDS, LEVELS):
        held = stage_sets.held_stages(fitted, probabilities, kind, level)
        inside = held[np.arange(len(stage)), stage]
        for group, chosen in of_group.items():
            size = float(held[chosen].sum(axis=1).mean())
            told.append((kind, level, group, *metrics.score_share(inside[chosen]), size))
    return pd.DataFrame(told, columns=SET_COLUMNS)


def redrawn_coverage(
    run_folder: Path, model: str, kind: str, level: float, redraws: int = REDRAWS
) -> pd.DataFrame:
    """Coverage where chance decides which held-out cases calibrate, a row a redraw and group.

    Calibration and test are pooled and drawn anew, in the same numbers; predictions stay. One draw
    of some hundred calibration cases moves the coverage by a percentage point or two; the mean over
    redraws shows whether the method keeps its promise. Groups: all, each sex, and each sex and
    predicted stage. Columns: redraw, group, n, coverage.
    """
    facts = load_data_facts(run_folder)
    cuts = facts["stage_cuts"]
    parts = [
        evaluation.case_errors(run_folder, model, "age", split) for split in ("calibration", "test")
    ]
    pool = pd.concat(parts, ignore_index=True)
    random, told = np.random.default_rng(SEED), []
    for redraw in range(redraws):
        order = random.permutation(len(pool))
        drawn, rest = pool.iloc[order[: len(parts[0])]], pool.iloc[order[len(parts[0]) :]]
        fitted = intervals.fit(drawn["predicted_months"], drawn["age_months"], drawn["sex"], cuts)
        limits = intervals.ends(fitted, rest["predicted_months"], rest["sex"], kind, level)
        for group, chosen in _redrawn_groups(rest, facts["stage_names"]).items():
            share = float(intervals.inside(limits, rest["age_months"])[chosen].mean())
            told.append((redraw, group, int(chosen.sum()), share))
    return pd.DataFrame(told, columns=["redraw", "group", "n", "coverage"])


def _redrawn_groups(rows: pd.DataFrame, stage_names: list[str]) -> dict[str, np.ndarray]:
    by_sex = {sex: (rows["sex"] == sex).to_numpy() for sex in intervals.SEXES}
    stage = rows["predicted_stage"].to_numpy(float, na_value=np.nan)
    by_stage = {
        f"{sex}, {stage_names[int(number)]}": chosen & (stage == number)
        for sex, chosen in by_sex.items()
        for number in np.unique(stage[np.isfinite(stage)])
    }
    every = {ALL: np.ones(len(rows), bool)} | by_sex | by_stage
    return {name: chosen for name, chosen in every.items() if chosen.any()}
