"""Where the hand lies on a radiograph: its outline, its palm, where its fingers point, its reach.

The collimated field is sought first: straight edges with nothing to see beyond them. The hand is
the most hand-like of many shapes cut at thresholds, in that field and in the whole frame; its
direction is the one in which hands look most like its outline.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nbhelpers.images.geometry import Frame

ANGLES = 60  # line directions tried, 3 degrees apart
OFFSET_STEP = 2.0  # pixels between parallel lines
LINES_LOOKED_AT = 8
ROUNDS = 4
LEAST_COVERAGE = 0.5  # share of a line's way through the field that must be an edge along it
LEAST_VOTES = 0.4  # votes a pixel of such a line has at least
LONGEST_GAP = 4  # pixels
CROOKED = 1.0  # pixels that four in five places of an edge stay within
CORNER = 5  # pixels between the end of an edge and the end of its line
CORNER_LOOK = np.arange(3, 15)  # pixels from a corner along the other edge
STEEPEST = 15.0  # grey levels a pixel; what is steeper counts no more
LEAST_SLOPE = 2.0  # grey levels a pixel
ALIGNED = 0.85  # cosine between the slope and the normal of the line
SHORTEST_LINE = 0.2  # of the frame's shorter side
LEAST_FIELD = 0.08  # share of the frame that a field covers at least
MOST_OUTER_DETAIL = 0.45  # mean detail beyond an edge over that inside
NEAR = 2.5  # pixels on either side of a line that belong to the edge itself
SHIFTS = np.arange(-3, 4)[:, None]  # an edge may lie this many pixels beside the line


def find_field(tones: np.ndarray) -> np.ndarray:
    """Mask uint8 [height, width] of the collimated field of a small radiograph, float32 0..255.

    Every steep pixel votes for the line that runs along it. A line with an edge from end to end
    and no detail beyond it cuts the field, round after round, until none is left. An edge of the
    hand may be taken for one, so a caller should also look at the whole frame.
    """
    height, width = tones.shape
    slopes = _Slopes(tones)
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    votes = _Votes(slopes)
    field = np.ones((height, width), np.uint8)
    for _ in range(ROUNDS):
        before = field
        for angle, offset, count in votes.lines(field):
            normal = np.cos(angle), np.sin(angle)
            length = _edge_length(field, normal, offset, count, slopes)
            if length > SHORTEST_LINE * min(height, width):
                distance = x * normal[0] + (y * normal[1] - offset)
                field = _cut(field, distance, slopes.detail(angle))
        if field is before:
            break
    return field


def _slopes_of(tones: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes across and down, grey levels a pixel, and the steepness of both together."""
    x = cv2.Scharr(tones, cv2.CV_32F, 1, 0, scale=1 / 32)
    y = cv2.Scharr(tones, cv2.CV_32F, 0, 1, scale=1 / 32)
    return x, y, np.minimum(cv2.magnitude(x, y), STEEPEST)


