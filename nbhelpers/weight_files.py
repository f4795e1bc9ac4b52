"""Where pretrained weights lie: a given path, Keras' cache, a Kaggle data set, or the network.

The files are those of keras.applications without the classifier, under the names that Keras gives
them in its cache. A file of the same name that ends in `.weights.h5` (Keras' newer layout) counts
too.
"""

import contextlib
import difflib
import functools
import io
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras

from nbhelpers import locks, workspace
from nbhelpers.workspace import InputError

NO_WEIGHTS = "none"
IMAGENET = "imagenet"
IMAGENET_IF_FOUND = "imagenet if found"
DOWNLOAD_SIDE = 224  # MobileNet's files go by the side of the pictures; this is the usual one
SILENCE_SECONDS = 20.0  # without a byte from the server; Keras' own downloads wait for ever
DOWNLOAD_SECONDS = 1800.0  # that a run waits for another that downloads the same file
TF = "weights_tf_dim_ordering_tf_kernels"
WEIGHT_FILES = (
    {f"VGG{depth}": f"vgg{depth}_{TF}_notop.h5" for depth in (16, 19)}
    | {f"EfficientNetB{size}": f"efficientnetb{size}_notop.h5" for size in range(8)}
    | {
        f"EfficientNetV2{size}": f"efficientnetv2-{size.lower()}_notop.h5"
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    }
    | {
        f"ConvNeXt{size}": f"convnext_{size.lower()}_notop.h5"
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    }
    | {
        "InceptionV3": f"inception_v3_{TF}_notop.h5",
        "InceptionResNetV2": f"inception_resnet_v2_{TF}_notop.h5",
        "Xception": f"xception_{TF}_notop.h5",
    }
    | {
        f"ResNet{depth}{version}": f"resnet{depth}{version.lower()}_{TF}_notop.h5"
        for version in ("", "V2")
        for depth in (50, 101, 152)
    }
    | {f"DenseNet{depth}": f"densenet{depth}_{TF}_notop.h5" for depth in (121, 169, 201)}
    | {
        "MobileNet": "mobilenet_1_0_224_tf_no_top.h5",
        "MobileNet0.75": "mobilenet_7_5_224_tf_no_top.h5",
        "MobileNet0.5": "mobilenet_5_0_224_tf_no_top.h5",
        "MobileNet0.25": "mobilenet_2_5_224_tf_no_top.h5",
        "MobileNetV2": f"mobilenet_v2_{TF}_1.0_224_no_top.h5",
        "MobileNetV3Small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "MobileNetV3Large": "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    }
)


def check_name(backbone: str) -> None:
    """Raise InputError, with the nearest name, unless `backbone` is one of the known ones."""
    if backbone in WEIGHT_FILES:
        return
    lower = {name.lower(): name for name in WEIGHT_FILES}
    near = difflib.get_close_matches(backbone.lower(), lower, n=1, cutoff=0.0)
    raise InputError(
        f"backbone is {backbone!r}, which is not known. The nearest name is {lower[near[0]]!r}; "
        f"all are: {', '.join(WEIGHT_FILES)}."
    )


def constructor(backbone: str) -> Callable[..., keras.Model]:
    """The function of keras.applications that builds a backbone; MobileNets by their width."""
    check_name(backbone)
    width = backbone.removeprefix("MobileNet")
    if width.startswith("0."):
        return functools.partial(keras.applications.MobileNet, alpha=float(width))
    return getattr(keras.applications, backbone)


def find_weights(backbone: str, weights: str) -> Path | None:
    """The file that holds a backbone's weights, or None for random weights.

    Args:
        backbone: a name of `WEIGHT_FILES`.
        weights: `none`; `imagenet`: the file in Keras' cache (`$KERAS_HOME/models`), else
            attached on Kaggle, else downloaded by Keras; `imagenet if found`: the same without
            a download, and None where there is no file; anything else is the path of a file.

    Raises:
        InputError: the backbone is unknown, the path is no file, or there is no way to get the
            weights; the message says how to get them.
    """
    check_name(backbone)
    if weights == NO_WEIGHTS:
        return None
    if weights not in (IMAGENET, IMAGENET_IF_FOUND):
        path = Path(weights).expanduser()
        if not weights or not path.is_file():
            raise InputError(
                f"weights is {weights!r}, which is no file. Write {IMAGENET}, "
                f"{IMAGENET_IF_FOUND}, {NO_WEIGHTS} or the path of a file for {backbone}."
            )
        return path.resolve()
    # Keras writes a download under its final name from the first byte on: another run must not
    # take half a file for a whole one.
    file_name = WEIGHT_FILES[backbone]
    lock = Path(tempfile.gettempdir()) / f"nbhelpers-{os.getuid()}-{file_name}.lock"
    busy = f"Process {{process}} has been downloading {file_name} for long. End it, or wait."
    with locks.hold(lock, busy, wait=DOWNLOAD_SECONDS):
        found = next(_copies(file_name), None)
        if found is None and weights == IMAGENET:
            found = _download(backbone)
    return found


def weights_label(weights_path: Path | None, weights: str, frozen: bool) -> str:
    """What pages call the weights that a model starts from.

    A frozen backbone of random weights is `random features`: nothing is transferred there.

    Args:
        weights_path: what `find_weights` gave for `weights`.
        frozen: whether the backbone stays as it is.
    """
    if weights_path is None:
        return "random features" if frozen else "random weights"
    return "ImageNet" if weights in (IMAGENET, IMAGENET_IF_FOUND) else weights_path.name


def _cache_folders() -> list[Path]:
    """Where Keras caches weights: its home, or below /tmp where it may not write there."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    return [Path(home).expanduser() / "models", Path(tempfile.gettempdir()) / ".keras" / "models"]


def _copies(file_name: str) -> Iterator[Path]:
    """Files of that name in Keras' cache, then attached on Kaggle."""
    names = (file_name, file_name.removesuffix(".h5") + ".weights.h5")
    for folder in _cache_folders():
        yield from (folder / name for name in names if (folder / name).is_file())
    for name in names:
        yield from workspace.find_attached(name)


def _download(backbone: str) -> Path:
    file_name = WEIGHT_FILES[backbone]
    workspace.log(f"downloading {file_name}")
    shape = (DOWNLOAD_SIDE, DOWNLOAD_SIDE, 3)
    try:
        # Keras' progress bar would fill the page of a run with thousands of lines.
        with _silence_limit(SILENCE_SECONDS), contextlib.redirect_stdout(io.StringIO()):
            constructor(backbone)(weights="imagenet", include_top=False, input_shape=shape)
        return next(_copies(file_name))
    except Exception as error:  # Keras raises a bare Exception where there is no network
        reason = str(error) or type(error).__name__
        raise InputError(
            f"weights is {IMAGENET!r}, but {file_name} for {backbone} is not here and cannot be "
            f"downloaded ({reason}). Attach a Kaggle data set that holds {file_name}, or put the "
            f"file at {_cache_folders()[0] / file_name}, or give its path as weights, or run "
            "`make report ... WEIGHTS=none` for random weights."
        ) from error


@contextlib.contextmanager
def _silence_limit(seconds: float) -> Iterator[None]:
    """Let connections made in the block fail after so many seconds without an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
