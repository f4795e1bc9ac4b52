"""Outlines of long bones, their walls of compact bone and the sponge at their ends."""

import numpy as np

from nbhelpers import phantom_shapes as shapes

# Half-width along a bone as a share of its largest, from proximal (0) to distal (1).
PROFILES = {
    "phalanx": (
        (0, 0.97),
        (0.08, 0.93),
        (0.28, 0.68),
        (0.56, 0.56),
        (0.78, 0.63),
        (0.9, 0.76),
        (1, 0.68),
    ),
    "DP": ((0, 0.97), (0.1, 0.86), (0.38, 0.5), (0.65, 0.4), (0.84, 0.55), (0.93, 0.6), (1, 0.4)),
    "MC": (
        (0, 0.86),
        (0.06, 1.14),
        (0.13, 1.02),
        (0.25, 0.71),
        (0.42, 0.54),
        (0.68, 0.55),
        (0.84, 0.69),
        (0.95, 0.88),
        (1, 0.92),
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
        (0.22, 0.71),
        (0.4, 0.53),
        (0.62, 0.54),
        (0.78, 0.7),
        (0.88, 0.98),
        (0.94, 1),
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
