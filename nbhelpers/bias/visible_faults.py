"""What a person can see wrong in a radiograph or its label, as far as it can be computed.

A note explains nothing where it stands on most radiographs, so the worst cases are told beside all
others. A splint, a rotated or a diseased hand cannot be told in this way: look at the pictures.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nbhelpers.images.geometry import reduce_to
from nbhelpers.images.hand import Hand, find_hand, hand_levels
from nbhelpers.images.preparation import LOOKED_AT
from nbhelpers.images.radiograph import read_image
from nbhelpers.metrics import score_share
from nbhelpers.workspace import progress, workers

WHOLE_YEARS, HALF_YEARS = "whole years", "half years"
NO_HAND, CUT_OFF, FLAT = "no hand found", "cut off", "few grey levels"
SECOND = "another bright area"
NOTES = (WHOLE_YEARS, HALF_YEARS, NO_HAND, CUT_OFF, FLAT, SECOND)
EDGE = 3  # pixels of the small radiograph by which an outline may end before the frame does
LEAST_CUT = 0.4  # palm radii along the edge, about a finger's width: less is a corner of an outline
GAP = 0.15  # palm radii around the outline that belong to neither
GOES_ON = 0.7  # of the brightness over the background that a cut hand keeps up to the edge
SECOND_SHARE = 0.2  # of the hand's area, from which another bright area is large
LIKE_HAND = 25  # percentile of the hand's grey levels that the area must reach
FEW_LEVELS = 60  # between the dark beside the hand and its brightest bone, of 256
COLUMNS = ["note", "n_worst", "worst", "lower", "upper", "n_others", "others"]
COLUMNS += ["others_lower", "others_upper"]


def notes(cases: pd.DataFrame) -> pd.DataFrame:
    """`case_id` and whether each of NOTES stands on it, bool; a row a case, on all cores.

    - `WHOLE_YEARS`, `HALF_YEARS`: the label is a multiple of 12 months, or else of 6;
    - `NO_HAND`: none was found on the radiograph; the next three are then false;
    - `CUT_OFF`: fingers or upper palm end at the radiograph's edge, where the wrist may;
    - `FLAT`: hand and background lie within `FEW_LEVELS` grey levels;
    - `SECOND`: an area beside the hand, as bright as it and at least `SECOND_SHARE` of its size:
      glare, a bright frame, a second hand.

    cases: `case_id`, `age_months` (may be null) and `image_path`. Raises InputError naming a
    radiograph that cannot be read.
    """
    with workers(of_file) as each:
        made = each(cases["image_path"].tolist())
        seen = np.array(list(progress(made, len(cases), "radiographs looked at")), bool)
    months = cases["age_months"].to_numpy(float, na_value=np.nan)
    table = pd.DataFrame(seen.reshape(-1, 4), columns=[NO_HAND, CUT_OFF, FLAT, SECOND])
    table[WHOLE_YEARS] = months % 12 == 0
    table[HALF_YEARS] = months % 12 == 6
    return table.assign(case_id=cases["case_id"].to_numpy())[["case_id", *NOTES]]


def in_words(noted: pd.DataFrame) -> list[str]:
    """The notes of each row of `notes`, as "whole years, cut off"; empty where there is none."""
    return [", ".join(note for note in NOTES if row[note]) for _, row in noted.iterrows()]


def compare(noted: pd.DataFrame, worst: Sequence[str]) -> pd.DataFrame:
    """COLUMNS, a row a note: its share among the worst cases (ids) and among all others.

    Shares 0 to 1 with 95 % intervals (Wilson); NaN where there are no such cases.
    """
    chosen = noted["case_id"].isin(list(worst)).to_numpy()
    rows = [
        (note, *_share(noted.loc[chosen, note]), *_share(noted.loc[~chosen, note]))
        for note in NOTES
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _share(stands: pd.Series) -> tuple[int, float, float, float]:
    return score_share(stands.to_numpy(bool)) if len(stands) else (0, np.nan, np.nan, np.nan)


def of_file(path: str) -> np.ndarray:
    """`of_pixels` of a file, uint8 `[4]`."""
    return np.array(of_pixels(read_image(Path(path))), np.uint8)


def of_pixels(pixels: np.ndarray) -> tuple[bool, bool, bool, bool]:
    """NO_HAND, CUT_OFF, FLAT and SECOND of a radiograph uint8 `[height, width]`."""
    small = reduce_to(pixels, LOOKED_AT)
    hand = find_hand(small)
    if hand is None:
        return True, False, False, False
    low, high = hand_levels(small, hand)
    return (
        False,
        is_cut_off(small, hand, low),
        bool(high - low < FEW_LEVELS),
        has_second(small, hand),
    )


def is_cut_off(small: np.ndarray, hand: Hand, low: float) -> bool:
    """Whether the hand above its palm's centre goes on to the edge of the small radiograph.

    low: grey level of the dark beside the hand.
    """
    height, width = hand.mask.shape
    rows, columns = np.nonzero(hand.mask)
    from_edges = np.stack([rows, columns, height - 1 - rows, width - 1 - columns])
    away = np.stack([columns, rows], 1) - np.array(hand.centre)
    near = (from_edges.min(axis=0) == EDGE) & (away @ np.array(hand.up) > 0)
    if np.count_nonzero(near) < LEAST_CUT * hand.radius:
        return False
    rows, columns, nearest = rows[near], columns[near], from_edges[:, near].argmin(axis=0)
    # A finger that ends just inside is dark at the edge itself.
    down, right = np.array([(-1, 0), (0, -1), (1, 0), (0, 1)])[nearest].T * EDGE
    at_edge, inside = small[rows + down, columns + right], small[rows, columns]
    goes_on = at_edge - low >= GOES_ON * (inside - low)
    return bool(np.count_nonzero(goes_on) >= LEAST_CUT * hand.radius)


def has_second(small: np.ndarray, hand: Hand) -> bool:
    """Whether an area beside the hand is as bright as it, and large."""
    gap = 2 * max(1, round(GAP * hand.radius)) + 1
    elsewhere = cv2.dilate(hand.mask, np.ones((gap, gap), np.uint8)) == 0
    bright = small >= np.percentile(small[hand.mask > 0], LIKE_HAND)
    shapes = (elsewhere & bright).astype(np.uint8)
    shapes = cv2.morphologyEx(shapes, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(shapes)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return bool((areas >= SECOND_SHARE * np.count_nonzero(hand.mask)).any())
