"""Radiographs that are nearly the same: one image, saved again under another id.

Candidates have nearly the same perceptual hash (Krawetz's difference hash: is each pixel of a
small copy clearly darker than the next?); what decides is the correlation of their edges. On the
11,336 prepared radiographs of the RSNA training set no candidates correlate above 0.87; copies
saved as JPEG, smaller or brighter correlate above 0.98 with their originals.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pandas as pd

HASH_SIDE = 16  # so 256 bits
DARKER = 3  # grey levels; less is noise, and flips the bits of flat parts
MOST_BITS = 16  # that the hashes of a candidate pair differ in
COMPARED_SIDE = 112  # pixels
SAME = 0.9  # correlation of edges from which two radiographs are called copies
COLUMNS = ["case_id", "split", "other_case_id", "other_split", "correlation"]


def find(images: Sequence[np.ndarray], cases: pd.DataFrame) -> pd.DataFrame:
    """Pairs of near copies, the closest first: COLUMNS.

    Exact copies are among them.

    Args:
        images: uint8 `[height, width]` each; an array `[case, height, width]` or a list.
        cases: the case table, a row an image.
    """
    rows = []
    for one, other in candidates(images):
        correlation = float(_edges(images[one]) @ _edges(images[other]))
        if correlation >= SAME:
            of = cases.iloc[[one, other]][["case_id", "split"]].to_numpy()
            rows.append([*of[0], *of[1], correlation])
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("correlation", ascending=False, ignore_index=True)


def candidates(images: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Row numbers of pairs whose hashes differ in at most `MOST_BITS` bits."""
    hashes = np.stack([_hash(np.asarray(image)) for image in images]).view(np.uint64)
    for row in range(len(hashes) - 1):
        different = np.bitwise_count(hashes[row + 1 :] ^ hashes[row]).sum(axis=1)
        for beyond in np.flatnonzero(different <= MOST_BITS):
            yield row, row + 1 + int(beyond)


def _hash(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits((np.diff(small.astype(np.int16), axis=1) > DARKER).ravel())


def _edges(image: np.ndarray) -> np.ndarray:
    """Horizontal and vertical edges as one vector of length 1; of nothing but zeros, zeros."""
    small = cv2.resize(np.asarray(image), (COMPARED_SIDE,) * 2, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float32)
    edges = np.stack([cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0)]).ravel()
    edges -= edges.mean()
    return edges / max(float(np.linalg.norm(edges)), 1e-6)
