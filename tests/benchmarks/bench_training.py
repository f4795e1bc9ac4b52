"""What training costs beside the network's own work.

1. `head_speedup`: ten epochs of VGG16's head on cached features against ten through the frozen
   base; with the features' computing, too, it is told but not promised;
2. `store_cnn`, `store_one_convolution`: an epoch of the custom CNN, and of a network of one
   convolution, fed from the memory-mapped store against arrays in memory;
3. `augmentation_share`: the augmentation's share of the custom CNN's step;
4. `sam_step`: a SAM step against an AdamW step.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import small_networks
from run import ratio, seconds

from nbhelpers.models import features, networks, sam
from nbhelpers.models.batches import Batches
from nbhelpers.models.material import Material
from nbhelpers.models.training import warm_up_and_decay

SIZE, CASES, BATCH = 112, 640, 32
BASE_CASES = 96  # through VGG16, which is slow on a processor
HEAD_EPOCHS = 10


def compiled(model: keras.Model) -> keras.Model:
    optimiser = keras.optimizers.AdamW(warm_up_and_decay(1e-3, 1000), weight_decay=1e-4)
    model.compile(optimiser, "mean_absolute_error", jit_compile=False)
    return model


def cnn() -> keras.Model:
    return small_networks.custom_cnn(SIZE, widths=(16, 32, 64, 128, 256), convolutions=2)


def one_convolution() -> keras.Model:
    radiograph, sex, pixels = networks.inputs(SIZE, small_networks.CARD)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=4)(pixels))
    output = small_networks.head(x, sex, "age", small_networks.CARD)
    return keras.Model([radiograph, sex], output)


def in_store(folder: Path, cases: int) -> Material:
    """Cases whose radiographs lie in a memory-mapped store."""
    data = small_networks.light_tells_age(cases, 0, SIZE)
    np.save(folder / "images.npy", data.images)
    return replace(data, images=np.load(folder / "images.npy", mmap_mode="r"))


def from_memory(model: keras.Model, data: Material, shuffle: bool = False) -> Callable[[], object]:
    """An epoch of training on arrays in memory."""
    held, months = [np.array(data.images)[..., None], data.sex[:, None]], data.target[:, None]
    return lambda: model.fit(held, months, batch_size=BATCH, verbose=0, shuffle=shuffle)


def from_store(model: keras.Model, data: Material) -> Callable[[], object]:
    streamed = Batches(data, data.train, BATCH, seed=0)
    return lambda: model.fit(streamed, verbose=0, shuffle=False)


def store_against_memory(model: keras.Model, data: Material) -> float:
    return ratio(from_store(model, data), from_memory(model, data, shuffle=True))


def augmentation_share(data: Material) -> float:
    """What the step takes less without the layer, as a share of the whole step."""
    changed, call = compiled(cnn()), networks.LightAugmentation.call
    try:
        networks.LightAugmentation.call = lambda self, pictures, training=False: pictures
        plain = from_memory(compiled(cnn()), data)
        plain()  # compiled now, which is why the layer stays switched off until then
    finally:
        networks.LightAugmentation.call = call
    return 1 - 1 / ratio(from_memory(changed, data), plain)


def sam_against_adamw(data: Material) -> float:
    twice = compiled(sam.SharpnessAware(cnn(), 0.05))
    return ratio(from_memory(twice, data), from_memory(compiled(cnn()), data))


def head_against_base(folder: Path) -> tuple[float, float]:
    """Speed of ten epochs of the head on features, without and with computing these."""
    data = in_store(folder, BASE_CASES)
    network = small_networks.transfer_network("VGG16", SIZE)
    through_base = from_store(compiled(network), data)
    through_base()
    slow, made = HEAD_EPOCHS * seconds(through_base), []
    computing = seconds(lambda: made.extend(features.head_on(network, data, views=4)))
    on_features = from_store(compiled(made[0]), made[1])
    on_features()
    quick = seconds(lambda: [on_features() for _ in range(HEAD_EPOCHS)])
    return slow / quick, slow / (computing + quick)


def figures() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        quicker, with_computing = head_against_base(Path(name))
        data = in_store(Path(name), CASES)
        return {
            "head_speedup": quicker,
            "head_speedup_with_features": with_computing,
            "store_cnn": store_against_memory(compiled(cnn()), data),
            "store_one_convolution": store_against_memory(compiled(one_convolution()), data),
            "augmentation_share": augmentation_share(data),
            "sam_step": sam_against_adamw(data),
        }
