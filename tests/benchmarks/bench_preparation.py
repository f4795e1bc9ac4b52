"""How fast radiographs are prepared, and whether memory stays flat.

1. `prepared_of_decoded`: preparing on all cores, against as many threads that decode the files;
2. `prepared_of_skimage`: the same against a plain scikit-image loop in one process;
3. `memory_growth`: the peak of anonymous memory of all processes at four times the images.
Synthetic radiographs of 2 megapixels are drawn for it.
"""

import contextlib
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
from run import ratio
from skimage.io import imread
from skimage.transform import resize

from nbhelpers.images import preparation
from nbhelpers.phantom import dataset
from nbhelpers.workspace import cores

SIDE = 1600  # longer side of a synthetic radiograph: some 2 megapixels
DRAWN = 24
# So many that the second in which the workers start weighs as little as on a real set.
SPEED_IMAGES, MEMORY_IMAGES = 3000, 4000
LOOP_SHARE = 100  # times fewer go through the slow loop
PICTURE = 256
STEPS = "hand, upright, stretch, aspect"


def repeated(files: list[Path], n: int) -> list[Path]:
    return [files[number % len(files)] for number in range(n)]


def prepare_all(files: list[Path], n: int) -> None:
    paths = [str(path) for path in repeated(files, n)]
    table = pd.DataFrame({"case_id": [str(number) for number in range(n)], "image_path": paths})
    with tempfile.TemporaryDirectory() as folder:
        settings = preparation.Preparation.from_steps(PICTURE, STEPS)
        preparation.prepare_cases(table, settings, Path(folder), "hand")


def decode(path: Path) -> None:
    cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)


def decode_all(files: list[Path], n: int) -> None:
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(decode, repeated(files, n)))


def plain_loop(files: list[Path], n: int) -> None:
    """What most notebooks do."""
    for path in repeated(files, n):
        pixels = resize(imread(path, as_gray=True), (PICTURE, PICTURE), anti_aliasing=True)
        low, high = np.percentile(pixels, [1, 99])
        np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)


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


def figures() -> dict[str, float]:
    os.environ["NBHELPERS_HEADLESS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        source = dataset.write_radiographs(Path(folder) / "data", DRAWN, SIDE)
        files = sorted(source.rglob("*.png"))
        few = SPEED_IMAGES // LOOP_SHARE
        of_decoding = ratio(
            lambda: decode_all(files, SPEED_IMAGES), lambda: prepare_all(files, SPEED_IMAGES)
        )
        of_loop = ratio(lambda: plain_loop(files, few), lambda: prepare_all(files, SPEED_IMAGES))
        quarter, whole = (peak_memory(files, n) for n in (MEMORY_IMAGES // 4, MEMORY_IMAGES))
    return {
        "prepared_of_decoded": of_decoding,
        "prepared_of_skimage": LOOP_SHARE * of_loop,
        "memory_growth": whole / quarter,
    }
