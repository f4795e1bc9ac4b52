"""One child's left hand in one pose: shafts, epiphyses, carpals, forearm and soft tissue.

A `Hand` is the collection of parts, in mm, that `film` draws; the soft tissue is one smooth body
around the bones, with webs between the fingers.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from nbhelpers.phantom import anatomy, shapes
from nbhelpers.phantom.anatomy import EPIPHYSES, Child
from nbhelpers.phantom.shapes import Lump, Shaft, View


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
    bends = rng.normal(0, 1.8, len(names)).tolist()
    factors = np.exp(rng.normal(0, 0.022, len(names))).tolist()
    return Pose(
        spread=float(1.15 * rng.beta(2.6, 1.8)),
        thumb=float(np.clip(rng.normal(0, 6), -12, 12)),
        forearm=float(np.clip(rng.normal(0, 6), -16, 16)),
        bends=dict(zip(names, bends, strict=True)),
        lengths=dict(zip(names, factors, strict=True)),
        stoutness=float(np.exp(np.clip(rng.normal(0, 0.07), -0.16, 0.16))),
        cortex=float(np.exp(np.clip(rng.normal(0, 0.15), -0.35, 0.35))),
        flesh=float(np.exp(np.clip(rng.normal(0, 0.12), -0.25, 0.25))),
    )


def turn_at_wrist(point: tuple[float, float], turn: float) -> np.ndarray:
    """A point of the grown forearm (y up) turned about the wrist, with y down."""
    pivot_x, pivot_y = anatomy.WRIST_PIVOT
    x, y = point[0] - pivot_x, -(point[1] - pivot_y)
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.array([cosine * x - sine * y + pivot_x, sine * x + cosine * y - pivot_y])


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
    ball = thumb[0] * 0.7 + thumb[1] * 0.3
    add(ball, 0.45 * index[0] + 0.55 * index[1], (13.0, 9.5), (17.0, 12.0))
    web = ((0.3, 0.5, 11.0), (0.5, 0.6, 11.0), (0.68, 0.7, 10.0), (0.86, 0.79, 8.0))
    for near, far, width in web:
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
    inside, radius, depth = (
        cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        for field in (inside, radius_sum / weight_sum, depth_sum / weight_sum)
    )
    near = np.clip(inside / np.maximum(0.8 * radius, 1e-3), 0.0, 1.0)
    return 2.0 * depth * np.sqrt(1.0 - (1.0 - near) ** 2)


def add_carpals(hand: Hand, child: Child, pose: Pose) -> None:
    rim = 0.4 * hand.scale * pose.cortex
    for name, ((x, y), wide, long, direction, lobes) in anatomy.CARPAL_PLACES.items():
        extent = child.extent(name)
        if extent <= 0:
            continue
        size = 1.06 * extent * hand.scale * pose.stoutness**0.5
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
                depth=0.72 * min(wide, long) * size,
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


def add_forearm(hand: Hand, child: Child, pose: Pose) -> None:
    """Radius and ulna with their distal epiphyses; the shafts leave the frame."""
    scale, turn = hand.scale, np.radians(pose.forearm)
    hand.forearm_turn = turn
    for name, (end, width, plate, wedge, offset, depth, lean) in anatomy.FOREARM.items():
        end = turn_at_wrist(end, turn) * scale
        lean = turn + np.radians(lean)
        along = np.array([np.sin(lean), -np.cos(lean)])
        hand.joints[name.capitalize()] = tuple(end + along * 0.4 * plate * scale)
        width, fusion = width * pose.stoutness * scale, child.fusion(name)
        gap = (0.5 + 2.2 * child.youth(60)) * scale
        common = {
            "waist": 0.2 * child.youth(55),
            "cortex": 0.75 * pose.cortex,
            "depth": depth,
            "ends": (1.0, 0.9 * scale),
        }
        long = anatomy.FOREARM_LENGTH * scale
        # The bone as it was before fusion and as it is after it, which reaches into the epiphysis.
        for reach, share in ((0.0, 1.0 - fusion), (gap + 1.2 * scale, fusion)):
            if share > 0:
                start = tuple(end + along * (reach - long))
                hand.bones.append(
                    shapes.shaft(name, width, start, lean, long + reach, share=share, **common)
                )
        extent, maturity = child.extent(name), child.maturity(name)
        if extent <= 0:
            continue
        height = plate * scale * (0.3 + 0.7 * maturity**0.6) * min(1.0, 0.4 + extent)
        to_thumb = np.array([np.cos(lean), np.sin(lean)]) * (1 - extent) * offset * width
        hand.bones.append(
            Lump(
                name if fusion < 1 else "",  # a fused centre no longer stands free
                tuple(end + along * (gap + 0.5 * height) + to_thumb),
                lean,
                half_width=1.03 * width * extent,
                half_length=0.5 * height,
                depth=0.85 * depth * width * extent,
                exponent=2.0 + 0.9 * maturity,
                wedge=wedge * extent,
                rim=0.5 * scale * pose.cortex,
            )
        )
    hand.joints["Wrist"] = tuple(np.array([-0.5, 8.5]) * scale)


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
        inward = {1: 1.0, 5: 1.0, 2: -1.0}.get(digit, 0)
        curl = {"MC": 0.0, "PP": 0.0, "MP": 2.0, "DP": 3.0}[kind] * inward
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
            shapes.shaft(
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
    hand.bones.append(shapes.shaft(profile, width, start, turn, free, ends=ends, **common))
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
