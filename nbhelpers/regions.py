"""Ossification regions: boxes around the joints and bones that a reader of bone age looks at.

Pascal VOC XML, one file `<case id>.xml` a radiograph, as Koitka et al. give them for RSNA
radiographs (PLOS ONE 2018;13(11):e0207496) and as `phantom` draws them. Edges are taken to count
from 0; boxes of a tool that counts from 1 lie one pixel of the annotated radiograph off, a fraction
of one of a prepared picture.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers.geometry import scaling, to_original, to_prepared
from nbhelpers.voc_files import REGIONS, Annotation, read_annotation
from nbhelpers.workspace import InputError, log

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
