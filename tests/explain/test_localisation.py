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
BOXES = {"DIP": [(20, 10, 26, 18), (36, 12, 42, 20)], "Wrist": [(18, 40, 46, 54)]}
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


def cases_of(n: int, split: str = "calibration") -> pd.DataFrame:
    stage = pd.array([number % 5 for number in range(n)], dtype="Int8")
    ids = [f"{split}{number}" for number in range(n)]
    return pd.DataFrame({"case_id": ids, "split": split, "stage": stage})


def geometry_of(cases: pd.DataFrame, affine: np.ndarray = IDENTITY) -> pd.DataFrame:
    return cases[["case_id"]].assign(**dict(zip(AFFINE, affine.ravel(), strict=True)))


def regions_of(cases: pd.DataFrame, boxes: dict = BOXES) -> pd.DataFrame:
    """The same boxes for every case, first and last pixel given."""
    rows = [
        (case, region, left - 0.5, top - 0.5, right + 0.5, bottom + 0.5)
        for case in cases["case_id"]
        for region, places in boxes.items()
        for left, top, right, bottom in places
    ]
    return pd.DataFrame(rows, columns=regions.COLUMNS)


def mask_of(region: str) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    for name, places in BOXES.items():
        for left, top, right, bottom in places:
            if region in (name, "any"):
                mask[top : bottom + 1, left : right + 1] = True
    return mask


def hand() -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    return np.hypot(rows - 32, columns - 32) < 26


def measured(energy: np.ndarray, on: np.ndarray | None = None, **options) -> pd.DataFrame:
    """The table of one case, by region; without `on` the whole picture counts as hand."""
    cases = cases_of(1)
    on = np.ones(energy.shape, bool) if on is None else on
    told = regions.localise(
        energy[None].astype(np.float32),
        cases,
        options.pop("boxes", regions_of(cases)),
        geometry_of(cases, **options),
        on[None],
    )
    return told.set_index("region")


def point_at(row: int, column: int) -> np.ndarray:
    energy = np.full((SIDE, SIDE), 0.1)
    energy[row, column] = 1
    return energy


@pytest.mark.parametrize("on", [None, hand()], ids=["picture", "hand"])
def test_an_even_map_has_ratio_1(on):
    table = measured(np.full((SIDE, SIDE), 0.3), on)
    assert table.index.tolist() == ["DIP", "Wrist", "any"]
    assert table["ratio"].to_numpy() == pytest.approx(1)
    whole = np.ones((SIDE, SIDE), bool) if on is None else on
    for region in table.index:
        share = mask_of(region)[whole].mean()
        assert table.loc[region, "area_share"] == pytest.approx(share)
    assert measured(hand(), hand())["ratio"].to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("region", ["DIP", "Wrist", "any"])
def test_a_map_of_the_regions_alone_has_the_highest_ratio(region):
    found = measured(mask_of(region), hand()).loc[region]
    assert found["energy_share"] == 1
    assert found["ratio"] == pytest.approx(1 / found["area_share"])
    assert found["ratio"] == pytest.approx(hand().sum() / (mask_of(region) & hand()).sum())
    assert found["hit"]
    table = measured(mask_of("Wrist"), hand())  # none of its energy lies in another region
    assert table["energy_share"].tolist() == [0, 1, 1]
    assert table["hit"].tolist() == [False, True, True]


def test_energy_beside_the_hand_is_told_apart():
    beside = measured(~hand(), hand())
    assert beside[["energy_share", "ratio"]].isna().all(axis=None)
    marker = np.zeros((SIDE, SIDE))
    marker[:4, :4] = 9
    half = measured(marker + 9 * 16 / hand().sum() * hand(), hand())
    assert half["ratio"].to_numpy() == pytest.approx(1)
    assert not half["hit"].any()


def test_a_map_without_energy_or_without_a_maximum_has_no_scores():
    empty = measured(np.zeros((SIDE, SIDE)), hand())
    assert empty[["energy_share", "ratio", "hit"]].isna().all(axis=None)
    assert empty["area_share"].notna().all()
    assert measured(np.ones((SIDE, SIDE)))["hit"].isna().all()


