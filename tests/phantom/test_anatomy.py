"""Ossification centres: when they are there, how they grow, in which order they fuse."""

import itertools

import numpy as np
import pytest

from nbhelpers.data.stages import SEXES
from nbhelpers.phantom import anatomy, hand
from nbhelpers.phantom.anatomy import CENTRES, EPIPHYSES
from nbhelpers.phantom.shapes import Lump

AGES = np.arange(0, 229, 6)
FUSION_ORDER = ("DP", "MC", "PP", "MP", "ulna", "radius")


@pytest.fixture(scope="module")
def grown() -> dict[str, tuple[anatomy.Child, dict[str, np.ndarray]]]:
    """A girl and a boy of 10 years' size: the child, and each centre's size at every age of AGES.

    A size is half the width times half the length, 0 where the centre does not stand free.
    """
    found = {}
    for sex in SEXES:
        sizes = {name: np.zeros(len(AGES)) for name in CENTRES}
        for place, age in enumerate(AGES):
            rng = np.random.default_rng(11)
            child = anatomy.grow_child(rng, sex, 120, float(age))
            for bone in hand.build_hand(child, hand.draw_pose(rng)).bones:
                if isinstance(bone, Lump) and bone.name:
                    sizes[bone.name][place] = bone.half_width * bone.half_length
        found[sex] = child, sizes
    return found


def growing_months(child: anatomy.Child, centre: str) -> np.ndarray:
    """Which of AGES lie between the centre's onset and the first bridge across its plate."""
    end = child.fused.get(centre, np.inf) - anatomy.FUSION_MONTHS
    return (child.onset[centre] < AGES) & (end > AGES)


@pytest.mark.parametrize("sex", SEXES)
def test_a_centre_is_absent_before_its_age_and_grows_after_it(grown, sex):
    child, sizes = grown[sex]
    for centre, size in sizes.items():
        assert (size[child.onset[centre] >= AGES] == 0).all(), centre
        assert centre not in EPIPHYSES or size[-1] == 0, "a fused centre no longer stands free"
        growing = size[growing_months(child, centre)]
        assert (growing > 0).all() and (np.diff(growing) >= 0).all(), centre
        assert growing[-1] > 1.5 * growing[0], centre


def test_boys_come_after_girls(grown):
    (girl, of_girl), (boy, of_boy) = (grown[sex] for sex in SEXES)
    for centre in CENTRES:
        assert boy.onset[centre] > girl.onset[centre]
        both_grow = growing_months(girl, centre) & growing_months(boy, centre)
        # Both hands have the same length at 10 years, so sizes compare.
        assert of_girl[centre][both_grow].sum() > of_boy[centre][both_grow].sum(), centre
        assert (of_girl[centre] > 0).argmax() <= (of_boy[centre] > 0).argmax()


def by_group(of_centre: dict[str, float]) -> list[list[float]]:
    """The values of all epiphyses, a list a group, in the order of fusion."""
    return [
        [of_centre[name] for name in EPIPHYSES if name.startswith(group)] for group in FUSION_ORDER
    ]


def test_order_of_fusion_holds_in_every_child_and_boys_are_later():
    for seed in range(300):
        girl, boy = (
            anatomy.grow_child(np.random.default_rng(seed), sex, 100).fused for sex in SEXES
        )
        for ages in (girl, boy):
            for earlier, later in itertools.pairwise(by_group(ages)):
                assert max(earlier) < min(later)
        assert all(boy[name] >= girl[name] + 20 for name in EPIPHYSES)


def test_an_epiphysis_caps_its_shaft_before_it_fuses():
    child = anatomy.grow_child(np.random.default_rng(3), "female", 143.9)
    assert child.extent("PP3") > 0.98 and child.fusion("PP3") == 0
    older = anatomy.grow_child(np.random.default_rng(3), "female", 180)
    assert older.fusion("PP3") == 1 and 0 < older.fusion("ulna") < 1


def test_hand_length_and_onsets_follow_age_and_sex():
    """Newborn 64 mm, grown men 188 and women 170, no difference from 4 to 12 years, SD 8 %."""
    mean = anatomy.mean_hand_length
    assert mean(0, "male") == 64 and mean(228, "male") == 188 and mean(228, "female") == 170
    assert mean(120, "male") / mean(36, "male") == pytest.approx(1.37, abs=0.01)
    for months in range(0, 145, 12):
        assert mean(months, "male") == mean(months, "female")
    boys = [anatomy.grow_child(np.random.default_rng(seed), "male", 120) for seed in range(1000)]
    spread = np.std([np.log(boy.hand_length_mm) for boy in boys])
    assert spread == pytest.approx(anatomy.LENGTH_SPREAD, rel=0.1) and spread > 0.05
    for name, (months, _) in CENTRES.items():
        assert np.median([boy.onset[name] for boy in boys]) == pytest.approx(months, rel=0.03)
