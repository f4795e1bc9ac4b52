"""Histograms of oriented gradients, and gradient-boosted trees on them.

Features follow Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection" (CVPR
2005): each gradient votes, weighted by its length, for the two nearest directions and, with a
triangular window, for the cells around it; cells are normalised over their neighbourhood and the
square root is taken. scikit-image's `hog` votes for one cell only, so a bone that moves by a pixel
changes its features: on radiographs of 100 pixels a ridge regression then erred by two months more.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import xgboost

from nbhelpers import workspace

NEIGHBOURHOOD = 3  # cells a side over which a cell is normalised
LONG = 1000  # pictures, from which on progress is reported
AT_ONCE = 256  # pictures that are changed at once
FAINT = 0.02  # gradient energy below which a cell counts as empty
CARD = "nbhelpers"  # the attribute of the saved model that carries its settings


@dataclass(frozen=True)
class HogSettings:
    """How a prepared picture becomes features.

    Attributes:
        cell_pixels: width of a cell, pixels.
        step_pixels: distance between the middles of neighbouring cells, pixels.
        orientations: directions, over 180 degrees.
        blur_pixels: SD of the Gaussian that takes noise and aliasing away first, pixels.
    """

    cell_pixels: int = 8
    step_pixels: int = 6
    orientations: int = 9
    blur_pixels: float = 1.2


def cell_histograms(picture: np.ndarray, settings: HogSettings) -> np.ndarray:
    """Normalised histograms float32 `[rows, columns, orientations]` of a uint8 picture."""
    grey = picture.astype(np.float32) / 255
    grey = cv2.GaussianBlur(grey, (0, 0), settings.blur_pixels)
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1)
    length = np.hypot(across, down)
    direction = np.arctan2(down, across) / np.float32(np.pi) % 1 * settings.orientations
    window = (settings.cell_pixels, settings.cell_pixels)
    first = settings.cell_pixels // 2
    votes = []
    for orientation in range(settings.orientations):
        apart = np.abs(direction - orientation)
        apart = np.minimum(apart, settings.orientations - apart)
        vote = length * np.maximum(1 - apart, 0)
        vote = cv2.blur(cv2.blur(vote, window), window)  # twice a box is a triangle
        votes.append(vote[first :: settings.step_pixels, first :: settings.step_pixels])
    cells = np.stack(votes, axis=-1)
    energy = cv2.blur((cells**2).sum(axis=-1), (NEIGHBOURHOOD, NEIGHBOURHOOD))
    strength = np.sqrt(np.maximum(energy, 0)) + FAINT
    return np.sqrt(np.maximum(cells, 0) / strength[..., None])


def features(images: Iterable[np.ndarray], settings: HogSettings) -> np.ndarray:
    """Features float32 `[n, rows * columns * orientations]` of pictures uint8 `[n, size, size]`.

    On all cores, in threads: OpenCV and NumPy work outside the interpreter's lock.
    """
    with ThreadPoolExecutor(workspace.cores()) as pool:
        made = pool.map(lambda picture: cell_histograms(picture, settings).ravel(), images)
        if len(images) >= LONG:
            made = workspace.progress(made, len(images), "HOG features")
        return np.stack(list(made))


def changed_features(
    images: np.ndarray, rows: np.ndarray, settings: HogSettings, seed: int = 0
) -> np.ndarray:
    """As `features`, of pictures changed as they are in the training of networks, not mirrored.

    Trees that also learn from these lose less on radiographs from elsewhere.

    Args:
        images, rows: pictures uint8 `[case, size, size]`, and row numbers of those wanted.
        seed: of the changes, with the places in `rows`; see `networks.change`.
    """
    from nbhelpers.models import networks  # with Keras, of which nothing else here has need

    draws = np.random.default_rng(seed).uniform(-1, 1, (len(rows), networks.DRAWS))
    draws[:, 0] = 1.0
    found = []
    starts = range(0, len(rows), AT_ONCE)
    for start in workspace.progress(starts, len(starts), f"changed pictures, {AT_ONCE} at once"):
        part = slice(start, start + AT_ONCE)
        changed = networks.changed(images[rows[part]][..., None], draws[part])
        found.append(features(changed[..., 0], settings))
    return np.concatenate(found)


def with_sex(table: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """HOG features with sex (0 female, 1 male, NaN unknown) as the last column."""
    return np.column_stack([table, np.asarray(sex, np.float32)])


def save(booster: xgboost.Booster, path: Path, hog: HogSettings, facts: dict) -> None:
    """Write the trees as `.ubj`; `facts` and the HOG settings travel in the file."""
    booster.set_attr(**{CARD: json.dumps({**facts, "hog": asdict(hog)})})
    with workspace.atomic_path(path) as temporary:
        booster.save_model(temporary)


def model_facts(booster: xgboost.Booster) -> dict:
    """What `save` put next to the trees: facts, and the HOG settings under `hog`."""
    return json.loads(booster.attr(CARD))


def predict(booster: xgboost.Booster, images: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """Months `[n]` or stage probabilities `[n, 5]` of prepared pictures uint8 `[n, size, size]`.

    Where sex is unknown (NaN): the mean over both sexes, weighted by the training share of boys.
    """
    facts = model_facts(booster)
    table = features(images, HogSettings(**facts["hog"]))
    return predict_features(booster, table, sex, facts["male_share"])


def predict_features(
    booster: xgboost.Booster, table: np.ndarray, sex: np.ndarray, male_share: float
) -> np.ndarray:
    """As `predict`, from HOG features that are already there."""
    sex = np.asarray(sex, np.float32)
    unknown = np.isnan(sex)
    predicted = booster.inplace_predict(with_sex(table, np.where(unknown, 0, sex)))
    if unknown.any():
        as_male = booster.inplace_predict(with_sex(table[unknown], np.ones(unknown.sum())))
        predicted[unknown] = male_share * as_male + (1 - male_share) * predicted[unknown]
    return predicted


def importance_map(booster: xgboost.Booster, image_size: int, hog: HogSettings) -> np.ndarray:
    """The share of the total gain that falls on each cell, `[rows, columns]`, summing to 1."""
    grid = -(-(image_size - hog.cell_pixels // 2) // hog.step_pixels)
    gain = np.zeros(grid * grid * hog.orientations + 1)
    for name, value in booster.get_score(importance_type="total_gain").items():
        gain[int(name.removeprefix("f"))] = value
    cells = gain[:-1].reshape(grid, grid, hog.orientations).sum(axis=-1)
    return cells / max(cells.sum(), np.finfo(float).tiny)
