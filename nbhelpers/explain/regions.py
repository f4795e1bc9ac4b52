"""How much of a heat map lies on the ossification regions, against what chance would put there.

Two questions of each map. How much of its energy lies inside the boxes (energy-based pointing game:
Wang et al., Score-CAM, CVPR Workshops 2020), over the share of the hand that the boxes take: 1 is a
map that is spread evenly over the hand. And does its maximum lie in a box (pointing game: Zhang et
al., Top-down neural attention by excitation backprop, IJCV 2018;126:1084-1102), beside how often a
point anywhere on the hand would.

Ossification regions: boxes around the joints and bones that a reader of bone age looks at.

Pascal VOC XML, one file `<case id>.xml` a radiograph, as Koitka et al. give them for RSNA
radiographs (PLOS ONE 2018;13(11):e0207496) and as `phantom` draws them. Edges are taken to count
from 0; boxes of a tool that counts from 1 lie one pixel of the annotated radiograph off, a fraction
of one of a prepared picture.

Boxes around regions of one radiograph, from a Pascal VOC XML file that anyone may have written.

A file holds the radiograph's width and height and an `<object>` a box. Nothing in it is trusted:
its size is capped, no entity is expanded, every number and name is checked.

Which ossification regions a network looks at in the young, and which later.

A reader goes by the carpals in small children and by the epiphyses of fingers and forearm later.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import stats

from nbhelpers.images.geometry import affine_of, reduce_to, scaling, to_original, to_prepared
from nbhelpers.images.hand import find_outline
from nbhelpers.images.preparation import LOOKED_AT
from nbhelpers.metrics import score_mean, score_share
from nbhelpers.workspace import InputError, log

REGIONS = ("DIP", "PIP", "MCP", "Radius", "Ulna", "Wrist")
LARGEST_FILE = 256 * 1024  # bytes; a file of 17 boxes has some 4,000
QUOTED = 40  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Annotation:
    """size: (width, height) of the radiograph, pixels. regions: the name of each box, n of them.

    edges: float [n, 4], left, top, right, bottom: the first and the last pixel inside, from 0.
    """

    size: tuple[float, float]
    regions: list[str]
    edges: np.ndarray


def read_annotation(path: Path) -> Annotation:
    """The boxes of a file, all inside the frame that it declares.

    An edge may equal the width or height, as in files that count pixels from 1. Raises InputError
    naming the file, what is wrong in it and the remedy.
    """
    root = _parse(path)
    size = _size(path, root)
    things = root.findall("object")
    if not things:
        raise _fault(path, "it has no <object>", "Mark a region, or remove the file")
    regions, edges = [], []
    for number, thing in enumerate(things, 1):
        regions.append(_region(path, number, thing))
        edges.append(_edges(path, f"box {number} ({regions[-1]})", thing, size))
    return Annotation(size, regions, np.array(edges))


def _parse(path: Path) -> ElementTree.Element:
    """The root of an XML file without a document type, so without entities of its own."""
    if not path.is_file():  # a pipe would never end
        raise _fault(path, "not a file", "Remove it")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _fault(
            path, f"cannot be read ({error.strerror})", "Allow it, or remove it"
        ) from error
    if len(content) > LARGEST_FILE:
        wrong = f"larger than {LARGEST_FILE // 1024} KiB, so no file of boxes"
        raise _fault(path, wrong, "Remove it")
    try:
        text = content.decode("utf-8-sig")
        # Text spells a DOCTYPE in one way only: of text, the parser heeds no declared encoding.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise _fault(path, "it has a DOCTYPE or entities", "Remove them: boxes need neither")
        return ElementTree.fromstring(text)
    except UnicodeDecodeError as error:
        raise _fault(path, "not UTF-8 text", "Save it as UTF-8, or remove it") from error
    except ElementTree.ParseError as error:
        raise _fault(path, f"not XML ({error})", "Mark it again, or remove it") from error


def _size(path: Path, root: ElementTree.Element) -> tuple[float, float]:
    remedy = "Write width and height of the radiograph, in pixels, into <size>"
    if root.find("size/width") is None or root.find("size/height") is None:
        raise _fault(path, "it does not say how large the radiograph is", remedy)
    width, height = (_number(path, root, f"size/{name}", "<size>") for name in ("width", "height"))
    if min(width, height) < 1:
        raise _fault(path, f"a radiograph of {width:g} x {height:g} pixels", remedy)
    return width, height


def _region(path: Path, number: int, thing: ElementTree.Element) -> str:
    name = (thing.findtext("name") or "").strip()
    if name not in REGIONS:
        wrong = f"box {number}: {name[:QUOTED]!r} is no region"
        raise _fault(path, wrong, f"Name it one of {', '.join(REGIONS)}, or remove it")
    return name


def _edges(
    path: Path, box: str, thing: ElementTree.Element, size: tuple[float, float]
) -> list[float]:
    names = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (_number(path, thing, f"bndbox/{name}", box) for name in names)
    edges = f"{left:g}, {top:g} to {right:g}, {bottom:g}"
    if left >= right or top >= bottom:
        raise _fault(path, f"{box}: {edges} is not upper left to lower right", "Mark it again")
    if min(left, top) < 0 or right > size[0] or bottom > size[1]:
        wrong = f"{box}: {edges} leaves the frame of {size[0]:g} x {size[1]:g} pixels"
        raise _fault(path, wrong, "Correct the box, or the file's <size>")
    return [left, top, right, bottom]


def _number(path: Path, element: ElementTree.Element, name: str, of: str) -> float:
    text = (element.findtext(name) or "").strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,6}(\.[0-9]{0,6})?", text):
        field = f"{of}: <{name.rpartition('/')[2]}>"
        raise _fault(path, f"{field} is {text[:QUOTED]!r}, not a number", "Write it in pixels")
    return float(text)


def _fault(path: Path, wrong: str, remedy: str) -> InputError:
    return InputError(f"{path}: {wrong}. {remedy}.")


ANY = "any"  # the union of all regions
EDGES = ["x_min", "y_min", "x_max", "y_max"]
COLUMNS = ["case_id", "region", *EDGES]
NAMES_SHOWN = 5


def read_regions(folder: Path, cases: pd.DataFrame, geometry: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS, a row a box, in the order of the cases and of their files.

    x_min to y_max are the box's outer edges, float, in pixels of the case's own radiograph, whole
    numbers being pixel centres. The files may be of larger radiographs than these: boxes are scaled
    from the size that a file declares to the case's `original_width` and `original_height`.

    folder: Pascal VOC files, see `region_files`; a line of the log tells how many are of no case.
    cases: column case_id. geometry: of these cases, any view.

    Raises InputError naming file and remedy for the first file that is no such annotation.
    """
    files, others = region_files(folder, cases)
    if others:
        shown = ", ".join(others[:NAMES_SHOWN]) + (", ..." if len(others) > NAMES_SHOWN else "")
        log(
            f"regions: {len(files):,} files are of cases of this set; {len(others):,} are of none "
            f"and left out ({shown})"
        )
    sizes = geometry.set_index("case_id")[["original_width", "original_height"]]
    tables = []
    for case, path in files.items():
        annotation = read_annotation(path)
        edges = _own_edges(annotation, sizes.loc[case].to_numpy(float))
        table = pd.DataFrame(edges, columns=EDGES)
        tables.append(table.assign(case_id=case, region=annotation.regions)[COLUMNS])
    return pd.concat(tables, ignore_index=True)


