"""What a frozen backbone sees: computed once, not once an epoch, and fed to the network's head.

A frozen backbone gives the same features for the same picture, so a few fixed views of each
training case take the place of an endless stream of changed ones. The head is trained on them and
shares its layers with the network: that is the whole network trained, ready to be saved, or to be
fine-tuned as a second phase.

Features on disk: one .npy file a view, appended batch by batch, so that a kill costs a batch.

Its name holds a key, the hash of all that the features depend on.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np

from nbhelpers import workspace
from nbhelpers.models import networks
from nbhelpers.models.batches import Batches
from nbhelpers.workspace import InputError

NUMBER = np.dtype(np.float32)


def path_of(folder: Path, model: str, key: str, view: int) -> Path:
    """The file of a view: `<model>.<key>.<view>.npy`."""
    return folder / f"{model}.{key}.{view}.npy"


def key_of(
    network: keras.Model, images: np.ndarray, rows: np.ndarray, varied: np.ndarray, seed: int
) -> str:
    """The hash of what features depend on: see `compute` for the arguments."""
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
            "amounts": [getattr(networks, amount) for amount in amounts],
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


FEATURE_VIEWS = 4
BATCH_SIZE = 32  # at 512 px the first maps of VGG16 then take 2 GB each


@dataclass(frozen=True)
class Features:
    """Features of radiographs, by view and case.

    Attributes:
        key: hash of all that they depend on: backbone, pictures, rows, seed, backend.
        views: one float32 `[rows of the view, k]` a view, memory-mapped; the first is clean and
            holds every case asked for, the others hold the cases that were to be varied.
        places: one int `[case]` a view: where in the view a case stands, -1 where it does not.
    """

    key: str
    views: tuple[np.ndarray, ...]
    places: tuple[np.ndarray, ...]

    def take(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Features float32 `[n, k]` of cases `[n]`, each in its view of `views` `[n]`."""
        taken = np.empty((len(rows), self.views[0].shape[1]), np.float32)
        for view in np.unique(views):
            wanted = views == view
            places = self.places[view][rows[wanted]]
            if (places < 0).any():
                case = rows[wanted][places < 0][0]
                raise ValueError(f"case {case} has no features of view {view}: compute them first")
            taken[wanted] = self.views[view][places]
        return taken


class FeatureBatches(Batches):
    """Batches of rows: ([features float32 `[n, k]`, sex `[n, 1]`], target[, weight]).

    As `Batches`, with features in place of radiographs. `order=(seed, epoch)` fixes the order of
    the rows and the view in which each is shown in this epoch; without it all views are clean.
    """

    def __init__(self, features: Features, rows, sex, target, batch_size: int, **options):
        super().__init__(np.arange(len(sex)), rows, sex, target, batch_size, **options)
        self.features = features
        self.views = np.zeros(len(self.rows), int)
        if options.get("order") is not None:
            generator = np.random.default_rng((*options["order"], 1))  # apart from the order's
            self.views = generator.integers(0, len(features.views), len(self.rows))

    def __getitem__(self, number: int):
        (rows, sex), *others = super().__getitem__(number)
        views = self.views[number * self.batch_size :][: len(rows)]
        return ((self.features.take(rows[:, 0], views), sex), *others)


def head_network(network: keras.Model) -> keras.Model:
    """The part of a network after its features: [features `[n, k]`, sex `[n, 1]`] to its output.

    It shares its layers with `network`: training it trains the head of `network`.
    """
    layer = {layer.name: layer for layer in network.layers}
    features = keras.Input(layer["picture_features"].output.shape[1:], name="known_features")
    sex = keras.Input((1,), name="sex")
    # Not cut out by keras.Model([picture_features.output, sex], ...): where one of the inputs is
    # the network's own, Keras 3.15 can save the network no more.
    x, last = features, "picture_features"
    if "sex_features" in layer:
        x, last = layer["features"]([features, layer["sex_features"](sex)]), "features"
    for after in network.layers[list(layer).index(last) + 1 :]:
        if not isinstance(after, keras.layers.InputLayer):
            x = after(x)
    return keras.Model([features, sex], x, name=f"{network.name}_head")


