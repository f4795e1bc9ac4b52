"""Ossification centres: when they are drawn, how they grow, in which order they fuse."""

import itertools

import numpy as np
import pytest

from nbhelpers.phantom import anatomy, dataset
from nbhelpers.phantom.anatomy import CARPALS, CENTRES, EPIPHYSES

AGES = np.arange(0, 229, 6)
FUSION_ORDER = (("DP",), ("MC",), ("PP",), ("MP",), ("ulna",), ("radius",))
SEED = 11


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[dataset.Radiograph]]:
    """One girl and one boy of 10 years' size, their bones drawn at every age of AGES."""
    return {
        sex: [dataset.draw_radiograph(sex, 120, SEED, 256, float(age)) for age in AGES]
        for sex in anatomy.SEXES
    }


def areas(radiographs: list[dataset.Radiograph], centre: str) -> np.ndarray:
    return np.array([radiograph.centre_areas_mm2[centre] for radiograph in radiographs])


def growing_months(child: anatomy.Child, centre: str) -> np.ndarray:
    """Which of AGES lie between the centre's onset and the first bridge across its plate."""
    end = child.fused.get(centre, np.inf) - anatomy.FUSION_MONTHS
    return (child.onset[centre] < AGES) & (end > AGES)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("sex", anatomy.SEXES)
def test_a_centre_is_absent_before_its_age_and_grows_after_it(drawn, sex, centre):
    child = drawn[sex][0].child
    found = areas(drawn[sex], centre)
    assert (found[child.onset[centre] >= AGES] == 0).all()
    growing = found[growing_months(child, centre)]
    assert (growing > 0).all()
    # Edges fall on other pixels from age to age, hence the 6 %.
    assert (growing[1:] > 0.94 * np.maximum.accumulate(growing)[:-1]).all()
    assert growing[-1] > 1.5 * growing[0]


@pytest.mark.parametrize("centre", CENTRES)
def test_boys_come_after_girls(drawn, centre):
    girl, boy = (areas(drawn[sex], centre) for sex in ("female", "male"))
    assert drawn["male"][0].child.onset[centre] > drawn["female"][0].child.onset[centre]
    both_grow = np.logical_and(
        *(growing_months(drawn[sex][0].child, centre) for sex in anatomy.SEXES)
    )
    # Both hands have the same length at 10 years, so areas compare.
    assert girl[both_grow].sum() > boy[both_grow].sum()
    assert (girl > 0).argmax() <= (boy > 0).argmax()


@pytest.mark.parametrize("sex", anatomy.SEXES)
def test_growth_plates_close_in_order(drawn, sex):
    """A fused centre no longer stands free: the last age of each group comes in the known order."""
    last = [
        [AGES[areas(drawn[sex], name) > 0].max() for name in EPIPHYSES if name.startswith(group)]
        for group in FUSION_ORDER
    ]
    for earlier, later in itertools.pairwise(last):
        assert max(earlier) <= min(later)
    assert max(last[0]) < min(last[2]) < min(last[4])
    assert not any(drawn[sex][-1].centre_areas_mm2[name] for name in EPIPHYSES)


def test_order_of_fusion_holds_in_every_child_and_boys_are_later():
    for seed in range(300):
        fused = {
            sex: anatomy.grow_child(np.random.default_rng(seed), sex, 100).fused
            for sex in anatomy.SEXES
        }
        for ages in fused.values():
            of_group = [
                [ages[name] for name in EPIPHYSES if name.startswith(group)]
                for group in FUSION_ORDER
            ]
            for earlier, later in itertools.pairwise(of_group):
                assert max(earlier) < min(later)
        assert all(fused["male"][name] >= fused["female"][name] + 20 for name in EPIPHYSES)


def test_an_epiphysis_caps_its_shaft_before_it_fuses():
    child = anatomy.grow_child(np.random.default_rng(3), "female", 143.9)
    assert child.extent("PP3") > 0.98 and child.fusion("PP3") == 0
    older = anatomy.grow_child(np.random.default_rng(3), "female", 180)
    assert older.extent("PP3") == 1 and older.fusion("PP3") == 1
    assert 0 < older.fusion("ulna") < 1 and older.fusion("capitate") == 0


def test_hand_length_follows_age_and_sex():
    """Newborn 64 mm, grown men 188 and women 170, no difference from 4 to 12 years, SD 8 %."""
    mean = anatomy.mean_hand_length
    assert mean(0, "male") == 64 and mean(228, "male") == 188 and mean(228, "female") == 170
    assert mean(120, "male") / mean(36, "male") == pytest.approx(1.37, abs=0.01)
    for months in range(0, 145, 12):
        assert mean(months, "male") == mean(months, "female")
    lengths = [
        anatomy.grow_child(np.random.default_rng(seed), "male", 120).hand_length_mm
        for seed in range(1500)
    ]
    spread = np.std(np.log(lengths))
    assert spread == pytest.approx(anatomy.LENGTH_SPREAD, rel=0.1) and spread > 0.05


def test_medians_of_onset_are_those_of_the_table():
    onsets = [
        anatomy.grow_child(np.random.default_rng(seed), "male", 100).onset for seed in range(600)
    ]
    for name, (boys, _) in CENTRES.items():
        assert np.median([onset[name] for onset in onsets]) == pytest.approx(boys, rel=0.03)
    assert set(CENTRES) == set(CARPALS) | set(EPIPHYSES) and len(EPIPHYSES) == 21
