"""What several tests share: small folders of radiographs that pass every check."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

# The same examples each time: a test fails for a reason in the code, not by the day.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")


def write_image(path: Path, seed: int = 0, side: int = 8) -> None:
    """A square grey picture of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_radiographs(folder: Path, cases: int = 40, first_id: int = 1377, side: int = 8) -> Path:
    """A folder as Kaggle lays it out, with `cases` radiographs of some pixels; returns it.

    Girls and boys in turn, ages spread over 6 to 228 months.
    """
    images = folder / "boneage-training-dataset" / "boneage-training-dataset"
    lines = ["id,boneage,male"]
    for index in range(cases):
        age = 6 + 6 * ((index * 17) % 38)
        lines.append(f"{first_id + index},{age},{bool(index % 2)}")
        write_image(images / f"{first_id + index}.png", seed=index, side=side)
    (folder / "boneage-training-dataset.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    """A folder of 40 radiographs that passes every check, ids 1377 to 1416."""
    return write_radiographs(tmp_path / "radiographs")


@pytest.fixture
def eagerly():
    """TensorFlow without compiling, which of a few steps takes nearly all the time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
