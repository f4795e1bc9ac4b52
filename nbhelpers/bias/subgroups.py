"""Scores of a model by group of cases: for whom it errs.

Groups overlap: every case is in several.

Which groups of cases a model errs on more than on all others, and how many it learnt from.

Groups are compared on different cases, so both sides are resampled independently. A difference
between groups is no cause: groups differ in age, and errors grow with it.

How far a model's errors differ between girls and boys: raw, standardised for age, equivalent?

Girls and boys of a set differ in age, and errors grow with age, so a raw gap may be one of age.
Direct standardisation gives both sexes the ages of all cases together: within bands of age girls
are compared with boys, and the bands are averaged by their share of the cases.

That no gap was found does not show that there is none. Equivalence is shown where two one-sided
tests at 5 % reject that the gap is as large as a margin to either side, which is where its 90 %
interval lies within the margin (Schuirmann, J Pharmacokinet Biopharm 1987;15:657-680).
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from nbhelpers import metrics
from nbhelpers.data.cases import load_data_facts
from nbhelpers.data.stages import SEXES
from nbhelpers.evaluation import conformal, scores
from nbhelpers.evaluation.conformal import TOLD_KIND, TOLD_LEVEL
from nbhelpers.evaluation.scores import FEWEST, fine_groups, groups

SMALLEST = 2  # cases of a group that is scored
COLUMNS = ["model", "task", "split", "group", "metric", "n", "value", "lower", "upper"]
OVER_MONTHS = (12, 24)
ERROR_COLUMNS = ["model", "split", "group", "metric", "n", "value", "lower", "upper", "too_few"]


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
    rows = scores.case_errors(run_folder, model, "age", split)
    if conformal.has_intervals(run_folder, model, "age"):
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
    rows = scores.case_errors(run_folder, model, "stage", split)
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
    rows = scores.case_errors(run_folder, model, task, split)
    blocks = []
    if task == "age":
        blocks.append(_by_group(rows, _age_scores).assign(model=model, task="age"))
        model += scores.DERIVED
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
    fitted = conformal.load_intervals(run_folder, model)
    ends = conformal.ends(fitted, rows["predicted_months"], rows["sex"], TOLD_KIND, TOLD_LEVEL)
    return conformal.inside(ends, rows["age_months"])


TEST_COLUMNS = [
    "model",
    "split",
    "group",
    "n",
    "n_others",
    "value",
    "lower",
    "upper",
    "p",
    "p_holm",
    "too_few",
]
BALANCE_COLUMNS = ["group", "train", "train_share", "n", "mae", "lower", "upper"]
FEWEST_GROUPS = 3  # that a rank correlation is told of


def group_tests(run_folder: Path, model: str, split: str) -> pd.DataFrame:
    """TEST_COLUMNS: the MAE of each group of `fine_groups` minus that of all others.

    `value` in months, above 0 where the group is worse, with its 95 % bootstrap interval. `p` is
    two-sided, by permutation (see `permutation_p`), and the one to go by in small groups, where the
    interval is a little narrow; `p_holm` is corrected for the number of groups tested, which Holm's
    method allows however they overlap. Where the group or the others are less than `FEWEST` cases,
    `too_few` is true, the figures are NaN and the group is not tested.
    """
    rows = scores.case_errors(run_folder, model, "age", split)
    error = rows["error_months"].abs().to_numpy(float)
    of = scores.fine_groups(rows, load_data_facts(run_folder)["stage_names"])
    of.pop(scores.ALL)
    told = [_against_others(error, chosen) for chosen in of.values()]
    columns = ["n", "n_others", "value", "lower", "upper", "too_few"]
    table = pd.DataFrame(told, columns=columns).assign(group=list(of), model=model, split=split)
    tested = ~table["too_few"].to_numpy(bool)
    members = np.array(list(of.values()), bool).reshape(len(of), len(error))[tested]
    p = permutation_p(error, members)
    table[["p", "p_holm"]] = np.nan
    table.loc[tested, "p"], table.loc[tested, "p_holm"] = p, metrics.holm(p)
    return table[TEST_COLUMNS]


def permutation_p(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Two-sided p `[groups]` that the mean of each group is that of all others.

    The difference is divided by its standard error in every permutation, so that the test holds for
    groups that differ in spread too (Janssen, Stat Probab Lett 1997;36:9-21; Chung & Romano,
    Ann Stat 2013;41:484-507).

    Args:
        values: `[n]`.
        members: `[groups, n]`, whether a case is in a group; two and more in and out of each.
    """
    n, centred = len(values), values - values.mean()
    # A group and its complement differ by the same: both are told by the smaller of the two.
    inside = np.where(members.sum(axis=1, keepdims=True) > n / 2, ~members, members)
    sizes = inside.sum(axis=1)
    total = centred @ centred
    observed = _studentised(inside @ centred, inside @ centred**2, sizes, total, n)
    random, beyond = np.random.default_rng(metrics.SEED), np.zeros(len(sizes))
    for block in metrics.blocks():
        # Its first rows are a random group of any size, so one permutation serves all groups.
        shuffled = random.permuted(np.tile(centred, (block, 1)), axis=1)
        sums = np.cumsum(shuffled, axis=1)[:, sizes - 1]
        squares = np.cumsum(shuffled**2, axis=1)[:, sizes - 1]
        drawn = _studentised(sums, squares, sizes, total, n)
        beyond += (drawn >= observed * (1 - 1e-9)).sum(axis=0)
    # One more on either side: no number of permutations makes a difference certain.
    return (beyond + 1) / (metrics.RESAMPLES + 1)


