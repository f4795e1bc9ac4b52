"""Scores of ages and of stages, each with a bootstrap interval.

Intervals are 95 % percentile intervals over 2,000 resamples of the cases, seeded, so a score is the
same in every file that quotes it; shares of the cases have Wilson's. A resample is kept as the
number of times it draws each case: means then are one matrix product. A value that is not defined
(recall of a class that no case has, R2 where all ages are equal) is NaN here and null in files,
never 0.

An interval of no width is NaN: where all resamples give one value, as with a single case or where
every case is right, they do not tell how sure it is.

Two models on the same cases: the difference of their scores, its interval and its p value. A
resample draws the same cases for both, so what makes a case hard for both cancels out. The
difference of each is divided by its own standard error (the symmetric bootstrap-t of Hall, J R Stat
Soc B 1988;50:35-45), so that interval and p agree.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

RESAMPLES = 2000
RESAMPLES_AT_ONCE = 200
SEED = 20171026
LEVEL = 0.95
# An interval is given only if the score is defined in this share of the resamples.
DEFINED = 0.9
STAGES = 5
GRADES = np.arange(STAGES)
WEIGHTS = (GRADES[:, None] - GRADES) ** 2  # of disagreements in kappa
WITHIN_MONTHS = (6, 12, 24)
SHARES = ("accuracy", *(f"within_{limit}" for limit in WITHIN_MONTHS))
LOWER_IS_BETTER = ("mae", "mse", "rmse", "median_error")


def score_ages(true_months: np.ndarray, predicted_months: np.ndarray) -> pd.DataFrame:
    """mae, mse, rmse, r2, median_error and within_6, within_12, within_24 (shares, 0..1).

    Months, [n] each. Rows: metric, n, value, lower, upper. Predictions on a limit count as within.
    """
    truth, predicted = finite_pair(true_months, predicted_months)
    error = predicted - truth
    # Ages are centred, so that their variance is exact as a difference of moments.
    centred = truth - truth.mean()
    absolute = np.abs(error)
    within = [absolute <= limit for limit in WITHIN_MONTHS]
    columns = np.column_stack([absolute, error**2, centred, centred**2, *within]).astype(float)
    point = _age_scores(columns.mean(axis=0, keepdims=True), absolute[None])
    resampled = [
        _age_scores(draws @ columns / len(truth), absolute[chosen])
        for chosen, draws in resamples(len(truth))
    ]
    return _table(point, resampled, len(truth))


def _age_scores(means: np.ndarray, absolute: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of many resamples: means [resamples, columns], absolute errors [resamples, n]."""
    mae, mse, age, age_squared, *within = means.T
    variance = age_squared - age**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 1e-9, 1 - mse / variance, np.nan)
    scores = {"mae": mae, "mse": mse, "rmse": np.sqrt(mse), "r2": r2}
    scores["median_error"] = np.median(absolute, axis=1)
    return scores | {f"within_{limit}": w for limit, w in zip(WITHIN_MONTHS, within, strict=True)}


def score_stages(true_stage: np.ndarray, predicted_stage: np.ndarray) -> pd.DataFrame:
    """accuracy, qwk, macro precision, recall and F1, and the three of each class 0..4.

    Stages 0..4, [n] each. Rows: metric, n, value, lower, upper; classes are `recall_0` and so on.
    Macro means run over the classes that occur in truth or prediction, and a class that is never
    predicted counts there with precision 0, as in scikit-learn; its own row is null.
    """
    truth, predicted = stage_pair(true_stage, predicted_stage)
    cells = np.eye(STAGES**2)[truth * STAGES + predicted]
    point = stage_scores(cells.sum(axis=0, keepdims=True))
    resampled = [stage_scores(draws @ cells) for _, draws in resamples(len(truth))]
    return _table(point, resampled, len(truth))


def score_mean(values: np.ndarray) -> tuple[int, float, float, float]:
    """n, the mean of values [n] and its 95 % bootstrap interval."""
    values = np.asarray(values, float)
    drawn = np.concatenate([draws @ values / len(values) for _, draws in resamples(len(values))])
    return len(values), float(values.mean()), *interval(drawn)


def score_share(happened: np.ndarray) -> tuple[int, float, float, float]:
    """n, the share of cases [n] for which something is true, and its 95 % interval.

    Wilson's (J Am Stat Assoc 1927;22:209-212): a share may be 0 or 1, where resampling sees none.
    """
    from scipy.stats import binomtest  # it takes a second, and most of what needs scores does not

    n, count = len(happened), int(np.sum(happened))
    found = binomtest(count, n).proportion_ci(LEVEL, "wilson")
    return n, count / n, float(found.low), float(found.high)


def score_enough(
    values: np.ndarray, fewest: int, score: Callable[[np.ndarray], tuple] = score_mean
) -> tuple[int, float, float, float]:
    """What `score` gives of values [n]; of less than `fewest` n alone, and NaN."""
    return score(values) if len(values) >= fewest else (len(values), np.nan, np.nan, np.nan)


