"""Which ossification regions a network looks at in the young, and which later.

A reader goes by the carpals in small children and by the epiphyses of fingers and forearm later.
"""

import numpy as np
import pandas as pd
from scipy import stats

from nbhelpers.localisation import FEWEST, TOO_FEW
from nbhelpers.voc_files import REGIONS

COLUMNS = ["region", "n", "value", "lower", "upper", "note"]
Z = stats.norm.ppf(0.975)


def trend_by_age(table: pd.DataFrame, age_months: pd.Series) -> pd.DataFrame:
    """COLUMNS: how the share of a map on each region goes with age, over the region's own share.

    `value` is Spearman's correlation of a case's `ratio` with its age, with its 95 % interval
    (Bonett and Wright, Psychometrika 2000;65:23-28): below 0, the region counts more in the young.
    With less than `localisation.FEWEST` cases, or one age or ratio alone, a region has no value
    and its note says "too few".

    Args:
        table: of `localisation.localise`, of one network.
        age_months: by case id.
    """
    rows = []
    for region in REGIONS:
        own = table[(table["region"] == region) & table["ratio"].notna()]
        age = age_months.reindex(own["case_id"]).to_numpy(float)
        rows.append((region, *_correlation(age, own["ratio"].to_numpy(float))))
    return pd.DataFrame(rows, columns=COLUMNS)


def _correlation(age: np.ndarray, ratio: np.ndarray) -> tuple[int, float, float, float, str]:
    known = np.isfinite(age) & np.isfinite(ratio)
    age, ratio = age[known], ratio[known]
    n = len(age)
    if n < FEWEST or np.ptp(age) == 0 or np.ptp(ratio) == 0:
        return n, np.nan, np.nan, np.nan, TOO_FEW
    value = float(stats.spearmanr(age, ratio).statistic)
    # Fisher's transform, with a standard error for ranks; at a perfect correlation it has no end.
    held = np.clip(value, -0.9999, 0.9999)
    away = Z * np.sqrt((1 + held**2 / 2) / (n - 3))
    lower, upper = np.tanh(np.arctanh(held) + np.array([-away, away]))
    return n, value, float(lower), float(upper), ""
