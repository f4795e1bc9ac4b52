"""The collimated field of a radiograph: straight edges across the frame with nothing beyond them."""

import cv2
import numpy as np

ANGLES = 60  # line directions tried, 3 degrees apart
OFFSET_STEP = 2.0  # pixels between parallel lines
LINES_LOOKED_AT = 24
MOST_EDGES = 8
LEAST_COVERAGE = 0.7  # share of a line's way through the field that must be an edge along it
SHORTEST_LINE = 0.2  # of the frame's shorter side
LEAST_FIELD = 0.08  # share of the frame that a field covers at least
LARGEST_OUTER_DETAIL = 0.45  # mean gradient beyond an edge over that inside


def find_field(levels: np.ndarray) -> np.ndarray:
    """Mask uint8 [height, width] of the collimated field of a small radiograph, float32 0..255.

    Lines are found by letting every steep pixel vote for the line that runs along it; the line
    with most edge on it cuts the frame, and again, as long as what lies beyond is without detail.
    An edge of the hand may be taken for one, so a caller should also try the whole frame.
    """
    height, width = levels.shape
    smooth = np.sqrt(cv2.GaussianBlur(levels, (0, 0), 1.0) * 255)
    slope_x = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    slope_y = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    steepness = cv2.magnitude(slope_x, slope_y)
    least = max(2.0, 2 * float(np.median(steepness)))
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    votes = _Votes(steepness > least, slope_x, slope_y, x, y)
    field = np.ones((height, width), np.uint8)
    for _ in range(MOST_EDGES):
        best, inside = 0.0, None
        for angle, offset in votes.lines(field):
            normal = np.array([np.cos(angle), np.sin(angle)])
            covered, length = _coverage(field, normal, offset, slope_x, slope_y, steepness, least)
            if covered < LEAST_COVERAGE or length < SHORTEST_LINE * min(height, width):
                continue
            if covered * length <= best:
                continue
            kept = _cut(field, x * normal[0] + y * normal[1] - offset, steepness)
            if kept is not None:
                best, inside = covered * length, kept
        if inside is None:
            break
        field = inside
    return field


class _Votes:
    """Steep pixels with the line, direction and offset, that each votes for."""

    def __init__(self, steep, slope_x, slope_y, x, y):
        self.where = np.nonzero(steep.ravel())[0]
        angle = np.arctan2(slope_y.ravel()[self.where], slope_x.ravel()[self.where]) % np.pi
        step = np.round(angle / np.pi * ANGLES).astype(np.int32) % ANGLES
        directions = np.arange(ANGLES) * np.pi / ANGLES
        across, down = np.cos(directions)[step], np.sin(directions)[step]
        xs, ys = (np.broadcast_to(side, steep.shape).ravel()[self.where] for side in (x, y))
        self.reach = int(np.ceil(np.hypot(*steep.shape) / 2 / OFFSET_STEP)) + 1
        offset = np.round((xs * across + ys * down) / OFFSET_STEP).astype(np.int32) + self.reach
        self.line = step * (2 * self.reach + 1) + offset

    def lines(self, field):
        """(direction of the normal in radians, offset in pixels), the line with most votes first."""
        inside = field.ravel()[self.where] > 0
        offsets = 2 * self.reach + 1
        count = np.bincount(self.line[inside], minlength=ANGLES * offsets)
        for line in np.argpartition(-count, LINES_LOOKED_AT)[:LINES_LOOKED_AT]:
            step, offset = divmod(int(line), offsets)
            yield step * np.pi / ANGLES, (offset - self.reach) * OFFSET_STEP


def _coverage(field, normal, offset, slope_x, slope_y, steepness, least) -> tuple[float, int]:
    """Share of the line's way through the field that is an edge along it, and that way's length."""
    height, width = field.shape
    reach = int(np.hypot(height, width) / 2)
    along = np.arange(-reach, reach + 1)
    x = normal[0] * offset - normal[1] * along + (width - 1) / 2
    y = normal[1] * offset + normal[0] * along + (height - 1) / 2
    shift = np.arange(-2, 3)[:, None]
    columns = np.rint(x + shift * normal[0]).astype(np.int32)
    rows = np.rint(y + shift * normal[1]).astype(np.int32)
    seen = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    counted = seen[2] & (field[rows[2], columns[2]] > 0)
    length = int(counted.sum())
    if length == 0:
        return 0.0, 0
    rows, columns = rows[:, counted], columns[:, counted]
    slope = np.abs(slope_x[rows, columns] * normal[0] + slope_y[rows, columns] * normal[1])
    edge = (slope > least) & (slope > 0.85 * steepness[rows, columns])
    return float(edge.any(0).mean()), length


def _cut(field, distance, steepness) -> np.ndarray | None:
    """The larger side of the field, or None if the other holds detail or too little would stay."""
    inside, outside = (distance < -2.5) & (field > 0), (distance > 2.5) & (field > 0)
    if np.count_nonzero(outside) > np.count_nonzero(inside):
        inside, outside = outside, inside
    if np.count_nonzero(inside) < LEAST_FIELD * field.size:
        return None
    detail = float(steepness[outside].mean()) if outside.any() else 0.0
    if detail > LARGEST_OUTER_DETAIL * float(steepness[inside].mean()):
        return None
    return inside.astype(np.uint8)
