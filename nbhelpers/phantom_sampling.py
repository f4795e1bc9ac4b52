"""Who is on the synthetic radiographs: sex, true bone age, and the label that a reader gives."""

import math

import numpy as np

from nbhelpers.phantom_growth import grow_child

FIRST_ID = 1001
# As in the RSNA training set: share of boys, quantiles of bone age in months.
BOYS = 0.542
AGE_SHARES = (
    0,
    0.002,
    0.01,
    0.025,
    0.05,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
    0.99,
    1,
)
AGE_QUANTILES = {
    "male": (1, 14, 25, 38, 53, 71, 97, 120, 135, 147, 154, 160, 167, 180, 194, 214, 228),
    "female": (3, 13, 24, 34, 49, 67, 85, 97, 109, 121, 131, 140, 150, 163, 176, 195, 216),
}
OLDEST = 228
# One reader's SD in months, reached at 8 years; it falls in proportion below that (Martin 2022).
RATER_SD = 7.0
RATER_SD_FULL_AGE = 96.0
# Shares of labels that a reader rounds to years, to half-years, not at all: 57.9 % of the labels
# are then multiples of 12 and 80.6 % of 6, as in the RSNA set.
ROUNDING = {12: 0.352, 6: 0.415, 1: 0.233}


def draw_case(seed: int, number: int) -> dict:
    """Sex, true age and label of case `number`; `drawing` is the seed of its radiograph."""
    rng = np.random.default_rng([seed, number])
    sex = "male" if rng.random() < BOYS else "female"
    age = round(float(np.interp(rng.random(), AGE_SHARES, AGE_QUANTILES[sex])), 3)
    read = age + rng.normal() * RATER_SD * min(age / RATER_SD_FULL_AGE, 1.0)
    grid = int(rng.choice(list(ROUNDING), p=list(ROUNDING.values())))
    if age < 24:
        grid = {12: 6, 6: 3, 1: 1}[grid]
    label = int(np.clip(grid * math.floor(read / grid + 0.5), 1, OLDEST))
    drawing = int(rng.integers(2**31))
    length = grow_child(np.random.default_rng(drawing), sex, age).hand_length_mm
    return {
        "id": FIRST_ID + number,
        "sex": sex,
        "label_months": label,
        "true_age_months": age,
        "rater_error_months": round(read - age, 3),
        "hand_length_mm": round(length, 2),
        "drawing": drawing,
    }
