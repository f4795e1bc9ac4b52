"""How fast radiographs are prepared, and whether memory stays flat.

    python tests/benchmarks/bench_preparation.py [FILE [FOLDER]]

Three relations, none of them a time, so that they hold on any machine:
1. preparing on all cores, against the same workers only decoding the files (at least 0.6);
2. preparing on all cores, against a plain scikit-image loop in one process (at least 4);
3. the peak of anonymous memory of all processes at four times the images (at most 1.2).
FOLDER holds real radiographs, PNG; without it, synthetic ones of 2 megapixels are drawn.
"""

import contextlib
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
from measured import ROUNDS, end, seconds
from PIL import Image
from skimage.io import imread
from skimage.transform import resize

from nbhelpers.images import preparation, radiograph
from nbhelpers.phantom import dataset
from nbhelpers.workspace import cores

SIDE = 1600  # longer side of a synthetic radiograph: some 2 megapixels
DRAWN = 24
SPEED_IMAGES, MEMORY_IMAGES = 3000, 4000
PICTURE = 256
STEPS = "hand, upright, stretch, aspect"
LEAST_OF_DECODING, LEAST_OF_SKIMAGE, MOST_MEMORY = 0.6, 4.0, 1.2


def case_table(files: list[Path], n: int) -> pd.DataFrame:
    """`n` cases that repeat the files."""
    paths = [str(files[number % len(files)]) for number in range(n)]
    return pd.DataFrame({"case_id": [str(number) for number in range(n)], "image_path": paths})


def decode_with_opencv(path: Path) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)


def decode_with_pillow(path: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def decode_all(files: list[Path], decode: Callable) -> None:
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(decode, files):
            pass


def prepare_all(files: list[Path], n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = preparation.Preparation.from_steps(PICTURE, STEPS)
        preparation.prepare_cases(case_table(files, n), settings, Path(folder), "hand")


def plain_loop(files: list[Path]) -> None:
    """What most notebooks do."""
    for path in files:
        pixels = resize(imread(path, as_gray=True), (PICTURE, PICTURE), anti_aliasing=True)
        low, high = np.percentile(pixels, [1, 99])
        np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)


def speeds(files: list[Path], n: int) -> list[dict[str, float]]:
    """Radiographs a second of every rival, by round: neighbours in time share the load.

    So many that the second in which the workers start weighs as little as on a real set.
    """
    repeated = [files[number % len(files)] for number in range(n)]
    some, few = repeated[: max(4, n // 4)], repeated[: max(4, n // 100)]
    rivals = {
        "opencv_only": (repeated, lambda: decode_all(repeated, decode_with_opencv)),
        "prepare": (repeated, lambda: prepare_all(repeated, n)),
        "pillow_only": (some, lambda: decode_all(some, decode_with_pillow)),
        "skimage_loop": (few, lambda: plain_loop(few)),
    }
    return [
        {name: len(asked) / seconds(work) for name, (asked, work) in rivals.items()}
        for _ in range(ROUNDS)
    ]


def anonymous_bytes(process: int) -> int:
    """Anonymous memory of a process and all below it."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(process)
        for one in (top, *top.children(recursive=True)):
            used = one.memory_info()
            total += used.rss - used.shared
    return total


def peak_memory(files: list[Path], n: int) -> int:
    """Peak anonymous bytes of a fresh process that prepares `n` radiographs."""
    work = multiprocessing.get_context("spawn").Process(target=prepare_all, args=(files, n))
    work.start()
    peak = 0
    while work.is_alive():
        peak = max(peak, anonymous_bytes(work.pid))
        time.sleep(0.05)
    if work.exitcode:
        raise SystemExit(f"preparing {n} radiographs ended with {work.exitcode}")
    return peak


def main() -> None:
    os.environ["NBHELPERS_HEADLESS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[2:]:
            source = Path(sys.argv[2])
        else:
            source = dataset.write_radiographs(Path(folder) / "data", DRAWN, SIDE)
        files = sorted(source.rglob("*.png"))
        sizes = [radiograph.read_image(path).size for path in files]
        rounds = speeds(files, SPEED_IMAGES)
        quarter, whole = (peak_memory(files, n) for n in (MEMORY_IMAGES // 4, MEMORY_IMAGES))
    figures = {
        "files": len(files),
        "megapixels": round(statistics.mean(sizes) / 1e6, 2),
        "cores": cores(),
        "per_second": [{name: round(rate, 1) for name, rate in each.items()} for each in rounds],
        "of_decoding": statistics.median(
            each["prepare"] / max(each["opencv_only"], each["pillow_only"]) for each in rounds
        ),
        "of_skimage": statistics.median(each["prepare"] / each["skimage_loop"] for each in rounds),
        "peak_megabytes": [round(quarter / 1e6), round(whole / 1e6)],
        "memory_growth": whole / quarter,
    }
    held = (
        figures["of_decoding"] >= LEAST_OF_DECODING
        and figures["of_skimage"] >= LEAST_OF_SKIMAGE
        and figures["memory_growth"] <= MOST_MEMORY
    )
    end(figures, held)


if __name__ == "__main__":
    main()
