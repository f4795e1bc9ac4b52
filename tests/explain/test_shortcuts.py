"""What is not the hand is found, weighed and taken away on pictures whose places are drawn."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers import metrics
from nbhelpers.explain import regions, shortcuts
from nbhelpers.explain.shortcuts import BACKGROUND, FIELD_EDGE, MARKER, PLACES
from nbhelpers.images.preparation import Preparation, prepare_image
from nbhelpers.phantom import dataset
from nbhelpers.plots import maps as plots_maps

SIDE, N = 96, 12
SIDES = (64, 112, 512)
FIELD = 0.06, 0.93  # where the drawn field begins and ends, shares of the side


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


def at(share: float, side: int) -> int:
    return round(share * side)


def drawn_hand(side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A palm, four fingers and a forearm that leaves the picture: its grey levels and mask."""
    hand = np.zeros((side, side), np.uint8)
    for finger in (0.36, 0.46, 0.56, 0.66):
        ends = (at(finger, side), at(0.15, side)), (at(0.5, side), at(0.6, side))
        cv2.line(hand, *ends, 1, at(0.06, side))
    cv2.circle(hand, (at(0.5, side), at(0.6, side)), at(0.15, side), 1, -1)
    cv2.rectangle(hand, (at(0.42, side), at(0.6, side)), (at(0.58, side), side), 1, -1)
    bones = cv2.erode(hand, np.ones((3, 3), np.uint8), iterations=max(1, at(0.015, side)))
    return (90 * hand + 70 * bones).astype(np.uint8), hand > 0


def letters(side: int = SIDE) -> np.ndarray:
    """Mask of a lead L, with a small T below."""
    drawn = np.zeros((side, side), np.uint8)
    places = [(0.14, 0.6), (0.14, 0.7), (0.2, 0.7)], [(0.13, 0.75), (0.21, 0.75)]
    for stroke in (*places, [(0.17, 0.75), (0.17, 0.81)]):
        points = np.array([[at(x, side), at(y, side)] for x, y in stroke])
        cv2.polylines(drawn, [points], False, 1, max(2, at(0.02, side)))
    return drawn > 0


def picture(side: int = SIDE, marker: bool = True, field: bool = False):
    """A radiograph uint8 [side, side] and its hand; noise as of a detector."""
    shown, hand = drawn_hand(side)
    noise = np.random.default_rng(side).normal(25, 2, (side, side))
    shown = np.where(hand, shown, noise.clip(0, 255)).astype(np.uint8)
    if field:
        beyond = np.ones((side, side), bool)
        beyond[:, at(FIELD[0], side) : at(FIELD[1], side)] = False
        shown[beyond] = 0
    if marker:
        shown[letters(side)] = 235
    return cv2.GaussianBlur(shown, (0, 0), 0.005 * side), hand


def many(n: int = N, **options) -> tuple[np.ndarray, np.ndarray]:
    shown, hand = picture(**options)
    return np.repeat(shown[None], n, axis=0), np.repeat(hand[None], n, axis=0)


@pytest.mark.parametrize("side", SIDES)
def test_letters_are_found_and_little_else(side):
    found = shortcuts.find_places(*picture(side))[MARKER]
    blurred = cv2.dilate(letters(side).astype(np.uint8), np.ones((at(0.02, side) | 1,) * 2))
    assert found[blurred > 0].mean() > 0.98
    around = cv2.dilate(letters(side).astype(np.uint8), np.ones((at(0.1, side) | 1,) * 2))
    assert not found[around == 0].any()


@pytest.mark.parametrize("side", SIDES)
def test_a_hand_alone_has_neither_marker_nor_field_edge(side):
    shown, hand = picture(side, marker=False)
    found = shortcuts.find_places(shown, hand)
    assert not found[MARKER].any() and not found[FIELD_EDGE].any()
    np.testing.assert_array_equal(found[BACKGROUND], ~hand)


@pytest.mark.parametrize("side", SIDES)
def test_edges_of_the_field_are_found_along_their_length(side):
    found = shortcuts.find_places(*picture(side, field=True))
    for share in FIELD:
        strip = found[FIELD_EDGE][:, at(share, side) - 1 : at(share, side) + 1]
        assert strip.any(axis=1).mean() > 0.85
    assert found[FIELD_EDGE].mean() < 0.17
    assert found[MARKER][letters(side)].mean() > 0.98


