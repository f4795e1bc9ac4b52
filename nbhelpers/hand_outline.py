"""The outline of the hand on a small radiograph: the most hand-like of many thresholded shapes."""

import cv2
import numpy as np

from nbhelpers.collimation import find_field

THRESHOLDS = 14
SEEN_EVERY = 3  # pixels are enough for percentiles
LEAST_AREA = 0.02  # share of the frame that a hand covers at least
LEAST_SCORE = 0.5
PLAIN_SCORE = 7.0  # such a hand in the field needs no look at the whole frame
RIM = 0.03  # of the frame, in which bright or dark strips lie
# Each quality counts fully between its middle two values and not at all beyond the outer two:
# hands of all ages, with forearm or without, fingers spread or closed.
SOLIDITY = (0.30, 0.46, 0.80, 0.93)  # area over that of the convex hull
ROUGHNESS = (1.6, 3.0, 9.0, 22.0)  # squared perimeter over that of a circle of the same area
AREA = (0.02, 0.10, 0.55, 0.80)  # share of the frame
PALM = (0.10, 0.18, 0.50, 0.75)  # largest inscribed circle over area
TOUCHING = (-1.0, -0.5, 0.12, 0.50)  # share of the outline that lies on the border
STRAIGHT = (-1.0, -0.5, 0.95, 1.8)  # longest straight side over the root of the area
FILLING = (0.5, 0.85, 1.5, 2.0)  # bright share of what the outline holds
GLARING = 190.0  # tone of surroundings that are brighter than most of the field
NOISE = 0.05  # share of the brightest below which grey levels are mostly noise
COMPLETE = 0.5  # power of the area that a score grows with, so that no finger is lost
WEAKEST = 0.5  # weight of the weakest quarter of an outline against its mean
STEEPEST = 15.0  # grey levels a pixel; what is steeper counts no more
BACKGROUND_SIDE = 0.62  # of the field's side: wider than a palm


def find_outline(pixels: np.ndarray) -> tuple[np.ndarray | None, float, np.ndarray]:
    """Mask uint8 [height, width] of the hand or None, a score, and the mask of the field around it.

    pixels: small radiograph uint8, at most some 160 pixels a side. Shapes are cut at many
    thresholds from the radiograph as it is and with its smooth background taken away, in the whole
    frame and in the collimated field alone.
    """
    smooth = cv2.GaussianBlur(pixels, (3, 3), 0)
    whole = np.ones_like(pixels)
    tones = _tones(smooth, whole)
    field = find_field(_for_field(tones))
    rim = max(1, round(RIM * max(field.shape)))
    field[:rim] = field[-rim:] = field[:, :rim] = field[:, -rim:] = 0
    best = _Best(_away_from_edges(field))
    best.look(_tones(smooth, field), field)
    if best.score < PLAIN_SCORE:
        best.look(tones, whole)
    return best.mask(), best.score, best.field


def _ranked(values: np.ndarray, shares: list[float]) -> list[float]:
    """The values that these shares of all values lie below, from a part of them."""
    part = np.sort(values[::SEEN_EVERY])
    return [float(part[int(share * (len(part) - 1))]) for share in shares]


def _for_field(tones: np.ndarray) -> np.ndarray:
    """Tones in which the field's edges stand out: as measured, unless its surroundings glare."""
    rim = np.concatenate([tones[:3].ravel(), tones[-3:].ravel(), tones[:, :3].ravel()])
    return tones if np.median(rim) > GLARING else tones * tones / 255


