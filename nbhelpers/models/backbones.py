"""Backbones of keras.applications in one flat network, each fed its own range of grey levels.

The backbone is built with `input_tensor=`, so that the network's graph is flat: features, Grad-CAM
and the saved file reach every layer. Between the radiograph and the backbone stands one affine map,
the layer `stem_range`, and `assert_stem_range` checks what leaves it. A new family is one row of
`FAMILIES`.
"""

import contextlib
import io
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from nbhelpers import parameters, workspace
from nbhelpers.workspace import InputError

NO_WEIGHTS = "none"
IMAGENET = "imagenet"
IMAGENET_IF_FOUND = "imagenet if found"
DOWNLOAD_SIDE = 224  # MobileNet's files go by the side of the pictures; this is the usual one
SILENCE_SECONDS = 20.0  # without a byte from the server; Keras' own downloads wait for ever
# ImageNet's mean and SD by channel, red first, of values in [0, 1], as in keras.applications.
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A hundred-odd steps an epoch: with Keras' 0.99 to 0.999 the moving statistics would lag behind.
MOMENTUM = 0.9
DOWN_SAMPLING = 1.5  # a side that shrinks by less is an unpadded convolution's

# What each family's own `preprocess_input` makes of a grey level in [0, 255]: (scale, offset).
AS_IT_IS = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))  # these families normalise inside
PLUS_MINUS_ONE = ((1 / 127.5,) * 3, (-1.0, -1.0, -1.0))
BLUE_FIRST = ((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68))
STANDARD = (tuple(1 / (255 * s) for s in SD), tuple(-m / s for m, s in zip(MEAN, SD, strict=True)))

EFFICIENTNETS_2 = ("B0", "B1", "B2", "B3", "S", "M", "L")
CONVNEXTS = ("Tiny", "Small", "Base", "Large", "XLarge")
MOBILENETS_3 = "weights_mobilenet_v3_{}_224_1.0_float_no_top_v2.h5"
TF = "weights_tf_dim_ordering_tf_kernels"
# Names in keras.applications; files without the classifier, as in Keras' cache; what both differ by
# within the family; range of grey levels; smallest side that Keras admits, pixels.
FAMILIES = (
    ("VGG{}", "vgg{}_{TF}_notop.h5", (16, 19), BLUE_FIRST, 32),
    ("EfficientNetB{}", "efficientnetb{}_notop.h5", range(8), AS_IT_IS, 32),
    ("EfficientNetV2{}", "efficientnetv2-{}_notop.h5", EFFICIENTNETS_2, AS_IT_IS, 32),
    ("ConvNeXt{}", "convnext_{}_notop.h5", CONVNEXTS, AS_IT_IS, 32),
    ("InceptionV{}", "inception_v{}_{TF}_notop.h5", (3,), PLUS_MINUS_ONE, 75),
    ("InceptionResNetV{}", "inception_resnet_v{}_{TF}_notop.h5", (2,), PLUS_MINUS_ONE, 75),
    ("Xception", "xception_{TF}_notop.h5", ("",), PLUS_MINUS_ONE, 71),
    ("ResNet{}", "resnet{}_{TF}_notop.h5", (50, 101, 152), BLUE_FIRST, 32),
    ("ResNet{}V2", "resnet{}v2_{TF}_notop.h5", (50, 101, 152), PLUS_MINUS_ONE, 32),
    ("DenseNet{}", "densenet{}_{TF}_notop.h5", (121, 169, 201), STANDARD, 32),
    ("MobileNet", "mobilenet_1_0_224_tf_no_top.h5", ("",), PLUS_MINUS_ONE, 32),
    ("MobileNet0.75", "mobilenet_7_5_224_tf_no_top.h5", ("",), PLUS_MINUS_ONE, 32),
    ("MobileNet0.5", "mobilenet_5_0_224_tf_no_top.h5", ("",), PLUS_MINUS_ONE, 32),
    ("MobileNet0.25", "mobilenet_2_5_224_tf_no_top.h5", ("",), PLUS_MINUS_ONE, 32),
    ("MobileNetV{}", "mobilenet_v{}_{TF}_1.0_224_no_top.h5", (2,), PLUS_MINUS_ONE, 32),
    ("MobileNetV3{}", MOBILENETS_3, ("Small", "Large"), AS_IT_IS, 32),
)


@dataclass(frozen=True)
class Backbone:
    """A backbone of keras.applications.

    Attributes:
        name: its name there, or MobileNet0.75, 0.5 or 0.25, by their width.
        scale, offset: a grey level g in [0, 255] enters channel c as `scale[c] * g + offset[c]`.
        smallest_side: of the pictures that it takes, pixels.
        weight_file: name of the file without the classifier, as Keras caches it.
    """

    name: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    smallest_side: int
    weight_file: str

    def build(self, **options) -> keras.Model:
        """What its function of keras.applications gives."""
        width = self.name.removeprefix("MobileNet")
        if width.startswith("0."):
            return keras.applications.MobileNet(alpha=float(width), **options)
        return getattr(keras.applications, self.name)(**options)