def test_a_hand_that_was_not_found_gives_no_ratio():
    table = measured(mask_of("any"), np.zeros((SIDE, SIDE), bool))
    assert table[["energy_share", "area_share", "ratio", "chance"]].isna().all(axis=None)


def test_a_maximum_hits_within_the_tolerance_alone():
    last = int(regions.TOLERANCE * SIDE)
    assert last == 1
    for off, hits in ((0, True), (last, True), (last + 1, False)):
        table = measured(point_at(54 + off, 30))
        assert table.loc[["DIP", "Wrist", "any"], "hit"].tolist() == [False, hits, hits]
    for off, hits in ((4, True), (5, False)):  # 5.7 and 7.1 pixels from the corner, 6 allowed
        energy = np.zeros((200, 200))
        energy[54 + off, 46 + off] = 1
        assert measured(energy).loc["Wrist", "hit"] == hits


def test_chance_is_how_often_points_all_over_the_hand_hit():
    cases = cases_of(300)
    places = np.random.default_rng(0).choice(np.argwhere(hand()), len(cases), replace=False)
    maps = np.stack([point_at(*place) for place in places])
    hands = np.repeat(hand()[None], len(cases), axis=0)
    table = regions.localise(maps, cases, regions_of(cases), geometry_of(cases), hands)
    means = table.groupby("region")[["hit", "chance"]].mean()
    assert means["hit"].to_numpy(float) == pytest.approx(means["chance"].to_numpy(), abs=0.08)


def test_a_plateau_counts_by_its_middle():
    wide = np.zeros((SIDE, SIDE))
    wide[30:62, 20:44] = 1  # begins outside the wrist, its middle lies inside
    assert measured(wide).loc["Wrist", "hit"]


def test_a_region_outside_the_picture_has_no_score():
    cases = cases_of(1)
    boxes = regions_of(cases, BOXES | {"Ulna": [(500, 500, 520, 520)]})
    table = measured(mask_of("any"), hand(), boxes=boxes)
    assert table.index.tolist() == ["DIP", "Ulna", "Wrist", "any"]
    ulna = table.loc["Ulna"]
    assert ulna["area_share"] == 0 and ulna["energy_share"] == 0
    assert ulna[["ratio", "hit", "chance"]].isna().all()
    assert table.loc["any", "ratio"] == pytest.approx(1 / table.loc["any", "area_share"])


def test_a_turned_picture_is_measured_where_its_boxes_lie():
    up = (float(np.sin(0.5)), -float(np.cos(0.5)))
    frame = geometry.Frame((31.5, 31.5), up, 80.0, 80.0)
    affine = geometry.fit_frame(frame, SIDE, keep_aspect=True)
    shown = geometry.warp(255 * mask_of("Wrist").astype(np.uint8), affine, SIDE)
    table = measured(shown, affine=affine)
    assert table.loc["Wrist", "energy_share"] > 0.85
    assert table.loc["Wrist", "hit"] and not table.loc["DIP", "hit"]
    assert measured(shown).loc["Wrist", "energy_share"] < 0.8


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_shares_are_shares_and_know_no_unit(seed, factor):
    energy = np.random.default_rng(seed).random((SIDE, SIDE)) ** 4
    table = measured(energy, hand())
    shares = table[["energy_share", "area_share", "chance"]].to_numpy()
    assert (shares >= 0).all() and (shares <= 1).all()
    assert (table["chance"] >= table["area_share"]).all()
    parts = table.loc[["DIP", "Wrist"], "energy_share"].sum()
    assert table.loc["any", "energy_share"] == pytest.approx(parts)
    scaled = measured(factor * energy, hand())
    assert scaled["ratio"].to_numpy() == pytest.approx(table["ratio"].to_numpy(), rel=1e-4)
    assert (scaled["hit"] == table["hit"]).all()


