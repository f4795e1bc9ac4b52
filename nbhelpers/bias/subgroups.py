"""For whom a model errs: scores by group, girls against boys.

Groups overlap: every case is in several. A difference between groups is no cause: groups differ in
age, and errors grow with it. Groups that are compared are of different cases, so both sides are
resampled independently.

Girls and boys differ in age too, so a raw gap may be one of age; notebook 07 standardises it. That
no gap was found does not show that there is none. Equivalence is shown where two one-sided tests at
5 % reject that the gap is as large as a margin to either side, which is where its 90 % interval
lies within the margin (Schuirmann, J Pharmacokinet Biopharm 1987;15:657-680).
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics
from nbhelpers.data.cases import load_data_facts
from nbhelpers.data.stages import SEXES
from nbhelpers.evaluation import conformal, scores
from nbhelpers.evaluation.scores import FEWEST, fine_groups, groups, sex_bands

SCORE = ["n", "value", "lower", "upper"]
COLUMNS = ["model", "task", "split", "group", "metric", *SCORE]
BALANCE_COLUMNS = ["group", "train", "train_share", "n", "mae", "lower", "upper"]
OVER_MONTHS = (12, 24)
METRICS, ADJUSTMENTS = ("signed_error", "mae"), ("raw", "standardised")
BAND_MONTHS = 24
FEWEST_IN_BAND = 5  # cases of each sex: the mean of fewer stays put under resampling
EQUIVALENT, UNDECIDED, NOT_SHOWN = "equivalent", "undecided", "not shown"
TOO_FEW = "too few"


def error_table(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """COLUMNS, one row per group of `fine_groups` and metric, with 95 % intervals.

    Age: `mae` and `signed_error` (predicted minus true), months, of which the second falls with
    true age for any model; `over_12` and `over_24`, shares of cases further off than that; `qwk`,
    quadratic weighted kappa of the stage that the months fall into; `coverage`, the share of ages
    inside their interval of `TOLD_KIND` and `TOLD_LEVEL`, where the model has intervals. Stage:
    `accuracy` and `qwk`; cases without a stage do not count.

    `n` counts the cases of that metric: kappa takes those with a stage alone. With fewer than
    `FEWEST` the figures are NaN. Kappa is lower in a group that spans fewer stages, so groups must
    not be ranked by it; of one true stage it is NaN.
    """
    rows = scores.case_errors(run_folder, model, task, split)
    if task == "stage":
        rows = rows[rows["stage"].notna()].reset_index(drop=True)
    elif conformal.has_intervals(run_folder, model, task):
        ends = conformal.told_ends(run_folder, model, rows["predicted_months"], rows["sex"])
        rows = rows.assign(held=conformal.inside(ends, rows["age_months"]))
    of_group = fine_groups(rows, load_data_facts(run_folder)["stage_names"])
    table = _by_group(rows, of_group, _errors if task == "age" else _right)
    return table.assign(model=model, task=task, split=split)[COLUMNS]


def scores_by_group(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """COLUMNS, one row per group of `groups` and metric, with 95 % bootstrap intervals.

    Age: `mae` and `signed_error` (predicted minus true), months, and as `<model> (derived)` those
    of the stages that months fall into. Stage: `accuracy` and `qwk`. Of fewer than `FEWEST` cases
    the figures are NaN.
    """
    rows = scores.case_errors(run_folder, model, task, split)
    blocks = []
    if task == "age":
        blocks.append(_by_group(rows, groups(rows), _months).assign(model=model, task="age"))
        model += scores.DERIVED
    rows = rows[rows["stage"].notna() & rows["predicted_stage"].notna()].reset_index(drop=True)
    blocks.append(_by_group(rows, groups(rows), _stages).assign(model=model, task="stage"))
    table = pd.concat(blocks, ignore_index=True).assign(split=split)
    return table[COLUMNS]


def _by_group(
    rows: pd.DataFrame,
    of_group: dict[str, np.ndarray],
    score: Callable[[pd.DataFrame], dict[str, tuple]],
) -> pd.DataFrame:
    """Group, metric and SCORE; `score` gives each metric's SCORE of a group's rows."""
    told = [
        (group, metric, *scored)
        for group, chosen in of_group.items()
        for metric, scored in score(rows[chosen]).items()
    ]
    table = pd.DataFrame(told, columns=["group", "metric", *SCORE])
    table.loc[table["n"] < FEWEST, SCORE[1:]] = np.nan
    return table


def _months(rows: pd.DataFrame) -> dict[str, tuple]:
    error = rows["error_months"].to_numpy(float)
    return {"mae": metrics.score_mean(abs(error)), "signed_error": metrics.score_mean(error)}


def _stages(rows: pd.DataFrame) -> dict[str, tuple]:
    table = metrics.score_stages(rows["stage"], rows["predicted_stage"])
    scored = {metric: tuple(score) for metric, *score in table.itertuples(index=False)}
    return {metric: scored[metric] for metric in ("accuracy", "qwk")}


def _errors(rows: pd.DataFrame) -> dict[str, tuple]:
    error = abs(rows["error_months"].to_numpy(float))
    scored = _months(rows)
    scored |= {f"over_{far}": metrics.score_share(error > far) for far in OVER_MONTHS}
    scored["qwk"] = _score_kappa(rows.dropna(subset=["stage", "predicted_stage"]))
    if "held" in rows:
        scored["coverage"] = metrics.score_share(rows["held"])
    return scored


def _right(rows: pd.DataFrame) -> dict[str, tuple]:
    """As `_errors`, of stages."""
    return _stages(rows) | {"qwk": _score_kappa(rows)}


def _score_kappa(rows: pd.DataFrame) -> tuple[int, float, float, float]:
    """n, quadratic weighted kappa and its interval of rows with a true and a predicted stage."""
    if rows["stage"].nunique() < 2:
        # Chance alone agrees as often as any model: the formula gives 0, however good the model.
        return len(rows), np.nan, np.nan, np.nan
    return _stages(rows)["qwk"]


def balance_table(cases: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """BALANCE_COLUMNS, one row per sex, age band and sex by age band.

    `train` counts its cases of that split in `cases`, a whole case table, `train_share` is their
    share; `n`, `mae` (months) and its 95 % interval are of `errors`, as `scores.case_errors`
    gives them for ages. The error is NaN where `n` is less than `FEWEST`.
    """
    train = cases[cases["split"] == "train"].reset_index(drop=True)
    learnt, scored = (groups(rows) | sex_bands(rows) for rows in (train, errors))
    absolute = errors["error_months"].abs().to_numpy(float)
    nobody = np.zeros(len(errors), bool)
    told = []
    for group in learnt | scored:
        count = int(learnt[group].sum()) if group in learnt else 0
        score = metrics.score_enough(absolute[scored.get(group, nobody)], FEWEST)
        told.append((group, count, count / max(1, len(train)), *score))
    return pd.DataFrame(told, columns=BALANCE_COLUMNS)


def sex_gap(
    rows: pd.DataFrame, gap: Callable[[np.ndarray, np.ndarray], float], margin_months: float
) -> pd.DataFrame:
    """One row per metric (`mae`, `signed_error`) and adjustment (`raw`, `standardised`).

    `value` is girls minus boys, months, with 95 % and 90 % bootstrap intervals; girls and boys are
    resampled apart. `verdict`: `EQUIVALENT` to no gap within the margin, which a gap clearly off 0
    may be too; `UNDECIDED`, where an end of the 90 % interval lies so near the margin that other
    resamples could decide otherwise; `NOT_SHOWN`; or `TOO_FEW`, fewer than `FEWEST` of a sex,
    figures NaN.

    Standardised: by bands of `BAND_MONTHS` of true age; raw: all ages are one band. Bands with less
    than `FEWEST_IN_BAND` cases of a sex are left out, and counted with their cases. `n_female` and
    `n_male` are the cases compared; those of unknown sex are not.

    Args:
        rows: `sex`, `age_months` and `error_months`, as `scores.case_errors` gives them.
        gap: of girls and boys, each `[cases, 2]` of band and error, girls minus boys.
        margin_months: the largest gap that would not matter, above 0.
    """
    told = []
    known = rows[rows["sex"].isin(SEXES)]
    error, age = known["error_months"].astype(float), known["age_months"].astype(float)
    for metric, adjustment in itertools.product(METRICS, ADJUSTMENTS):
        band, least = age // BAND_MONTHS, FEWEST_IN_BAND
        if adjustment == "raw":  # all ages are one band
            band, least = 0 * band, 0
        sizes = pd.crosstab(band, known["sex"]).reindex(columns=SEXES, fill_value=0)
        enough = sizes.index[(sizes >= least).all(axis=1)]
        table = np.column_stack([band, error.abs() if metric == "mae" else error])
        compared = [table[(known["sex"] == sex) & band.isin(enough)] for sex in SEXES]
        sides = {f"n_{sex}": len(part) for sex, part in zip(SEXES, compared, strict=True)}
        left_out = {"bands": len(enough), "bands_left_out": len(sizes) - len(enough)}
        left_out["cases_left_out"] = len(known) - sum(sides.values())
        named = {"metric": metric, "adjustment": adjustment}
        told.append(named | sides | _compare(*compared, gap, margin_months) | left_out)
    return pd.DataFrame(told)


def _compare(
    girls: np.ndarray, boys: np.ndarray, gap: Callable, margin: float
) -> dict[str, float | str]:
    ends = ("value", "lower", "upper", "lower_90", "upper_90")
    if min(len(girls), len(boys)) < FEWEST:
        return dict.fromkeys(ends, np.nan) | {"margin_months": margin, "verdict": TOO_FEW}
    # One generator draws both: `metrics.resamples`, called for each, would start each from the same
    # seed, and groups of like sizes would draw the same rows.
    random, gaps = np.random.default_rng(metrics.SEED), []
    for block in metrics.blocks():
        rows = [random.integers(0, len(sex), size=(block, len(sex))) for sex in (girls, boys)]
        gaps += [gap(girls[one], boys[other]) for one, other in zip(*rows, strict=True)]
    drawn = np.array(gaps)
    # A quantile of so many resamples lies within these of its own, 95 times in 100.
    near = 1.96 * np.sqrt(0.05 * 0.95 / metrics.RESAMPLES)
    ends_90 = [np.nanquantile(drawn, [0.05 + off, 0.95 - off]) for off in (0, -near, near)]
    lower, upper = ends_90[0]
    _, surely, perhaps = (-margin < low and high < margin for low, high in ends_90)
    told = (float(gap(girls, boys)), *metrics.interval(drawn), float(lower), float(upper))
    verdict = EQUIVALENT if surely else UNDECIDED if perhaps else NOT_SHOWN
    return dict(zip(ends, told, strict=True)) | {"margin_months": margin, "verdict": verdict}
