"""How far other radiographs lie from those that the models saw, and what becomes of their months.

Pictures are compared by a few plain statistics of the prepared picture, so that a reader can see
what differs: a brighter film, a softer one, an empty frame. A picture is called outside where it
lies further from the middle of the training pictures than 99 % of those do (Mahalanobis distance).
"""

import cv2
import numpy as np
import pandas as pd
from sklearn.covariance import EmpiricalCovariance

from nbhelpers import metrics

STATISTICS = {
    "brightness": "mean grey level, 0 to 255",
    "contrast": "standard deviation of grey levels",
    "sharpness": "logarithm of the Laplacian's variance",
    "black": "share of pixels of grey level 0 to 4",
    "white": "share of pixels of grey level 251 to 255",
}
TRAINING_SAMPLE = 2000  # pictures of train that are looked at
RANGE = (0.5, 99.5)  # percentiles of train that a single statistic is compared with
OUTSIDE = 0.99  # of the training pictures lie nearer
WARN_SHARE = 0.05  # of a set's pictures outside from which its page warns
SEED = 0


def statistics(images: np.ndarray, rows: np.ndarray | None = None) -> pd.DataFrame:
    """`STATISTICS` of prepared pictures uint8 `[n, height, width]`, or of some rows of them."""
    chosen = range(len(images)) if rows is None else rows
    told = [_of_picture(np.asarray(images[row])) for row in chosen]
    return pd.DataFrame(told, columns=list(STATISTICS))


def training_sample(cases: pd.DataFrame) -> np.ndarray:
    """Row numbers of at most `TRAINING_SAMPLE` cases of train, drawn at random, in order."""
    train = np.flatnonzero((cases["split"] == "train").to_numpy())
    random = np.random.default_rng(SEED)
    return np.sort(random.choice(train, min(TRAINING_SAMPLE, len(train)), replace=False))


def outside(train: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Whether each picture `[n]` lies outside what the models saw; tables of `statistics`."""
    middle, spread = train.mean(), train.std().replace(0, 1.0)
    fitted = EmpiricalCovariance().fit((train - middle) / spread)
    limit = np.quantile(fitted.mahalanobis((train - middle) / spread), OUTSIDE)
    return fitted.mahalanobis((other - middle) / spread) > limit


def compare(train: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """A row a statistic: medians, their difference in training SDs, and the share out of range.

    1 % of the training pictures are out of range.
    """
    low, high = np.percentile(train, RANGE, axis=0)
    return pd.DataFrame(
        {
            "what": STATISTICS,
            "median of train": train.median(),
            "median here": other.median(),
            "difference, SD": (other.median() - train.median()) / train.std().replace(0, 1.0),
            "out of range, %": 100 * ((other < low) | (other > high)).mean(),
        }
    )


def calibration(truth: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Whether months mean here what they mean on the test split: metric, n, value, lower, upper.

    `signed_error` is predicted minus true, months; `slope` of true on predicted months: below 1,
    differences between predictions are too large (Van Calster et al., BMC Med 2019;17:230).
    """
    truth, predicted = metrics.finite_pair(truth, predicted)
    rows = [("signed_error", *metrics.score_mean(predicted - truth))]
    x, y = predicted - predicted.mean(), truth - truth.mean()
    columns = np.column_stack([x, y, x * y, x * x])
    drawn = [_slope(draws @ columns / len(x)) for _, draws in metrics.resamples(len(x))]
    value = _slope(columns.mean(axis=0, keepdims=True))[0]
    rows.append(("slope", len(x), float(value), *metrics.interval(np.concatenate(drawn))))
    return pd.DataFrame(rows, columns=["metric", "n", "value", "lower", "upper"])


def _slope(means: np.ndarray) -> np.ndarray:
    x, y, xy, xx = means.T
    spread = xx - x**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-9, (xy - x * y) / spread, np.nan)


def _of_picture(picture: np.ndarray) -> tuple[float, ...]:
    sharpness = np.log1p(cv2.Laplacian(picture, cv2.CV_32F).var())
    black, white = (picture < 5).mean(), (picture > 250).mean()
    return float(picture.mean()), float(picture.std()), float(sharpness), float(black), float(white)