def independent_resamples(*sizes: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks of resamples of several groups: how often each row is drawn, `[block, n]` a group.

    One generator draws all: `metrics.resamples`, called for each group, would start each from the
    same seed, and groups of like sizes would draw the same rows.
    """
    random = np.random.default_rng(metrics.SEED)
    for block in metrics.blocks():
        yield tuple(metrics.draw(random, block, n)[1] for n in sizes)


def balance_table(cases: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """BALANCE_COLUMNS, a row a sex, age band and sex by age band.

    `train` counts its cases of that split in `cases`, a whole case table, `train_share` is their
    share; `n`, `mae` (months) and its 95 % interval are of `errors`, as `scores.case_errors`
    gives them for ages. The error is NaN where `n` is less than `FEWEST`.
    """
    return _balance(cases, errors, lambda rows: scores.groups(rows) | scores.sex_bands(rows))


def balance_correlation(cases: pd.DataFrame, errors: pd.DataFrame) -> dict[str, float | int]:
    """Spearman's rank correlation, over sex by age bands, of cases in train with MAE.

    Below 0, groups with more cases are told better. Gives `n_groups`, `value` and `p` (two-sided,
    by permuting groups); NaN for less than `FEWEST_GROUPS` groups, or where all are alike. Groups
    are few and differ in age as well as in number: a correlation is no effect of their number.
    """
    table = _balance(cases, errors, scores.sex_bands).dropna(subset="mae")
    train, mae = table["train"].to_numpy(float), table["mae"].to_numpy(float)
    if len(table) < FEWEST_GROUPS or not (np.ptp(train) > 0 and np.ptp(mae) > 0):
        return {"n_groups": len(table), "value": np.nan, "p": np.nan}
    value = float(spearmanr(train, mae).statistic)
    x, y = rankdata(train), rankdata(mae)
    random = np.random.default_rng(metrics.SEED)
    shuffled = random.permuted(np.tile(y - y.mean(), (metrics.RESAMPLES, 1)), axis=1)
    drawn = shuffled @ (x - x.mean()) / (len(x) * x.std() * y.std())
    beyond = (abs(drawn) >= abs(value) - 1e-9).sum()
    return {"n_groups": len(table), "value": value, "p": float((beyond + 1) / (len(drawn) + 1))}


def _against_others(error: np.ndarray, chosen: np.ndarray) -> tuple:
    group, others = error[chosen], error[~chosen]
    sizes = len(group), len(others)
    if min(sizes) < FEWEST:
        return *sizes, np.nan, np.nan, np.nan, True
    drawn = [
        of_group @ group / len(group) - of_others @ others / len(others)
        for of_group, of_others in independent_resamples(*sizes)
    ]
    value = float(group.mean() - others.mean())
    return *sizes, value, *metrics.interval(np.concatenate(drawn)), False


def _studentised(
    sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray, total: float, n: int
) -> np.ndarray:
    """|difference of means| over its standard error (Welch), out of a group's sum and squares.

    Values are centred: those of the others sum to minus the group's; `total` is all squares.
    """
    others = n - sizes
    difference = sums / sizes + sums / others
    spread = (squares - sums**2 / sizes) / (sizes * (sizes - 1))
    spread = spread + (total - squares - sums**2 / others) / (others * (others - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = abs(difference) / np.sqrt(np.maximum(spread, 0))
    return np.where(abs(difference) < 1e-9, 0.0, ratio)


def _balance(cases: pd.DataFrame, errors: pd.DataFrame, grouping: Callable) -> pd.DataFrame:
    train = cases[cases["split"] == "train"].reset_index(drop=True)
    learnt, scored = grouping(train), grouping(errors)
    absolute = errors["error_months"].abs().to_numpy(float)
    nobody = np.zeros(len(errors), bool)
    told = []
    for group in learnt | scored:
        count = int(learnt[group].sum()) if group in learnt else 0
        of_group = absolute[scored.get(group, nobody)]
        score = (len(of_group), np.nan, np.nan, np.nan)
        if len(of_group) >= FEWEST:
            score = metrics.score_mean(of_group)
        told.append((group, count, count / max(1, len(train)), *score))
    return pd.DataFrame(told, columns=BALANCE_COLUMNS)


METRICS, ADJUSTMENTS = ("mae", "signed_error"), ("raw", "standardised")
BAND_MONTHS = 24
FEWEST_IN_BAND = 5  # cases of each sex: the mean of fewer stays put under resampling
MARGIN_MONTHS = 2.0  # well under the half year that labels are rounded to
EQUIVALENT, NOT_SHOWN, TOO_FEW = "equivalent", "not shown", "too few"
GAP_COLUMNS = [
    "metric",
    "adjustment",
    "n_female",
    "n_male",
    "value",
    "lower",
    "upper",
    "lower_90",
    "upper_90",
    "margin_months",
    "verdict",
    "bands",
    "bands_left_out",
    "cases_left_out",
]


def sex_gap(rows: pd.DataFrame, margin_months: float = MARGIN_MONTHS) -> pd.DataFrame:
    """COLUMNS, a row a metric (`mae`, `signed_error`) and adjustment (`raw`, `standardised`).

    `value` is girls minus boys, months, with 95 % and 90 % bootstrap intervals; girls and boys are
    resampled apart. `verdict`: `EQUIVALENT` to no gap within the margin, which a gap clearly off 0
    may be too; `NOT_SHOWN`; or `TOO_FEW`, less than `FEWEST` of a sex, figures NaN.

    Standardised: by `BAND_MONTHS` of true age, weighted by the cases of both sexes; bands with less
    than `FEWEST_IN_BAND` cases of a sex are left out, and counted with their cases. `n_female` and
    `n_male` are the cases compared; those of unknown sex are not.

    Args:
        rows: `sex`, `age_months` and `error_months`, as `scores.case_errors` gives them.
        margin_months: the largest gap that would not matter, above 0.
    """
    if not margin_months > 0:
        raise ValueError(f"margin_months is {margin_months}: equivalence needs a margin above 0.")
    told = []
    for metric, adjustment in itertools.product(METRICS, ADJUSTMENTS):
        by_sex = _by_sex(rows, metric, adjustment)
        compared, bands, left_out = by_sex, 1, 0
        if adjustment == "standardised":
            compared, bands, left_out = _comparable(by_sex)
        row = {"metric": metric, "adjustment": adjustment, "margin_months": margin_months}
        row |= {f"n_{sex}": len(part) for sex, part in zip(SEXES, compared, strict=True)}
        row |= {"bands": bands, "bands_left_out": left_out}
        row["cases_left_out"] = sum(map(len, by_sex)) - sum(map(len, compared))
        told.append(row | _compare(compared, margin_months))
    return pd.DataFrame(told)[GAP_COLUMNS]


def _by_sex(rows: pd.DataFrame, metric: str, adjustment: str) -> list[pd.DataFrame]:
    """`error` and `band` of the girls and of the boys; the raw gap has one band."""
    error = rows["error_months"].astype(float)
    band = rows["age_months"].astype(float) // BAND_MONTHS
    table = pd.DataFrame(
        {
            "error": error.abs() if metric == "mae" else error,
            "band": band if adjustment == "standardised" else 0.0,
        }
    )
    return [table[(rows["sex"] == sex).to_numpy()] for sex in SEXES]


def _comparable(by_sex: list[pd.DataFrame]) -> tuple[list[pd.DataFrame], int, int]:
    """The cases of bands with enough of both sexes, how many bands these are, and the others."""
    sizes = pd.concat([part["band"].value_counts() for part in by_sex], axis=1).fillna(0)
    enough = sizes.index[(sizes >= FEWEST_IN_BAND).all(axis=1)]
    kept = [part[part["band"].isin(enough)] for part in by_sex]
    return kept, len(enough), len(sizes) - len(enough)


def _compare(compared: list[pd.DataFrame], margin: float) -> dict[str, float | str]:
    ends = ("value", "lower", "upper", "lower_90", "upper_90")
    if min(map(len, compared)) < FEWEST:
        return dict.fromkeys(ends, np.nan) | {"verdict": TOO_FEW}
    bands = np.unique(compared[0]["band"])
    # Of each sex [n, 2 * bands]: in which band a case is, and its error there.
    columns = [_columns(part, bands) for part in compared]
    value = _gap(*(of_sex.sum(axis=0, keepdims=True) for of_sex in columns))[0]
    drawn = np.concatenate(
        [
            _gap(*(counts @ of_sex for counts, of_sex in zip(draws, columns, strict=True)))
            for draws in independent_resamples(*map(len, compared))
        ]
    )
    lower, upper = np.nanquantile(drawn, [0.05, 0.95])
    shown = -margin < lower and upper < margin
    told = (float(value), *metrics.interval(drawn), float(lower), float(upper))
    return dict(zip(ends, told, strict=True)) | {"verdict": EQUIVALENT if shown else NOT_SHOWN}


def _columns(part: pd.DataFrame, bands: np.ndarray) -> np.ndarray:
    inside = (part["band"].to_numpy()[:, None] == bands).astype(float)
    return np.hstack([inside, inside * part["error"].to_numpy()[:, None]])


def _gap(girls: np.ndarray, boys: np.ndarray) -> np.ndarray:
    """Girls minus boys `[resamples]`, out of the cases and sums of each band `[resamples, 2 b]`."""
    (of_girls, girls_sum), (of_boys, boys_sum) = (
        np.split(sums, 2, axis=1) for sums in (girls, boys)
    )
    # A resample may draw no girl or no boy of a small band: it does without the band.
    both = (of_girls > 0) & (of_boys > 0)
    weight = np.where(both, of_girls + of_boys, 0)
    gap = girls_sum / np.maximum(of_girls, 1) - boys_sum / np.maximum(of_boys, 1)
    with np.errstate(invalid="ignore"):
        return (weight * gap).sum(axis=1) / weight.sum(axis=1)
