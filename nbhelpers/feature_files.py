"""Features on disk: one .npy file a view, appended batch by batch, so that a kill costs a batch.

Its name holds a key, the hash of all that the features depend on.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np

from nbhelpers import augmentation, networks, workspace
from nbhelpers.workspace import InputError

NUMBER = np.dtype(np.float32)


def path_of(folder: Path, model: str, key: str, view: int) -> Path:
    """The file of a view: `<model>.<key>.<view>.npy`."""
    return folder / f"{model}.{key}.{view}.npy"


def key_of(
    network: keras.Model, images: np.ndarray, rows: np.ndarray, varied: np.ndarray, seed: int
) -> str:
    """The hash of what features depend on: see `features.compute` for the arguments."""
    features = network.get_layer("picture_features").output
    backbone = keras.Model(network.get_layer("radiograph").output, features)
    # Neither enters the features: the card tells of ages too, and changes are drawn by `seed`.
    layers = [layer for layer in backbone.layers if layer.name not in ("card", "augmentation")]
    weights = [np.ascontiguousarray(weight) for layer in layers for weight in layer.get_weights()]
    amounts = ("ROTATION_DEGREES", "SHIFT_SHARE", "SCALE_SHARE", "GREY_SHARE")
    return workspace.hash_of(
        {
            "layers": [networks.settings_of(layer, ("name", "trainable")) for layer in layers],
            "weights": _hash_of_arrays(weights),
            "pictures": _hash_of_arrays(images[row] for row in rows),
            "rows": _hash_of_arrays([rows, varied]),
            "amounts": [getattr(augmentation, amount) for amount in amounts],
            "seed": seed,
            "backend": keras.backend.backend(),
        }
    )


def write_view(
    batches_from: Callable[[int], Iterator[np.ndarray]],
    shape: tuple[int, int],
    batch_size: int,
    path: Path,
    label: str,
) -> None:
    """Write features float32 of `shape` (cases, features a case), from where a kill left them.

    Args:
        batches_from: of a number of cases that are done already, a multiple of `batch_size`: gives
            the features of the others, batch by batch.
        label: of the progress.

    Raises:
        InputError: the disk is full, or a feature is no number.
    """
    partial = path.with_name(f".{path.name}.partial")
    batch_bytes = batch_size * shape[1] * NUMBER.itemsize
    with workspace.explained_errors(path), partial.open("ab", buffering=0) as file:
        whole_batches = file.tell() // batch_bytes
        file.truncate(whole_batches * batch_bytes)  # the last one may have been cut short
        done = whole_batches * batch_size
        finished = _append(batches_from(done), file, label)
        for _ in workspace.progress(finished, shape[0] - done, label):
            pass
    with workspace.atomic_path(path) as temporary:
        np.save(temporary, np.fromfile(partial, NUMBER).reshape(shape))
    partial.unlink()


def remove(folder: Path, model: str, but: str = "") -> None:
    """Remove the files of a model, finished or not, except those of one key."""
    name = re.compile(rf"\.?{re.escape(model)}\.([0-9a-f]{{16}})\.\d+\.npy(\.partial)?")
    for path in folder.glob("*"):
        own = name.fullmatch(path.name)
        if own and own[1] != but:
            path.unlink()


def _append(batches: Iterator[np.ndarray], file: BinaryIO, label: str) -> Iterator[None]:
    """Write batches; yields once a case that is written."""
    for batch in batches:
        if not np.isfinite(batch).all():
            raise InputError(
                f"{label}: some are infinite or no numbers. The weights do not suit the backbone, "
                "or the precision is too low: choose float32 or other weights."
            )
        left = memoryview(np.ascontiguousarray(batch, NUMBER)).cast("B")
        while left:
            left = left[file.write(left) :]
        yield from [None] * len(batch)


def _hash_of_arrays(arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()
