"""What is doubtful about a radiograph: what is repaired and reported, and what is marked and why.

Everything is measured on the small picture on which the hand is sought, so that it costs little.
Repaired are an inverted film, a hand turned away from upright, and a picture whose thumb lies on
the left: a right hand, a left one with its palm up, or a mirrored picture, which look alike and all
become the left hand, palm down, that models know. Marked cases are predicted and not scored.

Notebook 09 adds a word that no rule here finds, and that leaves a case in the scores: `UNLIKE`.
"""

import contextlib
import io
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nbhelpers.images.hand import RADII, USUAL_TURN, Hand, around_palm, find_hand

INVERTED, TURNED, MIRRORED = "inverted", "turned", "mirrored"
BLANK, FEW_LEVELS, COLOURED = "blank", "few grey levels", "colour photograph"
NO_HAND, TWO_HANDS, CUT_OFF, TOO_SMALL = "no hand", "two hands", "cut off", "too small"
UNLIKE = "unlike training"  # far from all training pictures, as a network sees them
MARKED = (BLANK, FEW_LEVELS, COLOURED, NO_HAND, TWO_HANDS, CUT_OFF, TOO_SMALL)

# How an outline around the palm tells a hand from other shapes, and tones the side of the thumb: a
# row a circle, a column an angle from the fingers' direction, every 15 degrees from 0 to 180.
# Logistic regressions on half of 11,336 radiographs, 300 drawn ones, photographs, pages of text and
# inverted radiographs; the first scaled so that the hand's score counts once.
OUTLINE = (
    (0.3, 0.0, 0.5, -0.5, -0.1, 0.3, 0.1, -0.2, -0.6, -0.7, 0.3, 0.3, 0.2),
    (0.4, 0.0, 0.2, -0.3, 0.2, 0.1, -0.3, -0.3, -0.3, -0.4, -0.1, 0.6, 0.5),
    (0.3, 0.0, -0.2, -0.2, -0.1, -0.2, -0.4, -0.3, -0.2, -0.2, -0.4, 0.0, 0.2),
    (0.2, -0.1, -0.3, -0.3, -0.3, -0.3, -0.3, -0.2, -0.2, -0.2, -0.3, -0.2, -0.2),
)
THUMB_RADII = (0.6, 1.0, 1.2, 1.6)  # palm radii
THUMB = (
    (0.0, -0.8, 0.9, 1.2, 0.5, 0.6, 0.7, 0.6, 0.6, 0.6, 0.4, 0.2, 0.0),
    (0.0, 0.4, 1.0, -0.5, -0.2, 1.1, 2.0, 1.4, 0.1, -0.1, 0.1, 0.7, 0.0),
    (0.0, 0.0, -0.3, -1.1, 0.0, 1.5, 1.5, 0.8, 0.1, 0.2, -0.5, 0.5, 0.0),
    (0.0, -0.1, -0.9, -0.9, 0.0, 0.1, 0.2, -0.3, -0.4, -0.3, -0.3, -0.9, 0.0),
)
ANGLES = 24  # every 15 degrees
PLAIN = 7.5  # plainness of 99 in 100 hands; what is less plain is looked at inverted too
LEAST_PLAIN = 5.0  # what is less plain is no hand
SECOND_PLAIN = 6.0  # what makes two hands
# Of the first hand's, that bright tones elsewhere cover before they are looked at.
SECOND_AREA = 0.2
REVERSED = 0.6  # plainness gained, that turns a hand upside down
CERTAIN_THUMB = 1.0  # weight of the tones on the left that mirrors a picture
EDGE = 5  # pixels of the small picture from its border
FINGERS = 1.3  # palm radii above the palm's centre, where the thumb is not
CUT_FINGERS = 1.5  # pixels of fingers there, in palm radii
LEAST_SPREAD = 6  # grey levels from the 1st to the 99th percentile
LEAST_LEVELS = 20  # different grey levels
LEAST_LENGTH = 32  # pixels of the radiograph that the hand is high or wide
SAMPLED = 100  # pixels a side that levels are counted on
COLOURED_MODES = ("RGB", "RGBA", "P", "CMYK", "YCbCr")
LEAST_COLOUR = 8.0  # SD of red less blue, in grey levels, that does not follow from brightness


def plainness(hand: Hand | None) -> float:
    """How plainly a shape is a hand, by its score and its outline: 5 to 13 for most hands."""
    if hand is None:
        return -np.inf
    right, left = _both_sides(hand.mask, hand, RADII)
    return hand.score + float(((right + left) / 2 * OUTLINE).sum())


