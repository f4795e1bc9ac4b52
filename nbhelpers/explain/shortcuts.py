"""Whether a network leans on what is not the hand: lead markers, edges of the field, background.

Networks may tell from the marker next to a bone which hospital, and so which patients, a radiograph
is of (Zech et al., PLoS Medicine 2018;15:e1002683). Two questions of each place: how much of a heat
map lies on it, and how predictions change without it. Throughout, pictures are prepared
radiographs uint8 [n, side, side], hands and masks bool [n, side, side].
"""

import cv2
import keras
import numpy as np
import pandas as pd

from nbhelpers.explain.checks import Score, network_score
from nbhelpers.explain.regions import FEWEST, hand_masks
from nbhelpers.metrics import compare_errors, score_enough

PLACES = MARKER, FIELD_EDGE, BACKGROUND = ("marker", "field edge", "background")
ENERGY = ["place", "metric", "n", "value", "lower", "upper"]
EFFECT = ["mae_before", "mae_after", "difference", "lower", "upper", "prediction_change"]
# Lengths are shares of the picture's side.
RIM = 0.04  # at the border, where the outline of a hand ends before the picture does
BLURRED = 0.02  # around the hand, its own edge
WIDEST = 0.12  # what is wider than this both ways is no letter
LONGEST = 0.36  # of letters that run into one another
SLIMMEST = 4.0  # length over width: what is slimmer is a piece of a field's edge
SMALLEST = 0.0006  # of the picture's area: what is smaller is noise
CONTRAST = 0.3  # of letters to what is around them, over that of bone to background
LEAST_CONTRAST, BONE = 25, 0.75  # grey levels; quantile of the hand's
GAP, AROUND = 0.05, 0.015  # between the letters of a marker; of a letter's blurred edge
SHORTEST_EDGE, VOTES, BROKEN = 0.25, 0.15, 0.03  # of a field: length, pixels of it, longest gap
STRIP = 0.03  # along such an edge, its width
SMOOTH = 0.01  # standard deviation of the blur before edges are looked for
DARK = 0.05  # of the grey levels: below, a root would raise noise
LEAST_RISE, NOISY = 2.8, 3  # tones that an edge rises by within SMOOTH; times the median rise


def examine(
    network: keras.Model,
    pictures: np.ndarray,
    sex: np.ndarray,
    months: np.ndarray,
    maps: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray], pd.DataFrame, pd.DataFrame]:
    """Find the places of pictures and answer both questions.

    Where no hand is found, nothing can be told apart from it: such pictures are left out.

    Args:
        network: of ages.
        sex, months: [n], months being true ages.
        maps: float [n, side, side], none below 0.

    Returns:
        Which pictures have a hand, bool [n]; the masks of their places; and what `place_energy`
        and `masking_effect` give of them.
    """
    hands = to_border(hand_masks(pictures))
    has_hand = hands.any(axis=(1, 2))
    given = pictures, sex, months, maps, hands
    pictures, sex, months, maps, hands = (one[has_hand] for one in given)
    masks = places_of(pictures, hands)
    masking = masking_effect(network_score(network, pictures, sex), pictures, months, masks)
    return has_hand, masks, place_energy(maps, masks, hands), masking


def to_border(hands: np.ndarray) -> np.ndarray:
    """Hands that run on to the border, as forearms do.

    Outlines of `regions.hand_masks` end just before it: bone would count as background.
    """
    rim = _pixels(RIM, hands.shape[1])
    inner, around = hands[:, rim:-rim, rim:-rim], (rim, rim)
    return hands | np.pad(inner, ((0, 0), around, around), mode="edge")


