"""Where a pixel of the radiograph lies in the prepared picture, and the warp that takes it there.

Convention: x runs right, y runs down, and whole numbers are pixel centres, as in OpenCV. A picture
of width w therefore spans x from -0.5 to w - 0.5. An affine is float64 [2, 3] and takes points of
the original radiograph to points of the prepared picture.

The geometry of every prepared case as a table: size, affine, whether a hand was found.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nbhelpers.workspace import atomic_path, find_run_file

AFFINE = ("a", "b", "c", "d", "e", "f")  # the affine's first row, then its second


TYPES = {
    **dict.fromkeys(("original_width", "original_height"), "int32"),
    **dict.fromkeys(AFFINE, "float64"),
    "found": "bool",
    **dict.fromkeys(("doubts", "image_sha256", "unreadable"), "string"),
}
# What the geometry says of a radiograph that cannot be read; all else is null.
UNREAD = {"original_width": 0, "original_height": 0, "found": False, "doubts": ""}


def geometry_table(cases: pd.DataFrame, records: list[dict]) -> pd.DataFrame:
    """One row a case, in the order of `cases`.

    Columns: case_id, original_width and original_height (pixels), a..f (the affine), found
    (whether a hand was), doubts (words of `doubts`, a comma between them; empty: none),
    image_sha256, unreadable (null or the reason).

    Args:
        records: a case each, of these columns what is known; of an unreadable one the reason.
    """
    case_ids = cases["case_id"].astype(str)
    rows = [
        {"case_id": case} | UNREAD | record for case, record in zip(case_ids, records, strict=True)
    ]
    return pd.DataFrame(rows, columns=["case_id", *TYPES]).astype(TYPES)


def affine_of(geometry: pd.DataFrame, row: int) -> np.ndarray:
    """The affine float64 [2, 3], original to prepared pixels, of one row of a geometry table."""
    return geometry.iloc[row][list(AFFINE)].to_numpy(np.float64).reshape(2, 3)


def save_geometry(run_folder: Path, view: str, geometry: pd.DataFrame) -> None:
    """Write geometry.<view>.parquet atomically."""
    with atomic_path(run_folder / f"geometry.{view}.parquet") as temporary:
        geometry.to_parquet(temporary, index=False)


def load_geometry(run_folder: Path, view: str) -> pd.DataFrame:
    """The geometry of a view, one row a prepared picture (see `geometry`)."""
    return pd.read_parquet(find_run_file(Path(run_folder), f"geometry.{view}.parquet"))


# The warp samples at this many times the prepared picture's resolution and then averages.
OVERSAMPLING = 2
GENTLE = 2  # grey levels: a table with larger steps would leave gaps between a picture's levels


@dataclass(frozen=True)
class Frame:
    """A rectangle on the radiograph, maybe turned: what the prepared picture shows.

    centre: (x, y) in pixels. up: unit vector (x, y) that becomes "upwards".
    width, height: in pixels of the radiograph, across and along `up`.
    """

    centre: tuple[float, float]
    up: tuple[float, float]
    width: float
    height: float


def whole_frame(shape: tuple[int, int], up: tuple[float, float] = (0.0, -1.0)) -> Frame:
    """The frame that holds a whole radiograph of shape (height, width) when `up` points upwards."""
    height, width = shape
    x, y = abs(up[0]), abs(up[1])
    return Frame(
        ((width - 1) / 2, (height - 1) / 2), up, width * y + height * x, width * x + height * y
    )


def fit_frame(frame: Frame, size: int, keep_aspect: bool) -> np.ndarray:
    """The affine [2, 3] that fits a frame into a square of `size` pixels.

    With `keep_aspect` the frame's longer side fills the square and the shorter one is centred;
    without, both sides are squeezed to fill it.
    """
    across = down = size / max(frame.width, frame.height)
    if not keep_aspect:
        across, down = size / frame.width, size / frame.height
    x, y = frame.up
    linear = np.array([[-y * across, x * across], [-x * down, -y * down]])
    middle = (size - 1) / 2
    return np.column_stack([linear, middle - linear @ np.asarray(frame.centre)])


def to_prepared(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Points [n, 2] (x, y) of the original radiograph, in pixels of the prepared picture."""
    affine = np.asarray(affine, np.float64)
    return np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]


