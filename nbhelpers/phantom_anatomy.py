"""The grown hand that every drawing is scaled from: lengths, widths and places in mm.

Measured on radiographs and scaled to a hand of 188 mm. x to the thumb, y up, the middle of the
capitate at the origin. Widths are halves. Shapes and poses of a child are made from these in
`phantom_bones`.
"""

import numpy as np

from nbhelpers import phantom_shapes as shapes

HAND_LENGTH = 188.0
DIGITS = (1, 2, 3, 4, 5)
# Place of a metacarpal's base; its direction in degrees in a closed hand, and what full spread
# adds.
METACARPAL_BASES = {1: (26, -2), 2: (13.0, 9.0), 3: (1.5, 10.5), 4: (-9.2, 10.5), 5: (-18.5, 7)}
METACARPAL_DIRECTIONS = {1: (27, 14), 2: (3, 5), 3: (-1, -2), 4: (-6, -7), 5: (-13, -12)}
FINGER_DIRECTIONS = {1: (20, 14), 2: (3, 17), 3: (0, -1), 4: (-3, -12), 5: (-8, -28)}
LENGTHS = {
    "MC": {1: 44.0, 2: 63.0, 3: 60.5, 4: 52.5, 5: 47.5},
    "PP": {1: 28.5, 2: 39.0, 3: 43.0, 4: 40.0, 5: 31.5},
    "MP": {2: 22.5, 3: 26.5, 4: 25.0, 5: 18.0},
    "DP": {1: 22.5, 2: 16.0, 3: 17.5, 4: 17.0, 5: 15.5},
}
# Half the width of the metaphysis (of the head, for metacarpals 2 to 5).
WIDTHS = {
    "MC": {1: 7.0, 2: 7.0, 3: 6.7, 4: 5.7, 5: 5.9},
    "PP": {1: 6.4, 2: 6.7, 3: 7.0, 4: 6.5, 5: 5.5},
    "MP": {2: 5.7, 3: 6.1, 4: 5.7, 5: 4.7},
    "DP": {1: 6.1, 2: 4.6, 3: 4.9, 4: 4.8, 5: 4.0},
}
PLATE = {"MC": 9.8, "PP": 4.6, "MP": 3.9, "DP": 3.4}  # full height of an epiphysis along its bone
THUMB_PLATE = 4.8
SOFT_TIP = 4.0  # skin beyond the last bone
SOFT_WIDTHS = {1: (11.2, 8.2), 2: (9.6, 7.0), 3: (9.8, 7.2), 4: (9.2, 6.8), 5: (8.2, 6.0)}

# Half-width along a bone as a share of its largest, from proximal (0) to distal (1).
PROFILES = {
    "phalanx": (
        (0, 0.97),
        (0.1, 0.92),
        (0.35, 0.66),
        (0.58, 0.57),
        (0.8, 0.66),
        (0.91, 0.76),
        (1, 0.68),
    ),
    "DP": ((0, 0.97), (0.1, 0.86), (0.38, 0.5), (0.65, 0.4), (0.84, 0.55), (0.93, 0.6), (1, 0.4)),
    "MC": (
        (0, 0.86),
        (0.06, 1.14),
        (0.13, 1.02),
        (0.25, 0.74),
        (0.45, 0.56),
        (0.65, 0.58),
        (0.86, 0.85),
        (1, 0.97),
    ),
    "MC1": (
        (0, 0.97),
        (0.1, 0.94),
        (0.35, 0.7),
        (0.58, 0.66),
        (0.82, 0.85),
        (0.92, 0.92),
        (1, 0.7),
    ),
    "radius": (
        (0, 0.5),
        (0.68, 0.5),
        (0.8, 0.58),
        (0.89, 0.76),
        (0.95, 0.93),
        (0.985, 1),
        (1, 0.98),
    ),
    "ulna": ((0, 1), (0.6, 0.88), (0.85, 0.8), (0.94, 0.88), (0.985, 1), (1, 0.96)),
    # With the epiphysis fused on.
    "old phalanx": (
        (0, 0.9),
        (0.06, 1),
        (0.16, 0.93),
        (0.38, 0.66),
        (0.6, 0.56),
        (0.8, 0.65),
        (0.91, 0.76),
        (1, 0.68),
    ),
    "old DP": (
        (0, 0.9),
        (0.07, 1),
        (0.17, 0.9),
        (0.42, 0.5),
        (0.66, 0.4),
        (0.84, 0.55),
        (0.93, 0.6),
        (1, 0.4),
    ),
    "old MC": (
        (0, 0.86),
        (0.055, 1.14),
        (0.12, 1.0),
        (0.22, 0.74),
        (0.4, 0.55),
        (0.6, 0.55),
        (0.8, 0.82),
        (0.91, 1),
        (0.97, 0.92),
        (1, 0.8),
    ),
    "old MC1": (
        (0, 0.9),
        (0.06, 1),
        (0.16, 0.96),
        (0.38, 0.7),
        (0.6, 0.65),
        (0.82, 0.85),
        (0.92, 0.92),
        (1, 0.7),
    ),
}