def region_files(folder: Path, cases: pd.DataFrame) -> tuple[dict[str, Path], list[str]]:
    """The file of each case that has one, by case id, and the names of the others, sorted.

    Nothing is wrong with files of cases that are not in the set, nor with cases without a file.
    Raises InputError where the folder has no file at all, or none of any case.
    """
    folder = Path(folder)
    # Hidden names are what some systems lay beside each file of an archive.
    named = {path.stem: path for path in folder.glob("*.xml") if not path.name.startswith(".")}
    if not named:
        raise InputError(
            f"{folder} has no file of regions. Name a folder of Pascal VOC files <case id>.xml."
        )
    files = {case: named[case] for case in cases["case_id"] if case in named}
    others = sorted(set(named) - set(files))
    if not files:
        raise InputError(
            f"{folder}: none of its {len(named):,} files, such as {others[0]}.xml, is named after "
            "a case of this set. Name the files by case id, or name the folder that belongs to "
            "these radiographs."
        )
    return files, others


def prepared_mask(boxes: pd.DataFrame, affine: np.ndarray, side: int) -> np.ndarray:
    """Bool [side, side]: which pixels of a prepared picture have their centre in a box.

    boxes: of one case, with EDGES. affine: original to prepared pixels [2, 3], turns included.
    """
    return _inside(boxes[EDGES].to_numpy(float), _carried_back(affine, side))