def of_hand(small: np.ndarray, hand: Hand, factor: float) -> list[str]:
    """The words for a plain hand on a small radiograph, of `factor` pixels of the full one each."""
    x, y = hand.up
    points = cv2.findNonZero(hand.mask).reshape(-1, 2)
    lengthwise, across = np.array([[x, y], [-y, x]]) @ (points - hand.centre).T
    length, width = np.ptp(lengthwise), np.ptp(across)
    fingers = points[lengthwise > FINGERS * hand.radius]
    edge = (fingers < EDGE) | (fingers >= np.array(small.shape[::-1]) - EDGE)
    turned = -y < np.cos(np.radians(USUAL_TURN))
    joined = (turned or width > length) and are_two_hands(small, hand)
    told = {
        TURNED: turned,
        MIRRORED: is_mirrored(small, hand),
        TWO_HANDS: joined or has_second_hand(small, hand),
        CUT_OFF: np.count_nonzero(edge.any(1)) > CUT_FINGERS * hand.radius,
        TOO_SMALL: max(length, width) * factor < LEAST_LENGTH,
    }
    return [word for word, holds in told.items() if holds]


def is_mirrored(small: np.ndarray, hand: Hand) -> bool:
    """Whether the thumb lies plainly left of the fingers, seen with these upwards."""
    right, left = _both_sides(np.sqrt(small, dtype=np.float32), hand, THUMB_RADII)
    spread = np.concatenate([right, left]).std() + 0.05
    return float(((right - left) / 2 * THUMB).sum() / spread) < -CERTAIN_THUMB


def _both_sides(
    picture: np.ndarray, hand: Hand, radii: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """A picture on circles around the palm, right and left of the fingers: float32 [radii, 13]."""
    turns = np.arctan2(hand.up[0], -hand.up[1]) + np.arange(ANGLES) * (2 * np.pi / ANGLES)
    seen = around_palm(picture, hand.centre, hand.radius, turns, radii)
    half = np.arange(ANGLES // 2 + 1)
    return seen[:, half], seen[:, -half]


def right_way_up(hand: Hand) -> Hand:
    """The hand, its direction reversed where its outline is far plainer so."""
    reversed_hand = replace(hand, up=(-hand.up[0], -hand.up[1]))
    gain = plainness(reversed_hand) - plainness(hand)
    return reversed_hand if gain > REVERSED else hand


def are_two_hands(small: np.ndarray, hand: Hand) -> bool:
    """Whether either half of a small radiograph shows a plainer hand: two that were seen as one."""
    least = max(SECOND_PLAIN, plainness(hand))
    return all(plainness(find_hand(half)) > least for half in np.array_split(small, 2, axis=1))


def has_second_hand(small: np.ndarray, hand: Hand) -> bool:
    """Whether a small radiograph shows another plain hand apart from the first."""
    near = cv2.dilate(hand.mask, np.ones((7, 7), np.uint8))
    level = (cv2.mean(small, hand.mask)[0] + cv2.mean(small, 1 - near)[0]) / 2
    elsewhere = cv2.bitwise_and(hand.field, 1 - near)
    bright = cv2.bitwise_and(cv2.compare(small, level, cv2.CMP_GT), 255, mask=elsewhere)
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
    left, top, width, height, area = stats[1:].T
    x, y = hand.centre
    around = (left < x) & (x < left + width) & (top < y) & (y < top + height)
    if (area * ~around).max(initial=0) < SECOND_AREA * cv2.countNonZero(hand.mask):
        return False
    ring = cv2.dilate(near, np.ones((5, 5), np.uint8)) > near
    rest = np.where(near > 0, np.median(small[ring]).astype(np.uint8), small)
    return plainness(find_hand(rest)) >= SECOND_PLAIN


def of_levels(pixels: np.ndarray) -> list[str]:
    """The words for the grey levels of a radiograph, uint8 [height, width]."""
    down, across = (max(1, side // SAMPLED) for side in pixels.shape)
    sample = pixels[::down, ::across]
    if np.ptp(np.percentile(sample, [1, 99])) < LEAST_SPREAD:
        return [BLANK]
    few = np.count_nonzero(np.bincount(sample.ravel())) < LEAST_LEVELS
    return [FEW_LEVELS] if few else []


def is_coloured(content: bytes) -> bool:
    """Whether the bytes of a file hold a picture of several hues; a tinted film has one."""
    with contextlib.suppress(UnidentifiedImageError):
        image = Image.open(io.BytesIO(content))
        if image.mode in COLOURED_MODES:
            image.draft("RGB", (2 * SAMPLED, 2 * SAMPLED))
            small = image.convert("RGB").resize((SAMPLED, SAMPLED))
            red, green, blue = np.asarray(small, np.float32).reshape(-1, 3).T
            powers = np.stack([np.ones_like(green), green, green**2], 1)
            follows = powers @ np.linalg.lstsq(powers, red - blue)[0]
            return float((red - blue - follows).std()) > LEAST_COLOUR
    return False


def is_scored(doubts: str) -> bool:
    """Whether none of the words of a case's `doubts` marks it."""
    return not set(doubts.split(", ")) & set(MARKED)
