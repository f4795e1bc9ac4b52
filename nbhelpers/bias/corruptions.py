"""Corruptions of a radiograph: other poses, exposures, detectors and files than a model learnt on.

Each has a kind and a strength; a new one is a function and a row of `CORRUPTIONS`. Where there is
no reason for one direction (which way a hand is turned, which side is collimated) the case draws
it, the same one at every strength. A radiograph keeps its size; what a moved one shows from outside
has the grey level of its own edges. Corrupted radiographs are then prepared as usual, on all cores.
Nothing here loads a network, so the processes that work on files start quickly.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nbhelpers.images.geometry import reduce_to
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.images.radiograph import read_image
from nbhelpers.workspace import parallel

SALT = "hand radiographs, disturbed"
GROWTH = 0.10  # of the MAE, beyond which a corruption is no longer harmless
WHITE = 255
WIDE_BLUR = 4  # SD in pixels that still looks smooth after enlarging
SHARPENED_DETAIL = 1.0  # SD of the blur that takes it away, % of the longer side
MARKER_MARGIN, MARKER_WIDTH, MARKER_STROKE = 0.03, 0.6, 0.2  # of the shorter side; of its height
Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def corrupt(pixels: np.ndarray, kind: str, strength: float, case: str) -> np.ndarray:
    """The corrupted radiograph, uint8 `[height, width]` like the one given, which is left alone.

    The same kind, strength and case change a radiograph in the same way wherever it is asked for;
    the strength `identity` of the kind gives `pixels` back.
    """
    corruption = CORRUPTIONS[kind]
    if strength == corruption.identity:
        return pixels
    seed = hashlib.sha256(f"{SALT}\0{kind}\0{case}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed[:8], "big"))
    return corruption.change(pixels, strength, random)


def _rotated(pixels: np.ndarray, degrees: float, random: np.random.Generator) -> np.ndarray:
    return _about_middle(pixels, degrees * random.choice((-1, 1)), 1.0)


def _scaled(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    return _about_middle(pixels, 0.0, 1 + percent / 100)


def _about_middle(pixels: np.ndarray, degrees: float, factor: float) -> np.ndarray:
    height, width = pixels.shape
    middle = ((width - 1) / 2, (height - 1) / 2)
    return _warped(pixels, cv2.getRotationMatrix2D(middle, degrees, factor))


def _squeezed(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """Across, or, where percent is negative, down."""
    height, width = pixels.shape
    across, down = 1 - max(percent, 0) / 100, 1 + min(percent, 0) / 100
    middle = np.array([[(1 - across) * (width - 1) / 2], [(1 - down) * (height - 1) / 2]])
    return _warped(pixels, np.hstack([np.diag([across, down]), middle]))


def _warped(pixels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    outside = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": _edge_level(pixels)}
    return cv2.warpAffine(pixels, affine, pixels.shape[::-1], flags=cv2.INTER_LINEAR, **outside)


def _edge_level(pixels: np.ndarray) -> int:
    """The median grey level of the outermost lines: of the film around the hand, most often."""
    lines = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return int(np.median(np.concatenate(lines)))


def _shifted(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """By whole pixels, so that nothing but the place changes."""
    turned = np.rot90(pixels, side := random.integers(4))
    rows = _share_of(turned.shape[0], percent)
    moved = np.full_like(turned, _edge_level(pixels))
    moved[rows:] = turned[: len(turned) - rows]
    return np.ascontiguousarray(np.rot90(moved, -side))


def _collimated(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """With one side black, as behind a collimator."""
    covered = pixels.copy()
    turned = np.rot90(covered, random.integers(4))
    turned[: _share_of(turned.shape[0], percent)] = 0
    return covered


def _share_of(side: int, percent: float) -> int:
    return min(side, round(side * percent / 100))


def _brighter(pixels: np.ndarray, levels: float, random: np.random.Generator) -> np.ndarray:
    return cv2.LUT(pixels, _whole_levels(np.arange(256) + levels))


def _contrasted(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """Around the radiograph's own mean, so that it gets no brighter."""
    mean = pixels.mean()
    levels = mean + (np.arange(256) - mean) * (1 + percent / 100)
    return cv2.LUT(pixels, _whole_levels(levels))


def _with_gamma(pixels: np.ndarray, exponent: float, random: np.random.Generator) -> np.ndarray:
    return cv2.LUT(pixels, _whole_levels(WHITE * (np.arange(256) / WHITE) ** exponent))


