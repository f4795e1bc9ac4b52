"""The one file that a training goes on from: written after every epoch, atomically.

It holds all variables of the model (seed states of augmentation and dropout among them), those of
the optimiser (averaged weights among them), the weights of the best epoch and the history, from
which the counters of early stopping follow. The order of the batches follows from seed and epoch.
"""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from nbhelpers import workspace


def keep(model: keras.Model, history: list[dict], best: list, path: Path, key: str) -> None:
    """Write the state after an epoch; `best` are the weights of the best epoch."""
    values = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    arrays = {f"variable_{i}": value for i, value in enumerate(values)}
    arrays |= {f"best_{i}": weight for i, weight in enumerate(best)}
    arrays["told"] = np.array(json.dumps({"key": key, "history": history, "best": len(best)}))
    with workspace.atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def restore(model: keras.Model, path: Path, key: str) -> tuple[list[dict], list[np.ndarray]]:
    """Put a compiled model into the state of `path`; returns the history and the best weights.

    Both are empty, and the model is untouched, where there is no file, or one of another training
    (`key`), or a damaged one.
    """
    if not path.exists():
        return [], []
    try:
        with np.load(path, allow_pickle=False) as kept:
            told = json.loads(str(kept["told"]))
            if told["key"] != key:
                workspace.log(f"{path.name} is of another training; starting anew")
                return [], []
            values = [kept[f"variable_{number}"] for number in range(len(_variables(model)))]
            best = [kept[f"best_{number}"] for number in range(told["best"])]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        workspace.log(f"{path.name} cannot be read ({error}); starting anew")
        return [], []
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)
    workspace.log(f"going on after epoch {len(told['history'])}")
    return told["history"], best


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]
