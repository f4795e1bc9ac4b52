"""Skin, fat and muscle: one smooth body around the bones, with webs between the fingers."""

import cv2
import numpy as np

from nbhelpers import phantom_anatomy as anatomy
from nbhelpers.phantom_growth import Child
from nbhelpers.phantom_pose import Hand, Pose, turn_at_wrist
from nbhelpers.phantom_shapes import View

SOFT_TISSUE = 0.0225  # attenuation per mm at about 55 kV
WEB = 2.0  # mm of the grown hand over which parts melt into each other
Capsule = tuple[np.ndarray, np.ndarray, float, float, float, float]


def soft_capsules(hand: Hand, child: Child, pose: Pose) -> list[Capsule]:
    """Tapered capsules: two ends (mm), half-width at each, half-thickness at each."""
    scale = hand.scale
    plump = pose.flesh * (1.0 + 0.3 * child.youth(40))
    wide = scale * (1.0 + 0.5 * (plump - 1.0))
    thick = scale * plump
    parts: list[Capsule] = []

    def add(start, end, widths, depths):
        sizes = [wide * value for value in widths] + [thick * value for value in depths]
        parts.append((np.asarray(start, float), np.asarray(end, float), *sizes))

    rays = hand.rays
    for digit in anatomy.DIGITS:
        base, tip = anatomy.SOFT_WIDTHS[digit]
        last = "PP" if digit == 1 else "MP"
        first, end = rays[f"PP{digit}"], rays[f"DP{digit}"]
        knuckle, middle = first[1], rays[f"{last}{digit}"][1]
        along = (end[1] - end[0]) / np.linalg.norm(end[1] - end[0])
        finger_tip = end[1] + along * (anatomy.SOFT_TIP * scale - tip * wide)
        half = 0.5 * (base + tip)
        add(first[0], knuckle, (base * 1.06, base * 0.97), (10.0, 8.4))
        if digit != 1:
            add(knuckle, middle, (base * 0.97, half * 0.97), (8.4, 7.0))
        add(middle, finger_tip, ((half if digit != 1 else base * 0.9), tip), (7.2, 5.2))
        start, end = rays[f"MC{digit}"]
        wide_palm = 1.0 + 0.2 * child.youth(40)
        widths = {1: (11.0, 11.5), 2: (12, 12), 3: (12, 12), 4: (12, 11.5), 5: (11.5, 11)}[digit]
        add(start, end, [wide_palm * width for width in widths], (16.5, 13.5))
    # The ball of the thumb, the first web and the little finger's ball.
    thumb, index, little = rays["MC1"], rays["MC2"], rays["MC5"]
    add(
        thumb[0] * 0.7 + thumb[1] * 0.3,
        0.45 * index[0] + 0.55 * index[1],
        (13.0, 9.5),
        (17.0, 12.0),
    )
    for near, far, width in (
        (0.3, 0.5, 11.0),
        (0.5, 0.6, 11.0),
        (0.68, 0.7, 10.0),
        (0.86, 0.79, 8.0),
    ):
        first = thumb[0] + near * (thumb[1] - thumb[0])
        add(first, index[0] + far * (index[1] - index[0]), (width, width), (11.0, 9.0))
    wrist = np.array([-2.0, 0.0]) * scale
    add(wrist + np.array([-19.0, 2.0]) * scale, little[1], (11.0, 10.0), (15.0, 12.0))
    elbow_side = turn_at_wrist((-6.0, -32.0), hand.forearm_turn) * scale
    elbow = turn_at_wrist((-3.0, -210.0), hand.forearm_turn) * scale
    add(wrist, elbow_side, (26.5, 27.0), (20.0, 21.0))
    add(elbow_side, elbow, (27.0, 50.0), (21.0, 38.0))
    return parts


def soft_thickness(
    parts: list[Capsule], scale: float, view: View, shape: tuple[int, int]
) -> np.ndarray:
    """Thickness of soft tissue in mm, [height, width] float32.

    Signed distances to the capsules are joined with a soft minimum, which rounds the webs off. The
    field is smooth, so it is made on a grid of half the size and enlarged.
    """
    height, width = shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    coarse = View(view.pixels_per_mm / 2, view.turn, tuple((v - 0.5) / 2 for v in view.shift))
    mm = np.float32(1.0 / coarse.pixels_per_mm)
    x = np.arange(columns, dtype=np.float32) * mm
    y = np.arange(rows, dtype=np.float32)[:, None] * mm
    weight_sum = np.zeros((rows, columns), np.float32)
    radius_sum, depth_sum = np.zeros_like(weight_sum), np.zeros_like(weight_sum)
    softness = np.float32(1.0 / (WEB * scale))
    for start, end, *sizes in parts:
        first, last = coarse.to_pixels(np.array([start, end])) * mm
        step = last - first
        dx, dy = x - np.float32(first[0]), y - np.float32(first[1])
        part = (dx * np.float32(step[0]) + dy * np.float32(step[1])) / np.float32(step @ step)
        part = np.clip(part, 0.0, 1.0)
        radius = np.float32(sizes[0]) + np.float32(sizes[1] - sizes[0]) * part
        distance = cv2.magnitude(dx - np.float32(step[0]) * part, dy - np.float32(step[1]) * part)
        weight = np.exp(np.minimum((radius - distance) * softness, np.float32(40.0)))
        weight_sum += weight
        radius_sum += weight * radius
        depth_sum += weight * (np.float32(sizes[2]) + np.float32(sizes[3] - sizes[2]) * part)
    inside = np.log(np.maximum(weight_sum, 1e-30)) / softness
    weight_sum = np.maximum(weight_sum, np.float32(1e-30))
    fields = [
        cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        for field in (inside, radius_sum / weight_sum, depth_sum / weight_sum)
    ]
    inside, radius, depth = fields
    near = np.clip(inside / np.maximum(0.8 * radius, 1e-3), 0.0, 1.0)
    return 2.0 * depth * np.sqrt(1.0 - (1.0 - near) ** 2)
