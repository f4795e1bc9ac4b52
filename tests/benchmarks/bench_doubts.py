"""What the doubts about radiographs find, and what they mark or repair without cause.

    python tests/benchmarks/bench_doubts.py [FOLDER ...] > reports/measured/doubts.json

Each fault is made from the radiographs of every FOLDER (PNG) and from drawn ones; pictures that are
no hands are crops of scikit-image's. The tables of `images.doubts` were fitted to every second
radiograph of a large folder and to other pictures, so of one with more than 1,000 only the others
count; thresholds were set with a look at those, too. A fault is repaired where the prepared picture
is again that of the untouched radiograph, the left hand, palm down, even where that had its thumb
on the left.
"""

import contextlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from skimage import data, img_as_ubyte

from nbhelpers import workspace
from nbhelpers.images import doubts, preparation
from nbhelpers.images.radiograph import read_image
from nbhelpers.phantom import dataset

DRAWN, FAULTS_OF, LARGE = 300, 300, 1000
SAME = 0.9  # correlation of two prepared pictures of one radiograph
SETTINGS = preparation.Preparation(64)
PICTURES = (
    "camera cell coffee grass gravel horse immunohistochemistry microaneurysms page rocket text"
)


FAULTS = {
    "": lambda pixels: pixels,
    "inverted": cv2.bitwise_not,
    "turned 90": lambda pixels: np.rot90(pixels),
    "turned 180": lambda pixels: np.rot90(pixels, 2),
    "turned 270": lambda pixels: np.rot90(pixels, 3),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "blank": lambda pixels: pixels // 64 + 7,
    "few grey levels": lambda pixels: pixels // 16 * 16,
    "two hands": lambda pixels: np.hstack([pixels, pixels[:, ::-1]]),
    "cut off": lambda pixels: pixels[int(0.3 * len(pixels)) :],
    "too small": lambda pixels: np.pad(cv2.resize(pixels, (24, 30)), 40),
}


def prepared(path: Path, faults: tuple[str, ...] = ("",)) -> dict[str, tuple]:
    """Picture, affine and doubts of a radiograph with each fault, and of it as it is."""
    pixels = read_image(path)
    made = {fault: np.ascontiguousarray(FAULTS[fault](pixels)) for fault in faults}
    return {fault: preparation.prepare_image(one, SETTINGS) for fault, one in made.items()}


def is_marked(of: tuple) -> bool:
    return not doubts.is_scored(", ".join(of[2]))


def is_found(fault: str, of: dict[str, tuple]) -> bool:
    """Whether a fault is repaired, or for one that cannot be, its word is said."""
    if fault in doubts.MARKED:
        return fault in of[fault][2]
    return np.corrcoef(of[fault][0].ravel(), of[""][0].ravel())[0, 1] > SAME


def figures_of(files: list[Path]) -> dict[str, object]:
    """Shares of radiographs marked, repaired, and found of every kind of fault."""
    files = files[1::2] if len(files) > LARGE else files
    plain = [of[""] for of in workspace.parallel(prepared, files)]
    some = files[:: max(1, len(files) // FAULTS_OF)]
    faulty = list(workspace.parallel(prepared, some, tuple(FAULTS)))
    found = {
        fault: {
            "found": np.mean([is_found(fault, of) for of in faulty]).round(4),
            "marked": np.mean([is_marked(of[fault]) for of in faulty]).round(4),
        }
        for fault in list(FAULTS)[1:]
    }
    return {
        "n": len(plain),
        "marked": np.mean([is_marked(of) for of in plain]).round(4),
        "words": dict(Counter(word for of in plain for word in of[2])),
        "n of each fault": len(faulty),
        "faults": found,
    }


def other_pictures() -> dict[str, object]:
    """The share of pictures of something else, and of their crops, that are marked."""
    missed, random, crops = Counter(), np.random.default_rng(0), 12
    for name in PICTURES.split():
        picture = img_as_ubyte(getattr(data, name)())
        grey = picture if picture.ndim == 2 else picture[..., :3].mean(2).astype(np.uint8)
        for share in random.uniform(0.35, 1, crops):
            high, wide = (int(share * side) for side in grey.shape)
            top, left = random.integers(len(grey) - high + 1), random.integers(grey.shape[1] - wide)
            crop = np.ascontiguousarray(grey[top : top + high, left : left + wide])
            missed[name] += not is_marked(preparation.prepare_image(crop, SETTINGS))
    n = crops * len(PICTURES.split())
    return {"n": n, "marked": 1 - sum(missed.values()) / n, "missed": dict(+missed)}


def main() -> None:
    folders = {Path(name).name: Path(name) for name in sys.argv[1:]}
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(sys.stderr):
        folders["drawn"] = dataset.write_radiographs(Path(place) / "drawn", DRAWN, seed=5)
        figures = {name: figures_of(sorted(of.rglob("*.png"))) for name, of in folders.items()}
        figures["no hands"] = other_pictures()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
