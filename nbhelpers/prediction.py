"""Saved models: written whole, read in safe mode, asked for months or stage probabilities."""

from pathlib import Path

import keras
import numpy as np

from nbhelpers import networks, workspace
from nbhelpers.batches import Batches

BATCH_SIZE = 128


def save(model: keras.Model, path: Path) -> None:
    """Write the model atomically as `.keras`, without the optimiser."""
    with workspace.atomic_path(path) as temporary:
        model.save(temporary, include_optimizer=False)


def load(path: Path) -> keras.Model:
    """Read a model in safe mode."""
    return keras.saving.load_model(path, safe_mode=True, compile=False)


def predict(
    model: keras.Model, images: np.ndarray, sex: np.ndarray, flip: bool = True
) -> np.ndarray:
    """Months `[n]` or stage probabilities `[n, 5]` of prepared radiographs.

    Where sex is unknown (NaN): the mean over both sexes, weighted by the training share of boys,
    which the model's card carries.

    Args:
        images: uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown.
        flip: average the radiograph and its mirror image.
    """
    sex = np.asarray(sex, np.float32)
    known = _predict_views(model, images, np.nan_to_num(sex, nan=0.0), flip)
    unknown = np.flatnonzero(np.isnan(sex))
    if len(unknown):
        share = networks.model_facts(model)["male_share"]
        as_male = _predict_views(model, images[unknown], np.ones(len(unknown)), flip)
        known[unknown] = share * as_male + (1 - share) * known[unknown]
    return known[:, 0] if known.shape[1] == 1 else known


def _predict_views(model, images, sex, flip: bool) -> np.ndarray:
    views = (images, images[:, :, ::-1]) if flip else (images,)
    rows = np.arange(len(images))
    total = 0.0
    for view in views:
        batches = Batches(view, rows, sex, None, BATCH_SIZE)
        total = total + model.predict(batches, verbose=0).astype(np.float64)
    return total / len(views)