# Carpals: place, half-width, half-length, direction in degrees, lobes (waves, amplitude, phase).
CARPALS = {
    "capitate": ((0.3, -0.5), 7.4, 11.8, -3, ((2, 0.04, 0.0), (3, 0.06, 1.6))),
    "hamate": ((-12.0, 0.8), 7.2, 9.4, 14, ((3, 0.1, 1.6),)),
    "triquetrum": ((-19.3, -10.2), 6.4, 7.2, 35, ((3, 0.07, 0.4),)),
    "lunate": ((-7.2, -16.0), 8.0, 7.0, -8, ((2, 0.05, 0.5), (3, 0.07, 4.7))),
    "scaphoid": ((9.2, -13.2), 6.2, 10.6, 42, ((2, 0.05, 0.9), (3, 0.06, 0.6))),
    "trapezium": ((21.0, -4.5), 7.0, 6.6, 35, ((4, 0.06, 0.7),)),
    "trapezoid": ((12.8, 3.8), 6.0, 5.8, 10, ((3, 0.08, 0.9),)),
    "pisiform": ((-20.5, -12.5), 4.4, 5.0, 10, ()),
}
# Where the hand turns on the forearm, and the two bones there: the middle of the end of the shaft,
# half its width, height and middle of the epiphysis, wedge (which side is higher).
WRIST_PIVOT = (-5.0, -14.0)
FOREARM = {
    "radius": {
        "end": (2.0, -34.5),
        "width": 14.0,
        "plate": 9.2,
        "epiphysis": (2.6, -28.8),
        "wedge": 0.3,
    },
    "ulna": {
        "end": (-21.5, -36.0),
        "width": 6.6,
        "plate": 7.4,
        "epiphysis": (-21.8, -31.0),
        "wedge": -0.25,
    },
}
FOREARM_LENGTH = 190.0


def shaft(
    kind: str,
    width: float,
    start: tuple[float, float],
    direction: float,
    length: float,
    *,
    waist: float = 0.0,
    cortex: float = 1.0,
    depth: float = 0.85,
    ends: tuple[float, float] = (0.8, 2.6),
    bend: float = 0.0,
    share: float = 1.0,
) -> shapes.Shaft:
    """A tube with the named profile.

    `waist` fills the waist in (0 grown, towards 1 a plain cylinder), `ends` are the mm over which
    the proximal and the distal end round off, `cortex` multiplies the thickness of compact bone.
    """
    part = (np.arange(shapes.PROFILE_SAMPLES) + 0.5) / shapes.PROFILE_SAMPLES
    knots = np.array(PROFILES[kind])
    relative = _smooth(part, knots)
    relative = relative + waist * np.maximum(1.0 - relative, 0.0)
    outer = (
        width
        * relative
        * _rounding(part * length, ends[0])
        * _rounding((1 - part) * length, ends[1])
    )
    middle = np.exp(-(((part - 0.52) / 0.24) ** 2))
    wall = cortex * (0.05 * width + 0.16 * width * middle)
    plate = max(0.55 * cortex * min(width / 7.0, 1.0), 0.25)  # compact bone that closes both ends
    kept = _rounding(part * length - plate, ends[0]) * _rounding(
        (1 - part) * length - plate, ends[1]
    )
    inner = np.maximum(np.minimum(width * relative * kept, outer) - wall, 0.0)
    from_end = np.minimum(part, 1 - part) * length
    sponge = shapes.SPONGY_BONE * (0.5 + 0.6 * np.exp(-from_end / (0.9 * width)))
    sponge *= (7.0 / max(width, 7.0)) ** 0.7  # wide bones hold more fat
    arrays = (array.astype(np.float32) for array in (outer, inner, sponge))
    return shapes.Shaft(start, direction, length, *arrays, depth, bend, share)


def _smooth(part: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Interpolate and round the corners off."""
    raw = np.interp(part, knots[:, 0], knots[:, 1])
    kernel = np.hanning(15)
    padded = np.pad(raw, 7, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _rounding(distance: np.ndarray, radius: float) -> np.ndarray:
    """A quarter of an ellipse: 0 at the end of a bone, 1 from `radius` mm on."""
    near = np.clip(distance / radius, 0.0, 1.0)
    return np.sqrt(1.0 - (1.0 - near) ** 2)