def compute(
    network: keras.Model,
    images: np.ndarray,
    rows: np.ndarray,
    varied: np.ndarray,
    folder: Path,
    model: str,
    *,
    views: int = FEATURE_VIEWS,
    seed: int = 0,
) -> Features:
    """The features of a network's frozen backbone, from files where they are there already.

    A computation that was killed goes on from its last batch. Features of the same model that are
    of no use any more (other weights, other pictures) are removed.

    Args:
        network: with layers `scale`, `augmentation` and `picture_features`; it works in inference
            mode.
        images: uint8 `[case, height, width]`, memory-mapped.
        rows: cases that get a clean view.
        varied: cases among `rows` that get `views - 1` more, changed as in training
            (see `networks.change`) by draws that follow from `seed`, view and case.
        folder: where the files lie: `<model>.<key>.<view>.npy`.
        model: name of the model, which no other model in the run folder has.

    Raises:
        InputError: another process computes them, the disk is full, or features are no numbers.
    """
    rows, varied = np.asarray(rows), np.asarray(varied)
    busy = f"Features of {model} are being computed by process {{process}}. Wait for it to end."
    with workspace.hold(folder / f".{model}.lock", busy):
        key = key_of(network, images, rows, varied, seed)
        remove(folder, model, but=key)
        extractor_of = functools.cache(lambda changed: _extractor(network, changed))
        found = []
        for view in range(views):
            path = path_of(folder, model, key, view)
            cases = varied if view else rows
            if not path.exists():
                label = f"features of {model}, view {view + 1} of {views}"
                batches_from = _batches(extractor_of(view > 0), images, cases, view, seed)
                shape = (len(cases), network.get_layer("picture_features").output.shape[1])
                write_view(batches_from, shape, BATCH_SIZE, path, label)
            found.append(np.load(path, mmap_mode="r", allow_pickle=False))
    places = [_places(varied if view else rows, len(images)) for view in range(views)]
    return Features(key, tuple(found), tuple(places))


def forget(folder: Path, model: str) -> None:
    """Remove the features of a model, once the model is saved."""
    remove(folder, model)
    (folder / f".{model}.lock").unlink(missing_ok=True)


class _Change(keras.layers.Layer):
    """`networks.change` as a layer, which gets TensorFlow's own tensors.

    On Keras's symbolic tensors Keras 3.15 takes `[n, h, w, 1] + [n, 1, 1, 1]` for a bias by channel
    where n equals h, and shades the pictures wrongly.
    """

    def call(self, pictures, draws):
        return networks.change(pictures, draws)


def _batches(extractor, images, cases: np.ndarray, view: int, seed: int):
    """A function of the number of cases done: features of the next batches, float32 `[n, k]`."""
    # Drawn for all cases at once, so that neither the batch size nor a kill changes them.
    shape = (len(images), networks.DRAWS)
    draws = np.random.default_rng((seed, view)).uniform(-1, 1, shape).astype(np.float32)

    def batches_from(done: int) -> Iterator[np.ndarray]:
        for start in range(done, len(cases), BATCH_SIZE):
            # The last batch is filled up: another shape would be compiled anew.
            at = cases[np.arange(start, start + BATCH_SIZE) % len(cases)]
            pictures = images[at][..., None]
            seen = extractor.predict_on_batch([pictures, draws[at]] if view else pictures)
            yield np.asarray(seen, np.float32)[: min(BATCH_SIZE, len(cases) - start)]

    return batches_from


def _extractor(network: keras.Model, changed: bool) -> keras.Model:
    """From radiographs, and draws of the augmentation where `changed`, to features."""
    layers = ("radiograph", "scale", "augmentation", "picture_features")
    radiograph, pixels, stem, features = (network.get_layer(name).output for name in layers)
    extractor = keras.Model(radiograph, features)
    if changed:
        draws = keras.Input((networks.DRAWS,), name="draws")
        seen = keras.Model(stem, features)(_Change(dtype="float32")(pixels, draws))
        extractor = keras.Model([radiograph, draws], seen)
    extractor.compile(jit_compile=False)  # why: see `training.compile_model`
    return extractor


def _places(rows: np.ndarray, n_cases: int) -> np.ndarray:
    places = np.full(n_cases, -1)
    places[rows] = np.arange(len(rows))
    return places
