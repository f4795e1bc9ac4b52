"""Saved models: written whole, read in safe mode, asked for months or stage probabilities.

A model's file tells which prepared pictures it takes, so that ones that this version of the suite
would prepare otherwise are refused.

Elsewhere, `keras.models.load_model(path)` reads a `.keras` file after
`import nbhelpers.models.networks`, which knows its layers. Keras is imported where a network is
read or asked: trees need none of it, and it takes seconds.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xgboost

from nbhelpers import predictions, workspace
from nbhelpers.images.preparation import VERSION, Preparation, load_preparation, read_description
from nbhelpers.models import ensembles, hog
from nbhelpers.models.ensembles import Combination
from nbhelpers.models.material import Material, pictures_of
from nbhelpers.workspace import InputError

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 128
LONG = 20  # batches, from which on predicting tells how far it is
SUFFIXES = (".keras", ".ubj", ".json")


def save(model: keras.Model, path: Path) -> keras.Model:
    """Write the model atomically as `.keras`, without the optimiser, and read it back.

    It computes in float32 from then on: a layer keeps its policy in the file, so a network trained
    in half precision would compute in half precision wherever it is loaded.
    """
    config = json.dumps(model.get_config())
    for policy in ("mixed_float16", "mixed_bfloat16"):
        config = config.replace(f'"{policy}"', '"float32"')
    # A compiled model would be saved with its optimiser: Keras 3 drops `include_optimizer`.
    plain = model.__class__.from_config(json.loads(config))
    plain.set_weights(model.get_weights())
    with workspace.atomic_path(path) as temporary:
        plain.save(temporary)
    # Not `plain`: EfficientNet's normalisation works with copies of its weights, made when read.
    return load(path)


def load(path: Path) -> keras.Model:
    """Read a model in safe mode."""
    import keras

    import nbhelpers.models.networks  # noqa: F401  # its layers

    return keras.saving.load_model(path, safe_mode=True, compile=False)


def predict(
    model: keras.Model,
    images: np.ndarray,
    sex: np.ndarray,
    rows: np.ndarray | None = None,
    averaged: bool = True,
) -> np.ndarray:
    """Months `[n]` or stage probabilities `[n, 5]` of prepared radiographs.

    Where sex is unknown (NaN): the mean over both sexes, weighted by the training share of boys,
    which the model's card carries.

    Args:
        images: prepared radiographs, uint8 `[case, height, width]`.
        sex: `[case]`, 0 female, 1 male, NaN unknown.
        rows: row numbers `[n]` to predict; None: all.
        averaged: take the mean over `networks.VIEWS` of a radiograph, not the radiograph as it is.
    """
    rows = np.arange(len(images)) if rows is None else rows
    sex = np.asarray(sex, np.float32)
    known = _predict_rows(model, images, np.nan_to_num(sex, nan=0.0), rows, averaged)
    unknown = np.flatnonzero(np.isnan(sex[rows]))
    if len(unknown):
        share = model.get_layer("card").facts["male_share"]
        as_male = _predict_rows(model, images, np.ones_like(sex), rows[unknown], averaged)
        known[unknown] = share * as_male + (1 - share) * known[unknown]
    return known[:, 0] if known.shape[1] == 1 else known


def picture_features(
    network: keras.Model, images: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """What pooling leaves of a network's last maps, its layer `picture_features`: `[n, k]`.

    Args:
        images, rows: see `predict`.
    """
    import keras

    seen = keras.Model(network.inputs, network.get_layer("picture_features").output)
    return predict(seen, images, np.zeros(len(images)), rows, averaged=False)


def predict_unseen(
    folder: Path,
    model: str,
    members: dict[str, keras.Model | xgboost.Booster],
    materials: list[Material],
    hog_features: np.ndarray | None = None,
) -> None:
    """Predict every case that a model was not trained on and write the prediction table.

    Of several networks or boosters, one a fold or one a seed, their plain mean is saved as the
    model; those of a seed each get a table of their own too.

    Args:
        members: as saved, by name; one, one a fold or one a seed. A case's prediction is the mean
            of those that did not see it in training.
        materials: what each was trained on.
        hog_features: `[case, k]`, of boosters.
    """
    task = materials[0].card["task"]
    _forget(folder, model, task, members)
    if len(members) > 1:
        mean = ensembles.equal(task, (*members,), materials[0].unknown_sex)
        save_ensemble(folder, model, mean)
    table = materials[0].table
    unseen = [np.setdiff1d(np.arange(len(table)), part.train) for part in materials]
    rows = np.unique(np.concatenate(unseen))
    said = {}
    for (name, one), part, own in zip(members.items(), materials, unseen, strict=True):
        if hog_features is None:
            found = predict(one, part.images, part.sex, own)
        else:
            found = hog.predict_features(one, hog_features[own], part.sex[own], part.unknown_sex)
        said[name] = np.full((len(rows), *found.shape[1:]), np.nan)
        said[name][np.searchsorted(rows, own)] = found
    mean, cases = {model: np.nanmean([*said.values()], axis=0)}, table.iloc[rows]
    of_folds = len(rows) > len(unseen[0])  # else all were trained on the same cases
    for name, predicted in (mean if of_folds else said | mean).items():
        predictions.save_predictions(folder, name, task, cases, predicted, of_folds)


def _forget(folder: Path, model: str, task: str, members: Iterable[str]) -> None:
    """Remove what an earlier run of a model left, so that it is not read: files of other seeds or
    folds, and the mean, intervals or sets that were made of its predictions."""
    for path in folder.glob(f"*/{model}*.{task}.*"):
        name, made_of = path.name.split(".")[0], path.suffix == ".json"
        if re.fullmatch(rf"{model}(_(fold|seed)\d+)?", name) and (made_of or name not in members):
            path.unlink()


def _predict_rows(model, images, sex, rows, averaged: bool) -> np.ndarray:
    from nbhelpers.models.networks import VIEWS, changed

    starts = range(0, len(rows), BATCH_SIZE)
    if len(starts) >= LONG:
        starts = workspace.progress(starts, len(starts), f"predictions, batches of {BATCH_SIZE}")
    said = []
    for start in starts:
        part = rows[start : start + BATCH_SIZE]
        pictures, codes = images[part][..., None], sex[part][:, None]
        views = (changed(pictures, draws) for draws in VIEWS) if averaged else [pictures]
        each = [model.predict_on_batch([view, codes]).astype(np.float64) for view in views]
        said.append(np.mean(each, axis=0))
    return np.concatenate(said)


def save_ensemble(run_folder: Path, model: str, combination: Combination) -> None:
    """Save an ensemble of models of the run folder, as JSON with its members' files and SHA-256.

    Of a member there may be its prediction table alone, made elsewhere. Then the ensemble can be
    scored, but can predict no new picture: the log says so, and nothing is saved.

    Raises InputError where members want pictures prepared in different ways: one picture could not
    be given to all of them.
    """
    members, task = combination.members, combination.task
    saved_as = run_folder / "models" / f"{model}.{task}.json"
    try:
        paths = [find_model(run_folder, member, task) for member in members]
    except InputError as missing:
        workspace.log(f"{model} is scored, but predicts no new radiograph: {missing}")
        saved_as.unlink(missing_ok=True)
        return
    preparations = [_facts(path).get("preparation") for path in paths]
    for member, preparation in zip(members, preparations, strict=True):
        if preparation != preparations[0]:
            raise InputError(
                f"{member} wants pictures of preparation {preparation}, {members[0]} of "
                f"{preparations[0]}: an ensemble gives all its members the same. Leave one out."
            )
    content = asdict(combination) | {
        "preparation": preparations[0],
        "files": {path.name: _sha256(path) for path in paths},
    }
    workspace.write_json(saved_as, content)


def saved_networks(run_folder: Path) -> dict[tuple[str, str], Path]:
    """Name and task of every model that is a network, sorted, and the network's file.

    A model may be the mean of several, one a fold or one a seed: its first stands for it, and the
    log says so. Networks without predictions of their own are left out.
    """
    found = {}
    for task in predictions.TASKS:
        for model in predictions.saved_models(run_folder, task):
            parts = (f"models/{model}_{part}*.{task}.keras" for part in ("fold", "seed"))
            members = [path for of in parts for path in workspace.find_run_files(run_folder, of)]
            if members:
                shown = f"{len(members)} networks: {members[0].name} is shown"
                workspace.log(f"{model} {task} is the mean of {shown}")
            own = workspace.find_run_files(run_folder, f"models/{model}.{task}.keras")
            for path in [*own, *members][:1]:
                found[model, task] = path
    return dict(sorted(found.items()))


def find_model(run_folder: Path, model: str, task: str) -> Path:
    """The file of a saved model of any kind; raises InputError where there is none."""
    names = [f"models/{model}.{task}{suffix}" for suffix in SUFFIXES]
    found = [path for name in names for path in workspace.find_run_files(run_folder, name)]
    if not found and model in predictions.saved_models(run_folder, task):
        raise InputError(
            f"{run_folder} has the predictions of {model} ({task}), but not the model. Make it "
            "here, for an ensemble those of its members, or remove its predictions/ files."
        )
    return found[0] if found else workspace.find_run_file(run_folder, names[0])


def predict_cases(
    run_folder: Path, model: str, task: str, case_ids: Sequence[str], sex: np.ndarray
) -> np.ndarray:
    """What a saved model of any kind says of some cases, given these sexes: see `predict`.

    Raises InputError where the model is not in the run folder, or a member of an ensemble is
    another file than it was made of, or the pictures were prepared anew since.
    """
    model_views(run_folder, model, task)
    images_of = functools.partial(pictures_of, run_folder, case_ids=case_ids)
    return predict_each(run_folder, [model], task, images_of, sex)[model]


def predict_each(
    run_folder: Path,
    models: list[str],
    task: str,
    images_of: Callable[[str], np.ndarray],
    sex: np.ndarray,
    read: Callable[[Path], keras.Model] = load,
) -> dict[str, np.ndarray]:
    """What each of some saved models says; a member of several ensembles is asked once.

    Args:
        images_of: the prepared radiographs of a view, uint8 `[n, height, width]`.
        sex: `[n]`, 0 female, 1 male, NaN unknown.
        read: gives the network of a file; one that keeps networks spares later calls the reading.
    """
    said: dict[str, np.ndarray] = {}

    def ask(model: str) -> np.ndarray:
        if model not in said:
            path = find_model(run_folder, model, task)
            if path.suffix == ".json":
                combination = _load_ensemble(run_folder, path)
                of_members = [ask(member) for member in combination.members]
                said[model] = ensembles.combine(combination, np.stack(of_members, axis=1), sex)
            elif path.suffix == ".keras":
                network = read(path)
                view = network.get_layer("card").facts["view"]
                said[model] = predict(network, images_of(view), sex)
            else:
                booster = xgboost.Booster(model_file=path)
                said[model] = hog.predict(booster, images_of(hog.model_facts(booster)["view"]), sex)
        return said[model]

    return {model: ask(model) for model in models}


def model_views(run_folder: Path, model: str, task: str) -> list[tuple[str, str]]:
    """The views that a saved model, or its members, take, each with its preparation's hash.

    Raises InputError where pictures of a view are of another preparation by now.
    """
    path = find_model(run_folder, model, task)
    if path.suffix == ".json":
        members = ensembles.from_json(workspace.read_json(path), path.name).members
        return [view for member in members for view in model_views(run_folder, member, task)]
    facts = _facts(path)
    if facts["preparation"] != (now := read_description(run_folder, facts["view"])["hash"]):
        raise InputError(
            f"{model} was made with pictures of preparation {facts['preparation']}; the view "
            f"{facts['view']} in {Path(run_folder).name} is of {now}. Run the profile again."
        )
    return [(facts["view"], facts["preparation"])]


def _load_ensemble(run_folder: Path, path: Path) -> Combination:
    """An ensemble; raises InputError where a member is another file than it was made of."""
    content = workspace.read_json(path)
    combination = ensembles.from_json(content, path.name)
    for name, sha256 in content["files"].items():
        found = workspace.find_run_files(run_folder, f"models/{name}")
        if not found or _sha256(found[0]) != sha256:
            raise InputError(
                f"{path.name} is made of {', '.join(combination.members)}, but the file {name} is "
                "missing or was changed. Run the notebook that makes it again."
            )
    return combination


def _facts(path: Path) -> dict:
    """The facts that a saved model carries: preparation, view and more."""
    if path.suffix == ".keras":
        # Out of the file's description of its layers: to build a network takes seconds.
        with zipfile.ZipFile(path) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        return next(la for la in layers if la["class_name"] == "ModelCard")["config"]["facts"]
    if path.suffix == ".ubj":
        return hog.model_facts(xgboost.Booster(model_file=path))
    return workspace.read_json(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def view_of(run_folder: Path, model: str, task: str) -> str:
    """The view that a model takes; of an ensemble, that of its first member."""
    return model_views(run_folder, model, task)[0][0]


def preparations(run_folder: Path, models: Iterable[tuple[str, str]]) -> dict[str, Preparation]:
    """How the pictures of every view that models (name, task) take are prepared, by view.

    Raises InputError where a model was made with pictures that this version of the suite would
    prepare in another way: new ones would not be like them.
    """
    named = [view for model in models for view in model_views(run_folder, *model)]
    found = {}
    for view, _ in sorted(set(named)):
        found[view] = load_preparation(run_folder, view)
        version = read_description(run_folder, view)["version"]
        if version != VERSION:
            raise InputError(
                f"Models of {Path(run_folder).name} were made with pictures of version {version} "
                f"of the preparation; this suite prepares by version {VERSION}. Run the profile "
                "again, or use the suite that made the models."
            )
    return found