def test_rows_are_of_cases_with_boxes_in_order():
    cases = pd.concat([cases_of(3, "train"), cases_of(3)], ignore_index=True)
    maps = np.random.default_rng(0).random((6, SIDE, SIDE)).astype(np.float32)
    boxes = regions_of(cases.iloc[[4, 0, 5]])
    boxes.loc[boxes["case_id"] == "calibration2", "y_min"] = 30.5
    whole = np.ones(maps.shape, bool)
    table = regions.localise(maps, cases, boxes, geometry_of(cases), whole)
    columns = ["case_id", "stage", "seen", "region", *regions.MEASURES]
    assert list(table) == columns
    assert table["case_id"].unique().tolist() == ["train0", "calibration1", "calibration2"]
    assert table.groupby("case_id", sort=False)["seen"].first().tolist() == [True, False, False]
    assert table["stage"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert table["stage"].dtype == cases["stage"].dtype
    alone = measured(maps[4], boxes=regions_of(cases_of(1)))
    of_case = table[table["case_id"] == "calibration1"].set_index("region")
    assert of_case["ratio"].to_numpy() == pytest.approx(alone["ratio"].to_numpy())
    moved = table[table["case_id"] == "calibration2"].set_index("region")
    assert moved.loc["Wrist", "area_share"] > of_case.loc["Wrist", "area_share"]
    none = regions.localise(maps, cases, boxes[:0], geometry_of(cases), whole)
    assert list(none) == columns and none.empty
    assert regions.summarise(none).empty


def measured_set() -> pd.DataFrame:
    """20 cases of train and 12 others, random maps; the last one without energy."""
    cases = pd.concat([cases_of(20, "train"), cases_of(12)], ignore_index=True)
    maps = np.random.default_rng(1).random((32, SIDE, SIDE)) ** 8
    maps[-1] = 0
    hands = np.repeat(hand()[None], 32, axis=0)
    return regions.localise(maps, cases, regions_of(cases), geometry_of(cases), hands)


def test_summaries_never_mix_seen_cases_with_others():
    table = measured_set()
    told = regions.summarise(table)
    assert list(told) == ["seen", "region", *regions.SUMMARY]
    assert told["seen"].tolist() == sorted(told["seen"])
    assert told["region"].unique().tolist() == ["DIP", "Wrist", "any"]
    found = told[told["metric"] == "ratio"].set_index(["seen", "region"])
    assert found["n"].tolist() == [11] * 3 + [20] * 3  # a map without energy does not count
    ratios = table[table["seen"] & (table["region"] == "DIP")]["ratio"]
    row = found.loc[(True, "DIP")]
    assert row["value"] == pytest.approx(ratios.mean())
    assert row["lower"] < row["value"] < row["upper"] and row["note"] == ""
    told = told.query("metric == 'hit' and not seen and region == 'any'")
    hits = table[~table["seen"] & (table["region"] == "any")]["hit"].dropna()
    score = metrics.score_share(hits.to_numpy(bool))  # Wilson's interval
    assert told[["n", "value", "lower", "upper"]].to_numpy()[0] == pytest.approx(score)


def test_small_groups_have_a_note_and_no_value():
    table = measured_set()
    told = regions.summarise(table, by=["stage"]).query("metric == 'ratio' and region == 'any'")
    assert told["stage"].tolist() == [0, 1, 2, 3, 4] * 2
    assert (told["n"] < regions.FEWEST).all()
    assert (told["note"] == "too few").all()
    assert told[["value", "lower", "upper"]].isna().all(axis=None)
    merged = table.assign(stage=(table["stage"] > 1).astype("Int8"))
    seen = regions.summarise(merged, by=("stage",)).query("seen and metric == 'ratio'")
    assert seen["n"].tolist() == [8, 12] * 3 and (seen["note"] == "").all()
    table.loc[table["stage"] == 4, "stage"] = pd.NA  # a group of its own
    told = regions.summarise(table, by=["stage"]).query("metric == 'ratio' and region == 'any'")
    assert told["n"].sum() == 31 and told["stage"].isna().sum() == 2


@pytest.mark.parametrize("side", [SIDE, 300])
def test_the_hand_is_found_on_prepared_pictures(side):
    drawn = dataset.draw_radiograph("female", 120.0, 5, size=256)
    preparation = Preparation.from_steps(side, "hand, upright, stretch, aspect")
    picture = prepare_image(drawn.pixels, preparation)[0]
    dark = np.zeros((side, side), np.uint8)
    masks = regions.hand_masks(np.stack([picture, dark, dark + 200]))
    assert masks.dtype == bool and masks.shape == (3, side, side)
    assert 0.2 < masks[0].mean() < 0.6
    assert picture[masks[0]].mean() > 2 * picture[~masks[0]].mean()
    assert not masks[1:].any()
