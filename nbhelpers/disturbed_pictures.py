"""Radiographs disturbed and then prepared, on all cores."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nbhelpers import disturbances
from nbhelpers.preparation import Preparation, prepare_image
from nbhelpers.radiograph import read_image
from nbhelpers.side_by_side import Each
from nbhelpers.workspace import progress


def disturbed_pictures(
    each: Each,
    paths: Sequence[str | Path],
    preparation: Preparation,
    kind: str,
    strengths: Sequence[float],
) -> np.ndarray:
    """Radiographs disturbed and then prepared: uint8 `[strengths, n, side, side]`.

    each: of `side_by_side.workers(of_file)`. Each file is read once; its name without its ending
    stands for the case (see `disturbances.disturb`). Raises InputError naming a radiograph that
    cannot be read.
    """
    side = preparation.image_size
    pictures = np.empty((len(strengths), len(paths), side, side), np.uint8)
    made = each(list(paths), asdict(preparation), kind, list(strengths))
    for row, of_row in enumerate(progress(made, len(paths), f"radiographs, {kind}")):
        pictures[:, row] = of_row
    return pictures


def of_file(path: str | Path, settings: dict, kind: str, strengths: Sequence[float]) -> np.ndarray:
    """One radiograph at each strength, uint8 `[strengths, side, side]`; settings: Preparation's."""
    preparation = Preparation(**settings)
    pixels, case = read_image(Path(path)), Path(path).stem
    disturbed = (disturbances.disturb(pixels, kind, strength, case) for strength in strengths)
    return np.stack([prepare_image(one, preparation)[0] for one in disturbed])
