"""Disturbances of radiographs: nothing at the identity, more with strength, the same every time."""

import cv2
import numpy as np
import pytest

from nbhelpers.bias.corruptions import DISTURBANCES, disturb

KINDS = tuple(DISTURBANCES)
ALL = [(kind, strength) for kind in KINDS for strength in DISTURBANCES[kind].strengths]
# What acts on the radiograph's own pixels means something else where there are more of them.
OF_PIXELS = {"noise", "jpeg", "resolution"}
SIDES = ("top", "bottom", "left", "right")


def film(height=160, width=120):
    """A hand of a kind: palm, fingers of several lengths, bones with edges; grey levels 60 to 190.

    Drawn large and averaged down, so that it looks the same in every size.
    """
    large = np.full((1600, 1200), 60, np.uint8)
    for x, top, level in ((250, 700, 150), (430, 330, 170), (600, 200, 190), (780, 300, 160)):
        cv2.line(large, (x, 1100), (x, top), 110, 120)
        for joint in range(top, 1100, 190):
            cv2.line(large, (x, joint), (x, joint + 110), level, 50)
    cv2.ellipse(large, (560, 1200), (330, 260), 0, 0, 360, 130, -1)
    cv2.line(large, (960, 900), (760, 1200), 120, 110)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)


def apart(one, other):
    return np.abs(one.astype(float) - other).mean()


def black_sides(pixels):
    """The sides along which the outermost line is black."""
    lines = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return {side for side, line in zip(SIDES, lines, strict=True) if not line.any()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["1377", "1378", "1379"])
def test_stronger_is_further_from_the_original_which_the_identity_gives_back(kind, case):
    given, disturbance = film(), DISTURBANCES[kind]
    np.testing.assert_array_equal(disturb(given, kind, disturbance.identity, case), given)
    for direction in (-1, 1):
        away = [(s - disturbance.identity) * direction for s in disturbance.strengths]
        tried = sorted(s for s in away if s > 0)
        distances = [
            apart(disturb(given, kind, disturbance.identity + direction * s, case), given)
            for s in tried
        ]
        assert all(a < b for a, b in zip([0, *distances], distances, strict=False)), distances


@pytest.mark.parametrize(("kind", "strength"), ALL)
@pytest.mark.parametrize("shape", [(33, 32), (61, 203), (150, 47)])
def test_size_and_type_are_kept_and_a_case_is_disturbed_alike_again(kind, strength, shape):
    given = film(*shape)
    given.flags.writeable = False
    cases = [f"{case}" for case in range(1377, 1387)]
    once = [disturb(given, kind, strength, case) for case in cases]
    for case, disturbed in zip(cases, once, strict=True):
        assert disturbed.shape == shape and disturbed.dtype == np.uint8
        assert disturbed.flags.c_contiguous
        np.testing.assert_array_equal(disturb(given, kind, strength, case), disturbed)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - OF_PIXELS))
def test_a_disturbance_means_the_same_at_every_size(kind):
    small, large = film(200, 150), film(1000, 750)
    for strength in DISTURBANCES[kind].strengths:
        reduced = cv2.resize(
            disturb(large, kind, strength, "1377"), (150, 200), interpolation=cv2.INTER_AREA
        )
        assert apart(reduced, disturb(small, kind, strength, "1377")) < 2.5, strength


def test_every_side_is_collimated_in_some_case():
    seen = [black_sides(disturb(film(), "collimation", 20, f"{case}")) for case in range(60)]
    assert all(len(sides) == 1 for sides in seen)
    assert set.union(*seen) == set(SIDES)
    covered = disturb(film(100, 100), "collimation", 30, "1377")
    assert np.count_nonzero(covered == 0) == 30 * 100


def test_a_hand_is_turned_either_way_about_the_middle():
    given = film(101, 101)
    turned = {disturb(given, "rotation", 90, f"{case}").tobytes() for case in range(20)}
    assert turned == {np.rot90(given, k).tobytes() for k in (1, 3)}


def test_a_shift_moves_whole_pixels_to_any_side():
    """Nothing but the place changes; what comes in is as grey as the film's edges."""
    given = film(100, 140)
    padded = np.pad(given, 28, constant_values=60)
    places = [(8, 28), (48, 28), (28, 0), (28, 56)]  # 20 % of each side, each way
    expected = {padded[y : y + 100, x : x + 140].tobytes() for y, x in places}
    assert {disturb(given, "shift", 20, f"{case}").tobytes() for case in range(60)} == expected