def places_of(pictures: np.ndarray, hands: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of many pictures by PLACES: see `find_places`."""
    found = [find_places(*both) for both in zip(pictures, hands, strict=True)]
    return {
        place: np.array([one[place] for one in found], bool).reshape(hands.shape)
        for place in PLACES
    }


def find_places(picture: np.ndarray, hand: np.ndarray) -> dict[str, np.ndarray]:
    """Masks [side, side] by PLACES of one picture: disjoint, together all that is not the hand.

    Markers are bright, small, compact shapes and what lies between neighbours; field edges strips
    along straight edges, of the collimated field or of a radiograph that was turned upright.
    Letters that touch a strip as bright as they, or lie within the hand's outline, are missed.
    """
    off = ~_grown(hand, BLURRED)
    marker = _markers(picture, hand, off) & ~hand
    edge = _field_edges(picture, off & ~marker) & ~hand & ~marker
    return {MARKER: marker, FIELD_EDGE: edge, BACKGROUND: ~(hand | marker | edge)}


def place_energy(
    maps: np.ndarray, places: dict[str, np.ndarray], hands: np.ndarray
) -> pd.DataFrame:
    """ENERGY: shares of the map's energy and of the picture's area on each place and on the hand.

    `ratio` is the one over the other; 1 is a map spread evenly over the picture. Means over the `n`
    cases that have the place, and a map with energy, with 95 % intervals; NaN for fewer than FEWEST
    cases. Maps: float [n, side, side], none below 0.
    """
    whole = maps.sum(axis=(1, 2), dtype=float)
    told = []
    for place, masks in (places | {"hand": hands}).items():
        has = masks.any(axis=(1, 2)) & (whole > 0)
        energy = (maps[has] * masks[has]).sum(axis=(1, 2), dtype=float) / whole[has]
        area = masks[has].mean(axis=(1, 2))
        shares = {"energy_share": energy, "area_share": area, "ratio": energy / area}
        for metric, values in shares.items():
            told.append((place, metric, *score_enough(values, FEWEST)))
    return pd.DataFrame(told, columns=ENERGY)


def mask_places(pictures: np.ndarray, masks: np.ndarray, place: str) -> np.ndarray:
    """Pictures without one of PLACES; nothing outside its masks is touched.

    Markers and edges are painted over from around (Telea, J Graphics Tools 2004;9:23-34), the
    background becomes its own median grey.
    """
    masked = pictures.copy()
    for picture, mask in zip(masked, masks, strict=True):
        if place == BACKGROUND and mask.any():
            picture[mask] = np.median(picture[mask])
        elif mask.any():
            reach = _pixels(STRIP, len(mask))
            picture[:] = cv2.inpaint(picture, mask.astype(np.uint8), reach, cv2.INPAINT_TELEA)
    return masked


def masking_effect(
    score: Score, pictures: np.ndarray, months: np.ndarray, places: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Place, n, EFFECT: what becomes of ages, in months, on the `n` cases with each place.

    `difference` is the mean absolute error after masking minus before, with its paired 95 %
    interval: above 0, the place helped. `prediction_change` is how far predictions moved, to
    whichever side. With fewer than FEWEST cases all are NaN.
    `months` are true ages, [n].
    """
    told = []
    for place, masks in places.items():
        has = masks.any(axis=(1, 2))
        effect = [np.nan] * len(EFFECT)
        if has.sum() >= FEWEST:
            masked = mask_places(pictures, masks, place)
            before, after = (score(shown)[has] for shown in (pictures, masked))
            errors = [abs(said - months[has]) for said in (before, after)]
            added = compare_errors(errors[1], errors[0])
            effect = [errors[0].mean(), errors[1].mean(), added["value"], added["lower"]]
            effect += [added["upper"], abs(after - before).mean()]
        told.append((place, int(has.sum()), *effect))
    return pd.DataFrame(told, columns=["place", "n", *EFFECT])


def _markers(picture: np.ndarray, hand: np.ndarray, off: np.ndarray) -> np.ndarray:
    """What stands out from all around it (white top-hat) and has the shape of letters."""
    side = len(picture)
    raised = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, _square(_pixels(WIDEST, side)))
    bone = np.quantile(picture[hand], BONE) if hand.any() else 255
    dark = np.median(picture[off]) if off.any() else 0
    bright = (raised > max(LEAST_CONTRAST, CONTRAST * (bone - dark))) & off
    every, _ = cv2.findContours(bright.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    letters = [shape for shape in every if _like_letters(shape, side)]
    drawn = cv2.drawContours(np.zeros(picture.shape, np.uint8), letters, -1, 1, -1)
    # With room around, else closing would join letters to the border.
    gap = _pixels(GAP, side)
    joined = cv2.morphologyEx(np.pad(drawn, gap), cv2.MORPH_CLOSE, _square(gap))
    return _grown(joined[gap:-gap, gap:-gap], AROUND)


def _like_letters(shape: np.ndarray, side: int) -> bool:
    """Whether a contour is neither too small nor too long nor too slim."""
    short, long = sorted(length + 1 for length in cv2.minAreaRect(shape)[1])
    area = cv2.contourArea(shape) + len(shape) / 2 + 1  # contours run through middles of pixels
    return area >= SMALLEST * side**2 and long <= min(LONGEST * side, SLIMMEST * short)


def _field_edges(picture: np.ndarray, looked_at: np.ndarray) -> np.ndarray:
    """Strips along long straight edges (Canny, then Hough)."""
    side = len(picture)
    tones = 255 * np.sqrt(picture / np.float32(255) + np.float32(DARK))
    tones = cv2.GaussianBlur(tones, (0, 0), SMOOTH * side)
    # Rises within the blur's width, times eight, which is the sum of Sobel's weights.
    rises = [cv2.Sobel(tones, cv2.CV_32F, x, 1 - x, scale=SMOOTH * side) for x in (1, 0)]
    noise = float(np.median(cv2.magnitude(*rises)[looked_at])) if looked_at.any() else 0
    least = max(8 * LEAST_RISE, NOISY * noise)
    edges = cv2.Canny(*(rise.astype(np.int16) for rise in rises), least, 2 * least, L2gradient=True)
    # Wider, for an edge may step from one row of pixels to the next.
    edges = cv2.dilate(edges * looked_at, _square(3))
    shortest, gap, votes = SHORTEST_EDGE * side, BROKEN * side, _pixels(VOTES, side)
    lines = cv2.HoughLinesP(edges, 1, np.pi / 180, votes, minLineLength=shortest, maxLineGap=gap)
    drawn = np.zeros(picture.shape, np.uint8)
    # None without a line; OpenCV 4 gives [lines, 1, 4], OpenCV 5 [lines, 4].
    for x, y, to_x, to_y in [] if lines is None else lines.reshape(-1, 4).tolist():
        cv2.line(drawn, (x, y), (to_x, to_y), 1)
    return _grown(drawn, STRIP / 2)


def _grown(mask: np.ndarray, share: float) -> np.ndarray:
    width = 2 * _pixels(share, len(mask)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def _square(pixels: int) -> np.ndarray:
    return np.ones((pixels | 1, pixels | 1), np.uint8)


def _pixels(share: float, side: int) -> int:
    return max(1, round(share * side))