def test_a_bright_strip_and_a_bright_plate_are_no_markers():
    shown, hand = picture(marker=False)
    shown[:, 6:9] = 235
    shown[10:40, 66:90] = 235
    shown[hand] = drawn_hand()[0][hand]
    assert not shortcuts.find_places(shown, hand)[MARKER].any()


def test_the_end_of_a_forearm_outside_its_outline_is_no_edge():
    shown, hand = picture(marker=False)
    shown[60:, 30:70], hand[60:, 30:70] = 160, True
    cut = hand.copy()
    cut[-4:], shown[-1:] = False, 0
    found = shortcuts.find_places(shown, cut)
    assert not found[MARKER].any() and not (found[FIELD_EDGE] & hand).any()
    np.testing.assert_array_equal(shortcuts.to_border(cut[None])[0], hand)


def test_synthetic_radiographs_show_their_markers():
    """Of 12 drawn with a marker; those that lie in the outline or out of the picture are missed."""
    preparation = Preparation.from_steps(112, "hand, upright, stretch, aspect")
    drawn = [dataset.draw_radiograph("male", 110.0, seed, size=256) for seed in range(12)]
    shown = np.stack([prepare_image(each.pixels, preparation)[0] for each in drawn])
    hands = regions.hand_masks(shown)
    found = shortcuts.places_of(shown, hands)[MARKER]
    assert found.any(axis=(1, 2)).sum() >= 8
    assert found.mean() < 0.03
    brightness = [
        picture[mask].max() for picture, mask in zip(shown, found, strict=True) if mask.any()
    ]
    assert np.median(brightness) > 200


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 97, 112]), st.floats(0, 1))
def test_places_and_hand_part_the_picture(seed, side, share):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    shown = cv2.resize(coarse, (side, side), interpolation=int(rng.integers(0, 2)))
    hand = cv2.resize((rng.random((8, 8)) < share).astype(np.uint8), (side, side)) > 0
    found = shortcuts.find_places(shown, hand)
    assert tuple(found) == PLACES
    assert all(mask.dtype == bool and mask.shape == hand.shape for mask in found.values())
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in found.values()), ~hand)


def test_many_pictures_are_looked_at_one_by_one():
    both = [picture(), picture(marker=False)]
    shown, hands = (np.stack(each) for each in zip(*both, strict=True))
    found = shortcuts.places_of(shown, hands)
    assert found[MARKER].any(axis=(1, 2)).tolist() == [True, False]
    none = shortcuts.places_of(shown[:0], hands[:0])
    assert {mask.shape for mask in none.values()} == {(0, SIDE, SIDE)}


@pytest.mark.parametrize("place", PLACES)
def test_masking_takes_the_place_away_and_nothing_else(place):
    shown, hands = many(2, field=True)
    before = shown.copy()
    masks = shortcuts.places_of(shown, hands)[place]
    masked = shortcuts.mask_places(shown, masks, place)
    assert masked.dtype == np.uint8 and (masked != shown).any()
    np.testing.assert_array_equal(masked[~masks], shown[~masks])
    np.testing.assert_array_equal(masked[hands], shown[hands])
    np.testing.assert_array_equal(shown, before)
    if place == MARKER:
        assert masked[0][letters()].max() < 60 < shown[0][letters()].min()
        assert not shortcuts.places_of(masked, hands)[MARKER].any()
    if place == BACKGROUND:
        assert (masked[0][masks[0]] == int(np.median(shown[0][masks[0]]))).all()


def test_a_map_on_the_marker_is_told_from_an_even_one():
    shown, hands = many()
    places = shortcuts.places_of(shown, hands)
    on_marker = shortcuts.place_energy(places[MARKER].astype(np.float32), places, hands)
    assert list(on_marker) == shortcuts.ENERGY
    told = on_marker.set_index(["place", "metric"])["value"]
    assert told[MARKER, "energy_share"] == pytest.approx(1)
    assert told[MARKER, "ratio"] == pytest.approx(1 / places[MARKER][0].mean())
    assert told["hand", "energy_share"] == 0 == told[BACKGROUND, "ratio"]
    even = shortcuts.place_energy(np.full(shown.shape, 0.3), places, hands)
    told = even.set_index(["metric", "place"])["value"]
    assert told["ratio"].dropna().to_numpy() == pytest.approx(1)
    assert told["energy_share"].sum() == pytest.approx(1)


