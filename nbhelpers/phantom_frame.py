"""Where the hand lies in the frame: the frame, magnification, tilt, collimated field, marker.

All of it is drawn without a look at the child's age, so that pixels do not give size or age away.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nbhelpers.phantom_pose import Hand
from nbhelpers.phantom_regions import region_extents
from nbhelpers.phantom_shapes import View

MARGIN = 3.0  # pixels that every box keeps from the frame's edge
# Letters of straight strokes in a unit square, y down: the side and a radiographer's initials.
STROKES = {
    "A": (((0, 1), (0.4, 0), (0.8, 1)), ((0.15, 0.65), (0.65, 0.65))),
    "E": (((0.7, 0), (0, 0), (0, 1), (0.7, 1)), ((0, 0.5), (0.55, 0.5))),
    "H": (((0, 0), (0, 1)), ((0.7, 0), (0.7, 1)), ((0, 0.5), (0.7, 0.5))),
    "J": (((0.7, 0), (0.7, 0.8), (0.5, 1), (0.2, 1), (0, 0.8)),),
    "K": (((0, 0), (0, 1)), ((0.7, 0), (0, 0.55), (0.7, 1))),
    "L": (((0, 0), (0, 1), (0.65, 1)),),
    "M": (((0, 1), (0, 0), (0.45, 0.7), (0.9, 0), (0.9, 1)),),
    "N": (((0, 1), (0, 0), (0.7, 1), (0.7, 0)),),
    "P": (((0, 1), (0, 0), (0.5, 0), (0.7, 0.15), (0.7, 0.4), (0.5, 0.55), (0, 0.55)),),
    "S": (
        (
            (0.7, 0.1),
            (0.4, 0),
            (0, 0.15),
            (0.1, 0.45),
            (0.65, 0.6),
            (0.65, 0.9),
            (0.3, 1),
            (0, 0.9),
        ),
    ),
    "T": (((0, 0), (0.8, 0)), ((0.4, 0), (0.4, 1))),
    "W": (((0, 0), (0.2, 1), (0.45, 0.4), (0.7, 1), (0.9, 0)),),
}


@dataclass(frozen=True)
class Frame:
    """The hand's view, the frame's size in pixels and the collimated field in it.

    `field` is the middle (x, y), half-width, half-height and turn of a rectangle.
    """

    shape: tuple[int, int]
    view: View
    field: tuple[float, float, float, float, float]


def draw_frame(rng: np.random.Generator, hand: Hand, size: int) -> Frame:
    """Choose a frame with `size` pixels on its longer side that holds the hand and its 17 boxes."""
    aspect = float(np.clip(rng.normal(0.79, 0.1), 0.6, 1.3))
    height, width = (size, round(size * aspect)) if aspect <= 1 else (round(size / aspect), size)
    turn = rng.normal(0, 6.5) if rng.random() < 0.75 else rng.normal(0, 20)
    turn = float(np.radians(np.clip(turn, -38, 38)))
    # Distance from the wrist's to the highest DIP box over the frame's height: the RSNA boxes have
    # 0.51, SD 0.08, with a tail of small hands on large plates.
    share = float(np.clip(rng.normal(0.55, 0.06), 0.38, 0.66))
    if rng.random() < 0.12:
        share *= float(rng.uniform(0.6, 0.9))
    places = rng.beta(2.5, 2.5, 2)
    reach = float(np.linalg.norm(np.subtract(hand.joints["DIP3"], hand.joints["Wrist"])))
    low, high = _extent(hand, View(1.0, turn, (0.0, 0.0)))
    room = np.array([width, height]) - 2 * MARGIN - 2
    scale = min(share * height / reach, *(0.98 * room / (high - low)))
    low, high = low * scale, high * scale
    start = MARGIN + 1 + places * (room - (high - low))
    view = View(scale, turn, tuple(start - low))
    return Frame((height, width), view, _draw_field(rng, hand, view, (height, width)))


def _outline(hand: Hand, view: View) -> np.ndarray:
    """Points [n, 2] in pixels that must be seen: the corners of the boxes and the finger tips."""
    boxes = np.array([extent for _, extent in region_extents(hand, view)])
    corners = np.concatenate(
        [boxes[:, [0, 1]], boxes[:, [2, 3]], boxes[:, [0, 3]], boxes[:, [2, 1]]]
    )
    tips = view.to_pixels(np.array([ray[1] for name, ray in hand.rays.items() if name[:2] == "DP"]))
    beyond = 9.0 * hand.scale * view.pixels_per_mm
    return np.concatenate([corners, tips - beyond, tips + beyond])


def _extent(hand: Hand, view: View) -> tuple[np.ndarray, np.ndarray]:
    points = _outline(hand, view)
    return points.min(0), points.max(0)


def _draw_field(
    rng: np.random.Generator, hand: Hand, view: View, shape: tuple[int, int]
) -> tuple[float, float, float, float, float]:
    """A rectangle around the hand; its lower edge crosses the forearm or leaves the frame."""
    turn = float(rng.choice([0.0, 0.7, 1.0]) * view.turn + np.radians(rng.normal(0, 2.5)))
    cosine, sine = np.cos(turn), np.sin(turn)
    to_field = np.array([[cosine, sine], [-sine, cosine]])
    points = _outline(hand, view) @ to_field.T
    low, high = points.min(0), points.max(0)
    span = high - low
    grow = rng.uniform(0.02, 0.22, 4) * np.array([span[0], span[1], span[0], span[1] * 2.5])
    low, high = low - grow[:2], high + grow[2:]
    middle = (low + high) / 2 @ to_field
    half = (high - low) / 2
    return float(middle[0]), float(middle[1]), float(half[0]), float(half[1]), turn


def field_distance(frame: Frame) -> np.ndarray:
    """Pixels from the field's nearest edge, [height, width] float32, positive inside."""
    centre_x, centre_y, half_x, half_y, turn = frame.field
    x = np.arange(frame.shape[1], dtype=np.float32) - np.float32(centre_x)
    y = np.arange(frame.shape[0], dtype=np.float32)[:, None] - np.float32(centre_y)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, down = cosine * x + sine * y, cosine * y - sine * x
    return np.minimum(np.float32(half_x) - np.abs(across), np.float32(half_y) - np.abs(down))


