"""Agreement of predicted and true months: mean difference, limits, regression to the mean.

Bland & Altman, Lancet 1986;i:307-310. Their limits take differences to be Normal with one spread at
all ages: a figure of the differences must be looked at too.
"""

import numpy as np
import pandas as pd
from scipy import stats

from nbhelpers import metrics
from nbhelpers.evaluation.scores import FEWEST

COLUMNS = ["metric", "n", "value", "lower", "upper"]
WIDTH = 1.96  # standard deviations from the mean difference that hold 95 % of a Normal
DIFFERENCES = ("mean_difference", "sd", "lower_limit", "upper_limit")
SLOPES = ("on_mean", "on_truth", "on_predicted")


def bland_altman(true_months: np.ndarray, predicted_months: np.ndarray) -> pd.DataFrame:
    """COLUMNS of `DIFFERENCES` (predicted minus true), months, with 95 % intervals.

    The limits lie 1.96 SD to either side of the mean difference. Intervals are theirs: t of n - 1
    degrees of freedom times SD / sqrt(n) for the mean and sqrt(3) times that for a limit; of the
    SD, by chi squared. Months `[n]` each; NaN for less than `FEWEST` cases.
    """
    n = len(true_months)
    if n < FEWEST:
        return _too_few(DIFFERENCES, n)
    truth, predicted = metrics.finite_pair(true_months, predicted_months)
    difference = predicted - truth
    mean, sd = float(difference.mean()), float(difference.std(ddof=1))
    tails = (1 - metrics.LEVEL) / 2, (1 + metrics.LEVEL) / 2
    of_mean = stats.t.ppf(tails[1], n - 1) * sd / np.sqrt(n)
    of_limit = np.sqrt(3) * of_mean
    of_sd = sd * np.sqrt((n - 1) / stats.chi2.ppf(tails[::-1], n - 1))
    told = [(mean, mean - of_mean, mean + of_mean), (sd, *of_sd)]
    limits = mean - WIDTH * sd, mean + WIDTH * sd
    told += [(limit, limit - of_limit, limit + of_limit) for limit in limits]
    rows = [(name, n, *map(float, row)) for name, row in zip(DIFFERENCES, told, strict=True)]
    return pd.DataFrame(rows, columns=COLUMNS)


def error_slopes(true_months: np.ndarray, predicted_months: np.ndarray) -> pd.DataFrame:
    """COLUMNS of `SLOPES`: of the error (predicted minus true) on months, in months a month.

    `on_truth` is below 0 even for the best model. Who cannot know the age from the picture does
    best to predict the mean age of children who look so; old children are then told too young and
    young ones too old, by R2 - 1 a month. Noise of the reading in the label adds to it, since the
    label is in the error with a minus sign. `on_mean`, on (true + predicted) / 2, is 0 where both
    spread alike (Bland & Altman, Lancet 1995;346:1085-1087), so below 0 for that model too, by
    about half as much. `on_predicted` is the one that is 0 for it: elsewhere, months need
    recalibration. A slope on truth or mean tells how far extremes are drawn in, not that the model
    could be repaired.

    Intervals are 95 % bootstrap intervals over cases. Months `[n]` each; NaN for less than `FEWEST`
    cases, and where all months are alike.
    """
    n = len(true_months)
    if n < FEWEST:
        return _too_few(SLOPES, n)
    truth, predicted = metrics.finite_pair(true_months, predicted_months)
    against = dict(zip(SLOPES, ((truth + predicted) / 2, truth, predicted), strict=True))
    told = [(name, *metrics.score_slope(x, predicted - truth)) for name, x in against.items()]
    return pd.DataFrame(told, columns=COLUMNS)


def _too_few(names: tuple[str, ...], n: int) -> pd.DataFrame:
    return pd.DataFrame([(name, n, *[np.nan] * 3) for name in names], columns=COLUMNS)
