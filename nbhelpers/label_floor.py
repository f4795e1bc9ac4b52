"""How small an error the labels themselves allow: one reader's noise, and rounding.

A label is one reading, rounded. A model that knew each child's bone age exactly would still differ
from it, by what the reader was off and by what was rounded away.
"""

import numpy as np

RATER_SD_MONTHS = 0.58 * 12  # of one rater (Martin 2022)
DRAWS = 200_000
SEED = 0


def rounding_shares(age_months: np.ndarray) -> dict[int, float]:
    """Which share of the labels seems rounded to 12, 6 and 1 months, out of their remainders.

    Labels that fall on a year or half a year by chance, as one in 12 and one in 6 would, are taken
    off again.
    """
    whole = np.round(np.asarray(age_months, float)).astype(int)
    on_year, on_half = (whole % 12 == 0).mean(), (whole % 12 == 6).mean()
    # With a, b and c the shares rounded to 12, 6 and 1 months: on half a year fall b / 2 + c / 12,
    # on a year a + b / 2 + c / 12, elsewhere 10 c / 12.
    to_month = min(1.0, (1 - on_year - on_half) * 12 / 10)
    to_half = min(1.0 - to_month, max(0.0, 2 * (on_half - to_month / 12)))
    return {12: max(0.0, 1 - to_month - to_half), 6: to_half, 1: to_month}


def smallest_error(age_months: np.ndarray, rater_sd_months: float = RATER_SD_MONTHS) -> dict:
    """Mean absolute error of a model that knows the truth, months: `rounding`, `rater`, `both`.

    Simulated: a true age, a reading with the rater's normal error, rounded as often as the labels
    `[n]` are. The rater's error is taken as independent of the child; where raters agree with
    each other in their error, the floor is higher than what a model can be held to.
    """
    shares = rounding_shares(age_months)
    random = np.random.default_rng(SEED)
    truth = random.uniform(24, 204, DRAWS)
    steps = random.choice(list(shares), DRAWS, p=list(shares.values()))
    noise = random.normal(0, rater_sd_months, DRAWS)

    def error(reading: np.ndarray) -> float:
        return float(np.abs(reading - truth).mean())

    def rounded(reading: np.ndarray) -> np.ndarray:
        return np.round(reading / steps) * steps

    return {
        "rounding": error(rounded(truth)),
        "rater": error(truth + noise),
        "both": error(rounded(truth + noise)),
    }