def draw_marker(
    rng: np.random.Generator, frame: Frame, soft: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lead letters and their plastic plate: two coverages 0..1, [height, width] float32.

    `soft` is soft tissue's thickness: the marker lies in the field, off the hand.
    """
    height, width = frame.shape
    letters = "".join(rng.choice(list("AEHJKMNPSTW"), int(rng.integers(0, 4))))
    tall = float(rng.uniform(0.035, 0.06)) * height
    turn = float(np.radians(rng.normal(0, 14)))
    half = np.array([0.75 * tall, (1.0 if not letters else 1.5) * tall])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array(
        [[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0], [0, -1], [0, 1], [1, 0], [-1, 0]]
    )
    plate = corners * half @ turned.T
    tries = rng.uniform([0, 0], [width, height], (60, 2))
    seen = np.round(tries[:, None] + plate).astype(int)
    columns, rows = np.clip(seen[..., 0], 0, width - 1), np.clip(seen[..., 1], 0, height - 1)
    cost = (soft[rows, columns] > 0).sum(1) * 4 + (inside[rows, columns] < 2).sum(1)
    place = tries[int(np.argmin(cost))]
    strokes = [(stroke, (-0.3 * tall, half[1] * -0.75), tall) for stroke in STROKES["L"]]
    small = 0.55 * tall
    for number, letter in enumerate(letters):
        corner = ((number - len(letters) / 2) * 0.85 * small, half[1] * 0.25)
        strokes += [(stroke, corner, small) for stroke in STROKES[letter]]
    lead = np.zeros((2 * height, 2 * width), np.uint8)
    plastic = np.zeros_like(lead)
    bits = 4  # fractional bits of OpenCV's coordinates
    for stroke, corner, letter_height in strokes:
        points = (np.array(stroke) * letter_height + corner) @ turned.T + place
        fixed = np.round((2 * points + 0.5) * 2**bits).astype(np.int32)
        thick = max(round(2 * 0.17 * letter_height), 1)
        cv2.polylines(lead, [fixed], False, 255, thick, cv2.LINE_AA, bits)
    fixed = np.round((2 * (plate[:4] + place) + 0.5) * 2**bits).astype(np.int32)
    cv2.fillConvexPoly(plastic, fixed, 255, cv2.LINE_AA, bits)
    small_ones = (
        cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in (lead, plastic)
    )
    return tuple(each.astype(np.float32) / 255 for each in small_ones)