def _tones(smooth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Square root of the grey levels, float32, with what lies inside spread over 0..255.

    The root gives thin fingers the weight of the thick wrist, and noise in the dark little.
    """
    low, high = _ranked(smooth[inside > 0], [0.01, 0.99])
    levels = (smooth - np.float32(low)) * np.float32(1 / max(high - low, 1))
    rooted = np.sqrt(levels.clip(0, 1) + np.float32(NOISE)) - np.float32(NOISE**0.5)
    return rooted * np.float32(255 / ((1 + NOISE) ** 0.5 - NOISE**0.5))


def _away_from_edges(field: np.ndarray) -> np.ndarray:
    """Mask uint8 of what lies neither on the border of the frame nor along that of the field."""
    square = np.ones((7, 7), np.uint8)
    along = cv2.subtract(cv2.dilate(field, square), cv2.erode(field, square))
    away = 1 - along
    away[[0, -1]] = 0
    away[:, [0, -1]] = 0
    return away


class _Best:
    """The most hand-like shape looked at so far."""

    def __init__(self, core: np.ndarray) -> None:
        self.core = core
        self.score = LEAST_SCORE
        self.contour: np.ndarray | None = None
        self.field = np.ones_like(core)

    def mask(self) -> np.ndarray | None:
        """The shape without holes, uint8 [height, width]."""
        return None if self.contour is None else _filled(self.contour, self.core.shape)

    def look(self, tones: np.ndarray, inside: np.ndarray) -> None:
        """Judge the bright shapes inside a field, with its background and without."""
        slope_x = cv2.Scharr(tones, cv2.CV_32F, 1, 0, scale=1 / 32)
        slope_y = cv2.Scharr(tones, cv2.CV_32F, 0, 1, scale=1 / 32)
        self.steepness = np.minimum(cv2.magnitude(slope_x, slope_y), STEEPEST)
        self.inside, self.area = inside, cv2.countNonZero(inside)
        self._look_at_thresholds(_without_background(tones, inside), inside)
        if self.score < PLAIN_SCORE:
            self._look_at_thresholds(tones, inside)

    def _look_at_thresholds(self, tones: np.ndarray, inside: np.ndarray) -> None:
        """Judge the two largest bright shapes at every threshold."""
        shares = [0.03, *np.linspace(0.1, 0.9, THRESHOLDS // 2), 0.97]
        low, *ranked, high = _ranked(tones[inside > 0], shares)
        even = np.linspace(low, high, THRESHOLDS // 2 + 2)[1:-1]
        for threshold in sorted({*even.tolist(), *ranked}):
            bright = cv2.compare(tones, threshold, cv2.CMP_GT)
            bright = cv2.bitwise_and(bright, bright, mask=inside)
            contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            sized = [(cv2.contourArea(shape), shape) for shape in contours if len(shape) > 30]
            for area, shape in sorted(sized, key=lambda pair: -pair[0])[:2]:
                self._judge(area, shape, bright)

    def _judge(self, area: float, contour: np.ndarray, bright: np.ndarray) -> None:
        if area < LEAST_AREA * bright.size:
            return
        share = area / self.area
        score = STEEPEST * share**COMPLETE * _between(share, AREA)
        score *= _between(cv2.arcLength(contour, True) ** 2 / (4 * np.pi * area), ROUGHNESS)
        if score > self.score:
            score *= _between(area / cv2.contourArea(cv2.convexHull(contour)), SOLIDITY)
        if score > self.score:
            at = contour[:, 0, 1] * bright.shape[1] + contour[:, 0, 0]
            free = self.core.take(at) > 0
            score *= _between(1 - np.count_nonzero(free) / len(at), TOUCHING)
            if score > self.score:
                score *= _typical(self.steepness.take(at[free])) / STEEPEST
        if score > self.score:
            filled = _filled(contour, bright.shape)
            held = cv2.countNonZero(filled)
            score *= _between(cv2.countNonZero(cv2.bitwise_and(bright, filled)) / held, FILLING)
        if score > self.score:
            score *= _between(self._longest_side(contour) / area**0.5, STRAIGHT)
        if score > self.score:
            score *= _between(np.pi * inscribed_circle(filled)[1] ** 2 / area, PALM)
        if score > self.score:
            self.score, self.contour, self.field = score, contour, self.inside

    def _longest_side(self, contour: np.ndarray) -> float:
        """Pixels of the longest straight side of a contour that is no border."""
        ends = cv2.approxPolyDP(contour, 1.5, True)[:, 0]
        starts = np.roll(ends, 1, axis=0)
        middle = (starts + ends) // 2
        free = self.core[middle[:, 1], middle[:, 0]] > 0
        sides = np.hypot(*(ends - starts).T.astype(np.float64))
        return float((sides * free).max())


def _filled(contour: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.drawContours(np.zeros(shape, np.uint8), [contour], -1, 1, -1)


def _without_background(tones: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What stands out from a morphological opening with a square wider than a palm."""
    side = int(BACKGROUND_SIDE * np.sqrt(np.count_nonzero(inside))) | 1
    column, row = np.ones((side, 1), np.uint8), np.ones((1, side), np.uint8)
    background = np.where(inside > 0, tones, np.float32(255))
    background = cv2.erode(cv2.erode(background, column), row)
    background = np.where(inside > 0, background, np.float32(0))
    background = cv2.dilate(cv2.dilate(background, column), row)
    return cv2.subtract(tones, cv2.blur(background, (side // 2 | 1, side // 2 | 1)))


def _typical(values: np.ndarray) -> float:
    """Between the mean and the weakest quarter, in which an outline that leaks into noise shows."""
    if len(values) < 8:
        return 0.0
    quarter = len(values) // 4
    return float((1 - WEAKEST) * values.mean() + WEAKEST * np.partition(values, quarter)[quarter])


def _between(value: float, limits: tuple[float, float, float, float]) -> float:
    """1 between the middle two limits, falling to 0 at the outer two."""
    if value <= limits[0] or value >= limits[3]:
        return 0.0
    rise = (value - limits[0]) / (limits[1] - limits[0])
    fall = (limits[3] - value) / (limits[3] - limits[2])
    return float(min(rise, fall, 1.0))


def inscribed_circle(mask: np.ndarray) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and radius of the largest circle inside a mask: the palm of a hand."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    radius = float(depth.max())
    rows, columns = np.nonzero(depth > 0.92 * radius)
    return (float(columns.mean()), float(rows.mean())), radius
