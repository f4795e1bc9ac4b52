"""Where heat maps lie: against maps whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers import metrics
from nbhelpers.explain import regions
from nbhelpers.images import geometry
from nbhelpers.images.geometry import AFFINE
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.phantom import dataset

SIDE = 64
BOXES = [("DIP", (20, 10, 26, 18)), ("DIP", (36, 12, 42, 20)), ("Wrist", (18, 40, 46, 54))]
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


def cases_of(n: int) -> pd.DataFrame:
    ids = [f"case {number}" for number in range(n)]
    return pd.DataFrame({"case_id": ids, "stage": np.arange(n) % 5})


def located(maps, cases, on, affine=IDENTITY, unboxed=0) -> pd.DataFrame:
    """The table of maps of cases; all but the first `unboxed` have the same boxes."""
    rows = [(name, *np.add(box, [-0.5, -0.5, 0.5, 0.5])) for name, box in BOXES]
    boxes = pd.DataFrame(rows, columns=["region", *regions.EDGES])
    boxes = cases[["case_id"]][unboxed:].merge(boxes, how="cross")
    geometry = cases[["case_id"]].assign(**dict(zip(AFFINE, affine.ravel(), strict=True)))
    hands = np.repeat(on[None], len(cases), axis=0)
    return regions.localise(maps, cases, boxes, geometry, hands)


def mask_of(region: str) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    for name, (left, top, right, bottom) in BOXES:
        mask[top : bottom + 1, left : right + 1] |= region in (name, "any")
    return mask


def hand() -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    return np.hypot(rows - 32, columns - 32) < 26


def measured(energy: np.ndarray, on: np.ndarray, affine: np.ndarray = IDENTITY) -> pd.DataFrame:
    """The table of one case, by region."""
    return located(energy[None], cases_of(1), on, affine).set_index("region")


def point_at(row: int, column: int) -> np.ndarray:
    energy = np.full((SIDE, SIDE), 0.1)
    energy[row, column] = 1
    return energy


WHOLE = np.ones((SIDE, SIDE), bool)


@pytest.mark.parametrize("on", [WHOLE, hand()], ids=["picture", "hand"])
def test_an_even_map_has_ratio_1_and_one_of_a_region_the_highest(on):
    table = measured(np.full((SIDE, SIDE), 0.3), on)
    assert table["ratio"].to_numpy() == pytest.approx(1)
    for region in ("DIP", "Wrist", "any"):
        share = mask_of(region)[on].mean()
        assert table.loc[region, "area_share"] == pytest.approx(share)
        found = measured(mask_of(region), on).loc[region]
        assert found["energy_share"] == 1 and found["hit"]
        assert found["ratio"] == pytest.approx(1 / share)
    assert measured(mask_of("Wrist"), on)["energy_share"].tolist() == [0, 1, 1]


def test_energy_beside_the_hand_is_told_apart_and_none_has_no_scores():
    for empty in (~hand(), np.zeros((SIDE, SIDE))):
        assert measured(empty, hand())[["energy_share", "ratio"]].isna().all(axis=None)
    marker = np.zeros((SIDE, SIDE))
    marker[:4, :4] = 9
    half = measured(marker + 9 * 16 / hand().sum() * hand(), hand())
    assert half["ratio"].to_numpy() == pytest.approx(1)


def test_a_maximum_beside_the_hand_counts_as_little_as_a_random_point_there():
    energy = point_at(54, 30)
    energy[np.unravel_index((~hand()).argmax(), hand().shape)] = 9
    assert measured(energy, hand()).loc["Wrist", "hit"]


def test_chance_is_how_often_points_all_over_the_hand_hit():
    places = np.random.default_rng(0).choice(np.argwhere(hand()), 300, replace=False)
    maps = np.stack([point_at(*place) for place in places])
    means = located(maps, cases_of(300), hand()).groupby("region")[["hit", "chance"]].mean()
    assert means["hit"].to_numpy(float) == pytest.approx(means["chance"].to_numpy(), abs=0.08)


def test_a_maximum_hits_by_its_middle_within_the_tolerance_alone():
    for off, hits in ((0, True), (1, True), (2, False)):  # 3 % of 64 is 1.92
        table = measured(point_at(54 + off, 30), WHOLE)
        assert table.loc[["DIP", "Wrist", "any"], "hit"].tolist() == [False, hits, hits]


def test_a_turned_picture_is_measured_where_its_boxes_lie():
    up = (float(np.sin(0.5)), -float(np.cos(0.5)))
    frame = geometry.Frame((31.5, 31.5), up, 80.0, 80.0)
    affine = geometry.fit_frame(frame, SIDE, keep_aspect=True)
    shown = geometry.warp(255 * mask_of("Wrist").astype(np.uint8), affine, SIDE)
    table = measured(shown, WHOLE, affine)
    assert table.loc["Wrist", "energy_share"] > 0.85
    assert table.loc["Wrist", "hit"] and not table.loc["DIP", "hit"]
    assert measured(shown, WHOLE).loc["Wrist", "energy_share"] < 0.8


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_shares_are_shares_and_know_no_unit(seed, factor):
    energy = np.random.default_rng(seed).random((SIDE, SIDE)) ** 4
    table = measured(energy, hand())
    shares = table[["energy_share", "area_share", "chance"]].to_numpy()
    assert (shares >= 0).all() and (shares <= 1).all()
    parts = table.loc[["DIP", "Wrist"], "energy_share"].sum()
    assert table.loc["any", "energy_share"] == pytest.approx(parts)
    scaled = measured(factor * energy, hand())
    assert scaled["ratio"].to_numpy() == pytest.approx(table["ratio"].to_numpy(), rel=1e-4)
    assert (scaled["hit"] == table["hit"]).all()


def test_summaries_are_of_cases_with_energy_and_boxes_and_few_have_none():
    maps = np.random.default_rng(1).random((12, SIDE, SIDE)) ** 8
    maps[-1] = 0
    table = located(maps, cases_of(12), hand(), unboxed=1)
    assert table["case_id"].unique().tolist() == cases_of(12)["case_id"].tolist()[1:]
    told = regions.summarise(table)
    found = told[told["metric"] == "ratio"].set_index("region")
    assert found["n"].tolist() == [10] * 3  # a map without energy does not count
    expected = table.query("region == 'DIP'")["ratio"].mean()
    assert found.loc["DIP", "value"] == pytest.approx(expected)
    told = told.query("metric == 'hit' and region == 'any'")
    hits = table[table["region"] == "any"]["hit"].dropna()
    score = metrics.score_share(hits.to_numpy(bool))  # Wilson's interval
    assert told[["n", "value", "lower", "upper"]].to_numpy()[0] == pytest.approx(score)
    few = regions.summarise(table, by=["stage"]).query("metric == 'ratio'")
    assert len(few) and few["value"].isna().all()


def test_the_hand_is_found_on_prepared_pictures():
    drawn = dataset.draw_radiograph("female", 120.0, 5, size=256)
    preparation = Preparation.from_steps(SIDE, "hand, upright, stretch, aspect")
    picture = prepare_image(drawn.pixels, preparation)[0]
    masks = regions.hand_masks(np.stack([picture, np.zeros_like(picture)]))
    assert 0.2 < masks[0].mean() < 0.6 and not masks[1].any()
    assert picture[masks[0]].mean() > 2 * picture[~masks[0]].mean()
