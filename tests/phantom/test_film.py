"""One synthetic radiograph: pixels, regions, frame, physics."""

import numpy as np
import pytest

from nbhelpers.phantom import anatomy, dataset, film
from nbhelpers.phantom.anatomy import grow_child
from nbhelpers.phantom.hand import build_hand, draw_pose, soft_capsules, soft_thickness
from nbhelpers.phantom.shapes import Lump, Shaft, View, add_bone

# The boxes that hold each kind of centre; those of the wrist's bones are all others.
HELD_BY = {"DP": {"DIP", "PIP"}, "MP": {"PIP"}, "PP": {"MCP"}, "MC": {"MCP", "Wrist"}}
HELD_BY |= {"ra": {"Radius"}, "ul": {"Ulna"}, "se": {"MCP"}}


def lay_hand(seed: int, size: int):
    """Child, pose, hand and frame of one seed, without pixels."""
    rng = np.random.default_rng(seed)
    child = grow_child(rng, ("female", "male")[seed % 2], float(rng.uniform(1, 228)))
    pose = draw_pose(rng)
    hand = build_hand(child, pose)
    return child, pose, hand, film.draw_frame(rng, hand, size)


@pytest.mark.parametrize("size", [256, 512])
def test_boxes_lie_inside_the_frame_and_hold_the_joints_they_are_named_after(size):
    """A free epiphysis next to a joint lies in the joint's box, and the carpals in the wrist's."""
    for seed in range(50):
        _, _, hand, frame = lay_hand(seed, size)
        assert max(frame.shape) == size and min(frame.shape) > 0.5 * size
        boxes = film.find_boxes(hand, frame.view)
        for box in boxes:
            assert 0 <= box.left < box.right < frame.shape[1]
            assert 0 <= box.top < box.bottom < frame.shape[0]
        for bone in hand.bones:
            if not isinstance(bone, Lump) or not bone.name:
                continue
            x, y = frame.view.to_pixels(np.array([bone.centre]))[0]
            inside = {b.name for b in boxes if b.left <= x <= b.right and b.top <= y <= b.bottom}
            wanted = HELD_BY.get(bone.name[:2], {"Wrist"})
            assert inside & wanted, (seed, bone.name, inside)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_tells_the_age_but_bones_and_size(seed: int, monkeypatch):
    """A woman's hand with the bones of a girl of ten, and that of a child of five."""
    grown = dataset.draw_radiograph("female", 200, seed)
    frozen, younger = (dataset.draw_radiograph("female", age, seed, 320, 120) for age in (200, 60))
    assert frozen.child.hand_length_mm == grown.child.hand_length_mm
    assert frozen.boxes == grown.boxes and (frozen.pixels != grown.pixels).mean() > 0.1
    assert younger.child.hand_length_mm < frozen.child.hand_length_mm
    monkeypatch.setattr(anatomy, "mean_hand_length", lambda age_months, sex: 150.0)
    frozen, younger = (dataset.draw_radiograph("female", age, seed, 320, 120) for age in (200, 60))
    assert (younger.pixels == frozen.pixels).all() and younger.boxes == frozen.boxes


def test_pixels_do_not_tell_the_hands_length():
    """Hand length in mm and in pixels are as good as uncorrelated."""
    laid = [lay_hand(seed, 320) for seed in range(300)]
    length = np.array([child.hand_length_mm for child, *_ in laid])
    pixels = length * [frame.view.pixels_per_mm for *_, frame in laid]
    assert abs(np.corrcoef(length, pixels)[0, 1]) < 0.15


def test_a_shafts_path_is_that_of_a_tube():
    """Across the middle: the chord of the wall times its attenuation, brightest in the cortex."""
    flat = np.ones(256, np.float32)
    tube = Shaft((0.0, 10.0), 0.0, 20.0, 5 * flat, 4 * flat, 0 * flat, depth=1.0)
    canvas = np.zeros((400, 400), np.float32)
    add_bone(canvas, tube, View(10.0, 0.0, (199.5, 199.5)), np.ones_like(canvas))
    assert np.count_nonzero(canvas) == pytest.approx(20 * 10 * 100, rel=0.02)
    row = canvas[200] / 0.072
    assert row[199] == pytest.approx(2.0, rel=0.01)  # two walls of 1 mm
    assert row[240] == pytest.approx(2 * np.sqrt(25 - 4.05**2), rel=0.01)  # just outside marrow
    assert row[199 + 52] == 0 and row.argmax() in range(155, 245)


def test_bone_is_brighter_than_soft_tissue_and_that_than_air():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        child, pose, hand, frame = lay_hand(seed, 320)
        bones = film.bone_attenuation(rng, hand, frame)
        soft = soft_thickness(soft_capsules(hand, child, pose), hand.scale, frame.view, frame.shape)
        exposure = film.draw_exposure(rng)
        pixels = film.expose(rng, bones, soft, frame, exposure).astype(float)
        inside = film.field_distance(frame) > 8
        bone, flesh, air = bones > 0.15, (bones == 0) & (soft > 8), soft == 0
        assert bone.sum() > 200
        assert pixels[bone & inside].mean() > pixels[flesh & inside].mean() + 5
        assert np.median(pixels[flesh & inside]) > np.median(pixels[air & inside]) + 3
        # No bone without flesh around it.
        assert (soft[bones > 0.05] > 0).mean() > 0.999
