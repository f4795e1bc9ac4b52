"""The outline of the hand on a small radiograph: the most hand-like of many thresholded shapes."""

import cv2
import numpy as np

from nbhelpers.collimation import find_field

THRESHOLDS = 16
LEAST_AREA = 0.02  # share of the frame that a hand covers at least
LEAST_SCORE = 0.5
# Each quality of a shape counts fully between the middle two values and not at all beyond the outer.
# Measured on hands of children of all ages; a hand with forearm, fingers spread or closed.
SOLIDITY = (0.35, 0.52, 0.80, 0.93)  # area over that of the convex hull
ROUGHNESS = (1.6, 3.0, 9.0, 22.0)  # squared perimeter over that of a circle of the same area
AREA = (0.02, 0.10, 0.55, 0.80)  # share of the frame
PALM = (0.10, 0.18, 0.50, 0.75)  # largest inscribed circle over area
TOUCHING = (-1.0, -0.5, 0.12, 0.45)  # share of the outline that lies on the border
STEEPEST = 15.0  # grey levels a pixel; what is steeper counts no more


def find_outline(pixels: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Mask uint8 [height, width] of the hand and a score, or (None, 0).

    pixels: small radiograph uint8, at most some 160 pixels a side. Shapes are cut at many
    thresholds from the radiograph as it is and with its smooth background taken away, in the whole
    frame and in the collimated field alone.
    """
    smooth = cv2.GaussianBlur(pixels, (3, 3), 0)
    low, high = np.percentile(smooth, [1, 99])
    levels = ((smooth - np.float32(low)) * np.float32(255 / max(high - low, 1))).clip(0, 255)
    slope = [cv2.Scharr(levels, cv2.CV_32F, dx, 1 - dx, scale=1 / 32) for dx in (1, 0)]
    steepness = np.minimum(cv2.magnitude(*slope), STEEPEST)
    field = find_field(levels)
    fields = [np.ones_like(field)]
    if np.count_nonzero(field) < 0.99 * field.size:
        fields.append(field)
    best, best_score = None, LEAST_SCORE
    for inside in fields:
        for view in (levels, _without_background(levels, inside)):
            for shape in _shapes(view, inside):
                shape, score = _judge(shape, inside, steepness)
                if score > best_score:
                    best, best_score = shape, score
    return (None, 0.0) if best is None else (best, best_score)


def _without_background(levels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    side = int(0.62 * np.sqrt(np.count_nonzero(inside))) | 1
    filled = np.where(inside > 0, levels, 255).astype(np.float32)
    background = cv2.erode(filled, np.ones((side, 1), np.uint8))
    background = cv2.erode(background, np.ones((1, side), np.uint8))
    background = np.where(inside > 0, background, 0).astype(np.float32)
    background = cv2.dilate(background, np.ones((side, 1), np.uint8))
    background = cv2.dilate(background, np.ones((1, side), np.uint8))
    return cv2.subtract(levels, cv2.blur(background, (side // 2 | 1,) * 2))


def _shapes(levels: np.ndarray, inside: np.ndarray):
    """Connected bright shapes, the two largest at each threshold."""
    seen = levels[inside > 0]
    low, high = np.percentile(seen, [3, 97])
    even = np.linspace(low, high, THRESHOLDS // 2 + 2)[1:-1]
    ranked = np.percentile(seen, np.linspace(10, 90, THRESHOLDS // 2))
    for threshold in np.unique(np.concatenate([even, ranked])):
        bright = cv2.threshold(levels, float(threshold), 1, cv2.THRESH_BINARY)[1].astype(np.uint8)
        bright &= inside
        _, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
        for label in np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:2] + 1:
            if stats[label, cv2.CC_STAT_AREA] > LEAST_AREA * levels.size:
                yield (labels == label).astype(np.uint8)


def _judge(shape: np.ndarray, inside: np.ndarray, steepness: np.ndarray):
    """The shape without holes, and how much it looks like a hand with an edge all around."""
    contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    area = cv2.contourArea(contour)
    if area < LEAST_AREA * shape.size:
        return shape, 0.0
    score = _between(area / cv2.contourArea(cv2.convexHull(contour)), SOLIDITY)
    score *= _between(cv2.arcLength(contour, True) ** 2 / (4 * np.pi * area), ROUGHNESS)
    score *= _between(area / shape.size, AREA)
    if score == 0:
        return shape, 0.0
    x, y = contour[:, 0, 0], contour[:, 0, 1]
    core = cv2.erode(
        inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    on_border = core[y, x] == 0
    score *= _between(on_border.mean(), TOUCHING)
    if score == 0:
        return shape, 0.0
    filled = cv2.drawContours(np.zeros_like(shape), [contour], -1, 1, -1)
    score *= _between(np.pi * inscribed_radius(filled)[1] ** 2 / area, PALM)
    return filled, score * float(steepness[y, x][~on_border].mean()) * (area / shape.size) ** 0.5


def _between(value: float, limits: tuple[float, float, float, float]) -> float:
    return float(np.interp(value, limits, (0, 1, 1, 0)))


def inscribed_radius(mask: np.ndarray) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and radius of the largest circle inside a mask: the palm of a hand."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    radius = float(depth.max())
    rows, columns = np.nonzero(depth > 0.92 * radius)
    return (float(columns.mean()), float(rows.mean())), radius
