"""What preparing radiographs and training networks cost, and whether it is as little as promised.

    python tests/benchmarks/run.py reports/bench.json

Relations, none of them a time, so that they hold on any machine; each is the median of rounds in
which both sides are measured in turn. The status is 1 when one of them does not hold.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from skimage.io import imread
from skimage.transform import resize

from nbhelpers.images import preparation
from nbhelpers.models import backbones, features, networks, sam
from nbhelpers.models.batches import Batches
from nbhelpers.models.training import Schedule, compile_model
from nbhelpers.phantom import dataset
from nbhelpers.workspace import cores, hardware, versions, write_json

ROUNDS = 3
# At least these for what is to be high, at most these for what is to be low.
LEAST = {
    "preparing on all cores, against decoding alone": 0.6,
    "preparing on all cores, against a loop with scikit-image": 4.0,
    "epochs of VGG16's head on features, against epochs through the base": 5.0,
}
MOST = {
    "an epoch from the memory-mapped store, against arrays in memory": 1.05,
    "an epoch with augmentation, against one without": 1.25,
    "a SAM step, against an AdamW step": 2.2,
}
# Two megapixels, and so many that the second in which workers start weighs little.
SIDE, DRAWN, PREPARED = 1600, 24, 3000
PICTURE, STEPS = 256, "hand, upright, stretch, aspect"
SIZE, CASES, BATCH = 112, 640, 32
BASE_CASES = 96  # through VGG16, which is slow on a processor
FACTS = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5}


def ratio(slow: Callable[[], object], quick: Callable[[], object]) -> float:
    """Median over rounds of the time of `slow` over that of `quick`, after one call of each."""

    def seconds(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    slow(), quick()
    return statistics.median(seconds(slow) / seconds(quick) for _ in range(ROUNDS))


def of_preparing(folder: Path) -> Iterator[float]:
    """The relations of image preparation, in the order of their names."""
    drawn = sorted(dataset.write_radiographs(folder / "data", DRAWN, SIDE).rglob("*.png"))
    files = [str(drawn[number % DRAWN]) for number in range(PREPARED)]
    few = files[: PREPARED // 100]

    def prepare() -> None:
        names = [str(number) for number in range(PREPARED)]
        table = pd.DataFrame({"case_id": names, "image_path": files})
        settings = preparation.Preparation.from_steps(PICTURE, STEPS)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            preparation.prepare_cases(table, settings, Path(fresh), "hand")

    def decode() -> None:
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda file: cv2.imread(file, cv2.IMREAD_UNCHANGED).size, files))

    def plain_loop() -> None:
        for file in few:
            pixels = resize(imread(file, as_gray=True), (PICTURE, PICTURE), anti_aliasing=True)
            low, high = np.percentile(pixels, [1, 99])
            np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)

    yield ratio(decode, prepare)
    yield ratio(plain_loop, prepare) * PREPARED / len(few)


def of_training(folder: Path) -> Iterator[float]:
    """The relations of training, in the order of their names."""
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (CASES, SIZE, SIZE), dtype=np.uint8))
    images = np.load(folder / "images.npy", mmap_mode="r")
    sex = rng.integers(0, 2, CASES).astype(np.float32)
    months = rng.uniform(0, 228, CASES).astype(np.float32)

    def compiled(model: keras.Model) -> keras.Model:
        compile_model(model, "age", Schedule(1, BATCH, learning_rate=1e-3), 1000)
        return model

    def epoch(model: keras.Model, fed: keras.utils.PyDataset) -> Callable[[], object]:
        return lambda: model.fit(fed, verbose=0, shuffle=False)

    def in_memory(model: keras.Model) -> Callable[[], object]:
        held = [np.array(images)[..., None], sex[:, None]]
        return lambda: model.fit(held, months[:, None], batch_size=BATCH, verbose=0)

    rows = np.arange(BASE_CASES)
    network = backbones.transfer_network("VGG16", SIZE, FACTS, task="age", weights_path=None)
    backbones.freeze(network)
    known = features.compute(network, images, rows, rows)
    head = compiled(features.head_network(network))
    yield ratio(
        epoch(compiled(network), Batches(images, rows, sex, months, BATCH, seed=0)),
        epoch(head, features.FeatureBatches(known, rows, sex, months, BATCH, seed=0)),
    )
    network = compiled(networks.custom_cnn(SIZE, FACTS))
    streamed = Batches(images, np.arange(CASES), sex, months, BATCH, seed=0)
    yield ratio(epoch(network, streamed), in_memory(network))
    plain = compiled(networks.custom_cnn(SIZE, FACTS))
    call = networks.LightAugmentation.call
    networks.LightAugmentation.call = lambda self, pictures, training=False: pictures
    in_memory(plain)()  # compiled by its first call, without the layer
    networks.LightAugmentation.call = call
    yield ratio(in_memory(network), in_memory(plain))
    twice = compiled(sam.SharpnessAware(networks.custom_cnn(SIZE, FACTS), 0.05))
    yield ratio(in_memory(twice), in_memory(network))


def main(path: Path) -> int:
    """Write `path`; returns 1 when a relation does not hold."""
    with tempfile.TemporaryDirectory() as name:
        measured = [*of_preparing(Path(name)), *of_training(Path(name))]
    figures = dict(zip([*LEAST, *MOST], measured, strict=True))
    held = {name: LEAST.get(name, 0) <= figures[name] <= MOST.get(name, 1e9) for name in figures}
    print(json.dumps(figures, indent=1))
    content = {"hardware": hardware(), "versions": versions(), "held": held, "figures": figures}
    write_json(path, content)
    print(f"Wrote {path}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