class _Slopes:
    """Slopes of the tones, grey levels a pixel, and what counts as steep."""

    def __init__(self, tones: np.ndarray) -> None:
        self.x, self.y, self.steepness = _slopes_of(cv2.GaussianBlur(tones, (5, 5), 1.0))
        self._details: dict[int, np.ndarray] = {}
        self.least = max(LEAST_SLOPE, 2 * float(np.median(self.steepness)))

    def detail(self, angle: float) -> np.ndarray:
        """How steep each pixel is neither along `angle` nor at right angles to it.

        The blurred edges of a collimated field count nothing here, what a hand shows does.
        """
        key = round(angle * ANGLES / np.pi) % (ANGLES // 2)
        if key not in self._details:
            one = np.abs(self.x * np.cos(angle) + self.y * np.sin(angle))
            other = np.abs(self.y * np.cos(angle) - self.x * np.sin(angle))
            self._details[key] = np.minimum(np.minimum(one, other), STEEPEST)
        return self._details[key]

    def across(self, x: np.ndarray, y: np.ndarray, normal: tuple[float, float]) -> np.ndarray:
        """Slope along `normal` at and beside points, [shifts, points]; 0 where no edge runs."""
        height, width = self.x.shape
        columns = np.minimum(np.maximum(x + SHIFTS * normal[0] + 0.5, 0), width - 1)
        rows = np.minimum(np.maximum(y + SHIFTS * normal[1] + 0.5, 0), height - 1)
        at = rows.astype(np.int32) * width + columns.astype(np.int32)
        slope = self.x.take(at) * normal[0] + self.y.take(at) * normal[1]
        steep = np.abs(slope)
        slope[(steep < self.least) | (steep < ALIGNED * self.steepness.take(at))] = 0
        return slope


class _Votes:
    """Steep pixels and the line, a direction and an offset, that each votes for."""

    def __init__(self, slopes: _Slopes) -> None:
        height, width = slopes.x.shape
        rows, columns = np.nonzero(slopes.steepness > slopes.least)
        angle = np.arctan2(slopes.y[rows, columns], slopes.x[rows, columns])
        step = np.rint(angle * np.float32(ANGLES / np.pi)).astype(np.int32) % ANGLES
        directions = np.arange(ANGLES, dtype=np.float32) * np.float32(np.pi / ANGLES)
        offset = (columns - (width - 1) / 2) * np.cos(directions)[step]
        offset += (rows - (height - 1) / 2) * np.sin(directions)[step]
        self.pixel = rows * width + columns
        self.reach = int(np.ceil(np.hypot(height, width) / 2 / OFFSET_STEP)) + 1
        self.offsets = 2 * self.reach + 1
        self.line = (
            step * self.offsets + np.rint(offset / OFFSET_STEP).astype(np.int32) + self.reach
        )

    def lines(self, field: np.ndarray) -> list[tuple[float, float, int]]:
        """Normal's direction (radians), offset (pixels), votes; most votes first."""
        inside = field.ravel()[self.pixel] > 0
        votes = np.bincount(self.line[inside], minlength=ANGLES * self.offsets)
        votes = votes.reshape(ANGLES, self.offsets).astype(np.float32)
        votes[votes < cv2.dilate(votes, np.ones((3, 3), np.uint8))] = 0
        flat = votes.ravel()
        most = np.argpartition(-flat, LINES_LOOKED_AT)[:LINES_LOOKED_AT]
        most = most[np.argsort(-flat[most])]
        directions, offsets = divmod(most, self.offsets)
        angles, offsets = directions * np.pi / ANGLES, (offsets - self.reach) * OFFSET_STEP
        return list(zip(angles.tolist(), offsets.tolist(), map(int, flat[most]), strict=True))


def _edge_length(field, normal, offset, votes: int, slopes: _Slopes) -> int:
    """Length in pixels of the edge along a line where that may bound a field, else 0.

    It must run without a gap from end to end of the field so far, or turn a corner where it stops
    short: a line along thumb and forearm does neither.
    """
    height, width = field.shape
    reach = int(np.hypot(height, width) / 2)
    along = np.arange(-reach, reach + 1)
    x = normal[0] * offset - normal[1] * along + (width - 1) / 2
    y = normal[1] * offset + normal[0] * along + (height - 1) / 2
    seen = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    x, y = x[seen], y[seen]
    counted = field[(y + 0.5).astype(np.int32), (x + 0.5).astype(np.int32)] > 0
    x, y = x[counted], y[counted]
    if votes < max(LEAST_VOTES * len(x), 1):
        return 0
    slope = slopes.across(x, y, normal)
    hits = np.nonzero(slope.any(0))[0]
    if len(hits) < max(LEAST_COVERAGE * len(x), 3):
        return 0
    runs = np.split(hits, np.nonzero(np.diff(hits) > LONGEST_GAP)[0] + 1)
    run = max(runs, key=len)
    if len(run) < LEAST_COVERAGE * len(x):
        return 0
    for end, last in ((run[0], 0), (run[-1], len(x) - 1)):
        if abs(end - last) > CORNER and not _corner(x[end], y[end], normal, slopes):
            return 0
    return len(run) if _straight(slope[:, run], run) else 0


def _straight(slope: np.ndarray, along: np.ndarray) -> bool:
    """Whether the steepest places beside a line, slope [shifts, points], are themselves in line."""
    rising, falling = np.maximum(slope, 0), np.maximum(-slope, 0)
    slope = rising if rising.sum() > falling.sum() else falling
    seen = slope.any(0)
    if np.count_nonzero(seen) < 3:
        return False
    along, beside = along[seen].astype(np.float32), SHIFTS[slope[:, seen].argmax(0), 0]
    centred = along - along.mean()
    tilt = (centred @ beside) / max(centred @ centred, 1e-6)
    left = np.abs(beside - beside.mean() - tilt * centred)
    return float(np.sort(left)[len(left) * 4 // 5]) < CROOKED


def _corner(x: float, y: float, normal: tuple[float, float], slopes: _Slopes) -> bool:
    """Whether an edge at right angles to the line leaves from a point of it, to either side."""
    along = (-normal[1], normal[0])
    return any(
        slopes.across(x + side * normal[0], y + side * normal[1], along).any(0).mean() >= 0.9
        for side in (CORNER_LOOK, -CORNER_LOOK)
    )


def _cut(field: np.ndarray, distance: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """The larger side of the field; or all, if the other holds detail or too little would stay."""
    sides = [
        cv2.bitwise_and(field, (side > NEAR).astype(np.uint8)) for side in (distance, -distance)
    ]
    outside, inside = sorted(sides, key=cv2.countNonZero)
    if cv2.countNonZero(inside) < LEAST_FIELD * field.size:
        return field
    most = MOST_OUTER_DETAIL * cv2.mean(detail, inside)[0]
    return field if cv2.mean(detail, outside)[0] > most else inside


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
    if not field.any():  # as of a photograph's narrow strip
        return None, 0.0, field
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
        *_, self.steepness = _slopes_of(tones)
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
    seen = around_palm(mask, centre, radius, turns, RADII)
    seen -= seen.mean(1, keepdims=True)
    scale = np.sqrt((seen**2).sum() * (_TABLE**2).sum()) + 1e-6
    spectrum = (np.fft.rfft(seen) * np.conj(np.fft.rfft(_TABLE))).sum(0)
    match = np.fft.irfft(spectrum, STEPS) / scale
    degrees = (np.degrees(turns) + 180) % 360 - 180
    usual = np.where(np.abs(degrees) <= USUAL_TURN, match, -np.inf)
    best = int(match.argmax())
    plain = match[best] >= LEAST_MATCH and match[best] - usual.max() >= LEAST_LEAD
    return float(degrees[best] if plain else degrees[int(usual.argmax())])


def around_palm(
    picture: np.ndarray,
    centre: tuple[float, float],
    radius: float,
    turns: np.ndarray,
    radii: tuple[float, ...],
) -> np.ndarray:
    """What a small picture shows on circles around a palm, float32 [radii, turns].

    Args:
        turns: radians clockwise from upwards.
        radii: of the circles, in palm radii.

    Returns:
        Means of 3 x 3 pixels, 0 beyond the picture.
    """
    reach = radius * np.array(radii)[:, None]
    x = (centre[0] + reach * np.sin(turns)).astype(np.float32)
    y = (centre[1] - reach * np.cos(turns)).astype(np.float32)
    soft = cv2.blur(picture.astype(np.float32), (3, 3))
    return cv2.remap(soft, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


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
