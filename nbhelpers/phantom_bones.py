"""The bones of one child's left hand in one pose: shafts, epiphyses, then the wrist."""

import numpy as np

from nbhelpers import phantom_anatomy as anatomy
from nbhelpers import phantom_profiles as profiles
from nbhelpers.phantom_growth import Child
from nbhelpers.phantom_pose import Hand, Pose
from nbhelpers.phantom_shapes import Lump
from nbhelpers.phantom_wrist import add_carpals, add_forearm


def build_hand(child: Child, pose: Pose) -> Hand:
    """Put the child's bones together in the pose."""
    hand = Hand(scale=child.hand_length_mm / anatomy.HAND_LENGTH)
    for digit in anatomy.DIGITS:
        _add_digit(hand, child, pose, digit)
    add_carpals(hand, child, pose)
    add_forearm(hand, child, pose)
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
            # A knuckle's box is centred on the metacarpal's head, which grows on that side.
            back = 3.0 * hand.scale if joint == "MCP" and digit != 1 else 0.0
            hand.joints[f"{joint}{digit}"] = tuple(place - back * along)


def _add_long_bone(
    hand: Hand, child: Child, pose: Pose, name: str, place: np.ndarray, turn: float, length: float
) -> None:
    """Shaft and epiphysis, blended into one old bone as the growth plate fuses."""
    kind, digit, scale = name[:2], int(name[2]), hand.scale
    width = anatomy.WIDTHS[kind][digit] * pose.stoutness * scale
    head_grows = kind == "MC" and digit != 1  # the epiphysis is distal
    plate = (anatomy.THUMB_PLATE if name == "MC1" else anatomy.PLATE[kind]) * scale
    joint = (0.55 + 2.3 * child.youth(32)) * scale  # cartilage on either side of a joint
    gap = (0.15 + 1.4 * child.youth(45)) * scale * (1.0 - 0.35 * child.maturity(name))
    if head_grows:
        gap -= 0.8 * scale * child.maturity(name)  # the plate undulates: its two sides overlap
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
            profiles.shaft(
                f"old {profile}", width, start, turn, bone, ends=ends, share=fusion, **common
            )
        )
    if fusion >= 1:
        return
    common["share"] = 1.0 - fusion
    free = length - 2 * joint - plate - gap
    first = joint if head_grows else joint + plate + gap
    ends = (2.2 * scale, 0.7 * scale) if head_grows else (1.1 * scale, 3.0 * scale)
    start = tuple(place + along * first)
    hand.bones.append(profiles.shaft(profile, width, start, turn, free, ends=ends, **common))
    extent = child.extent(name)
    if extent <= 0:
        return
    height = plate * (0.25 + 0.75 * child.maturity(name) ** 0.8) * min(1.0, 0.4 + extent)
    wide = (1.06 if head_grows else 1.03) * width * extent
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
            rim=0.45 * scale * pose.cortex,
            share=1.0 - fusion,
        )
    )