def _inverted(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    return WHITE - pixels


def _mirrored(pixels: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(pixels[:, ::-1])


def _whole_levels(levels: np.ndarray) -> np.ndarray:
    return np.rint(levels).clip(0, WHITE).astype(np.uint8)


def _noisy(pixels: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray:
    noise = random.standard_normal(pixels.shape, np.float32)
    return _whole_levels(pixels + np.float32(spread) * noise)


def _blurred(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """A wide blur of a large radiograph is that of a reduced one, in a tenth of the time."""
    small = reduce_to(pixels, round(WIDE_BLUR * 100 / percent))
    blurred = cv2.GaussianBlur(small, (0, 0), max(small.shape) * percent / 100)
    return cv2.resize(blurred, pixels.shape[::-1])


def _sharpened(pixels: np.ndarray, times: float, random: np.random.Generator) -> np.ndarray:
    """With the detail that a blur would take away added to it, so many times over."""
    soft = _blurred(pixels, SHARPENED_DETAIL, random)
    return _whole_levels(pixels + times * (pixels.astype(np.float32) - soft))


def _compressed(pixels: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def _coarser(pixels: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return cv2.resize(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (width, height))


def _marked(pixels: np.ndarray, percent: float, random: np.random.Generator) -> np.ndarray:
    """With a white L, as lead letters give, in one of the four corners."""
    side = min(pixels.shape)
    high = max(3, round(side * percent / 100))
    wide, stroke = max(2, round(MARKER_WIDTH * high)), max(1, round(MARKER_STROKE * high))
    letter = np.zeros((high, wide), bool)
    letter[:, :stroke] = letter[-stroke:] = True
    margin = round(MARKER_MARGIN * side)
    low, right = random.integers(2, size=2)
    top = pixels.shape[0] - margin - high if low else margin
    left = pixels.shape[1] - margin - wide if right else margin
    marked = pixels.copy()
    marked[top : top + high, left : left + wide][letter] = WHITE
    return marked


@dataclass(frozen=True)
class Corruption:
    """One way in which a radiograph may differ from those that a model learnt on.

    Attributes:
        change: corrupted pixels of pixels, a strength and the case's own random numbers.
        unit: of the strength.
        strengths: to try, from hardly visible to harmful; both ways where there are two.
        identity: the strength that changes nothing.
    """

    change: Change
    unit: str
    strengths: tuple[float, ...]
    identity: float = 0.0


# Noise, JPEG and resolution act on the radiograph's own pixels: the more of them it has, the less
# is left of such a corruption in the prepared picture. All others mean the same at every size.
CORRUPTIONS = {
    "rotation": Corruption(_rotated, "degrees", (2, 5, 10, 20, 45, 90)),
    "shift": Corruption(_shifted, "% of the side", (5, 10, 20, 30)),
    "scale": Corruption(_scaled, "%", (-40, -20, -10, 10, 20, 40)),
    "aspect": Corruption(_squeezed, "% narrower, shorter if below 0", (-40, -25, -10, 10, 25, 40)),
    "brightness": Corruption(_brighter, "grey levels", (-80, -40, -20, 20, 40, 80)),
    "contrast": Corruption(_contrasted, "%", (-75, -50, -25, 25, 50, 100)),
    "gamma": Corruption(_with_gamma, "exponent", (0.4, 0.6, 0.8, 1.25, 1.7, 2.5), 1.0),
    "noise": Corruption(_noisy, "SD in grey levels", (5, 10, 20, 40, 80)),
    "blur": Corruption(_blurred, "SD in % of the longer side", (0.25, 0.5, 1, 2)),
    "sharpness": Corruption(_sharpened, "times the detail added", (0.5, 1, 2, 4)),
    "jpeg": Corruption(_compressed, "quality", (70, 40, 20, 10, 5), 100.0),
    "resolution": Corruption(_coarser, "times coarser", (2, 4, 8, 16, 32), 1.0),
    "inverted": Corruption(_inverted, "on or off", (1,)),
    "mirrored": Corruption(_mirrored, "on or off", (1,)),
    "marker": Corruption(_marked, "% of the shorter side", (3, 6, 12, 25)),
    "collimation": Corruption(_collimated, "% of the side", (5, 10, 20, 30, 40)),
}


def corrupted_pictures(
    paths: Sequence[str | Path], preparation: Preparation, kind: str, strengths: Sequence[float]
) -> np.ndarray:
    """Radiographs corrupted and then prepared: uint8 `[strengths, n, side, side]`.

    Each file is read once; its name without its ending stands for the case (see `corrupt`). Raises
    InputError naming a radiograph that cannot be read.
    """
    side = preparation.image_size
    pictures = np.empty((len(strengths), len(paths), side, side), np.uint8)
    for row, of_row in enumerate(parallel(of_file, paths, preparation, kind, strengths)):
        pictures[:, row] = of_row
    return pictures


def of_file(
    path: str | Path, preparation: Preparation, kind: str, strengths: Sequence[float]
) -> np.ndarray:
    """One radiograph, corrupted at each strength and prepared: uint8 `[strengths, side, side]`."""
    pixels, case = read_image(Path(path)), Path(path).stem
    corrupted = (corrupt(pixels, kind, strength, case) for strength in strengths)
    return np.stack([prepare_image(one, preparation)[0] for one in corrupted])
