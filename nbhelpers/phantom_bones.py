"""The bones of one child's left hand in one pose: shafts, epiphyses, carpals, forearm."""

from dataclasses import dataclass, field

import numpy as np

from nbhelpers import phantom_anatomy as anatomy
from nbhelpers.phantom_growth import EPIPHYSES, Child
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


def build_hand(child: Child, pose: Pose) -> Hand:
    """Put the child's bones together in the pose."""
    hand = Hand(scale=child.hand_length_mm / anatomy.HAND_LENGTH)
    for digit in anatomy.DIGITS:
        _add_digit(hand, child, pose, digit)
    _add_carpals(hand, child, pose)
    _add_forearm(hand, child, pose)
    return hand


def _add_digit(hand: Hand, child: Child, pose: Pose, digit: int) -> None:
    x, y = anatomy.METACARPAL_BASES[digit]
    place = np.array([x, -y]) * hand.scale
    resting, spreading = anatomy.METACARPAL_DIRECTIONS[digit]
    metacarpal = resting + spreading * pose.spread
    resting, spreading = anatomy.FINGER_DIRECTIONS[digit]
    finger = resting + spreading * pose.spread
    if digit == 1:
        metacarpal, finger = metacarpal + 0.6 * pose.thumb, finger + pose.thumb
    for kind in ("MC", "PP", "MP", "DP"):
        if digit not in anatomy.LENGTHS[kind]:
            continue
        name = f"{kind}{digit}"
        # A thumb's tip points back to the fingers, a little finger's tip to its neighbour.
        curl = {"MC": 0.0, "PP": 0.0, "MP": 2.0, "DP": 3.0}[kind] * {1: 1.0, 5: 1.0, 2: -1.0}.get(
            digit, 0
        )
        turn = np.radians((metacarpal if kind == "MC" else finger + curl) + 0.6 * pose.bends[name])
        length = anatomy.LENGTHS[kind][digit] * pose.lengths[name] * hand.scale
        along = np.array([np.sin(turn), -np.cos(turn)])
        _add_long_bone(hand, child, pose, name, place, turn, length)
        hand.rays[name] = (place, place + along * length)
        place = place + along * length
        joint = {"MC": "MCP", "PP": "PIP", "MP": "DIP"}.get(kind)
        if joint:
            hand.joints[f"{joint}{digit}"] = tuple(place)


def _add_long_bone(
    hand: Hand, child: Child, pose: Pose, name: str, place: np.ndarray, turn: float, length: float
) -> None:
    """Shaft and epiphysis, blended into one old bone as the growth plate fuses."""
    kind, digit, scale = name[:2], int(name[2]), hand.scale
    width = anatomy.WIDTHS[kind][digit] * pose.stoutness * scale
    head_grows = kind == "MC" and digit != 1  # the epiphysis is distal
    plate = (anatomy.THUMB_PLATE if name == "MC1" else anatomy.PLATE[kind]) * scale
    joint = (0.55 + 2.3 * child.youth(32)) * scale  # cartilage on either side of a joint
    gap = (0.35 + 1.3 * child.youth(45)) * scale * (1.0 - 0.35 * child.maturity(name))
    along = np.array([np.sin(turn), -np.cos(turn)])
    fusion = child.fusion(name)
    profile = "DP" if kind == "DP" else "phalanx" if kind != "MC" else "MC1" if digit == 1 else "MC"
    common = {
        "waist": 0.3 * child.youth(55),
        "cortex": pose.cortex,
        "depth": 0.74 if digit == 1 else 0.84,
        "bend": (-0.7 if digit == 1 else 0.0) * scale,
    }
    round_head = 4.6 * scale if head_grows else 3.0 * scale
    if fusion > 0:
        start = tuple(place + along * joint)
        ends = (1.8 * scale, round_head)
        bone = length - 2 * joint
        hand.bones.append(
            anatomy.shaft(
                f"old {profile}", width, start, turn, bone, ends=ends, share=fusion, **common
            )
        )
    if fusion >= 1:
        return
    common["share"] = 1.0 - fusion
    free = length - 2 * joint - plate - gap
    first = joint if head_grows else joint + plate + gap
    ends = (2.2 * scale, 0.9 * scale) if head_grows else (1.1 * scale, 3.0 * scale)
    start = tuple(place + along * first)
    hand.bones.append(anatomy.shaft(profile, width, start, turn, free, ends=ends, **common))
    extent = child.extent(name)
    if extent <= 0:
        return
    height = plate * (0.3 + 0.7 * child.maturity(name) ** 0.6) * min(1.0, 0.4 + extent)
    wide = (1.0 if head_grows else 1.03) * width * extent
    # The growth plate keeps its width: a centre grows from its shaft towards the joint.
    offset = joint + plate - 0.5 * height
    middle = length - offset if head_grows else offset
    hand.bones.append(
        Lump(
            name,
            tuple(place + along * middle),
            turn,
            half_width=wide,
            half_length=0.5 * height,
            depth=0.8 * wide,
            exponent=2.0 + 1.1 * child.maturity(name),
            cap=0.0 if head_grows else 0.9 * scale * child.maturity(name) ** 3 * -1.0,
            rim=0.55 * scale * pose.cortex,
            share=1.0 - fusion,
        )
    )


