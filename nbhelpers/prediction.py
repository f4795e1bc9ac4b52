"""Saved models: written whole, read in safe mode, asked for months or stage probabilities."""

import hashlib
from pathlib import Path

import keras
import numpy as np

from nbhelpers import hog, networks, workspace
from nbhelpers.batches import Batches
from nbhelpers.workspace import InputError, find_run_file, read_json, write_json

BATCH_SIZE = 128
SUFFIXES = (".keras", ".ubj", ".json")


def save(model: keras.Model, path: Path) -> None:
    """Write the model atomically as `.keras`, without the optimiser."""
    # A compiled model would be saved with its optimiser: Keras 3 drops `include_optimizer`.
    plain = model.__class__.from_config(model.get_config())
    plain.set_weights(model.get_weights())
    with workspace.atomic_path(path) as temporary:
        plain.save(temporary)


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


def save_mean(run_folder: Path, model: str, task: str, members: list[str]) -> Path:
    """Save a model that is the mean of saved ones, as JSON with their files and SHA-256.

    Args:
        members: names of networks saved in the run folder for the same task.
    """
    files = [f"{member}.{task}.keras" for member in members]
    sums = {name: _sha256(run_folder / "models" / name) for name in files}
    path = run_folder / "models" / f"{model}.{task}.json"
    write_json(path, {"kind": "mean", "task": task, "members": sums})
    return path


def predict_saved(
    run_folder: Path, model: str, task: str, images: np.ndarray, sex: np.ndarray
) -> np.ndarray:
    """What a saved model of any kind says of prepared radiographs: see `predict`.

    Raises InputError where the model is not in the run folder, or a member of a mean is another
    file than it was made of.
    """
    names = [f"models/{model}.{task}{suffix}" for suffix in SUFFIXES]
    found = [name for name in names if (run_folder / name).exists()]
    path = find_run_file(run_folder, found[0] if found else names[0])
    if path.suffix == ".keras":
        return predict(load(path), images, sex)
    if path.suffix == ".ubj":
        return hog.predict(hog.load(path), images, sex)
    total = 0.0
    members = read_json(path)["members"]
    for name, recorded in members.items():
        member = path.parent / Path(name).name
        if not member.exists() or _sha256(member) != recorded:
            raise InputError(
                f"{path.name} is the mean of {', '.join(members)}, but {name} is missing or was "
                "changed. Run the notebook that makes it again."
            )
        total = total + predict(load(member), images, sex)
    return total / len(members)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
