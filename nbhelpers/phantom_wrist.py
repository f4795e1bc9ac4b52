"""Carpals, sesamoid, radius and ulna of one child's hand."""

import numpy as np

from nbhelpers import phantom_anatomy as anatomy
from nbhelpers import phantom_profiles as profiles
from nbhelpers.phantom_growth import Child
from nbhelpers.phantom_pose import Hand, Pose, turn_at_wrist
from nbhelpers.phantom_shapes import Lump


def add_carpals(hand: Hand, child: Child, pose: Pose) -> None:
    rim = 0.4 * hand.scale * pose.cortex
    for name, ((x, y), wide, long, direction, lobes) in anatomy.CARPALS.items():
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
    for name, bone in anatomy.FOREARM.items():
        end = turn_at_wrist(bone["end"], turn) * scale
        lean = turn + np.radians(bone["lean"])
        along = np.array([np.sin(lean), -np.cos(lean)])
        hand.joints[name.capitalize()] = tuple(end + along * 0.4 * bone["plate"] * scale)
        width, fusion = bone["width"] * pose.stoutness * scale, child.fusion(name)
        gap = (0.5 + 2.2 * child.youth(60)) * scale
        common = {
            "waist": 0.2 * child.youth(55),
            "cortex": 0.75 * pose.cortex,
            "depth": bone["depth"],
            "ends": (1.0, 0.9 * scale),
        }
        long = anatomy.FOREARM_LENGTH * scale
        # The bone as it was before fusion and as it is after it, which reaches into the epiphysis.
        for reach, share in ((0.0, 1.0 - fusion), (gap + 1.2 * scale, fusion)):
            if share > 0:
                start = tuple(end + along * (reach - long))
                hand.bones.append(
                    profiles.shaft(name, width, start, lean, long + reach, share=share, **common)
                )
        extent, maturity = child.extent(name), child.maturity(name)
        if extent <= 0:
            continue
        height = bone["plate"] * scale * (0.3 + 0.7 * maturity**0.6) * min(1.0, 0.4 + extent)
        to_thumb = np.array([np.cos(lean), np.sin(lean)]) * (1 - extent) * bone["offset"] * width
        hand.bones.append(
            Lump(
                name if fusion < 1 else "",  # a fused centre no longer stands free
                tuple(end + along * (gap + 0.5 * height) + to_thumb),
                lean,
                half_width=1.03 * width * extent,
                half_length=0.5 * height,
                depth=0.85 * bone["depth"] * width * extent,
                exponent=2.0 + 0.9 * maturity,
                wedge=bone["wedge"] * extent,
                rim=0.5 * scale * pose.cortex,
            )
        )
    hand.joints["Wrist"] = tuple(np.array([-0.5, 8.5]) * scale)
