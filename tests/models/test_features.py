"""Frozen features: what the backbone sees, once; the joined model says what the head says."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import small_networks

from nbhelpers.models import backbones, features, networks, saved
from nbhelpers.models.batches import Batches
from nbhelpers.workspace import InputError

SIDE, N = 32, 90
DATA = replace(small_networks.light_tells_age(60, N - 60, SIDE), tuning=np.arange(60, 80))
ROWS = np.arange(80)  # the last ten are never asked for


def network(backbone="MobileNet0.25", task="age", **options):
    keras.utils.set_random_seed(0)
    options = {"stages": 2, "standardise": True} | options
    model = small_networks.transfer_network(backbone, SIDE, task=task, **options)
    liven(model)
    for layer in backbones.of_network(model):
        layer.trainable = False
    return model


def liven(model):
    """Random weights that tell pictures apart: each layer's signal fades without statistics."""
    side = model.inputs[0].shape[1]
    noise = np.random.default_rng(0).integers(0, 256, (16, side, side, 1), dtype=np.uint8)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model([noise, np.zeros((16, 1), np.float32)], training=True)
    for norm in norms:
        norm.momentum = 0.9


def weights_of(model, backbone: bool):
    """The weights before, or after, the features."""
    names = [layer.name for layer in model.layers]
    end = names.index("picture_features")
    return [
        np.array(weight)
        for place, layer in enumerate(model.layers)
        if (place < end and layer.name != "sex_features") == backbone
        for weight in layer.get_weights()
    ]


def plainly(model, rows=ROWS):
    """What a network itself gives, without a mirror image."""
    given = [DATA.images[rows][..., None], DATA.sex[rows][:, None]]
    return model.predict_on_batch(given).squeeze()


@pytest.mark.parametrize(
    ("backbone", "task", "sex_input"), [("MobileNet0.25", "stage", False), ("VGG16", "age", True)]
)
def test_the_joined_model_says_what_the_head_says(tmp_path, backbone, task, sex_input):
    data = DATA
    if task == "stage":
        data = replace(DATA, target=np.clip((DATA.target - 60) // 40, 0, 4))
    model = network(backbone, task, sex_input=sex_input)
    backbone_before, head_before = weights_of(model, True), weights_of(model, False)
    masks = keras.ops.convert_to_numpy(model.get_layer("dropout").seed_generator.state)
    head, seen = features.head_on(model, data)
    history = small_networks.fit(head, task, seen, 4, 1e-2, averaging=0.5)

    assert history["tuning_loss"].iloc[-1] < history["tuning_loss"].iloc[0]
    assert (
        keras.ops.convert_to_numpy(model.get_layer("dropout").seed_generator.state) != masks
    ).any()
    for before, after in zip(backbone_before, weights_of(model, True), strict=True):
        np.testing.assert_array_equal(before, after)
    changed = [
        (before != after).any()
        for before, after in zip(head_before, weights_of(model, False), strict=True)
    ]
    assert all(changed)

    of_head = head.predict(Batches(seen, ROWS, 13), verbose=0).squeeze()
    np.testing.assert_allclose(plainly(model), of_head, rtol=0, atol=1e-3)
    assert np.ptp(of_head, axis=0).max() > 0.01
    again = saved.save(model, tmp_path / "joined.keras")
    np.testing.assert_allclose(plainly(again), of_head, rtol=0, atol=1e-3)


def test_views_are_what_the_backbone_sees_of_changed_pictures(monkeypatch):
    model, train = network(), DATA.train
    seen = features.compute(model, DATA, views=3, seed=5)
    pixels = (DATA.images / 127.5 - 1).astype(np.float32)[..., None]
    body = keras.Model(
        model.get_layer("augmentation").output, model.get_layer("picture_features").output
    )
    expected = body.predict_on_batch(pixels[ROWS])
    np.testing.assert_allclose(seen[0, ROWS], expected, rtol=1e-4, atol=1e-5)
    for view in (1, 2):
        draws = np.random.default_rng((5, view)).uniform(-1, 1, (N, 8)).astype(np.float32)[train]
        changed = keras.ops.convert_to_numpy(networks.change(pixels[train], draws))
        expected = body.predict_on_batch(changed)
        np.testing.assert_allclose(seen[view, train], expected, rtol=1e-3, atol=1e-4)
        assert np.abs(seen[view, train] - seen[0, train]).max() > 0.01
    assert np.abs(seen[1, train] - seen[2, train]).max() > 0.01
    # What was not asked for is no number, so that it cannot be trained on unseen.
    assert np.isnan(seen[:, 80:]).all() and np.isnan(seen[1:, 60:]).all()
    monkeypatch.setattr(features, "BATCH_SIZE", 7)
    other = features.compute(model, DATA, views=3, seed=5)
    np.testing.assert_allclose(other, seen, rtol=1e-4, atol=1e-5)


def test_features_that_are_no_numbers_are_refused():
    model = network()
    layer = next(layer for layer in model.layers if layer.name.startswith("conv"))
    layer.set_weights([np.full_like(weight, np.inf) for weight in layer.get_weights()])
    with pytest.raises(InputError, match=r"features are infinite.*float32"):
        features.compute(model, DATA)
