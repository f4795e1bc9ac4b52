"""Stages: the published cuts, the parser, and that a stage only rises with age."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers.data import stages
from nbhelpers.workspace import InputError

CUT = st.floats(0.01, 240).map(lambda age: round(age, 2))
FOUR = st.lists(CUT, min_size=4, max_size=4, unique=True).map(lambda ages: tuple(sorted(ages)))
CUTS = st.fixed_dictionaries({"female": FOUR, "male": FOUR})
AGE = st.floats(0, 300)


def text_of(cuts: dict) -> str:
    """Cuts as a user writes them."""
    girls, boys = (" ".join(map(str, cuts[sex])) for sex in ("female", "male"))
    return f"girls {girls}; boys {boys}"


@pytest.mark.parametrize(
    ("sex", "edges"), [("female", (24, 84, 156, 180)), ("male", (36, 108, 168, 192))]
)
def test_gilsanz_and_ratib(sex, edges):
    ages = [0.0] + [edge + step for edge in edges for step in (-0.5, 0.0)]
    stage = stages.stage_of(np.array(ages), np.array([sex] * 9), "gilsanz_ratib")
    assert stage.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_unknown_sex_has_no_stage_where_the_cuts_depend_on_it():
    ages = pd.Series([100.0, 100.0, None], index=[7, 3, 5], dtype="Float64")
    sexes = pd.Series([None, "male", "male"], index=[1, 2, 9])  # taken by position
    assert stages.stage_of(ages, sexes, "gilsanz_ratib").fillna(9).tolist() == [9, 1, 9]
    assert stages.stage_of(ages, sexes, "years").fillna(9).tolist() == [2, 2, 9]


@given(CUTS)
def test_cuts_come_back_from_their_text(cuts):
    assert stages.parse_cuts(text_of(cuts)) == cuts
    girls, boys = text_of(cuts).split("; ")  # in any order and case
    assert stages.parse_cuts(f"{boys.title()};{girls.upper()}") == cuts
    begins = stages.begins(text_of(cuts))
    assert begins.index.is_unique and begins.shape == (5, 2) and not begins.iloc[0].any()
    assert {sex: tuple(begins[sex][1:]) for sex in begins} == cuts


@given(CUTS, AGE, AGE, st.sampled_from(["female", "male"]))
def test_an_older_age_is_never_a_younger_stage(cuts, one, other, sex):
    young, old = sorted([one, other])
    first, second = stages.stage_of([young, old], [sex, sex], text_of(cuts))
    assert 0 <= first <= second <= 4
    assert first == sum(young >= edge for edge in cuts[sex])


@given(st.text(max_size=40))
def test_any_text_is_cuts_or_a_clear_error(text):
    try:
        cuts = stages.parse_cuts(text)
    except InputError as error:
        assert "\n" not in str(error)
        assert "girls 24 84 156 180" in str(error)
    else:
        assert set(cuts) == {"female", "male"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "girls 24 84 156 180",
        "girls 24 84 156 180; girls 36 108 168 192",
        "girls 24 84 156; boys 36 108 168 192",
        "girls 24 84 156 156; boys 36 108 168 192",
        "girls 84 24 156 180; boys 36 108 168 192",
        "girls -1 84 156 180; boys 36 108 168 192",
        "girls 24 84 156 300; boys 36 108 168 192",
        "girls 24 84 156 180; boys 36 108 168 192;",
    ],
)
def test_bad_cuts_are_refused(text):
    with pytest.raises(InputError, match="stage_cuts"):
        stages.parse_cuts(text)
