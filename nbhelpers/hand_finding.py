"""Where the hand lies on a radiograph: its palm, which way its fingers point, how far it reaches."""

from dataclasses import dataclass

import numpy as np

from nbhelpers.geometry import Frame
from nbhelpers.hand_outline import find_outline, inscribed_circle

WRIST_BELOW_PALM = 2.1  # palm radii from the palm's centre to below the radius's epiphysis
MARGIN = 0.22  # palm radii around the outline
LARGEST_TURN = 60.0  # degrees


@dataclass(frozen=True)
class Hand:
    """mask: uint8 [height, width] of the small radiograph. centre: of the palm, (x, y), in its
    pixels. radius: of the palm, pixels. up: unit vector (x, y) from wrist to fingers."""

    mask: np.ndarray
    centre: tuple[float, float]
    radius: float
    up: tuple[float, float]


def find_hand(pixels: np.ndarray) -> Hand | None:
    """The hand on a small radiograph uint8 (at most some 160 pixels a side), or None."""
    mask, _ = find_outline(pixels)
    if mask is None:
        return None
    centre, radius = inscribed_circle(mask)
    return Hand(mask, centre, radius, _direction(mask, np.array(centre), radius))


def _direction(mask: np.ndarray, centre: np.ndarray, radius: float) -> tuple[float, float]:
    """From wrist to fingers: begins upwards, then joins the middles of what lies on both sides."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], 1) - centre
    up = np.array([0.0, -1.0])
    for _ in range(4):
        along = points @ up
        across = np.abs(points @ np.array([-up[1], up[0]]))
        fingers = points[(along > 1.1 * radius) & (across < 2.5 * radius)]
        wrist = points[(along < -0.9 * radius) & (along > -2.2 * radius)]
        to = fingers.mean(0) if len(fingers) > 5 else 1.5 * radius * up
        start = wrist.mean(0) if len(wrist) > 5 else np.zeros(2)
        if np.hypot(*(to - start)) < 1e-6:
            break
        up = (to - start) / np.hypot(*(to - start))
    tilt = np.degrees(np.arctan2(up[0], -up[1]))
    return (float(up[0]), float(up[1])) if abs(tilt) <= LARGEST_TURN else (0.0, -1.0)


def hand_frame(hand: Hand, up: tuple[float, float]) -> Frame:
    """The frame around a hand, its forearm cut below the wrist, in pixels of the small radiograph."""
    direction = np.array(up)
    side = np.array([-direction[1], direction[0]])
    rows, columns = np.nonzero(hand.mask)
    points = np.stack([columns, rows], 1) - np.array(hand.centre)
    bottom = -WRIST_BELOW_PALM * hand.radius
    axis = np.array(hand.up)
    points = points[points @ axis >= bottom]
    along, across = points @ direction, points @ side
    margin = MARGIN * hand.radius
    low, high = max(along.min(), bottom - margin) - margin, along.max() + margin
    left, right = across.min() - margin, across.max() + margin
    centre = np.array(hand.centre) + direction * (low + high) / 2 + side * (left + right) / 2
    return Frame((float(centre[0]), float(centre[1])), up, right - left + 1, high - low + 1)