def test_what_a_turned_film_shows_from_outside_is_as_grey_as_its_edges():
    grey = np.full((90, 120), 140, np.uint8)
    for kind, strength in (("rotation", 45), ("scale", -40), ("shift", 30)):
        assert (disturb(grey, kind, strength, "1377") == 140).all(), kind


def test_a_larger_scale_shows_the_middle_larger():
    disc = cv2.circle(np.zeros((301, 301), np.uint8), (150, 150), 60, 200, -1)
    for percent in (-40, 20):
        grown = np.count_nonzero(disturb(disc, "scale", percent, "1") > 100)
        expected = (1 + percent / 100) ** 2 * np.count_nonzero(disc)
        assert grown == pytest.approx(expected, rel=0.02)


def test_grey_levels_end_at_black_and_white():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    for kind in ("brightness", "contrast", "gamma", "noise"):
        for strength in DISTURBANCES[kind].strengths:
            changed = disturb(ramp, kind, strength, "1").astype(float)
            levels = changed.mean(axis=0)
            assert levels[:64].mean() < levels[-64:].mean(), (kind, strength)
    brighter = disturb(ramp, "brightness", 80, "1")[0]
    assert brighter[0] == 80
    assert (brighter[175:] == 255).all()
    # 255 * (128 / 255) ** 2.5 is 45.5.
    assert disturb(ramp, "gamma", 2.5, "1")[0, [0, 128, 255]].tolist() == [0, 46, 255]


def test_contrast_leaves_the_mean_as_it_was():
    given = film()
    for percent in (-75, -50, -25, 25):
        changed = disturb(given, "contrast", percent, "1")
        assert changed.mean() == pytest.approx(given.mean(), abs=0.5)
        assert changed.std() == pytest.approx(given.std() * (1 + percent / 100), rel=0.03)


def test_noise_has_the_spread_that_it_is_called_by_and_is_each_cases_own():
    grey = np.full((200, 200), 128, np.uint8)
    one, other = (disturb(grey, "noise", 20, case).astype(float) - 128 for case in ("1", "2"))
    assert one.std() == pytest.approx(20, rel=0.03)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


def test_inverted_and_mirrored_twice_is_the_original():
    given = film()
    np.testing.assert_array_equal(disturb(given, "inverted", 1, "1"), 255 - given)
    np.testing.assert_array_equal(disturb(given, "mirrored", 1, "1"), np.fliplr(given))
    for kind in ("inverted", "mirrored"):
        once = disturb(given, kind, 1, "1")
        assert not np.array_equal(once, given)
        np.testing.assert_array_equal(disturb(once, kind, 1, "1"), given)


def test_what_is_finer_than_the_coarser_pixels_is_lost():
    rows = np.arange(320)
    for width, kept in ((2, 0.0), (80, 0.9)):
        stripes = np.where(rows // width % 2, 200, 100)
        across = np.repeat(stripes[:, None], 240, axis=1).astype(np.uint8)
        for given in (across, np.ascontiguousarray(across.T)):
            coarse = disturb(given, "resolution", 8, "1")
            assert coarse.std() / given.std() == pytest.approx(kept, abs=0.1)
            assert coarse.mean() == pytest.approx(150, abs=1)  # averaged, not picked


def test_a_blur_has_the_spread_that_it_is_called_by():
    for side, percent in ((100, 1), (100, 2), (1500, 0.5), (1500, 2)):
        edge = np.zeros((32, side), np.uint8)
        edge[:, side // 2 :] = 250
        slope = np.diff(disturb(edge, "blur", percent, "1")[16].astype(float)) / 250
        place = np.arange(side - 1)
        mean = (slope * place).sum()
        spread = np.sqrt((slope * (place - mean) ** 2).sum())
        assert spread == pytest.approx(side * percent / 100, rel=0.05), (side, percent)


def test_the_marker_is_a_white_letter_in_a_corner():
    black = np.zeros((200, 150), np.uint8)
    corners = set()
    for case in range(40):
        marked = disturb(black, "marker", 12, f"{case}")
        assert set(np.unique(marked)) == {0, 255}
        rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
        assert rows[-1] - rows[0] + 1 == 18  # 12 % of 150
        corners.add((rows.mean() > 100, columns.mean() > 75))
        letter = marked[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0
        assert letter[:, 0].all()
        assert letter[-1].all()
        assert not letter[0, -1]
    assert len(corners) == 4