def to_original(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Points [n, 2] (x, y) of the prepared picture, in pixels of the original radiograph."""
    affine = np.asarray(affine, np.float64)
    return (np.asarray(points, np.float64) - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T


def scaling(factor_x: float, factor_y: float) -> np.ndarray:
    """The affine of a resize by these factors, frame onto frame."""
    return np.array([[factor_x, 0, (factor_x - 1) / 2], [0, factor_y, (factor_y - 1) / 2]], float)


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The affine that applies `first` and then `then`."""
    linear = then[:, :2] @ first[:, :2]
    return np.column_stack([linear, then[:, :2] @ first[:, 2] + then[:, 2]])


def reduce_to(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Shrink by averaging until the longer side has `longest` pixels; smaller ones stay as is.

    Halving first is quicker: OpenCV averages blocks of 2 x 2 with vector instructions. An odd last
    row or column is lost on the way, less than half a pixel of the result.
    """
    height, width = pixels.shape
    factor = longest / max(height, width)
    if factor >= 1:
        return pixels
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    while pixels.shape[1] >= 4 * target[0] and pixels.shape[0] >= 4 * target[1]:
        pixels = halve(pixels)
    return cv2.resize(pixels, target, interpolation=cv2.INTER_AREA)


def halve(pixels: np.ndarray) -> np.ndarray:
    """Average blocks of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 for side in pixels.shape)
    even = pixels[: 2 * height, : 2 * width]
    return cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)


def warp(
    pixels: np.ndarray, affine: np.ndarray, size: int, table: np.ndarray | None = None
) -> np.ndarray:
    """Draw the prepared picture [size, size] uint8 from a radiograph uint8 [height, width].

    table: 256 grey levels that replace the radiograph's. One that pulls grey levels apart is used
    before anything is averaged, so that a radiograph a few grey levels wide gains levels from
    averaging; else after it, where fewer pixels are left. Outside the radiograph is the table's 0.
    """
    if table is None:
        return _draw(pixels, affine, size)
    if np.diff(table.astype(np.int16)).max() <= GENTLE:
        return cv2.LUT(_draw(pixels, affine, size), table)
    if not _is_plain(affine, pixels.shape, size):
        pixels, affine = _cut(pixels, affine, size)
    return _draw(cv2.LUT(pixels, table), affine, size)


def _is_plain(affine: np.ndarray, shape: tuple[int, int], size: int) -> bool:
    """Whether the whole frame is squeezed into the picture, unturned."""
    return np.allclose(affine, scaling(size / shape[1], size / shape[0]), atol=1e-9)


def _draw(pixels: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    if _is_plain(affine, pixels.shape, size):
        method = cv2.INTER_AREA if size <= min(pixels.shape) else cv2.INTER_LINEAR
        return cv2.resize(pixels, (size, size), interpolation=method)
    pixels, affine = _cut(pixels, affine, size)
    scale = float(np.linalg.norm(affine[:, :2], axis=1).max())
    if scale >= 1:
        return cv2.warpAffine(pixels, affine, (size, size), flags=cv2.INTER_CUBIC)
    while OVERSAMPLING * scale <= 0.5 and min(pixels.shape) > 1:
        pixels, scale = halve(pixels), 2 * scale
        affine = compose(scaling(2, 2), affine)
    fine = compose(affine, scaling(OVERSAMPLING, OVERSAMPLING))
    drawn = cv2.warpAffine(pixels, fine, (size * OVERSAMPLING,) * 2, flags=cv2.INTER_LINEAR)
    return cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)


def _cut(pixels: np.ndarray, affine: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the radiograph that the prepared picture needs, and the affine from that part."""
    far = size - 0.5
    corners = to_original([[-0.5, -0.5], [far, -0.5], [far, far], [-0.5, far]], affine)
    margin = 2 + 2 / float(np.linalg.norm(affine[:, :2], axis=1).max())
    low = np.maximum(np.floor(corners.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0) + margin) + 1, pixels.shape[::-1]).astype(int)
    if (high <= low).any():
        return pixels, affine
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ low
    return pixels[low[1] : high[1], low[0] : high[0]], moved
