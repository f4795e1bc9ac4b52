"""One network from the first step to the model that is saved: devices, precision, phases, resume.

A frozen backbone's head is trained on features computed once. A pretrained backbone that is to be
fine-tuned gets its head trained so first, since a random head's large gradients would wreck what
the backbone knows (Keras' guide to transfer learning); then everything is trained.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers import backbones, devices, features, materials, networks, training, workspace
from nbhelpers.materials import Material, training_batches, tuning_batches
from nbhelpers.optimisers import Schedule
from nbhelpers.shared_batches import whole_batches

HEAD_EPOCHS = 15  # of the head before fine-tuning: on cached features they cost seconds
HEAD_RATE = 1e-3
AVERAGING = 0.99  # of the weights, over about a hundred steps


def fit_network(
    build: Callable[[], keras.Model],
    task: str,
    material: Material,
    schedule: Schedule,
    state_path: Path,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train all of a network on every device there is.

    Args:
        build: gives the uncompiled network, the same at every call.
        state_path: file that a killed training goes on from; the caller removes it once the model
            is saved.

    Returns:
        The network in float32 with the weights of its best epoch, and the history.
    """
    with devices.several_devices():
        network = build()
        history = _fit_all(network, task, material, schedule, state_path)
    return devices.float32_twin(build, network), history


def fit_transfer(
    build: Callable[[], keras.Model],
    task: str,
    material: Material,
    schedule: Schedule,
    state_path: Path,
    *,
    frozen: bool,
    pretrained: bool,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train a network on a backbone: its head alone, or its head and then everything.

    Args:
        build: as for `fit_network`; gives a network of `backbones.transfer_network`.
        frozen: leave the backbone as it is.
        pretrained: the backbone's weights were read from a file. Random ones that are not frozen
            are trained from the first step: a head on them has nothing to learn from.

    Returns:
        As `fit_network`; the history is that of the last phase.
    """
    with devices.several_devices():
        network = build()
        if frozen or pretrained:
            backbones.freeze(network)
            head_schedule = schedule if frozen else head_first(schedule)
            views = features.FEATURE_VIEWS if frozen else 1
            history = _fit_head(network, task, material, head_schedule, state_path, views)
        if not frozen:
            backbones.unfreeze(network, batch_norm=True)
            history = _fit_all(network, task, material, schedule, state_path)
    return devices.float32_twin(build, network), history


def head_first(schedule: Schedule) -> Schedule:
    """The schedule of the head before fine-tuning."""
    return replace(schedule, epochs=HEAD_EPOCHS, learning_rate=HEAD_RATE, optimiser="adamw")


def head_state(state_path: Path) -> Path:
    """Where the state of the head's own training is kept."""
    return state_path.with_name(f"{state_path.stem}.head{state_path.suffix}")


def forget(state_path: Path) -> None:
    """Remove what a killed training would have gone on from, once the model is saved."""
    for path in (state_path, head_state(state_path)):
        path.unlink(missing_ok=True)
    features.forget(*_features_of(state_path))


def _fit_head(network, task, material, schedule, state_path, views: int) -> pd.DataFrame:
    """Train the head of a network whose backbone is frozen, on features computed once."""
    folder, name = _features_of(state_path)
    rows = np.concatenate([material.train, material.tuning])
    known = features.compute(
        network,
        material.images,
        rows,
        material.train,
        folder,
        name,
        views=views,
        seed=schedule.seed,
    )
    columns = (material.sex, material.target)

    def of_epoch(epoch: int):
        of_train = features.FeatureBatches(
            known,
            material.train,
            *columns,
            schedule.batch_size,
            order=(schedule.seed, epoch),
            unknown_sex=material.unknown_sex,
            weights=material.weights,
        )
        return whole_batches(of_train, training=True)

    tuning = features.FeatureBatches(
        known,
        material.tuning,
        *columns,
        materials.EVALUATION_BATCH,
        unknown_sex=material.unknown_sex,
    )
    key = workspace.hash_of([known.key, _key(network, material, schedule)])
    head = features.head_network(network)
    tuning = whole_batches(tuning, training=False)
    return training.fit(head, task, of_epoch, tuning, schedule, head_state(state_path), key)


def _fit_all(network, task, material, schedule, state_path) -> pd.DataFrame:
    devices.synchronise(network)
    ordered = training_batches(material, schedule.batch_size, schedule.seed)
    return training.fit(
        network,
        task,
        lambda epoch: whole_batches(ordered(epoch), training=True),
        whole_batches(tuning_batches(material), training=False),
        schedule,
        state_path,
        _key(network, material, schedule),
    )


def _features_of(state_path: Path) -> tuple[Path, str]:
    """Folder and name of the features of the model that is trained."""
    name = state_path.name.removeprefix(".").removesuffix(".training.npz")
    return state_path.parent.parent / "features", name


def _key(network, material, schedule) -> str:
    facts = networks.model_facts(network)
    return training.training_key(facts, schedule, material.train, network)