BACKBONES = {
    name.format(member): Backbone(
        name.format(member), *levels, side, file_name.format(str(member).lower(), TF=TF)
    )
    for name, file_name, members, levels, side in FAMILIES
    for member in members
}


def find(backbone: str) -> Backbone:
    """The row of a backbone; raises InputError with the nearest name."""
    if backbone not in BACKBONES:
        near = parameters.nearest(backbone, BACKBONES)
        raise InputError(f"backbone is {backbone!r}.{near} All are: {', '.join(BACKBONES)}.")
    return BACKBONES[backbone]


def find_weights(backbone: str, weights: str, frozen: bool = False) -> tuple[Path | None, str]:
    """The file that holds a backbone's weights, None for random ones, and what pages call them.

    A file of Keras' name that ends in `.weights.h5` (its newer layout) counts too. A frozen
    backbone of random weights is `random features`: nothing is transferred there.

    Args:
        backbone: a name of `BACKBONES`.
        weights: `none`; `imagenet`: the file in Keras' cache (`$KERAS_HOME/models`), else
            attached on Kaggle, else downloaded by Keras; `imagenet if found`: the same without
            a download, and None where there is no file; anything else is the path of a file.
        frozen: whether the backbone stays as it is.

    Raises:
        InputError: the backbone is unknown, the path is no file, or there is no way to get the
            weights; the message says how to get them.
    """
    row, found = find(backbone), None
    if weights not in (NO_WEIGHTS, IMAGENET, IMAGENET_IF_FOUND):
        path = Path(weights).expanduser()
        if not weights or not path.is_file():
            raise InputError(
                f"weights is {weights!r}, which is no file. Write {IMAGENET}, "
                f"{IMAGENET_IF_FOUND}, {NO_WEIGHTS} or the path of a file for {backbone}."
            )
        return path.resolve(), path.name
    if weights != NO_WEIGHTS:
        found = next(_copies(row.weight_file), None)
        if found is None and weights == IMAGENET:
            found = _download(row)
        if found is None:
            workspace.log(
                f"note: no {row.weight_file} is here, so {backbone} starts from random weights. "
                f"For ImageNet's, set weights to {IMAGENET!r} where there is internet (on Kaggle "
                "switch Internet on in the settings), or attach a data set or model that holds it."
            )
    if found is None:
        return None, "random features" if frozen else "random weights"
    return found, "ImageNet"


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


def _download(row: Backbone) -> Path:
    workspace.log(f"downloading {row.weight_file}")
    limit, shape = socket.getdefaulttimeout(), (DOWNLOAD_SIDE, DOWNLOAD_SIDE, 3)
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        # Keras' progress bar would fill the page of a run with thousands of lines.
        with contextlib.redirect_stdout(io.StringIO()):
            row.build(weights="imagenet", include_top=False, input_shape=shape)
        return next(_copies(row.weight_file))
    except Exception as error:  # Keras raises a bare Exception where there is no network
        reason = str(error) or type(error).__name__
        raise InputError(
            f"weights is {IMAGENET!r}, but {row.weight_file} for {row.name} is not here and cannot "
            f"be downloaded ({reason}). On Kaggle switch Internet on in the settings, or attach a "
            f"data set or model that holds {row.weight_file}; elsewhere put the file at "
            f"{_cache_folders()[0] / row.weight_file}, give its path as weights, or run "
            "`make report ... WEIGHTS=none` for random weights."
        ) from error
    finally:
        socket.setdefaulttimeout(limit)


def after_stem(chain: list) -> list:
    """The layers, or operations, of a chain after the layer `stem_range`."""
    names = [operation.name for operation in chain]
    return chain[names.index("stem_range") + 1 :]


def end_of_stage(whole: keras.Model, stages: int):
    """The feature map in which the first stages of a flat backbone end.

    A stage ends before the next down-sampling, at the last layer that all later ones get their
    input from: inside no residual block and in no branch.

    Args:
        whole: from the radiograph to the backbone's last feature map.
        stages: how many down-samplings the part holds.

    Raises:
        InputError: the backbone has fewer stages.
    """
    # A Sequential's own `output` is that of its inner graph, so the nodes are asked.
    nodes = [operation._inbound_nodes[0] for operation in after_stem(whole.operations)]
    alone, used_later = [], set()  # tensors that all later ones come from, the last first
    for node in reversed(nodes):
        tensor = node.output_tensors[0]
        if used_later <= {id(tensor)} and not isinstance(node.operation, layers.ZeroPadding2D):
            alone.append(tensor)
        used_later = (used_later - {id(tensor)}) | {id(given) for given in node.input_tensors}
    ends, stage, side = {}, 0, nodes[0].input_tensors[0].shape[1]
    for tensor in reversed(alone):
        stage += tensor.shape[1] * DOWN_SAMPLING <= side
        side = tensor.shape[1]
        ends[stage] = tensor
    if not 0 < stages <= stage:
        raise InputError(
            f"backbone_stages is {stages}; {whole.name} has {stage} on these pictures. 0 takes all."
        )
    return ends[stages]


