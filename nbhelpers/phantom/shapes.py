"""Two kinds of bone, a shaft and a lump, and the path of X-rays through them.

Lengths are mm in the hand's own frame: x to the thumb's side of a left hand seen from its back (the
image's right), y down. A shape knows its attenuation beyond that of the soft tissue it displaces.
`shaft` makes a long bone: its outline, its wall of compact bone and the sponge at its ends.
"""

from dataclasses import dataclass

import numpy as np

# Attenuation per mm beyond soft tissue at about 55 kV, which bone takes the place of.
COMPACT_BONE = 0.072
SPONGY_BONE = 0.024
PROFILE_SAMPLES = 256


@dataclass(frozen=True)
class Shaft:
    """A tube about an axis from `start` (proximal) along `direction` (radians, 0 points up).

    `outer` and `inner` are the half-widths of bone and marrow space at PROFILE_SAMPLES even steps;
    `sponge` the attenuation inside per mm at the same steps; `depth` is thickness over width.
    """

    start: tuple[float, float]
    direction: float
    length: float
    outer: np.ndarray
    inner: np.ndarray
    sponge: np.ndarray
    depth: float
    bend: float = 0.0  # mm by which the middle bows to the right
    share: float = 1.0  # of the attenuation that is drawn


@dataclass(frozen=True)
class Lump:
    """A rounded bone: a superellipse with lobes, thick in the middle, in a thin bright rim."""

    name: str
    centre: tuple[float, float]
    direction: float
    half_width: float
    half_length: float
    depth: float  # half the thickness at the middle, mm
    exponent: float = 2.0
    lobes: tuple[tuple[int, float, float], ...] = ()  # (waves around, amplitude, phase)
    wedge: float = 0.0  # how much longer the right side is than the middle, as a share
    cap: float = 0.0  # mm by which the sides bend to the shaft
    rim: float = 0.7
    share: float = 1.0


@dataclass(frozen=True)
class View:
    """Similarity from the hand's frame (mm) to pixels: turn by `turn` radians, scale, shift."""

    pixels_per_mm: float
    turn: float
    shift: tuple[float, float]

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] in mm to pixels [n, 2]."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        return np.asarray(points, float) @ rotation.T * self.pixels_per_mm + self.shift

    def finer(self, factor: int) -> "View":
        """The same view on a grid with `factor` times as many pixels a side."""
        # Pixel centres: x on the coarse grid is factor * x + (factor - 1) / 2 on the fine one.
        shift = tuple(factor * value + (factor - 1) / 2 for value in self.shift)
        return View(self.pixels_per_mm * factor, self.turn, shift)


def add_bone(canvas: np.ndarray, shape: Shaft | Lump, view: View, texture: np.ndarray) -> None:
    """Add the shape's attenuation to `canvas` [height, width] float32.

    `texture` [height, width] multiplies what is inside the cortex: the trabeculae.
    """
    shaft = isinstance(shape, Shaft)
    origin = view.to_pixels(np.array([shape.start if shaft else shape.centre]))[0]
    angle = shape.direction + view.turn
    along = np.array([np.sin(angle), -np.cos(angle)])
    if shaft:
        reach = float(shape.outer.max()) + abs(shape.bend) + 0.5
        ends = np.array([origin, origin + along * shape.length * view.pixels_per_mm])
    else:
        reach = 1.35 * max(shape.half_width, shape.half_length)
        ends = np.array([origin, origin])
    rows, columns = _window(ends, reach * view.pixels_per_mm, canvas.shape)
    x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(origin[0])
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(origin[1])
    scale = 1.0 / view.pixels_per_mm
    across = x * np.float32(-along[1] * scale) + y * np.float32(along[0] * scale)
    forward = x * np.float32(along[0] * scale) + y * np.float32(along[1] * scale)
    paths = _shaft_paths if shaft else _lump_paths
    bone, marrow, sponge = paths(shape, across, forward)
    grain = texture[rows, columns]
    canvas[rows, columns] += np.float32(shape.share) * (
        np.float32(COMPACT_BONE) * (bone - marrow) + sponge * marrow * grain
    )


