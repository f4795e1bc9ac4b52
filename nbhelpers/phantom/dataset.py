"""Synthetic radiographs of left hands with known age, sex and regions, as an RSNA folder.

`draw_case` says who is on a radiograph: sex, true bone age, and the label that a reader gives.
`draw_radiograph` puts one together: a child, a pose, a frame and an exposure. `write_radiographs`
draws a folder of them, laid out as Kaggle's RSNA set.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nbhelpers import results, workspace
from nbhelpers.phantom import film
from nbhelpers.phantom.anatomy import Child, grow_child
from nbhelpers.phantom.film import Box, draw_frame, find_boxes, voc_xml
from nbhelpers.phantom.hand import build_hand, draw_pose, soft_capsules, soft_thickness

FIRST_ID = 1001
# As in the RSNA training set: share of boys, quantiles of bone age in months.
BOYS = 0.542
AGE_SHARES = (0, 0.002, 0.01, 0.025, 0.05, *(n / 10 for n in range(1, 10)), 0.95, 0.99, 1)
AGE_QUANTILES = {
    "male": (1, 14, 25, 38, 53, 71, 97, 120, 135, 147, 154, 160, 167, 180, 194, 214, 228),
    "female": (3, 13, 24, 34, 49, 67, 85, 97, 109, 121, 131, 140, 150, 163, 176, 195, 216),
}
OLDEST = 228
# One reader's SD in months, reached at 8 years; it falls in proportion below that (Martin 2022).
RATER_SD = 7.0
RATER_SD_FULL_AGE = 96.0
# Shares of labels that a reader rounds to years, to half-years, not at all: 57.9 % of the labels
# are then multiples of 12 and 80.6 % of 6, as in the RSNA set.
ROUNDING = {12: 0.352, 6: 0.415, 1: 0.233}


def draw_case(seed: int, number: int) -> dict:
    """Sex, true age and label of case `number`; `drawing` is the seed of its radiograph."""
    rng = np.random.default_rng([seed, number])
    sex = "male" if rng.random() < BOYS else "female"
    age = round(float(np.interp(rng.random(), AGE_SHARES, AGE_QUANTILES[sex])), 3)
    read = age + rng.normal() * RATER_SD * min(age / RATER_SD_FULL_AGE, 1.0)
    grid = int(rng.choice(list(ROUNDING), p=list(ROUNDING.values())))
    if age < 24:
        grid = {12: 6, 6: 3, 1: 1}[grid]
    label = int(np.clip(grid * math.floor(read / grid + 0.5), 1, OLDEST))
    drawing = int(rng.integers(2**31))
    length = grow_child(np.random.default_rng(drawing), sex, age).hand_length_mm
    return {
        "id": FIRST_ID + number,
        "sex": sex,
        "label_months": label,
        "true_age_months": age,
        "rater_error_months": round(read - age, 3),
        "hand_length_mm": round(length, 2),
        "drawing": drawing,
    }


@dataclass(frozen=True)
class Radiograph:
    """One drawn hand: pixels uint8 [height, width], 17 boxes, and whose it is."""

    pixels: np.ndarray
    boxes: list[Box]
    child: Child


def draw_radiograph(
    sex: str,
    age_months: float,
    rng: np.random.Generator | int = 0,
    size: int = 320,
    ossification_age_months: float | None = None,
) -> Radiograph:
    """Draw one left hand.

    `sex` is female or male, `age_months` 0 to 228, `size` the frame's longer side in pixels, 256 or
    more: below that epiphyses are lost. A seed or generator gives child, pose and exposure.
    `ossification_age_months` freezes everything but the hand's size at another age.
    """
    rng = np.random.default_rng(rng)
    child = grow_child(rng, sex, age_months, ossification_age_months)
    pose = draw_pose(rng)
    hand = build_hand(child, pose)
    frame = draw_frame(rng, hand, size)
    bones = film.bone_attenuation(rng, hand, frame)
    soft = soft_thickness(soft_capsules(hand, child, pose), hand.scale, frame.view, frame.shape)
    pixels = film.expose(rng, bones, soft, frame, film.draw_exposure(rng))
    return Radiograph(pixels, find_boxes(hand, frame.view), child)


VERSION = 4  # raise it when the same settings give other pixels or tables
IMAGES = Path("boneage-training-dataset") / "boneage-training-dataset"
REGIONS = Path("regions")
TABLE = "boneage-training-dataset.csv"
TRUTH = "truth.csv"


def folder_in(run_folder: Path, n: int, seed: int) -> Path:
    """Where a run that has no radiographs draws its own; `workspace.is_synthetic` knows it.

    On Kaggle a temporary folder: what lies below the working folder becomes the notebook's output.
    """
    on_kaggle = workspace.platform_name() == "kaggle"
    place = Path(tempfile.gettempdir()) if on_kaggle else run_folder
    return place / f"synthetic-{n}-{seed}-v{VERSION}"


def find_or_draw(run_folder: Path, named: str, n: int, seed: int) -> tuple[Path, str]:
    """The folder of radiographs (`workspace.find_data_folder`), else synthetic ones, drawn here.

    Returns:
        The folder, and whether its radiographs are `real` or `synthetic`.
    """
    found = workspace.find_data_folder(named)
    source = found or folder_in(run_folder, n, seed)
    results.say_source(source, run_folder)
    if found:
        return found, "real"
    return write_radiographs(source, n, seed=seed), "synthetic"


def regions_beside(cases: pd.DataFrame) -> str:
    """The folder of regions of a case table's synthetic radiographs; "" where there is none."""
    above = Path(cases["image_path"].iloc[0] or "").parents[len(IMAGES.parts) :]
    return str(above[0] / REGIONS) if above and (above[0] / REGIONS).is_dir() else ""


def write_radiographs(folder: Path, n: int, size: int = 320, seed: int = 0) -> Path:
    """Write `n` radiographs in the layout of Kaggle's RSNA set, with regions and truth alongside.

    Case i is the same whatever `n` is. A folder that has its table is complete and left as it is;
    one that a stopped run left is drawn again. Returns `folder`.
    """
    if (folder / TABLE).exists():
        return folder
    with workspace.explained_errors(folder):
        for name in (IMAGES, REGIONS):
            (folder / name).mkdir(parents=True, exist_ok=True)
    cases = [draw_case(seed, number) for number in range(n)]
    drawn = workspace.parallel(_write_one, cases, folder, size)
    for _ in workspace.progress(drawn, n, "radiographs drawn"):
        pass
    _write_tables(folder, cases)
    return folder


def _write_one(case: dict, folder: Path, size: int) -> None:
    drawn = draw_radiograph(case["sex"], case["true_age_months"], case["drawing"], size)
    path = folder / IMAGES / f"{case['id']}.png"
    xml = voc_xml(path.name, drawn.pixels.shape, drawn.boxes)
    encoded = cv2.imencode(".png", drawn.pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    with workspace.explained_errors(path):
        (folder / REGIONS / f"{case['id']}.xml").write_text(xml, encoding="utf-8")
        path.write_bytes(encoded.tobytes())


def _write_tables(folder: Path, cases: list[dict]) -> None:
    """Write the truth, then the table: where that is, the folder is complete."""
    table = pd.DataFrame(cases)
    public = pd.DataFrame(
        {"id": table["id"], "boneage": table["label_months"], "male": table["sex"] == "male"}
    )
    # Without `sex` nobody takes the truth for a table of cases to be predicted.
    truth = table.drop(columns="sex")
    for name, content in ((TRUTH, truth), (TABLE, public)):
        with workspace.atomic_path(folder / name) as temporary:
            content.to_csv(temporary, index=False)