def score_seeds(
    task: str, truth: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The score of each of several fits that differ in the seed, and how sure their mean is.

    Cases and seeds are resampled, each by itself (Owen, The pigeonhole bootstrap, Ann Appl Stat
    2007;1:386-411); of few seeds the interval is rough.

    Args:
        task: `age`, scored by the mean absolute error, or `stage`, by quadratic weighted kappa.
        truth: months or stages `[n]`.
        predicted: months or stages `[seed, n]`.

    Returns:
        Scores `[seed]`; the 95 % interval of their mean.
    """

    def of(draws: np.ndarray, said: np.ndarray) -> np.ndarray:
        if task == "age":
            return draws @ np.abs(said - truth) / len(truth)
        return stage_scores(draws @ np.eye(STAGES**2)[truth * STAGES + said])["qwk"]

    random, means = np.random.default_rng(SEED + 1), []
    for _, draws in resamples(len(truth)):
        scores = np.column_stack([of(draws, said) for said in predicted])
        seeds = random.integers(0, len(predicted), scores.shape)
        means.append(np.take_along_axis(scores, seeds, axis=1).mean(axis=1))
    each = np.concatenate([of(np.ones((1, len(truth))), said) for said in predicted])
    return each, *interval(np.concatenate(means))


def score_slope(x: np.ndarray, y: np.ndarray) -> tuple[int, float, float, float]:
    """n, the slope of y [n] on x [n] by least squares and its 95 % bootstrap interval.

    NaN where all of x or all of y are alike: a range of one value has no slope.
    """
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return len(x), np.nan, np.nan, np.nan
    # Centred, so that variances are exact as differences of moments.
    x, y = x - x.mean(), y - y.mean()
    columns = np.column_stack([x, y, x * y, x * x])
    value = _slope(columns.mean(axis=0, keepdims=True))[0]
    drawn = [_slope(draws @ columns / len(x)) for _, draws in resamples(len(x))]
    return len(x), float(value), *interval(np.concatenate(drawn))


def _slope(means: np.ndarray) -> np.ndarray:
    x, y, xy, xx = means.T
    spread = xx - x**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-9, (xy - x * y) / spread, np.nan)


def confusion(true_stage: np.ndarray, predicted_stage: np.ndarray) -> np.ndarray:
    """Counts [5, 5]: row the true stage, column the predicted one."""
    truth, predicted = stage_pair(true_stage, predicted_stage)
    return np.bincount(truth * STAGES + predicted, minlength=STAGES**2).reshape(STAGES, STAGES)


def stage_scores(cells: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of many confusion matrices at once: counts [resamples, 25]."""
    counts = cells.reshape(-1, STAGES, STAGES)
    total = counts.sum(axis=(1, 2))
    right = np.diagonal(counts, axis1=1, axis2=2)
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    kappa, _ = _kappa(counts / total[:, None, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_class = {
            "precision": np.where(predicted > 0, right / predicted, np.nan),
            "recall": np.where(true > 0, right / true, np.nan),
            "f1": np.where(true + predicted > 0, 2 * right / (true + predicted), np.nan),
        }
    occurs = true + predicted > 0
    scores = {"accuracy": right.sum(axis=1) / total, "qwk": kappa}
    for name, values in by_class.items():
        summed = np.where(occurs, np.nan_to_num(values), 0).sum(axis=1)
        scores[f"macro_{name}"] = summed / occurs.sum(axis=1)
    for name, values in by_class.items():
        scores |= {f"{name}_{stage}": values[:, stage] for stage in range(STAGES)}
    return scores


def _kappa(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quadratic weighted kappa `[r]` of shares of cases `[r, 5, 5]`; NaN without chance to err.

    And how far a case of each cell pulls it, `[r, 5, 5]`: the influence function, whose variance
    over the cases, divided by their number, is kappa's.
    """
    true, predicted = share.sum(axis=2), share.sum(axis=1)
    observed = (share * WEIGHTS).sum(axis=(1, 2), keepdims=True)
    chance = np.einsum("ri,rj,ij->r", true, predicted, WEIGHTS)[:, None, None]
    of_chance = (predicted @ WEIGHTS)[:, :, None] + (true @ WEIGHTS)[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(chance > 0, 1 - observed / chance, np.nan)
        return kappa[:, 0, 0], (observed * (of_chance / chance - 1) - WEIGHTS) / chance


def resamples(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of resamples: the rows drawn and how often each row was drawn, [block, n] each."""
    random = np.random.default_rng(SEED)
    for block in blocks():
        chosen = random.integers(0, n, size=(block, n))
        flat = (chosen + n * np.arange(block)[:, None]).ravel()
        yield chosen, np.bincount(flat, minlength=block * n).reshape(block, n).astype(float)


def blocks() -> list[int]:
    """How many resamples are kept in memory at a time; they sum to `RESAMPLES`."""
    starts = range(0, RESAMPLES, RESAMPLES_AT_ONCE)
    return [min(RESAMPLES_AT_ONCE, RESAMPLES - start) for start in starts]


def _table(point: dict, resampled: list[dict], n: int) -> pd.DataFrame:
    rows = []
    for metric, value in point.items():
        lower, upper = interval(np.concatenate([block[metric] for block in resampled]))
        if np.isnan(value[0]):
            lower = upper = np.nan
        elif metric in SHARES and n > 1:
            lower, upper = score_share(np.arange(n) < round(value[0] * n))[2:]
        rows.append((metric, n, float(value[0]), lower, upper))
    return pd.DataFrame(rows, columns=["metric", "n", "value", "lower", "upper"])


def interval(values: np.ndarray) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) < DEFINED * len(values):
        return np.nan, np.nan
    lower, upper = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (float(lower), float(upper)) if upper - lower > 1e-9 else (np.nan, np.nan)


def finite_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"Scores need two arrays of one length, not {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Scores need numbers: a value is missing or not finite.")
    return a, b


def stage_pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = finite_pair(a, b)
    if not np.isin([a, b], GRADES).all():
        raise ValueError(f"Stages are whole numbers 0 to {STAGES - 1}.")
    return a.astype(int), b.astype(int)


def compare_errors(errors_a: np.ndarray, errors_b: np.ndarray) -> dict[str, float | int]:
    """Paired difference of two mean errors on the same cases, a minus b: below 0, a is better.

    Errors [n] each: absolute months, or 0 and 1 for right and wrong. Gives n, value, lower, upper
    and p (two-sided, for a difference of 0).
    """
    a, b = finite_pair(errors_a, errors_b)
    centre = (a - b).mean()
    # Centred, so that the variance is exact as a difference of moments.
    moments = np.column_stack([a - b - centre, (a - b - centre) ** 2]) / len(a)

    def estimate(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, square = (draws @ moments).T
        # Less than rounding leaves of two equal moments is no spread.
        return centre + mean, np.sqrt(np.maximum((1 - 1e-12) * square - mean**2, 0))

    return _compared(len(a), estimate)


def compare_kappa(
    true_stage: np.ndarray, stage_a: np.ndarray, stage_b: np.ndarray
) -> dict[str, float | int]:
    """Paired difference of two quadratic weighted kappas, a minus b: above 0, a is better.

    Stages 0..4, [n] each. Gives n, value, lower, upper and p.
    """
    truth, a = stage_pair(true_stage, stage_a)
    _, b = stage_pair(true_stage, stage_b)
    cells = np.eye(STAGES**3)[(truth * STAGES + a) * STAGES + b] / len(truth)

    def estimate(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        share = (draws @ cells).reshape(-1, STAGES, STAGES, STAGES)
        (of_a, pull_a), (of_b, pull_b) = _kappa(share.sum(axis=3)), _kappa(share.sum(axis=2))
        pull = pull_a[:, :, :, None] - pull_b[:, :, None, :]
        return of_a - of_b, np.sqrt((share * pull**2).sum(axis=(1, 2, 3)))

    return _compared(len(truth), estimate)


def compare(
    task: str, truth: np.ndarray, predicted_a: np.ndarray, predicted_b: np.ndarray
) -> dict[str, float | int]:
    """`compare_errors` of months `[n]`, or `compare_kappa` of stages `[n]`."""
    if task == "stage":
        return compare_kappa(truth, predicted_a, predicted_b)
    return compare_errors(abs(predicted_a - truth), abs(predicted_b - truth))


def holm(p: np.ndarray) -> np.ndarray:
    """P values [n] corrected for their number (Holm, Scand J Statist 1979;6:65-70).

    The smallest times n, the next times n - 1, and so on; never below one before, at most 1.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    raised = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return corrected


def _compared(n: int, estimate: Callable) -> dict[str, float | int]:
    """A difference with its interval and p; NaN of a single case, or where it is not defined.

    `estimate` gives the difference and its spread over the cases, out of how often each is drawn.
    """
    (value,), (spread,) = estimate(np.ones((1, n)))
    drawn = [estimate(draws) for _, draws in resamples(n)]
    values, spreads = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    lower = upper = p = np.nan
    if n > 1 and not np.isnan(value):
        ratio = _over(abs(values - value), spreads)
        half = spread * np.quantile(ratio, LEVEL, method="higher") if spread > 0 else 0.0
        lower, upper = (value - half, value + half) if half < np.inf else (np.nan, np.nan)
        # One more on either side: no number of resamples makes a difference certain.
        beyond = (ratio >= _over(abs(value), spread)).sum() + 1
        p = beyond / (len(ratio) + 1)
    told = {"value": value, "lower": lower, "upper": upper, "p": p}
    return {"n": n} | {name: float(of) for name, of in told.items()}


def _over(distance: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Distances in spreads; infinite where there is no spread, or where they are not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance < 1e-12, 0.0, distance / np.where(spread < 1e-12, 0, spread))
    return np.where(np.isnan(ratio), np.inf, ratio)
