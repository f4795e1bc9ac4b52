"""Ossification regions: boxes from Pascal VOC files, and how much of a heat map lies in them.

One file `<case id>.xml` a radiograph, as Koitka et al. give them for RSNA radiographs (PLOS ONE
2018;13(11):e0207496) and as `phantom` draws them. Two questions of each map. How much of its energy
lies inside the boxes (energy-based pointing game: Wang et al., Score-CAM, CVPR Workshops 2020),
over the share of the hand that the boxes take: 1 is a map that is spread evenly over the hand. And
does its maximum on the hand lie in a box (pointing game: Zhang et al., Top-down neural attention by
excitation backprop, IJCV 2018;126:1084-1102), compared with a point anywhere on the hand.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nbhelpers.evaluation.scores import FEWEST
from nbhelpers.images.geometry import affine_of, reduce_to, scaling, to_original, to_prepared
from nbhelpers.images.hand import find_outline
from nbhelpers.images.preparation import LOOKED_AT
from nbhelpers.metrics import score_enough, score_mean, score_share
from nbhelpers.workspace import InputError, log

REGIONS = ("DIP", "PIP", "MCP", "Radius", "Ulna", "Wrist")
ANY = "any"  # the union of all regions
EDGES = ["x_min", "y_min", "x_max", "y_max"]
COLUMNS = ["case_id", "region", *EDGES]
# A maximum so near a region hits it, as a share of the picture's side: feature maps are coarse.
TOLERANCE = 0.03
MEASURES = ["ratio", "energy_share", "area_share", "hit", "chance"]
SUMMARY = ["metric", "n", "value", "lower", "upper"]


def read_regions(folder: Path, cases: pd.DataFrame, geometry: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS, one row per box, in the order of the cases and of their files.

    x_min to y_max are the box's outer edges, float, in pixels of the case's own radiograph, whole
    numbers being pixel centres. The files may be of larger radiographs than these: boxes are scaled
    from the size that a file declares to the case's `original_width` and `original_height`.

    folder: Pascal VOC files; a line of the log says how many match no case.
    cases: column case_id. geometry: of these cases, any view.

    Raises InputError where no file is named after a case, and for a file without well-formed boxes.
    """
    # Hidden names are what some systems lay beside each file of an archive.
    named = {path.stem: path for path in Path(folder).glob("[!.]*.xml")}
    files = {case: named[case] for case in cases["case_id"] if case in named}
    if not files:
        raise InputError(
            f"{folder}: none of its {len(named):,} XML files is named after a case of this set. "
            "Name a folder of Pascal VOC files <case id>.xml that belongs to these radiographs."
        )
    if len(files) < len(named):
        log(
            f"regions: {len(files):,} files match cases of this set; "
            f"{len(named) - len(files):,} match none and are left out"
        )
    sizes = geometry.set_index("case_id")[["original_width", "original_height"]]
    tables = [
        read_boxes(path, sizes.loc[case].to_numpy(float)).assign(case_id=case)
        for case, path in files.items()
    ]
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def read_boxes(path: Path, own: np.ndarray) -> pd.DataFrame:
    """`region` and EDGES of the boxes of a file, on a radiograph of size `own` (width, height).

    Edges in a file are the first and the last pixel inside and are taken to count from 0; those of
    a tool that counts from 1 lie one pixel of the annotated radiograph off, a fraction of one of a
    prepared picture.

    Raises InputError naming the file and what is wrong where it holds no boxes, or one that has no
    name of REGIONS, is turned round, or leaves the frame that the file declares.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
        boxes = root.findall("object")
        size = np.array([float(root.findtext(f"size/{of}")) for of in ("width", "height")])
        edges = [
            [float(box.findtext(f"bndbox/{of}")) for of in ("xmin", "ymin", "xmax", "ymax")]
            for box in boxes
        ]
    except (OSError, ElementTree.ParseError, LookupError, TypeError, ValueError) as error:
        remedy = "Mark the radiograph again, or remove the file"
        raise InputError(f"{path} holds no Pascal VOC boxes ({error}). {remedy}.") from error
    regions = [box.findtext("name", "").strip() for box in boxes]
    edges = np.array(edges).reshape(-1, 4)
    inside = (edges[:, :2] >= 0) & (edges[:, :2] < edges[:, 2:]) & (edges[:, 2:] <= size)
    good = np.isin(regions, REGIONS) & inside.all(axis=1)
    if not len(good) or not good.all():
        wrong = f"box {good.argmin() + 1} is wrong" if len(good) else "it has no box"
        raise InputError(
            f"{path}: {wrong}. A box has one of the names {', '.join(REGIONS)}, its upper left "
            "corner before its lower right one, and lies inside the frame of <size>."
        )
    outer = edges + np.array([-0.5, -0.5, 0.5, 0.5])
    # In a file that counts from 1, a box on the frame's edge would end a pixel outside.
    outer = np.minimum(outer, np.tile(size, 2) - 0.5)
    resize = scaling(*(own / size))
    outer = np.hstack([to_prepared(outer[:, :2], resize), to_prepared(outer[:, 2:], resize)])
    return pd.DataFrame(outer, columns=EDGES).assign(region=regions)


def region_masks(boxes: pd.DataFrame, affine: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Bool [side, side]: the pixels of a prepared picture whose centre lies in a box of a region.

    Each region that the case has, then their union ANY. Pixels are carried back to the radiograph
    instead of boxes forth: exact for every affine, where filling turned boxes would also take each
    pixel that an edge touches, half a pixel all around.

    boxes: of one case. affine: original to prepared pixels [2, 3], turns included.
    """
    rows, columns = np.indices((side, side))
    centres = to_original(np.stack([columns.ravel(), rows.ravel()], 1), affine)
    x, y = centres.T.reshape(2, side, side)
    masks = {region: np.zeros((side, side), bool) for region in (*REGIONS, ANY)}
    for region, left, top, right, bottom in boxes[["region", *EDGES]].itertuples(index=False):
        inside = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        masks[region] |= inside
        masks[ANY] |= inside
    return {region: masks[region] for region in masks if region in {*boxes["region"], ANY}}


