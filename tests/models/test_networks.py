"""Inputs, heads and the custom CNN: what goes in, what comes out, under which names."""

import keras
import numpy as np
import pytest
import small_networks
from keras import layers
from small_networks import CARD

from nbhelpers.models import networks
from nbhelpers.models.networks import LightAugmentation

SIZE, N = 32, 6


def network(task="age", seed=0, card=CARD, **options):
    keras.utils.set_random_seed(seed)
    return small_networks.custom_cnn(SIZE, card, task=task, seed=seed, **options)


def pictures(n=N):
    return np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE, 1), dtype=np.uint8)


def ask(model, sex, shown=None, **options):
    shown = pictures() if shown is None else shown
    codes = np.full((len(shown), 1), sex, np.float32)
    return keras.ops.convert_to_numpy(model([shown, codes], **options))


def part(model, name):
    """What a layer of the network gives."""
    return keras.Model(model.inputs, model.get_layer(name).output)


def names(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize("task", ["age", "stage"])
def test_sex_counts_only_where_it_is_an_input(task):
    with_sex, without = network(task), network(task, sex_input=False)
    assert np.abs(ask(with_sex, 0.0) - ask(with_sex, 1.0)).max() > 1e-3
    np.testing.assert_array_equal(ask(without, 0.0), ask(without, 1.0))
    assert {"sex_features", "features"} <= set(names(with_sex))
    assert not {"sex_features", "features"} & set(names(without))


def test_layers_bear_the_names_that_others_look_for():
    around = ["radiograph", "card", "scale", "augmentation"]
    for task, end in {
        "age": ["standard_age", "months"],
        "stage": ["logits", "stage_probabilities"],
    }.items():
        found = names(network(task))
        assert found[:4] == around
        assert found[-5:] == ["features", "dense", "dropout", *end][-5:]
        assert found.index("picture_features") < found.index("features")


def test_grey_levels_become_minus_one_to_one():
    scale = part(network(), "augmentation")
    levels = np.array([0, 51, 255], np.uint8)[:, None, None, None]
    seen = ask(scale, 0.0, np.broadcast_to(levels, (3, SIZE, SIZE, 1)))
    np.testing.assert_allclose(seen[:, 0, 0, 0], [-1, -0.6, 1], atol=1e-6)


def test_months_are_scaled_by_the_ages_of_the_card():
    card = CARD | {"mean_months": 100.0, "spread_months": 30.0}
    model = network(card=card)
    standard = ask(part(model, "standard_age"), 1.0)
    np.testing.assert_allclose(ask(model, 1.0), 100 + 30 * standard, rtol=1e-6)
    model.get_layer("standard_age").set_weights(
        [np.zeros((networks.DENSE_UNITS, 1)), np.full(1, -0.5)]
    )
    np.testing.assert_allclose(ask(model, 1.0), 85.0, rtol=1e-6)


def test_a_head_that_standardises_learns_from_features_that_hardly_differ():
    """As those of random weights: SD 0.015 around 0.2."""
    rng = np.random.default_rng(0)
    told = rng.normal(size=(512, 4)).astype(np.float32)
    months = 120 + 40 * told[:, :1]
    losses = {}
    for standardise in (False, True):
        keras.utils.set_random_seed(0)
        features, sex = keras.Input((4,)), keras.Input((1,))
        output = networks.head(features, sex, "age", CARD, standardise=standardise)
        head = keras.Model([features, sex], output)
        head.compile(keras.optimizers.Adam(1e-2), "mae")
        given = [0.2 + 0.015 * told, np.zeros((512, 1))]
        head.fit(given, months, batch_size=64, epochs=10, verbose=0)
        losses[standardise] = head.evaluate(given, months, verbose=0)
    assert losses[True] < 0.5 * losses[False]


def test_the_same_seed_gives_the_same_network():
    one, twin, other = network(seed=1), network(seed=1), network(seed=2)
    for training in (False, True):
        told = ask(one, 1.0, training=training)
        np.testing.assert_array_equal(told, ask(twin, 1.0, training=training))
        assert np.abs(told - ask(other, 1.0, training=training)).max() > 1e-3


@pytest.mark.parametrize("task", ["age", "stage"])
def test_the_ends_compute_in_float32_whatever_the_precision(task):
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network(task)
    finally:
        keras.config.set_dtype_policy(usual)
    ends = {"scale", "augmentation"} | set(names(model)[-2:])
    assert {model.get_layer(name).compute_dtype for name in ends} == {"float32"}
    assert model.get_layer("card").compute_dtype == "uint8"
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"
    assert ask(model, 1.0).dtype == np.float32


def test_the_card_keeps_its_facts():
    facts = dict(CARD)
    model = network(card=facts)
    facts["view"] = "another"
    assert networks.model_facts(model) == CARD
    shown = pictures()
    passed = keras.ops.convert_to_numpy(model.get_layer("card")(shown))
    np.testing.assert_array_equal(passed, shown)
    assert passed.dtype == np.uint8


def test_the_table_of_layers_counts_all_weights_that_are_no_statistics():
    model = network()
    table = networks.layer_table(model)
    norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    expected = model.count_params() - sum(layer.count_params() for layer in norms)
    assert table["weights"].sum() == expected
    assert table.loc["block2_conv1", ["kind", "output"]].tolist() == ["Conv2D", "16 × 16 × 8"]
    assert "augmentation" not in table.index
    assert isinstance(model.get_layer("augmentation"), LightAugmentation)