def test_cases_without_the_place_or_without_energy_do_not_count():
    with_one, alone = many(6), many(4, marker=False)
    shown, hands = (np.concatenate(each) for each in zip(with_one, alone, strict=True))
    maps = np.ones(shown.shape, np.float32)
    maps[0] = 0
    told = shortcuts.place_energy(maps, shortcuts.places_of(shown, hands), hands)
    told = told[told["metric"] == "ratio"].set_index("place")
    assert told["n"].to_dict() == {MARKER: 5, FIELD_EDGE: 0, BACKGROUND: 9, "hand": 9}
    assert told.loc[FIELD_EDGE, "note"] == regions.TOO_FEW
    assert told.loc[MARKER, "note"] == "" and told.loc[MARKER, "value"] == pytest.approx(1)


def test_a_score_that_reads_the_marker_is_found_out_and_one_of_the_hand_is_not():
    shown, hands = many(field=True)
    shown[:, letters()] = np.linspace(120, 250, N).astype(np.uint8)[:, None]
    truth = shown[:, letters()].mean(axis=1)

    def reads_marker(pictures, sex):
        return pictures[:, letters()].mean(axis=1) + np.nan_to_num(sex)

    sex = np.zeros(N)
    told = shortcuts.masking_effect(
        reads_marker, shown, sex, truth, shortcuts.places_of(shown, hands)
    )
    assert list(told) == ["place", "n", *shortcuts.EFFECT, "note"]
    told = told.set_index("place")
    assert (told["n"] == N).all() and (told["note"] == "").all()
    marker = told.loc[MARKER]
    assert marker["mae_before"] == 0 and marker["mae_after"] == pytest.approx(marker["difference"])
    assert marker["lower"] > 100 and marker["prediction_change"] > 100
    assert (told.loc[[FIELD_EDGE, BACKGROUND], "prediction_change"] < 1).all()

    def reads_hand(pictures, sex):
        return pictures[:, hands[0]].mean(axis=1)

    places = shortcuts.places_of(shown, hands)
    told = shortcuts.masking_effect(reads_hand, shown, sex, np.full(N, 90.0), places)
    assert (told[["difference", "lower", "upper", "prediction_change"]] == 0).all(axis=None)
    assert (told["mae_before"] > 0).all()


def test_few_cases_have_a_note_and_no_value():
    shown, hands = many(regions.FEWEST - 1)
    asked = []
    told = shortcuts.masking_effect(
        lambda *given: asked.append(given),
        shown,
        np.zeros(len(shown)),
        np.zeros(len(shown)),
        shortcuts.places_of(shown, hands),
    )
    energy = shortcuts.place_energy(np.ones(shown.shape), shortcuts.places_of(shown, hands), hands)
    assert told["n"].tolist() == [len(shown), 0, len(shown)]
    for table, values in ((told, shortcuts.EFFECT), (energy, ["value", "lower", "upper"])):
        assert (table["note"] == regions.TOO_FEW).all()
        assert table[values].isna().all(axis=None)
    assert not asked


def test_the_figure_tints_places_and_says_how_many_have_them():
    both = [picture(), picture(marker=False)]
    shown, hands = (np.stack(each) for each in zip(*both, strict=True))
    found = shortcuts.places_of(shown, hands)
    figure, alt = plots_maps.places(shown, found, ["one", "two"])
    assert "marker in 1" in alt and "field edge in 0" in alt and "2 radiographs" in alt
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(PLACES)
    tinted = figure.axes[2].images[0].get_array()
    assert np.ptp(tinted[hands[0]], axis=1).max() == 0  # the hand stays grey
    assert np.ptp(tinted[found[MARKER][0]], axis=1).min() > 0.1
    plots_maps.plt.close(figure)
