"""How one radiograph is prepared: hand found, turned upright, stretched, fitted into a square."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nbhelpers.geometry import Frame, fit_frame, reduce_to, warp, whole_frame
from nbhelpers.hand_finding import Hand, find_hand, hand_frame, hand_levels
from nbhelpers.workspace import InputError, find_run_file, read_json

VERSION = 1  # raise it by hand when the same settings give another picture of a radiograph
STEPS = {
    "hand": "find_hand",
    "upright": "turn_upright",
    "stretch": "stretch_contrast",
    "aspect": "keep_aspect",
}
SMALLEST_PICTURE, LARGEST_PICTURE = 16, 2048
LOOKED_AT = 112  # longer side, in pixels, of the picture on which the hand is sought
# A hand in a field smaller than this share of the frame is looked at again from closer.
SMALL_FIELD = 0.5
MOST_GROWTH = 2.5  # of the hand's area from one look to the next where both saw the hand
FIELD_MARGIN = 3  # pixels of the small radiograph kept around the field then
DARKEST, BRIGHTEST = 2.0, 99.5  # percentiles of a whole frame that become 0 and 255


@dataclass(frozen=True)
class Preparation:
    """How radiographs are prepared. image_size: side of the square picture, in pixels."""

    image_size: int
    find_hand: bool = True
    turn_upright: bool = True
    stretch_contrast: bool = True
    keep_aspect: bool = True

    @classmethod
    def from_steps(cls, image_size: int, steps: str) -> "Preparation":
        """Read a comma list of `hand`, `upright`, `stretch`, `aspect`; "" is a plain resize."""
        if not SMALLEST_PICTURE <= image_size <= LARGEST_PICTURE:
            raise InputError(
                f"image_size is {image_size}; choose {SMALLEST_PICTURE} to {LARGEST_PICTURE}."
            )
        named = [step.strip() for step in steps.split(",") if step.strip()]
        unknown = [step for step in named if step not in STEPS]
        if unknown:
            raise InputError(f"steps: {unknown[0]!r} is unknown. Choose from {', '.join(STEPS)}.")
        return cls(image_size, **{field: step in named for step, field in STEPS.items()})


def prepare_image(
    pixels: np.ndarray, preparation: Preparation
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The prepared picture uint8 [size, size], the affine [2, 3] to it, and if a hand was found.

    Where none is found the whole frame is shown as it stands.
    """
    size = preparation.image_size
    small, hand, corner = reduce_to(pixels, LOOKED_AT), None, (0, 0)
    factor = max(pixels.shape) / max(small.shape)
    if preparation.find_hand or preparation.turn_upright:
        hand = find_hand(small)
    if hand and factor > 1 and np.count_nonzero(hand.field) < SMALL_FIELD * hand.field.size:
        near, near_corner = _around(hand.field, pixels, factor)
        closer = reduce_to(near, LOOKED_AT)
        second = find_hand(closer)
        zoom = max(near.shape) / max(closer.shape)
        if second and _is_better(second, zoom, hand, factor):
            small, hand, corner, factor = closer, second, near_corner, zoom
    up = hand.up if hand and preparation.turn_upright else (0.0, -1.0)
    if hand and preparation.find_hand:
        frame = _enlarged(hand_frame(hand, up), factor, corner)
    else:
        frame = whole_frame(pixels.shape, up)
    affine = fit_frame(frame, size, preparation.keep_aspect)
    table = _stretch(small, hand) if preparation.stretch_contrast else None
    return warp(pixels, affine, size, table), affine, hand is not None


def _around(
    field: np.ndarray, pixels: np.ndarray, factor: float
) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of a radiograph around a field found on the small one, and its corner (x, y)."""
    rows, columns = np.nonzero(field)
    low = np.array([columns.min(), rows.min()]) - FIELD_MARGIN
    high = np.array([columns.max(), rows.max()]) + 1 + FIELD_MARGIN
    left, top = (int(max(side, 0) * factor) for side in low)
    right, bottom = (int(side * factor) for side in high)
    return pixels[top:bottom, left:right], (left, top)


def _is_better(second: Hand, zoom: float, first: Hand, factor: float) -> bool:
    """Whether a second look saw more of a hand; one that saw far more or less must score higher."""
    growth = np.count_nonzero(second.mask) * zoom**2 / np.count_nonzero(first.mask) / factor**2
    if 1 / MOST_GROWTH < growth < MOST_GROWTH:
        return growth > 1
    return second.score > first.score


def _enlarged(frame: Frame, factor: float, corner: tuple[int, int]) -> Frame:
    """A frame on the small radiograph, or on one of a part of it, in pixels of the full one."""
    x, y = (
        (side + 0.5) * factor - 0.5 + start
        for side, start in zip(frame.centre, corner, strict=True)
    )
    return replace(frame, centre=(x, y), width=frame.width * factor, height=frame.height * factor)


def _stretch(small: np.ndarray, hand: Hand | None) -> np.ndarray:
    """The grey levels, uint8 [256], that spread the hand and its neighbourhood over 0..255."""
    if hand is None:
        low, high = np.percentile(small, [DARKEST, BRIGHTEST])
    else:
        low, high = hand_levels(small, hand)
    levels = (np.arange(256) - low) * (255 / max(high - low, 1))
    return levels.clip(0, 255).round().astype(np.uint8)


def read_description(run_folder: Path, view: str) -> dict[str, object]:
    """What `preparation.<view>.json` says: settings, version, hash and more.

    One that holds the hash of source code instead of a version is of version 1.
    """
    described = read_json(find_run_file(Path(run_folder), f"preparation.{view}.json"))
    return {"version": 1, **described}


def load_preparation(run_folder: Path, view: str) -> Preparation:
    """How a view was prepared, so that new radiographs can be prepared alike."""
    return Preparation(**read_description(run_folder, view)["settings"])


def preparation_hash(run_folder: Path, view: str) -> str:
    """The hash of the settings and version of a view's preparation; saved models carry it."""
    return read_description(run_folder, view)["hash"]
