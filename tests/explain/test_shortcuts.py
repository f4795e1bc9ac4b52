"""What is not the hand is found, weighed and taken away on pictures whose places are drawn."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import custom_cnn

from nbhelpers import metrics
from nbhelpers.explain import shortcuts
from nbhelpers.explain.shortcuts import BACKGROUND, FIELD_EDGE, MARKER, PLACES
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.phantom import dataset

SIDE, N = 96, 12
FIELD = 0.06, 0.93  # where the drawn field begins and ends, shares of the side


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


def at(share: float, side: int) -> int:
    return round(share * side)


def letters(side: int = SIDE) -> np.ndarray:
    """Mask of a lead L, with an I below."""
    drawn = np.zeros((side, side), np.uint8)
    for line in ((0.14, 0.6, 0.14, 0.7), (0.14, 0.7, 0.2, 0.7), (0.17, 0.75, 0.17, 0.81)):
        x, y, to_x, to_y = (at(share, side) for share in line)
        cv2.line(drawn, (x, y), (to_x, to_y), 1, max(2, at(0.02, side)))
    return drawn > 0


def picture(side: int = SIDE, marker: bool = True, field: bool = False):
    """A radiograph uint8 [side, side] and its hand, palm and forearm; noise as of a detector."""
    drawn = np.zeros((side, side), np.uint8)
    cv2.circle(drawn, (at(0.5, side), at(0.5, side)), at(0.25, side), 1, -1)
    cv2.rectangle(drawn, (at(0.42, side), at(0.6, side)), (at(0.58, side), side), 1, -1)
    noise = np.random.default_rng(side).normal(25, 2, (side, side))
    shown = (noise + 100 * drawn).astype(np.uint8)
    if field:
        shown[:, : at(FIELD[0], side)] = shown[:, at(FIELD[1], side) :] = 0
    if marker:
        shown[letters(side)] = 235
    return cv2.GaussianBlur(shown, (0, 0), 0.005 * side), drawn > 0


def many(**options) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.repeat(drawn[None], N, axis=0) for drawn in picture(**options))


@pytest.mark.parametrize("side", [64, 512])
def test_letters_and_edges_of_the_field_are_found_and_little_else(side):
    found = shortcuts.find_places(*picture(side, field=True))
    blurred = cv2.dilate(letters(side).astype(np.uint8), np.ones((at(0.02, side) | 1,) * 2))
    assert found[MARKER][blurred > 0].mean() > 0.98
    for share in FIELD:
        strip = found[FIELD_EDGE][:, at(share, side) - 1 : at(share, side) + 1]
        assert strip.any(axis=1).mean() > 0.85
    assert found[FIELD_EDGE].mean() < 0.17
    alone = shortcuts.find_places(*picture(side, marker=False))
    assert not alone[MARKER].any() and not alone[FIELD_EDGE].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 97, 112]), st.floats(0, 1))
def test_places_and_hand_part_the_picture(seed, side, share):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    shown = cv2.resize(coarse, (side, side), interpolation=int(rng.integers(0, 2)))
    hand = cv2.resize((rng.random((8, 8)) < share).astype(np.uint8), (side, side)) > 0
    found = shortcuts.find_places(shown, hand)
    assert tuple(found) == PLACES
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in found.values()), ~hand)


@pytest.mark.parametrize("place", PLACES)
def test_masking_takes_the_place_away_and_nothing_else(place):
    shown, hands = many(field=True)
    masks = shortcuts.places_of(shown, hands)[place]
    masked = shortcuts.mask_places(shown, masks, place)
    assert (masked != shown).any()
    np.testing.assert_array_equal(masked[~masks], shown[~masks])
    if place == MARKER:
        assert masked[0][letters()].max() < 60 < shown[0][letters()].min()
        assert not shortcuts.places_of(masked, hands)[MARKER].any()


def test_a_map_on_the_marker_is_told_from_an_even_one():
    shown, hands = many()
    places = shortcuts.places_of(shown, hands)
    on_marker, even = (
        shortcuts.place_energy(maps, places, hands).set_index(["metric", "place"])["value"]
        for maps in (places[MARKER].astype(np.float32), np.full(shown.shape, 0.3))
    )
    assert on_marker["energy_share", MARKER] == pytest.approx(1)
    assert on_marker["ratio", MARKER] == pytest.approx(1 / places[MARKER][0].mean())
    assert on_marker["energy_share", "hand"] == 0 == on_marker["ratio", BACKGROUND]
    assert even["ratio"].dropna().to_numpy() == pytest.approx(1)
    assert even["energy_share"].sum() == pytest.approx(1)


def test_a_score_that_reads_the_marker_is_found_out_and_one_of_the_hand_is_not():
    shown, hands = many(field=True)
    shown[:, letters()] = np.linspace(120, 250, N).astype(np.uint8)[:, None]
    truth = shown[:, letters()].mean(axis=1)

    def reads_marker(pictures):
        return pictures[:, letters()].mean(axis=1)

    def reads_hand(pictures):
        return pictures[:, hands[0]].mean(axis=1)

    places = shortcuts.places_of(shown, hands)
    told = shortcuts.masking_effect(reads_marker, shown, truth, places).set_index("place")
    marker = told.loc[MARKER]
    assert marker["lower"] > 100 and marker["prediction_change"] > 100
    assert (told.loc[[FIELD_EDGE, BACKGROUND], "prediction_change"] < 1).all()
    told = shortcuts.masking_effect(reads_hand, shown, np.full(N, 90.0), places)
    assert (told[["difference", "lower", "upper", "prediction_change"]] == 0).all(axis=None)
    assert (told["mae_before"] > 0).all()


def test_a_picture_without_a_hand_is_left_out_and_the_rest_is_examined():
    drawn = dataset.draw_radiograph("female", 120.0, 5, size=256)
    hand = prepare_image(drawn.pixels, Preparation.from_steps(64, "hand, upright"))[0]
    shown = np.stack([hand, np.zeros_like(hand), *[hand] * 5])
    card = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25}
    network = custom_cnn(64, card, widths=(2,))
    months, maps = np.arange(7.0) + 100, np.ones(shown.shape, np.float32)
    has_hand, masks, energy, masking = shortcuts.examine(network, shown, np.zeros(7), months, maps)
    assert has_hand.tolist() == [True, False, *[True] * 5] and len(masks[MARKER]) == 6
    assert energy["n"].max() == 6 and masking["place"].tolist() == list(PLACES)
    ratios = energy[energy["metric"] == "ratio"]["value"].dropna()
    assert ratios.to_numpy() == pytest.approx(1)
