"""How far a model's errors differ between girls and boys: raw, standardised for age, equivalent?

Girls and boys of a set differ in age, and errors grow with age, so a raw gap may be one of age.
Direct standardisation gives both sexes the ages of all cases together: within bands of age girls
are compared with boys, and the bands are averaged by their share of the cases.

That no gap was found does not show that there is none. Equivalence is shown where two one-sided
tests at 5 % reject that the gap is as large as a margin to either side, which is where its 90 %
interval lies within the margin (Schuirmann, J Pharmacokinet Biopharm 1987;15:657-680).
"""

import itertools

import numpy as np
import pandas as pd

from nbhelpers import metrics
from nbhelpers.error_groups import independent_resamples
from nbhelpers.intervals import SEXES
from nbhelpers.subgroups import FEWEST

METRICS, ADJUSTMENTS = ("mae", "signed_error"), ("raw", "standardised")
BAND_MONTHS = 24
FEWEST_IN_BAND = 5  # cases of each sex: the mean of fewer stays put under resampling
MARGIN_MONTHS = 2.0  # well under the half year that labels are rounded to
EQUIVALENT, NOT_SHOWN, TOO_FEW = "equivalent", "not shown", "too few"
COLUMNS = [
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
        rows: `sex`, `age_months` and `error_months`, as `evaluation.case_errors` gives them.
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
    return pd.DataFrame(told)[COLUMNS]


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
