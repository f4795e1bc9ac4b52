"""One synthetic radiograph: a child, a pose, a frame and an exposure put together."""

from dataclasses import dataclass

import numpy as np

from nbhelpers import phantom_film as film
from nbhelpers.phantom_bones import build_hand
from nbhelpers.phantom_frame import draw_frame
from nbhelpers.phantom_growth import SEXES, Child, grow_child
from nbhelpers.phantom_pose import draw_pose
from nbhelpers.phantom_regions import Box, find_boxes
from nbhelpers.phantom_tissue import soft_capsules, soft_thickness

SMALLEST = 256  # pixels; below that epiphyses are lost


@dataclass(frozen=True)
class Radiograph:
    """One drawn hand: pixels uint8 [height, width], 17 boxes, and what is true about it."""

    pixels: np.ndarray
    boxes: list[Box]
    child: Child
    centre_areas_mm2: dict[str, float]  # 0 before onset and once fused
    fusion: dict[str, float]  # share of every growth plate that is bridged


def draw_radiograph(
    sex: str,
    age_months: float,
    rng: np.random.Generator | int = 0,
    size: int = 320,
    ossification_age_months: float | None = None,
) -> Radiograph:
    """Draw one left hand.

    `sex` is female or male, `age_months` 0 to 228, `size` the frame's longer side in pixels. A seed
    or generator gives child, pose and exposure. `ossification_age_months` freezes everything but
    the hand's size at another age.
    """
    if sex not in SEXES:
        raise ValueError(f"sex is {sex!r}; use one of {', '.join(SEXES)}.")
    if size < SMALLEST:
        raise ValueError(f"size is {size}; a radiograph needs {SMALLEST} pixels or more.")
    rng = np.random.default_rng(rng)
    child = grow_child(rng, sex, age_months, ossification_age_months)
    pose = draw_pose(rng)
    hand = build_hand(child, pose)
    frame = draw_frame(rng, hand, size)
    bones, areas = film.bone_attenuation(rng, hand, frame)
    soft = soft_thickness(soft_capsules(hand, child, pose), hand.scale, frame.view, frame.shape)
    pixels = film.expose(rng, bones, soft, frame, film.draw_exposure(rng))
    fusion = {name: child.fusion(name) for name in child.fused}
    return Radiograph(pixels, find_boxes(hand, frame.view), child, areas, fusion)