def _add_carpals(hand: Hand, child: Child, pose: Pose) -> None:
    rim = 0.6 * hand.scale * pose.cortex
    for name, ((x, y), wide, long, direction, lobes) in anatomy.CARPALS.items():
        extent = child.extent(name)
        if extent <= 0:
            continue
        size = extent * hand.scale * pose.stoutness**0.5
        # Young centres are round; facets come as neighbours meet.
        lobes = tuple((waves, amplitude * extent**2, phase) for waves, amplitude, phase in lobes)
        wide, long = (
            wide + (1 - extent) * 0.3 * (long - wide),
            long + (1 - extent) * 0.3 * (wide - long),
        )
        hand.bones.append(
            Lump(
                name,
                (x * hand.scale, -y * hand.scale),
                np.radians(direction),
                half_width=wide * size,
                half_length=long * size,
                depth=0.75 * min(wide, long) * size,
                exponent=2.0 + 0.5 * extent,
                lobes=lobes,
                rim=rim,
            )
        )
    extent = child.extent("sesamoid")
    if extent > 0:
        head, turn = np.array(hand.joints["MCP1"]), np.radians(30.0)
        side = np.array([-np.cos(turn), -np.sin(turn)])
        place = head + 6.2 * hand.scale * side + np.array([0.0, 2.0]) * hand.scale
        size = 2.7 * extent * hand.scale
        hand.bones.append(
            Lump("sesamoid", tuple(place), turn, 0.85 * size, size, 0.9 * size, rim=rim)
        )


def _add_forearm(hand: Hand, child: Child, pose: Pose) -> None:
    scale, turn = hand.scale, np.radians(pose.forearm)
    hand.forearm_turn = turn
    for name, bone in anatomy.FOREARM.items():
        width = bone["width"] * pose.stoutness * scale
        fusion = child.fusion(name)
        end = turn_at_wrist(bone["end"], turn) * scale
        epiphysis = turn_at_wrist(bone["epiphysis"], turn) * scale
        lean = turn + np.radians(-1.0 if name == "radius" else 1.5)
        along = np.array([np.sin(lean), -np.cos(lean)])
        long = anatomy.FOREARM_LENGTH * scale
        common = {"waist": 0.2 * child.youth(55), "cortex": 0.75 * pose.cortex}
        common |= {"depth": 0.62 if name == "radius" else 0.85}
        ends = (1.0, 0.9 * scale)
        for reach, share in ((0.0, 1.0 - fusion), (2.2 * scale, fusion)):
            if share > 0:
                start = tuple(end + along * (reach - long))
                length = long + reach
                hand.bones.append(
                    anatomy.shaft(
                        name, width, start, lean, length, ends=ends, share=share, **common
                    )
                )
        hand.joints[name.capitalize()] = tuple((end + epiphysis) / 2)
        extent = child.extent(name)
        if extent <= 0:
            continue
        height = (
            bone["plate"]
            * scale
            * (0.35 + 0.65 * child.maturity(name) ** 0.6)
            * min(1, 0.4 + extent)
        )
        side = np.array([np.cos(turn), np.sin(turn)]) * (1 - extent) * 0.25 * width
        hand.bones.append(
            Lump(
                name,
                tuple(epiphysis + (side if name == "radius" else 0)),
                lean,
                half_width=1.02 * width * extent,
                half_length=0.5 * height,
                depth=0.62 * width * extent,
                exponent=2.0 + 0.8 * child.maturity(name),
                wedge=bone["wedge"] * extent,
                rim=0.8 * scale * pose.cortex,
            )
        )
    hand.joints["Wrist"] = tuple(np.array([-0.5, 8.5]) * scale)


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
