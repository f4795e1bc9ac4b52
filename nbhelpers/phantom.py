"""Synthetic radiographs of left hands with known age, sex and regions, as an RSNA folder."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd

from nbhelpers import phantom_film as film
from nbhelpers import workspace
from nbhelpers.phantom_bones import build_hand, draw_pose
from nbhelpers.phantom_frame import draw_frame
from nbhelpers.phantom_growth import SEXES, Child, grow_child
from nbhelpers.phantom_regions import Box, find_boxes, voc_xml
from nbhelpers.phantom_tissue import soft_capsules, soft_thickness

VERSION = 1  # raise it when the same settings give other pixels or tables
SETTINGS_FILE = "phantom.json"
IMAGES = Path("boneage-training-dataset") / "boneage-training-dataset"
TABLE = "boneage-training-dataset.csv"
TRUTH = "truth.csv"
FIRST_ID = 1001
SMALLEST = 256

# As in the RSNA training set: share of boys, quantiles of bone age in months.
BOYS = 0.542
AGE_SHARES = (
    0,
    0.002,
    0.01,
    0.025,
    0.05,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
    0.99,
    1,
)
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


@dataclass(frozen=True)
class Radiograph:
    """One drawn hand: pixels uint8 [height, width], 17 boxes, and what is true about it."""

    pixels: np.ndarray
    boxes: list[Box]
    child: Child
    centre_areas_mm2: dict[str, float]  # drawn area of every ossification centre that stands free
    fusion: dict[str, float]  # share of every growth plate that is bridged


def draw_radiograph(
    sex: str,
    age_months: float,
    rng: np.random.Generator | int = 0,
    size: int = 320,
    ossification_age_months: float | None = None,
) -> Radiograph:
    """Draw one left hand.

    `sex` is female or male, `age_months` 0 to 228, `size` the frame's longer side in pixels. A seed
    or generator gives child, pose and exposure. `ossification_age_months` freezes everything but
    the hand's size at another age.
    """
    if sex not in SEXES:
        raise ValueError(f"sex is {sex!r}; use one of {', '.join(SEXES)}.")
    if size < SMALLEST:
        raise ValueError(f"size is {size}; a radiograph needs {SMALLEST} pixels or more.")
    rng = np.random.default_rng(rng)
    child = grow_child(rng, sex, age_months, ossification_age_months)
    pose = draw_pose(rng)
    hand = build_hand(child, pose)
    frame = draw_frame(rng, hand, size)
    bones, areas = film.bone_attenuation(rng, hand, frame)
    soft = soft_thickness(soft_capsules(hand, child, pose), hand.scale, frame.view, frame.shape)
    pixels = film.expose(rng, bones, soft, frame, film.draw_exposure(rng))
    fusion = {name: child.fusion(name) for name in child.fused}
    return Radiograph(pixels, find_boxes(hand, frame.view), child, areas, fusion)


def draw_case(seed: int, number: int) -> dict:
    """Sex, true age and label of case `number`; `drawing` is the seed of its radiograph."""
    rng = np.random.default_rng([seed, number])
    sex = "male" if rng.random() < BOYS else "female"
    age = float(np.interp(rng.random(), AGE_SHARES, AGE_QUANTILES[sex]))
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
        "true_age_months": round(age, 3),
        "rater_error_months": round(read - age, 3),
        "hand_length_mm": round(length, 2),
        "drawing": drawing,
    }


def write_radiographs(
    folder: Path, n: int, size: int = 320, seed: int = 0, workers: int | None = None
) -> Path:
    """Write `n` radiographs in the layout of Kaggle's RSNA set, with regions and truth beside them.

    Case i is the same whatever `n` and `workers` are. A folder that is complete is left as it is;
    one that a stopped run left is completed. Returns `folder`. Raises InputError when the folder
    holds something else.
    """
    folder = Path(folder)
    settings = {"version": VERSION, "n": n, "size": size, "seed": seed}
    if size < SMALLEST or n < 1:
        raise workspace.InputError(
            f"size {size}, n {n}: synthetic radiographs need {SMALLEST} pixels and 1 case or more."
        )
    if _is_complete(folder, settings):
        return folder
    with workspace.explained_errors(folder):
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        (folder / "regions").mkdir(exist_ok=True)
    workspace.write_json(folder / f"unfinished-{SETTINGS_FILE}", settings)
    cases = [draw_case(seed, number) for number in range(n)]
    missing = [case for case in cases if not _image_path(folder, case).exists()]
    _write_all(folder, missing, size, workers)
    _write_tables(folder, cases)
    workspace.write_json(folder / SETTINGS_FILE, settings)
    (folder / f"unfinished-{SETTINGS_FILE}").unlink(missing_ok=True)
    return folder


def _is_complete(folder: Path, settings: dict) -> bool:
    """True when the folder holds just these radiographs; raises InputError when it holds others."""
    if not folder.exists() or not any(folder.iterdir()):
        return False
    for name in (SETTINGS_FILE, f"unfinished-{SETTINGS_FILE}"):
        if (folder / name).exists():
            if workspace.read_json(folder / name) != settings:
                break
            return name == SETTINGS_FILE
    raise workspace.InputError(
        f"{folder} holds something else than the synthetic radiographs asked for. "
        "Delete it or name another folder."
    )


def _image_path(folder: Path, case: dict) -> Path:
    return folder / IMAGES / f"{case['id']}.png"


def _write_all(folder: Path, cases: list[dict], size: int, workers: int | None) -> None:
    workers = workers or workspace.cores()
    if workers == 1 or len(cases) < 4:
        done = (_write_one(folder, case, size) for case in cases)
    else:
        # loky starts fresh processes: safe beside TensorFlow's threads and in a notebook's kernel.
        pool = joblib.Parallel(workers, return_as="generator", batch_size=8)
        done = pool(joblib.delayed(_write_one)(folder, case, size) for case in cases)
    for _ in workspace.progress(done, len(cases), "radiographs drawn"):
        pass


def _write_one(folder: Path, case: dict, size: int) -> None:
    """Draw one case. The image comes last: where it exists, the regions do."""
    cv2.setNumThreads(1)
    drawn = draw_radiograph(case["sex"], case["true_age_months"], case["drawing"], size)
    path = _image_path(folder, case)
    encoded = cv2.imencode(".png", drawn.pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
    xml = voc_xml(path.name, drawn.pixels.shape, drawn.boxes).encode()
    _replace(folder / "regions" / f"{case['id']}.xml", xml)
    _replace(path, encoded)


def _replace(path: Path, content: bytes) -> None:
    """Write through a temporary name. No fsync for thousands of files: they can be drawn again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with workspace.explained_errors(path):
        temporary.write_bytes(content)
        temporary.replace(path)


def _write_tables(folder: Path, cases: list[dict]) -> None:
    table = pd.DataFrame(cases)
    public = pd.DataFrame(
        {"id": table["id"], "boneage": table["label_months"], "male": table["sex"] == "male"}
    )
    for name, content in ((TRUTH, table), (TABLE, public)):
        with workspace.atomic_path(folder / name) as temporary:
            content.to_csv(temporary, index=False)