def _window(ends: np.ndarray, margin: float, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns that may hold a bone; none of them where it lies off the canvas."""
    size = shape[::-1]
    left, top = np.clip(np.floor(ends.min(0) - margin).astype(int), 0, size)
    right, bottom = np.clip(np.ceil(ends.max(0) + margin).astype(int) + 1, 0, size)
    return slice(top, bottom), slice(left, right)


def _shaft_paths(shape: Shaft, across: np.ndarray, forward: np.ndarray) -> tuple:
    part = forward * np.float32(1.0 / shape.length)
    if shape.bend:
        across = across - np.float32(4.0 * shape.bend) * part * (1.0 - part)
    index = np.clip(part * PROFILE_SAMPLES, 0, PROFILE_SAMPLES - 1).astype(np.int32)
    squared = across * across
    bone = _chord(np.take(shape.outer**2, index) - squared, shape.depth)
    bone *= (part >= 0.0) & (part <= 1.0)
    marrow = np.minimum(_chord(np.take(shape.inner**2, index) - squared, shape.depth), bone)
    return bone, marrow, np.take(shape.sponge, index)


def _chord(squared: np.ndarray, depth: float) -> np.ndarray:
    return np.sqrt(np.maximum(squared, 0.0, dtype=np.float32)) * np.float32(2.0 * depth)


def _lump_paths(shape: Lump, across: np.ndarray, forward: np.ndarray) -> tuple:
    x = across / np.float32(shape.half_width)
    length = np.float32(shape.half_length)
    if shape.wedge:
        length = length * np.clip(1.0 + np.float32(shape.wedge) * x, 0.3, 2.0)
    # A wedge keeps its proximal side straight: its middle rises with its height.
    lift = np.float32(shape.wedge * shape.half_length) * x + np.float32(-shape.cap) * x * x
    y = (forward - lift) / length
    if shape.exponent == 2.0:
        radius = np.sqrt(x * x + y * y)
    else:
        power = np.float32(shape.exponent)
        radius = (np.abs(x) ** power + np.abs(y) ** power) ** (1.0 / power)
    if shape.lobes:
        around = np.arctan2(y, x)
        swell = np.ones_like(around)
        for waves, amplitude, phase in shape.lobes:
            swell += np.float32(amplitude) * np.cos(waves * around + np.float32(phase))
        radius = radius / swell
    bone = _chord(1.0 - radius * radius, shape.depth)
    smaller = max(1.0 - shape.rim / min(shape.half_width, shape.half_length), 0.05)
    radius = radius * np.float32(1.0 / smaller)
    inside = max(shape.depth - shape.rim, 0.05)
    marrow = np.minimum(_chord(1.0 - radius * radius, inside), bone)
    return bone, marrow, np.float32(1.25 * SPONGY_BONE)


# Places along a bone from proximal (0) to distal (1), and its half-width there as a share of its
# largest; an old bone has its epiphysis fused on.
PROFILES = {
    "phalanx": ((0, 0.08, 0.28, 0.56, 0.78, 0.9, 1), (0.97, 0.93, 0.68, 0.56, 0.63, 0.76, 0.68)),
    "DP": ((0, 0.1, 0.38, 0.65, 0.84, 0.93, 1), (0.97, 0.86, 0.5, 0.4, 0.55, 0.6, 0.4)),
    "MC": (
        (0, 0.06, 0.13, 0.25, 0.42, 0.68, 0.84, 0.95, 1),
        (0.86, 1.14, 1.02, 0.71, 0.54, 0.55, 0.69, 0.88, 0.92),
    ),
    "MC1": ((0, 0.1, 0.35, 0.58, 0.82, 0.92, 1), (0.97, 0.94, 0.7, 0.66, 0.85, 0.92, 0.7)),
    "radius": ((0, 0.68, 0.8, 0.89, 0.95, 0.985, 1), (0.5, 0.5, 0.58, 0.76, 0.93, 1, 0.98)),
    "ulna": ((0, 0.6, 0.85, 0.94, 0.985, 1), (1, 0.88, 0.8, 0.88, 1, 0.96)),
    "old phalanx": (
        (0, 0.06, 0.16, 0.38, 0.6, 0.8, 0.91, 1),
        (0.9, 1, 0.93, 0.66, 0.56, 0.65, 0.76, 0.68),
    ),
    "old DP": ((0, 0.07, 0.17, 0.42, 0.66, 0.84, 0.93, 1), (0.9, 1, 0.9, 0.5, 0.4, 0.55, 0.6, 0.4)),
    "old MC": (
        (0, 0.055, 0.12, 0.22, 0.4, 0.62, 0.78, 0.88, 0.94, 1),
        (0.86, 1.14, 1.0, 0.71, 0.53, 0.54, 0.7, 0.98, 1, 0.8),
    ),
    "old MC1": (
        (0, 0.06, 0.16, 0.38, 0.6, 0.82, 0.92, 1),
        (0.9, 1, 0.96, 0.7, 0.65, 0.85, 0.92, 0.7),
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
) -> Shaft:
    """A tube with the named profile.

    `waist` fills the waist in (0 grown, towards 1 a plain cylinder), `ends` are the mm over which
    the proximal and the distal end round off, `cortex` multiplies the thickness of compact bone.
    """
    part = (np.arange(PROFILE_SAMPLES) + 0.5) / PROFILE_SAMPLES
    relative = _smooth(np.interp(part, *PROFILES[kind]))
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
    sponge = SPONGY_BONE * (0.5 + 0.6 * np.exp(-from_end / (0.9 * width)))
    sponge *= (7.0 / max(width, 7.0)) ** 0.7  # wide bones hold more fat
    arrays = (array.astype(np.float32) for array in (outer, inner, sponge))
    return Shaft(start, direction, length, *arrays, depth, bend, share)


def _smooth(line: np.ndarray) -> np.ndarray:
    """Round the corners of a line off."""
    kernel = np.hanning(15)
    return np.convolve(np.pad(line, 7, mode="edge"), kernel / kernel.sum(), mode="valid")


def _rounding(distance: np.ndarray, radius: float) -> np.ndarray:
    """A quarter of an ellipse: 0 at the end of a bone, 1 from `radius` mm on."""
    near = np.clip(distance / radius, 0.0, 1.0)
    return np.sqrt(1.0 - (1.0 - near) ** 2)