def region_masks(boxes: pd.DataFrame, affine: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """A mask (see `prepared_mask`) of each region that one case has, then their union ANY."""
    centres = _carried_back(affine, side)
    names, edges = boxes["region"].to_numpy(str), boxes[EDGES].to_numpy(float)
    own = [region for region in REGIONS if region in names]
    masks = {region: _inside(edges[names == region], centres) for region in own}
    return masks | {ANY: np.any(list(masks.values()), axis=0)}


def _carried_back(affine: np.ndarray, side: int) -> np.ndarray:
    """x and y [2, side, side] on the radiograph of each pixel's centre of a prepared picture.

    Pixels are carried back instead of boxes forth: exact for every affine, where filling turned
    boxes would also take each pixel that an edge touches, half a pixel all around.
    """
    rows, columns = np.indices((side, side))
    centres = np.stack([columns.ravel(), rows.ravel()], 1)
    return to_original(centres, affine).T.reshape(2, side, side)


def _inside(edges: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y = points
    mask = np.zeros(x.shape, bool)
    for left, top, right, bottom in edges:
        mask |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    return mask


def _own_edges(annotation: Annotation, own: np.ndarray) -> np.ndarray:
    """Outer edges [n, 4] in pixels of a radiograph of size `own` (width, height)."""
    outer = annotation.edges + np.array([-0.5, -0.5, 0.5, 0.5])
    # In a file that counts from 1, a box on the frame's edge would end a pixel outside.
    outer = np.minimum(outer, np.tile(annotation.size, 2) - 0.5)
    resize = scaling(*(own / annotation.size))
    return np.hstack([to_prepared(outer[:, :2], resize), to_prepared(outer[:, 2:], resize)])


# A maximum so near a region hits it, as a share of the picture's side: feature maps are coarse.
TOLERANCE = 0.03
FEWEST = 5  # cases of a group whose scores are given
TOO_FEW = "too few"
MEASURES = ["hand_share", "energy_share", "area_share", "ratio", "hit", "chance"]
LOCALISATION_COLUMNS = ["case_id", "split", "stage", "seen", "region", "n_boxes", *MEASURES]
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
        regions: boxes, see `read_regions`; those of other cases are left out.
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
    table = pd.DataFrame(told, columns=LOCALISATION_COLUMNS)
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


TREND_COLUMNS = ["region", "n", "value", "lower", "upper", "note"]
Z = stats.norm.ppf(0.975)


def trend_by_age(table: pd.DataFrame, age_months: pd.Series) -> pd.DataFrame:
    """COLUMNS: how the share of a map on each region goes with age, over the region's own share.

    `value` is Spearman's correlation of a case's `ratio` with its age, with its 95 % interval
    (Bonett and Wright, Psychometrika 2000;65:23-28): below 0, the region counts more in the young.
    With less than `FEWEST` cases, or one age or ratio alone, a region has no value
    and its note says "too few".

    Args:
        table: of `localise`, of one network.
        age_months: by case id.
    """
    rows = []
    for region in REGIONS:
        own = table[(table["region"] == region) & table["ratio"].notna()]
        age = age_months.reindex(own["case_id"]).to_numpy(float)
        rows.append((region, *_correlation(age, own["ratio"].to_numpy(float))))
    return pd.DataFrame(rows, columns=TREND_COLUMNS)


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
