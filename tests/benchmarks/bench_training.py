"""What training costs beside the network's own work.

    python tests/benchmarks/bench_training.py [--json FILE]

Relations, none of them a time, so that they hold on any machine; each is the median of rounds in
which both sides are measured in turn:
1. ten epochs of VGG16's head on cached features against ten through the frozen base (at least 5
   times faster; with the features' computing, too, it is told but not promised);
2. an epoch of the custom CNN fed from the memory-mapped store against arrays in memory (at most
   1.05), and of a network of one convolution (at most 1.25);
3. the augmentation's share of the custom CNN's step (at most 0.2);
4. a SAM step against an AdamW step (at most 2.2).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import small_networks

from nbhelpers.models import backbones, devices, features, networks, sam
from nbhelpers.models.batches import Batches, FeatureBatches
from nbhelpers.models.training import warm_up_and_decay

SIZE, CASES, BATCH = 112, 640, 32
BASE_CASES = 96  # through VGG16, which is slow on a processor
ROUNDS = 3
HEAD_EPOCHS = 10
FACTS = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5}
LEAST_HEAD, MOST_STORE, MOST_STORE_SMALL, MOST_AUGMENTATION, MOST_SAM = 5.0, 1.05, 1.25, 0.2, 2.2


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compiled(model: keras.Model) -> keras.Model:
    optimiser = keras.optimizers.AdamW(warm_up_and_decay(1e-3, 1000), weight_decay=1e-4)
    model.compile(optimiser, "mean_absolute_error", jit_compile=False)
    return model


def ratio(slow: Callable[[], object], quick: Callable[[], object]) -> float:
    """Median over rounds of the time of `slow` over that of `quick`, after one call of each."""
    slow(), quick()
    return statistics.median(seconds(slow) / seconds(quick) for _ in range(ROUNDS))


def material(folder: Path, cases: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random radiographs in a memory-mapped store, sex and months."""
    rng = np.random.default_rng(0)
    path = folder / f"images.{cases}.npy"
    np.save(path, rng.integers(0, 256, (cases, SIZE, SIZE), dtype=np.uint8))
    sex = rng.integers(0, 2, cases).astype(np.float32)
    return np.load(path, mmap_mode="r"), sex, rng.uniform(0, 228, cases).astype(np.float32)


def one_convolution() -> keras.Model:
    radiograph, sex, pixels = networks.inputs(SIZE, FACTS)
    x = keras.layers.Conv2D(8, 3, strides=4)(pixels)
    x = networks.head(keras.layers.GlobalAveragePooling2D()(x), sex, "age", FACTS, dense_units=16)
    return keras.Model([radiograph, sex], x)


def store_against_memory(model: keras.Model, data: tuple) -> float:
    images, sex, months = data
    held = [np.array(images)[..., None], sex[:, None]]
    rows = np.arange(len(images))

    def from_store():
        streamed = Batches(images, rows, sex, months, BATCH, seed=0)
        model.fit(streamed, verbose=0, shuffle=False)

    def from_memory():
        model.fit(held, months[:, None], batch_size=BATCH, verbose=0, shuffle=True)

    return ratio(from_store, from_memory)


def augmentation_share(data: tuple) -> float:
    """What the step takes less without the layer, as a share of the whole step."""
    images, sex, months = data
    held = [np.array(images)[..., None], sex[:, None]]
    changed = compiled(small_networks.custom_cnn(SIZE, FACTS))
    call = networks.LightAugmentation.call
    try:
        networks.LightAugmentation.call = lambda self, pictures, training=False: pictures
        plain = compiled(small_networks.custom_cnn(SIZE, FACTS))
        # Compiled by its first call, which is why the layer stays switched off until then.
        plain.fit(held, months[:, None], batch_size=BATCH, verbose=0)
    finally:
        networks.LightAugmentation.call = call

    def epoch(model: keras.Model) -> None:
        model.fit(held, months[:, None], batch_size=BATCH, verbose=0, shuffle=False)

    return 1 - 1 / ratio(lambda: epoch(changed), lambda: epoch(plain))


def sam_against_adamw(data: tuple) -> float:
    images, sex, months = data
    held = [np.array(images)[..., None], sex[:, None]]
    twice = compiled(sam.SharpnessAware(small_networks.custom_cnn(SIZE, FACTS), 0.05))
    once = compiled(small_networks.custom_cnn(SIZE, FACTS))

    def epoch(model: keras.Model) -> None:
        model.fit(held, months[:, None], batch_size=BATCH, verbose=0, shuffle=False)

    return ratio(lambda: epoch(twice), lambda: epoch(once))


def head_against_base(folder: Path) -> tuple[float, float]:
    """Speed of ten epochs of the head on features, without and with computing these."""
    images, sex, months = material(folder, BASE_CASES)
    network = small_networks.transfer_network("VGG16", SIZE, FACTS, task="age", weights_path=None)
    for layer in backbones.of_network(network):
        layer.trainable = False
    compiled(network)
    rows = np.arange(BASE_CASES)
    streamed = Batches(images, rows, sex, months, BATCH, seed=0)
    network.fit(streamed, verbose=0, shuffle=False)
    through_base = HEAD_EPOCHS * seconds(lambda: network.fit(streamed, verbose=0, shuffle=False))
    known = []
    computing = seconds(lambda: known.append(features.compute(network, images, rows, rows)))
    head = compiled(features.head_network(network))

    def ten_epochs():
        fed = FeatureBatches(known[0], rows, sex, months, BATCH, seed=0)
        head.fit(fed, epochs=HEAD_EPOCHS, verbose=0, shuffle=False)

    ten_epochs()
    on_features = seconds(ten_epochs)
    return through_base / on_features, through_base / (computing + on_features)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = material(folder, CASES)
        quicker, with_computing = head_against_base(folder)
        figures = {
            "devices": devices.describe(),
            "head_speedup": quicker,
            "head_speedup_with_features": with_computing,
            "store_cnn": store_against_memory(
                compiled(small_networks.custom_cnn(SIZE, FACTS)), data
            ),
            "store_one_convolution": store_against_memory(compiled(one_convolution()), data),
            "augmentation_share": augmentation_share(data),
            "sam_step": sam_against_adamw(data),
        }
    held = (
        figures["head_speedup"] >= LEAST_HEAD
        and figures["store_cnn"] <= MOST_STORE
        and figures["store_one_convolution"] <= MOST_STORE_SMALL
        and figures["augmentation_share"] <= MOST_AUGMENTATION
        and figures["sam_step"] <= MOST_SAM
    )
    print(json.dumps(figures, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
