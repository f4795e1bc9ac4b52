"""How much of a heat map lies on the ossification regions, against what chance would put there.

Two questions of each map. How much of its energy lies inside the boxes (energy-based pointing game:
Wang et al., Score-CAM, CVPR Workshops 2020), over the share of the hand that the boxes take: 1 is a
map that is spread evenly over the hand. And does its maximum lie in a box (pointing game: Zhang et
al., Top-down neural attention by excitation backprop, IJCV 2018;126:1084-1102), beside how often a
point anywhere on the hand would.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pandas as pd

from nbhelpers.geometry import reduce_to
from nbhelpers.geometry_table import affine_of
from nbhelpers.hand_outline import find_outline
from nbhelpers.metrics import score_mean, score_share
from nbhelpers.preparation import LOOKED_AT
from nbhelpers.regions import ANY, region_masks
from nbhelpers.voc_files import REGIONS

# A maximum so near a region hits it, as a share of the picture's side: feature maps are coarse.
TOLERANCE = 0.03
FEWEST = 5  # cases of a group whose scores are given
TOO_FEW = "too few"
MEASURES = ["hand_share", "energy_share", "area_share", "ratio", "hit", "chance"]
COLUMNS = ["case_id", "split", "stage", "seen", "region", "n_boxes", *MEASURES]
SCORES = ("ratio", "energy_share", "area_share", "hit", "chance")
SUMMARY = ["metric", "n", "value", "lower", "upper", "note"]


def localise(
    maps: np.ndarray,
    cases: pd.DataFrame,
    regions: pd.DataFrame,
    geometry: pd.DataFrame,
    hand: np.ndarray | None = None,
) -> pd.DataFrame:
    """COLUMNS, a row for each case with boxes and each of its regions, "any" (their union) last.

    - `seen`: the case is one of train;
    - `hand_share`: share of the map's energy that lies on the hand, 0 to 1; all else looks at the
      hand alone, so a map that looks elsewhere is told by this number;
    - `energy_share`, `area_share`: shares of the hand's energy and of its pixels that lie inside
      the boxes; `ratio`: the one over the other;
    - `hit`: whether the maximum of the whole map lies in a box, or within TOLERANCE of one;
    - `chance`: the share of the hand's pixels from which a maximum would hit.

    A value that is not defined is null: a map without energy has no shares, a flat one no maximum,
    a region outside the picture no ratio and no hit.

    Args:
        maps: float [n, side, side], energies, none below 0.
        cases, geometry: [n] rows in the order of `maps`; of the pictures' view.
        regions: boxes, see `regions.read_regions`; those of other cases are left out.
        hand: bool [n, side, side], see `hand_masks`; None counts the whole picture as hand.
    """
    _check(maps, cases, geometry, hand)
    boxes_of = dict(list(regions.groupby("case_id")))
    told = []
    for row, case in enumerate(cases.itertuples(index=False)):
        if case.case_id not in boxes_of:
            continue
        own = np.ones(maps.shape[1:], bool) if hand is None else hand[row]
        boxes = boxes_of[case.case_id]
        masks = region_masks(boxes, affine_of(geometry, row), maps.shape[1])
        counts = boxes["region"].value_counts().to_dict() | {ANY: len(boxes)}
        about = (case.case_id, case.split, case.stage, case.split == "train")
        for region, measures in _measures(np.asarray(maps[row], float), masks, own):
            told.append((*about, region, counts[region], *measures))
    table = pd.DataFrame(told, columns=COLUMNS)
    kinds = {"stage": cases["stage"].dtype, "seen": bool, "hit": "boolean"}
    return table.astype(dict.fromkeys(MEASURES, float) | kinds)


def summarise(table: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """`seen`, `region`, the columns `by`, then SUMMARY: a row a group and score of SCORES.

    Groups never mix regions, nor cases that the model learnt from with others; those that it did
    not learn from stand first. `value` is a mean over cases (`hit`: a share) with its 95 %
    interval, `n` the cases for which it is defined. With less than FEWEST cases a group has no
    value, and its note says "too few".
    """
    keys = list(dict.fromkeys(["seen", "region", *by]))
    order = pd.CategoricalDtype([*REGIONS, ANY], ordered=True)
    grouped = table.astype({"region": order}).groupby(keys, observed=True, dropna=False)
    told = [(*group, *score) for group, rows in grouped for score in _scores(rows)]
    return pd.DataFrame(told, columns=keys + SUMMARY)


def hand_masks(pictures: np.ndarray) -> np.ndarray:
    """Bool [n, side, side]: the hand on each prepared picture uint8, empty where none is found.

    It is the outline by which radiographs are prepared, looked for anew on the picture, so it fits
    to a pixel or two, may take in a marker beside the hand, and ends just before the picture does.
    """
    return np.array([_hand_mask(np.asarray(picture)) for picture in pictures], bool)


def _hand_mask(picture: np.ndarray) -> np.ndarray:
    found, _, _ = find_outline(reduce_to(picture, LOOKED_AT))
    if found is None:
        return np.zeros(picture.shape, bool)
    return cv2.resize(found, picture.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _measures(
    energy: np.ndarray, masks: dict[str, np.ndarray], hand: np.ndarray
) -> Iterator[tuple[str, tuple]]:
    """Each region of one case with its MEASURES; energy and masks [side, side]."""
    on_hand = float(energy[hand].sum())
    hand_share = _share(on_hand, float(energy.sum()))
    place = _maximum(energy)
    for region, mask in masks.items():
        energy_share = _share(float(energy[mask & hand].sum()), on_hand)
        area_share = _share(np.count_nonzero(mask & hand), np.count_nonzero(hand))
        near = _near(mask)
        hit = None if place is None or not mask.any() else bool(near[place])
        chance = float(near[hand].mean()) if hand.any() and mask.any() else np.nan
        ratio = _share(energy_share, area_share)
        yield region, (hand_share, energy_share, area_share, ratio, hit, chance)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan


def _near(mask: np.ndarray) -> np.ndarray:
    """Bool [side, side]: the pixels of a mask and those within TOLERANCE of one."""
    if not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance <= TOLERANCE * len(mask)


def _maximum(energy: np.ndarray) -> tuple[int, int] | None:
    """Row and column of the maximum, or None on a flat map.

    Of several equal ones it is the one nearest to their middle, so that a plateau counts by its
    middle and not by its upper left corner.
    """
    if np.ptp(energy) == 0:
        return None
    highest = np.argwhere(energy == energy.max())
    off = np.linalg.norm(highest - highest.mean(axis=0), axis=1)
    row, column = highest[off.argmin()]
    return int(row), int(column)


def _scores(rows: pd.DataFrame) -> Iterator[tuple]:
    """Metric, n, value, lower, upper and note of each of SCORES in one group."""
    for metric in SCORES:
        values = rows[metric].dropna()
        if len(values) < FEWEST:
            yield metric, len(values), np.nan, np.nan, np.nan, TOO_FEW
        elif metric == "hit":
            yield metric, *score_share(values.to_numpy(bool)), ""
        else:
            yield metric, *score_mean(values.to_numpy(float)), ""


def _check(
    maps: np.ndarray, cases: pd.DataFrame, geometry: pd.DataFrame, hand: np.ndarray | None
) -> None:
    if maps.ndim != 3 or maps.shape[1] != maps.shape[2] or len(maps) != len(cases):
        raise ValueError(f"{len(cases)} cases need maps [n, side, side], not {maps.shape}.")
    if hand is not None and hand.shape != maps.shape:
        raise ValueError(f"Hands of {hand.shape} are not of maps of {maps.shape}.")
    if list(cases["case_id"]) != list(geometry["case_id"]):
        raise ValueError("Cases and geometry must be the same cases in the same order.")
    if not np.isfinite(maps).all() or (maps < 0).any():
        raise ValueError("Maps must be finite energies, none below 0.")
