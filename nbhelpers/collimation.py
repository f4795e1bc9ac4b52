"""The collimated field: straight edges across a radiograph with nothing to see beyond them."""

import cv2
import numpy as np

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


class _Slopes:
    """Slopes of the tones, grey levels a pixel, and what counts as steep."""

    def __init__(self, tones: np.ndarray) -> None:
        smooth = cv2.GaussianBlur(tones, (5, 5), 1.0)
        self.x = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
        self.y = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
        self.steepness = np.minimum(cv2.magnitude(self.x, self.y), STEEPEST)
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
        return [
            (
                line // self.offsets * np.pi / ANGLES,
                (line % self.offsets - self.reach) * OFFSET_STEP,
                int(flat[line]),
            )
            for line in most[np.argsort(-flat[most])].tolist()
        ]


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
    for side in (CORNER_LOOK, -CORNER_LOOK):
        if slopes.across(x + side * normal[0], y + side * normal[1], along).any(0).mean() >= 0.9:
            return True
    return False


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
