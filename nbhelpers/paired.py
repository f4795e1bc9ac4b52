"""Two models on the same cases: the difference of their scores, its interval and its p value.

A resample draws the same cases for both, so what makes a case hard for both cancels out.
"""

import numpy as np

from nbhelpers.metrics import STAGES, finite_pair, interval, resamples, stage_pair, stage_scores


def compare_errors(errors_a: np.ndarray, errors_b: np.ndarray) -> dict[str, float | int]:
    """Paired difference of two mean errors on the same cases, a minus b: below 0, a is better.

    Errors [n] each: absolute months, or 0 and 1 for right and wrong. Gives n, value, lower, upper
    and p (two-sided, for a difference of 0).
    """
    a, b = finite_pair(errors_a, errors_b)
    difference = a - b
    drawn = np.concatenate([draws @ difference / len(a) for _, draws in resamples(len(a))])
    return _told(len(a), float(difference.mean()), drawn)


def compare_kappa(
    true_stage: np.ndarray, stage_a: np.ndarray, stage_b: np.ndarray
) -> dict[str, float | int]:
    """Paired difference of two quadratic weighted kappas, a minus b: above 0, a is better.

    Stages 0..4, [n] each. Gives n, value, lower, upper and p.
    """
    of_cell = np.eye(STAGES**2)
    cells = []
    for predicted in (stage_a, stage_b):
        truth, stage = stage_pair(true_stage, predicted)
        cells.append(of_cell[truth * STAGES + stage])
    drawn = np.concatenate(
        [
            np.subtract(*(stage_scores(draws @ one)["qwk"] for one in cells))
            for _, draws in resamples(len(cells[0]))
        ]
    )
    point = [stage_scores(one.sum(axis=0, keepdims=True))["qwk"][0] for one in cells]
    return _told(len(cells[0]), float(point[0] - point[1]), drawn)


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


def _told(n: int, value: float, drawn: np.ndarray) -> dict[str, float | int]:
    lower, upper = interval(drawn)
    defined = drawn[~np.isnan(drawn)]
    # One more on either side: no number of resamples makes a difference certain.
    beyond = min((defined <= 0).sum(), (defined >= 0).sum()) + 1
    p = min(1.0, 2 * beyond / (len(defined) + 1))
    return {"n": n, "value": value, "lower": lower, "upper": upper, "p": float(p)}