def fill(chain: list[layers.Layer], plain: keras.Model | None) -> None:
    """Copy a backbone's weights into its flat layers and make these ready for training.

    Args:
        chain: the layers of the flat backbone.
        plain: the same backbone with an input of its own; None leaves the weights random.
    """
    if plain is not None:
        # By order, not by name: Keras numbers the names of many layers through.
        for layer, loaded in zip(chain, plain.layers[1:], strict=True):
            layer.set_weights(loaded.get_weights())
    for layer in chain:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
        # EfficientNet B0 to B7 alone keeps its normalisation as weights. Keras divides its output
        # by the root of SD once more, but only under weights="imagenet"; a variance times SD is
        # the same.
        if isinstance(layer, layers.Normalization) and layer.weights:
            mean, variance, count = layer.get_weights()
            if plain is None:
                mean, variance = np.array(MEAN), np.array(SD) ** 2
            layer.set_weights([mean, variance * np.array(SD), count])
            layer.finalize_state()  # the layer works with copies of its weights


def load(row: Backbone, path: Path) -> keras.Model:
    """A backbone without classifier, filled from a file in either of Keras' layouts.

    Raises InputError when the file is damaged or holds another network's weights.
    """
    plain = row.build(include_top=False, weights=None, input_shape=(224, 224, 3))
    try:
        with h5py.File(path) as file:
            legacy = "layer_names" in file.attrs or "model_weights" in file
        # Keras chooses its reader by the name, which does not always tell the layout.
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # Newer versions of Keras say this of lists that hold no layer of their own.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            link = Path(folder) / ("file.h5" if legacy else "file.weights.h5")
            link.symlink_to(path.resolve())
            plain.load_weights(link)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} is damaged or does not hold weights of {row.name} without its classifier "
            f"({reason}). Fetch it again, or name another file."
        ) from error
    if not all(np.isfinite(weight).all() for weight in plain.get_weights()):
        raise InputError(f"{path} is damaged: some weights of {row.name} are not numbers.")
    return plain


def application(backbone: str) -> Callable[..., keras.Model]:
    """The function of keras.applications that makes a backbone, `keras.applications.VGG16`, say."""
    return find(backbone).build


def stem(pixels, backbone: str):
    """Pixels `[n, height, width, 1]` in [-1, 1] as three channels in the backbone's own range.

    Raises InputError for an unknown backbone and for pictures that are too small for it.
    """
    row = find(backbone)
    if pixels.shape[1] < row.smallest_side:
        raise InputError(
            f"image_size is {pixels.shape[1]}; {backbone} takes pictures of at least "
            f"{row.smallest_side} pixels a side. Prepare larger ones or choose another backbone."
        )
    channels = layers.Concatenate(name="three_channels", dtype="float32")([pixels] * 3)
    scale = [127.5 * a for a in row.scale]
    offset = [127.5 * a + b for a, b in zip(row.scale, row.offset, strict=True)]
    return layers.Rescaling(scale, offset=offset, name="stem_range", dtype="float32")(channels)


def feature_maps(whole: keras.Model, backbone: str, weights_path: Path | None, stages: int = 0):
    """The last feature maps `[n, height, width, channels]` of a flat backbone, weights filled in.

    Args:
        whole: what `application(backbone)` made on `stem`, without a classifier, with random
            weights, from Keras' global seed (`keras.utils.set_random_seed`).
        weights_path: weights of the backbone without its classifier, in either of Keras' layouts
            (`.h5`, `.weights.h5`); None leaves them random.
        stages: ends the backbone before its down-sampling number `stages + 1`, for quick runs;
            0 takes the whole.

    Raises:
        InputError: more stages than it has, or a file that is damaged or another backbone's.
    """
    assert_stem_range(whole, backbone)
    plain = load(find(backbone), weights_path) if weights_path else None
    fill(after_stem(whole.layers), plain)
    return end_of_stage(whole, stages) if stages else whole.output


def assert_stem_range(network: keras.Model, backbone: str) -> None:
    """Raise ValueError unless black and white enter the backbone as its row says.

    Pictures normalised twice, or not at all, are the most reported mistake with these networks; it
    raises no error anywhere else.
    """
    row = find(backbone)
    radiograph = network.get_layer("radiograph").output
    stem = keras.Model(radiograph, network.get_layer("stem_range").output)
    grey = np.array([0, 255], np.uint8)
    got = stem(np.broadcast_to(grey[:, None, None, None], (2, *radiograph.shape[1:])))
    wanted = (grey[:, None] * np.array(row.scale) + row.offset)[:, None, None, :]
    got = keras.ops.convert_to_numpy(got)
    if not np.allclose(got, wanted, rtol=0, atol=1e-3 * np.ptp(wanted)):
        raise ValueError(
            f"{backbone} wants black and white as {wanted[0].round(3).tolist()} and "
            f"{wanted[1].round(3).tolist()}, but gets {got[0].min():.3f} to {got[0].max():.3f} and "
            f"{got[1].min():.3f} to {got[1].max():.3f}: normalised twice, or not at all?"
        )