def localise(
    maps: np.ndarray,
    cases: pd.DataFrame,
    regions: pd.DataFrame,
    geometry: pd.DataFrame,
    hand: np.ndarray,
) -> pd.DataFrame:
    """A row for each case with boxes and each of its regions, ANY (their union) last.

    - `case_id`, `stage`, `region`;
    - `energy_share`, `area_share`: shares of the hand's energy and of its pixels that lie inside
      the boxes; `ratio`: the one over the other;
    - `hit`: whether the map's maximum on the hand lies in a box, or within TOLERANCE of one;
    - `chance`: the share of the hand's pixels from which a maximum would hit.

    A value that is not defined is null: a map without energy has no shares, one that is flat on the
    hand no maximum, a region outside the picture no ratio and no hit.

    Args:
        maps: float [n, side, side], energies, none below 0.
        cases, geometry: [n] rows in the order of `maps`; of the pictures' view.
        regions: boxes, see `read_regions`; those of other cases are left out.
        hand: bool [n, side, side], see `hand_masks`.
    """
    boxes_of = dict(list(regions.groupby("case_id")))
    told = []
    for row, case in enumerate(cases.itertuples(index=False)):
        if case.case_id not in boxes_of:
            continue
        masks = region_masks(boxes_of[case.case_id], affine_of(geometry, row), maps.shape[1])
        energy = np.asarray(maps[row], float)
        for region, mask in masks.items():
            measured = _measure(energy, mask, hand[row])
            told.append((case.case_id, case.stage, region, *measured))
    table = pd.DataFrame(told, columns=["case_id", "stage", "region", *MEASURES])
    kinds = {"stage": cases["stage"].dtype, "hit": "boolean"}
    return table.astype(dict.fromkeys(MEASURES, float) | kinds)


def summarise(table: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """`region`, the columns `by`, then SUMMARY: one row per group and measure of MEASURES.

    Groups never mix regions. `value` is a mean over cases (`hit`: a share) with its 95 % interval,
    `n` the cases for which it is defined. With fewer than FEWEST cases a group has no value.
    """
    keys = ["region", *by]
    order = pd.CategoricalDtype([*REGIONS, ANY], ordered=True)
    told = []
    for group, rows in table.astype({"region": order}).groupby(keys, observed=True, dropna=False):
        for metric in MEASURES:
            values = rows[metric].dropna()
            of = score_share if metric == "hit" else score_mean
            told.append((*group, metric, *score_enough(values.to_numpy(float), FEWEST, of)))
    return pd.DataFrame(told, columns=keys + SUMMARY)


def beyond(table: pd.DataFrame, own: str, others: Sequence[str]) -> pd.DataFrame:
    """How much more of a map lies on each region than of others, on the same cases.

    One row per region and other map: `region`, `map`, and the mean difference of their ratios with
    its 95 % interval: `n`, `value`, `lower`, `upper`, NaN with fewer than FEWEST cases.

    Args:
        table: as `localise` gives it, with a column `map`.
        own: the map that is compared.
        others: those it is compared with.
    """
    ratios = table.pivot(index=["region", "case_id"], columns="map", values="ratio")
    rows = []
    for region, part in ratios.groupby(level="region"):
        for other in others:
            more = (part[own] - part[other]).dropna().to_numpy()
            rows.append((region, other, *score_enough(more, FEWEST)))
    return pd.DataFrame(rows, columns=["region", "map", "n", "value", "lower", "upper"])


def hand_masks(pictures: np.ndarray) -> np.ndarray:
    """Bool [n, side, side]: the hand on each prepared picture uint8, empty where none is found.

    It is the outline by which radiographs are prepared, looked for anew on the picture, so it fits
    to a pixel or two, may take in a marker next to the hand, and ends just before the picture does.
    """
    masks = np.zeros(pictures.shape, bool)
    for mask, picture in zip(masks, pictures, strict=True):
        found, _, _ = find_outline(reduce_to(picture, LOOKED_AT))
        if found is not None:
            size = picture.shape[::-1]
            mask[:] = cv2.resize(found, size, interpolation=cv2.INTER_NEAREST) > 0
    return masks


def _measure(energy: np.ndarray, mask: np.ndarray, hand: np.ndarray) -> tuple:
    """MEASURES of a region of one case; energy, mask and hand [side, side]."""
    energy_share = _share(energy[mask & hand].sum(), energy[hand].sum())
    area_share = _share(np.count_nonzero(mask & hand), np.count_nonzero(hand))
    hit, chance = None, np.nan
    if mask.any() and hand.any():
        away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        near = away <= TOLERANCE * len(mask)
        hit = bool(near[_maximum(np.where(hand, energy, -1))]) if np.ptp(energy[hand]) else None
        chance = float(near[hand].mean())
    return _share(energy_share, area_share), energy_share, area_share, hit, chance


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan


def _maximum(energy: np.ndarray) -> tuple[int, int]:
    """Row and column of the maximum.

    Of several equal ones it is the one nearest to their middle, so that a plateau counts by its
    middle and not by its upper left corner.
    """
    highest = np.argwhere(energy == energy.max())
    off = np.linalg.norm(highest - highest.mean(axis=0), axis=1)
    row, column = highest[off.argmin()]
    return int(row), int(column)
