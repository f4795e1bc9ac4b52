"""Which custom CNNs and rates a search looks at."""

from dataclasses import asdict, dataclass

import keras_tuner

WIDEST = 256  # channels: doubling from block to block ends here
CHOICES = ("first_width", "dense_units", "sex_units")
WHOLE = ("blocks", "convolutions")
LOGARITHMIC = ("learning_rate", "weight_decay")
# A network chosen by hand: the first trial, as far as the space holds it, so that no search ends
# below it.
KNOWN = {
    "blocks": 5,
    "first_width": 16,
    "convolutions": 2,
    "dropout": 0.2,
    "dense_units": 256,
    "sex_units": 32,
    "learning_rate": 1.5e-3,
    "weight_decay": 1e-4,
}


@dataclass(frozen=True)
class Space:
    """What is searched: (lowest, highest), or the values to choose from.

    Attributes:
        blocks: each halves the picture; a picture of s pixels has room for log2(s).
        first_width: channels of the first block; each further block doubles them, up to 256.
        convolutions: 3 x 3 convolutions of each block but the first, which has one.
        dropout: share of dense units dropped in training.
        dense_units, sex_units: units of the dense layer and of the sex branch; choices.
        learning_rate: peak of the rate; searched on a logarithmic scale.
        weight_decay: AdamW's; searched on a logarithmic scale.
    """

    blocks: tuple[int, int] = (4, 6)
    first_width: tuple[int, ...] = (12, 16, 24, 32)
    convolutions: tuple[int, int] = (1, 2)
    dropout: tuple[float, float] = (0.0, 0.5)
    dense_units: tuple[int, ...] = (64, 128, 256, 512)
    sex_units: tuple[int, ...] = (8, 16, 32, 64)
    learning_rate: tuple[float, float] = (5e-4, 4e-3)
    weight_decay: tuple[float, float] = (1e-5, 1e-2)


def hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """The space as Keras Tuner takes it; the defaults are the known network's values."""
    given = keras_tuner.HyperParameters()
    for name, values in asdict(space).items():
        nearest = min(max(KNOWN[name], min(values)), max(values))
        if name in CHOICES:
            known = min(values, key=lambda value: abs(value - nearest))
            given.Choice(name, list(values), default=known, ordered=True)
        elif name in WHOLE:
            given.Int(name, *values, default=nearest)
        else:
            sampling = "log" if name in LOGARITHMIC else "linear"
            given.Float(name, *values, sampling=sampling, default=nearest)
    return given


def cnn_settings(values: dict) -> dict:
    """A trial's values as keyword arguments of `networks.custom_cnn`."""
    first = int(values["first_width"])
    return {
        "widths": tuple(min(first * 2**block, WIDEST) for block in range(int(values["blocks"]))),
        "convolutions_per_block": int(values["convolutions"]),
        "dense_units": int(values["dense_units"]),
        "sex_units": int(values["sex_units"]),
        "dropout": float(values["dropout"]),
    }
