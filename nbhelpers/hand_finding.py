"""Where the hand lies on a radiograph: its palm, where its fingers point, how far it reaches."""

from dataclasses import dataclass

import cv2
import numpy as np

from nbhelpers.geometry import Frame
from nbhelpers.hand_outline import find_outline, inscribed_circle

# Share of hands whose outline holds a point, by distance from the palm's centre in palm radii (a
# row each) and angle from the direction of the fingers, every 15 degrees from 0 to 180. Measured
# on radiographs with known regions, both sides averaged.
RADII = (1.2, 1.6, 2.0, 2.4)
OCCUPIED = (
    (0.9, 0.6, 0.9, 0.5, 0.6, 0.6, 0.5, 0.2, 0.1, 0.2, 0.8, 1.0, 1.0),
    (0.8, 0.4, 0.7, 0.2, 0.5, 0.3, 0.1, 0.0, 0.0, 0.0, 0.3, 0.8, 0.9),
    (0.6, 0.4, 0.4, 0.2, 0.3, 0.1, 0.0, 0.0, 0.0, 0.0, 0.1, 0.4, 0.5),
    (0.3, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1),
)
STEPS = 72  # directions tried, 5 degrees apart
# Nearly all hands stand upright, so a larger turn than this must be plain to see: the outline
# matches the table at least so well, and so much better than with any smaller turn.
USUAL_TURN = 60.0  # degrees
LEAST_MATCH = 0.44
LEAST_LEAD = 0.2
# How far the radius's epiphysis lies below the palm's centre at most: as a share of what the middle
# finger reaches above it, and in palm radii. Hands differ in the one, outlines in the other.
WRIST_BY_FINGER = 0.70
WRIST_BY_PALM = 1.75
MARGIN = 0.14  # palm radii around all that
RING = 0.3  # palm radii around the outline, whose grey levels are those of the background
DARKEST, BRIGHTEST = 5.0, 99.5  # percentiles of the ring and of the hand


@dataclass(frozen=True)
class Hand:
    """mask, field: uint8 [height, width] of the hand and of the collimated field around it, on the
    small radiograph. score: how plain the hand is, 0.5 to about 10. centre: of the palm, (x, y).
    radius: of the palm, pixels. up: unit vector (x, y) from wrist to fingers."""

    mask: np.ndarray
    field: np.ndarray
    score: float
    centre: tuple[float, float]
    radius: float
    up: tuple[float, float]


def find_hand(pixels: np.ndarray) -> Hand | None:
    """The hand on a small radiograph uint8 (at most some 160 pixels a side), or None."""
    mask, score, field = find_outline(pixels)
    if mask is None:
        return None
    centre, radius = inscribed_circle(mask)
    turn = _coarse_turn(mask, centre, radius)
    up = _refined(mask, np.array(centre), radius, turn)
    return Hand(mask, field, score, centre, radius, up)


def _coarse_turn(mask: np.ndarray, centre: tuple[float, float], radius: float) -> float:
    """Degrees clockwise from upwards to the fingers, in steps of 5, by matching the table."""
    turns = np.arange(STEPS) * (2 * np.pi / STEPS)
    reach = radius * np.array(RADII)[:, None]
    x = (centre[0] + reach * np.sin(turns)).astype(np.float32)
    y = (centre[1] - reach * np.cos(turns)).astype(np.float32)
    soft = cv2.blur(mask.astype(np.float32), (3, 3))
    seen = cv2.remap(soft, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    seen -= seen.mean(1, keepdims=True)
    scale = np.sqrt((seen**2).sum() * (_TABLE**2).sum()) + 1e-6
    spectrum = (np.fft.rfft(seen) * np.conj(np.fft.rfft(_TABLE))).sum(0)
    match = np.fft.irfft(spectrum, STEPS) / scale
    degrees = (np.degrees(turns) + 180) % 360 - 180
    usual = np.where(np.abs(degrees) <= USUAL_TURN, match, -np.inf)
    best = int(match.argmax())
    plain = match[best] >= LEAST_MATCH and match[best] - usual.max() >= LEAST_LEAD
    return float(degrees[best] if plain else degrees[int(usual.argmax())])


def _table() -> np.ndarray:
    """OCCUPIED for every direction tried, float [radii, STEPS], each row of mean 0."""
    half = np.linspace(0, 180, STEPS // 2 + 1)
    right = np.array([np.interp(half, np.linspace(0, 180, len(row)), row) for row in OCCUPIED])
    whole = np.concatenate([right, right[:, -2:0:-1]], 1)
    return whole - whole.mean(1, keepdims=True)


_TABLE = _table()


def _refined(
    mask: np.ndarray, centre: np.ndarray, radius: float, turn: float
) -> tuple[float, float]:
    """Unit vector (x, y) from the middle of the wrist to that of the fingers, near a given turn."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], 1) - centre
    up = start = np.array([np.sin(np.radians(turn)), -np.cos(np.radians(turn))])
    for _ in range(3):
        along = points @ up
        across = np.abs(points @ np.array([-up[1], up[0]]))
        fingers = points[(along > 1.1 * radius) & (across < 2.5 * radius)]
        wrist = points[(along < -0.9 * radius) & (along > -2.2 * radius)]
        top = fingers.mean(0) if len(fingers) > 5 else 1.5 * radius * up
        bottom = wrist.mean(0) if len(wrist) > 5 else np.zeros(2)
        up = (top - bottom) / max(float(np.hypot(*(top - bottom))), 1e-6)
    if up @ start < np.cos(np.radians(30)):
        up = start
    return float(up[0]), float(up[1])


def _without_forearm(hand: Hand) -> tuple[np.ndarray, float]:
    """Pixels (x, y) of the hand [n, 2] from the palm's centre, and how far below the wrist lies."""
    rows, columns = np.nonzero(hand.mask)
    points = np.stack([columns, rows], 1) - np.array(hand.centre)
    lengthwise = points @ np.array(hand.up)
    wrist = max(WRIST_BY_FINGER * lengthwise.max(), WRIST_BY_PALM * hand.radius)
    return points[lengthwise >= -wrist], wrist


def hand_levels(pixels: np.ndarray, hand: Hand) -> tuple[float, float]:
    """Grey levels of the darkest just outside a hand and of the brightest bone in it.

    pixels: the small radiograph. The forearm, brighter than the hand, does not count.
    """
    points, _ = _without_forearm(hand)
    columns, rows = np.rint(points + np.array(hand.centre)).astype(np.int32).T
    ring = int(max(3, RING * hand.radius))
    near = cv2.dilate(hand.mask, np.ones((2 * ring + 1,) * 2, np.uint8))
    outside = pixels[(near > 0) & (hand.mask == 0) & (hand.field > 0)]
    high = float(np.percentile(pixels[rows, columns], BRIGHTEST))
    low = float(np.percentile(outside, DARKEST)) if outside.size else float(pixels.min())
    return min(low, high - 1), high


def hand_frame(hand: Hand, up: tuple[float, float]) -> Frame:
    """The frame around a hand, cut below the wrist, in pixels of the small radiograph."""
    points, wrist = _without_forearm(hand)
    points = np.vstack([points, -wrist * np.array(hand.up)])
    direction, side = np.array(up), np.array([-up[1], up[0]])
    along, across = points @ direction, points @ side
    margin = MARGIN * hand.radius
    low, high = along.min() - margin, along.max() + margin
    left, right = across.min() - margin, across.max() + margin
    centre = np.array(hand.centre) + direction * (low + high) / 2 + side * (left + right) / 2
    return Frame((float(centre[0]), float(centre[1])), up, right - left + 1, high - low + 1)
