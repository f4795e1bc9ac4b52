"""How a hand lies, and the hand as a collection of parts that the other rooms fill and draw."""

from dataclasses import dataclass, field

import numpy as np

from nbhelpers import phantom_anatomy as anatomy
from nbhelpers.phantom_growth import EPIPHYSES
from nbhelpers.phantom_shapes import Lump, Shaft


@dataclass(frozen=True)
class Pose:
    """How a hand lies and how it is built, apart from its age. Angles in degrees."""

    spread: float  # 0 closed, 1 spread
    thumb: float  # added to the thumb's angle
    forearm: float  # angle between hand and forearm
    bends: dict[str, float]  # added to the direction of a bone
    lengths: dict[str, float]  # factor of a bone's length
    stoutness: float  # factor of all widths of bones
    cortex: float  # factor of the thickness of compact bone
    flesh: float  # factor of the thickness of soft tissue


@dataclass
class Hand:
    """What is drawn, in mm from the capitate's middle, y down."""

    bones: list[Shaft | Lump] = field(default_factory=list)
    joints: dict[str, tuple[float, float]] = field(default_factory=dict)
    # Ends of the cartilage model of every bone of the digits, for the soft tissue.
    rays: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    scale: float = 1.0  # mm of this hand per mm of the grown hand
    forearm_turn: float = 0.0


def draw_pose(rng: np.random.Generator) -> Pose:
    """A pose as a radiographer gets it: mostly flat with fingers a little apart."""
    names = [name for name in EPIPHYSES if name[:2] in anatomy.LENGTHS]
    bends = {
        name: float(turn) for name, turn in zip(names, rng.normal(0, 1.8, len(names)), strict=True)
    }
    factors = np.exp(rng.normal(0, 0.022, len(names)))
    return Pose(
        spread=float(1.15 * rng.beta(2.6, 1.8)),
        thumb=float(np.clip(rng.normal(0, 6), -12, 12)),
        forearm=float(np.clip(rng.normal(0, 6), -16, 16)),
        bends=bends,
        lengths={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        stoutness=float(np.exp(np.clip(rng.normal(0, 0.07), -0.16, 0.16))),
        cortex=float(np.exp(np.clip(rng.normal(0, 0.15), -0.35, 0.35))),
        flesh=float(np.exp(np.clip(rng.normal(0, 0.12), -0.25, 0.25))),
    )


def turn_at_wrist(point: tuple[float, float], turn: float) -> np.ndarray:
    """A point of the grown forearm (y up) turned about the wrist, with y down."""
    x, y = point[0] - anatomy.WRIST_PIVOT[0], -(point[1] - anatomy.WRIST_PIVOT[1])
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.array(
        [
            cosine * x - sine * y + anatomy.WRIST_PIVOT[0],
            sine * x + cosine * y - anatomy.WRIST_PIVOT[1],
        ]
    )
