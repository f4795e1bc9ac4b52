"""Train a small network with everything random switched on: `python training_victim.py OUT EPOCHS
PATIENCE`. Run by test_training_kill, which kills it; writes OUT/weights.npz and OUT/history.csv."""

import sys
from pathlib import Path

import keras
import numpy as np

from nbhelpers.models import batches, networks, training

SIZE, N = 24, 64
FACTS = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5}


def main(out: Path, epochs: int, patience: int) -> None:
    rng = np.random.default_rng(3)
    light = rng.uniform(0, 1, N)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (N, SIZE, SIZE))).astype(np.uint8)
    months = 60 + 100 * light
    material = batches.Material(
        pictures, rng.integers(0, 2, N).astype(np.float32), months, np.arange(48), np.arange(48, N)
    )

    def build():
        keras.utils.set_random_seed(0)
        options = {"widths": (4, 8), "convolutions_per_block": 1, "dense_units": 8}
        return networks.custom_cnn(SIZE, FACTS, dropout=0.3, **options)

    # A rate that is too high: the tuning loss gets worse and early stopping has something to stop.
    rate = 1e-2 if patience >= epochs else 3.0
    schedule = training.Schedule(
        epochs, 16, rate, warmup_share=0.3, averaging=0.9, patience=patience, seed=5
    )
    network, history = training.fit_network(
        build, "age", material, schedule, out / "models" / ".cnn.age.training.npz"
    )
    history.drop(columns="seconds").to_csv(out / "history.csv", index=False)
    np.savez(out / "weights.npz", *network.get_weights())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
