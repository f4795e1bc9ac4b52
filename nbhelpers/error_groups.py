"""Which groups of cases a model errs on more than on all others, and how many it learnt from.

Groups are compared on different cases, so both sides are resampled independently. A difference
between groups is no cause: groups differ in age, and errors grow with it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from nbhelpers import evaluation, metrics, paired, subgroups
from nbhelpers.cases import load_data_facts
from nbhelpers.subgroups import FEWEST

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
    """TEST_COLUMNS: the MAE of each group of `subgroups.fine_groups` minus that of all others.

    `value` in months, above 0 where the group is worse, with its 95 % bootstrap interval. `p` is
    two-sided, by permutation (see `permutation_p`), and the one to go by in small groups, where the
    interval is a little narrow; `p_holm` is corrected for the number of groups tested, which Holm's
    method allows however they overlap. Where the group or the others are less than `FEWEST` cases,
    `too_few` is true, the figures are NaN and the group is not tested.
    """
    rows = evaluation.case_errors(run_folder, model, "age", split)
    error = rows["error_months"].abs().to_numpy(float)
    of = subgroups.fine_groups(rows, load_data_facts(run_folder)["stage_names"])
    of.pop(subgroups.ALL)
    told = [_against_others(error, chosen) for chosen in of.values()]
    columns = ["n", "n_others", "value", "lower", "upper", "too_few"]
    table = pd.DataFrame(told, columns=columns).assign(group=list(of), model=model, split=split)
    tested = ~table["too_few"].to_numpy(bool)
    members = np.array(list(of.values()), bool).reshape(len(of), len(error))[tested]
    p = permutation_p(error, members)
    table[["p", "p_holm"]] = np.nan
    table.loc[tested, "p"], table.loc[tested, "p_holm"] = p, paired.holm(p)
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
    share; `n`, `mae` (months) and its 95 % interval are of `errors`, as `evaluation.case_errors`
    gives them for ages. The error is NaN where `n` is less than `FEWEST`.
    """
    return _balance(cases, errors, lambda rows: subgroups.groups(rows) | subgroups.sex_bands(rows))


def balance_correlation(cases: pd.DataFrame, errors: pd.DataFrame) -> dict[str, float | int]:
    """Spearman's rank correlation, over sex by age bands, of cases in train with MAE.

    Below 0, groups with more cases are told better. Gives `n_groups`, `value` and `p` (two-sided,
    by permuting groups); NaN for less than `FEWEST_GROUPS` groups, or where all are alike. Groups
    are few and differ in age as well as in number: a correlation is no effect of their number.
    """
    table = _balance(cases, errors, subgroups.sex_bands).dropna(subset="mae")
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
