"""Train a small network with everything random switched on: `python training_victim.py OUT EPOCHS
PATIENCE`. Run by test_training_kill, which kills it; writes OUT/weights.npz and OUT/history.csv."""

import sys
from pathlib import Path

import keras
import numpy as np
import small_networks

from nbhelpers.models import batches
from nbhelpers.models.material import Material

SIZE, N = 24, 64
FACTS = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5}


def main(out: Path, epochs: int, patience: int) -> None:
    rng = np.random.default_rng(3)
    light = rng.uniform(0, 1, N)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (N, SIZE, SIZE))).astype(np.uint8)
    months = 60 + 100 * light
    sex = rng.integers(0, 2, N).astype(np.float32)
    material = Material(pictures, sex, months, np.arange(48), np.arange(48, N))
    keras.utils.set_random_seed(0)
    options = {"widths": (4, 8), "convolutions_per_block": 1, "dense_units": 8}
    network = small_networks.custom_cnn(SIZE, FACTS, dropout=0.3, **options)
    history = small_networks.fit(
        network,
        "age",
        batches.training_batches(material, 16, 5),
        batches.tuning_batches(material),
        epochs,
        # A rate that is too high: tuning gets worse and early stopping has something to stop.
        1e-2 if patience >= epochs else 3.0,
        state=out / "models" / ".cnn.age.training.npz",
        averaging=0.9,
        patience=patience,
    )
    history.drop(columns="seconds").to_csv(out / "history.csv", index=False)
    np.savez(out / "weights.npz", *network.get_weights())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
