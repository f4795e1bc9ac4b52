"""Corruptions of radiographs: nothing at the identity, more with strength, the same every time."""

import cv2
import numpy as np
import pytest

from nbhelpers.bias.corruptions import CORRUPTIONS, corrupt

KINDS = tuple(CORRUPTIONS)
ALL = [(kind, strength) for kind in KINDS for strength in CORRUPTIONS[kind].strengths]


def film(height=160, width=120):
    """Patches of grey levels 60 to 190 in an even frame."""
    patches = np.full((8, 6), 60, np.uint8)
    patches[1:-1, 1:-1] = np.random.default_rng(0).integers(60, 190, (6, 4))
    return cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST)


def apart(one, other):
    return np.abs(one.astype(float) - other).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_stronger_is_further_from_the_original_which_the_identity_gives_back(kind):
    given, corruption, case = film(), CORRUPTIONS[kind], "1377"
    np.testing.assert_array_equal(corrupt(given, kind, corruption.identity, case), given)
    for direction in (-1, 1):
        away = [(s - corruption.identity) * direction for s in corruption.strengths]
        tried = [corruption.identity + direction * s for s in sorted(away) if s > 0]
        distances = [apart(corrupt(given, kind, strength, case), given) for strength in tried]
        assert (np.diff([0, *distances]) > 0).all(), distances


@pytest.mark.parametrize(("kind", "strength"), ALL)
@pytest.mark.parametrize("shape", [(33, 32), (61, 203)])
def test_size_and_type_are_kept_and_a_case_is_corrupted_alike_again(kind, strength, shape):
    given = film(*shape)
    given.flags.writeable = False
    corrupted = corrupt(given, kind, strength, "1377")
    assert corrupted.shape == shape and corrupted.dtype == np.uint8
    assert corrupted.flags.c_contiguous
    np.testing.assert_array_equal(corrupt(given, kind, strength, "1377"), corrupted)


def seen(given, kind, strength):
    """The different radiographs that 60 cases make of one."""
    return {corrupt(given, kind, strength, f"{case}").tobytes() for case in range(60)}


def test_where_there_is_no_reason_for_one_direction_cases_take_every_one():
    """A shift moves whole pixels, and what comes in is as grey as the film's edges."""
    given = film(100, 140)
    padded = np.pad(given, 28, constant_values=60)
    places = [(8, 28), (48, 28), (28, 0), (28, 56)]  # 20 % of each side, each way
    moved = {padded[y : y + 100, x : x + 140].tobytes() for y, x in places}
    assert seen(given, "shift", 20) == moved
    covered = [given.copy() for _ in range(4)]
    covered[0][:30] = covered[1][-30:] = covered[2][:, :42] = covered[3][:, -42:] = 0
    assert seen(given, "collimation", 30) == {pixels.tobytes() for pixels in covered}
    given = film(101, 101)
    assert seen(given, "rotation", 90) == {np.rot90(given, k).tobytes() for k in (1, 3)}
    np.testing.assert_array_equal(corrupt(given, "inverted", 1, "1"), 255 - given)
    np.testing.assert_array_equal(corrupt(given, "mirrored", 1, "1"), np.fliplr(given))


def test_a_larger_scale_shows_the_middle_larger():
    disc = cv2.circle(np.zeros((301, 301), np.uint8), (150, 150), 60, 200, -1)
    for percent in (-40, 20):
        grown = np.count_nonzero(corrupt(disc, "scale", percent, "1") > 100)
        expected = (1 + percent / 100) ** 2 * np.count_nonzero(disc)
        assert grown == pytest.approx(expected, rel=0.02)


def test_grey_levels_end_at_black_and_white():
    for percent in (-75, 25):  # contrast leaves the mean as it was
        changed = corrupt(film(), "contrast", percent, "1")
        assert changed.mean() == pytest.approx(film().mean(), abs=0.5)
        assert changed.std() == pytest.approx(film().std() * (1 + percent / 100), rel=0.03)
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(32, axis=0)
    assert corrupt(ramp, "brightness", 80, "1")[0, [0, 175, 255]].tolist() == [80, 255, 255]
    # 255 * (128 / 255) ** 2.5 is 45.5.
    assert corrupt(ramp, "gamma", 2.5, "1")[0, [0, 128, 255]].tolist() == [0, 46, 255]


def test_noise_has_the_spread_that_it_is_called_by_and_is_each_cases_own():
    grey = np.full((200, 200), 128, np.uint8)
    one, other = (corrupt(grey, "noise", 20, case).astype(float) - 128 for case in ("1", "2"))
    assert one.std() == pytest.approx(20, rel=0.03)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


def test_what_is_finer_than_the_coarser_pixels_is_lost():
    rows = np.arange(320)
    for width, kept in ((2, 0.0), (80, 0.9)):
        stripes = np.where(rows // width % 2, 200, 100)
        given = np.repeat(stripes[:, None], 240, axis=1).astype(np.uint8)
        coarse = corrupt(given, "resolution", 8, "1")
        assert coarse.std() / given.std() == pytest.approx(kept, abs=0.1)
        assert coarse.mean() == pytest.approx(150, abs=1)  # averaged, not picked


def test_a_blur_has_the_spread_that_it_is_called_by():
    for side, percent in ((100, 1), (1500, 2)):
        edge = np.zeros((32, side), np.uint8)
        edge[:, side // 2 :] = 250
        slope = np.diff(corrupt(edge, "blur", percent, "1")[16].astype(float)) / 250
        place = np.arange(side - 1)
        mean = (slope * place).sum()
        spread = np.sqrt((slope * (place - mean) ** 2).sum())
        assert spread == pytest.approx(side * percent / 100, rel=0.05), (side, percent)


def test_the_marker_is_a_white_letter_in_a_corner():
    black = np.zeros((200, 150), np.uint8)
    corners = set()
    for case in range(40):
        marked = corrupt(black, "marker", 12, f"{case}")
        assert set(np.unique(marked)) == {0, 255}
        rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
        assert rows[-1] - rows[0] + 1 == 18  # 12 % of 150
        corners.add((rows.mean() > 100, columns.mean() > 75))
    assert len(corners) == 4


def test_a_squeezed_radiograph_is_narrower_or_shorter_about_its_middle():
    hand = np.full((101, 81), 40, np.uint8)
    hand[20:81, 20:61] = 200
    for percent, across, down in ((25, 31, 61), (-25, 41, 46)):
        inside = corrupt(hand, "aspect", percent, "1377") > 120
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert abs(len(columns) - across) <= 1 and abs(len(rows) - down) <= 1
        assert abs(rows.mean() - 50) <= 0.5 and abs(columns.mean() - 40) <= 0.5


def test_sharpening_undoes_a_blur_in_part():
    given = film()
    soft = cv2.GaussianBlur(given, (0, 0), 1.6)
    assert apart(corrupt(soft, "sharpness", 1, "1377"), given) < 0.9 * apart(soft, given)
