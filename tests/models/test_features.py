"""Frozen features: what the backbone sees, once; the joined model says what the head says."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import small_networks

from nbhelpers.models import features, networks, saved
from nbhelpers.models.batches import Batches
from nbhelpers.workspace import InputError

SIDE, N = 32, 90
DATA = replace(small_networks.light_tells_age(60, N - 60, SIDE), tuning=np.arange(60, 80))
ROWS = np.arange(80)  # the last ten are never asked for


def network(backbone="MobileNet0.25", task="age", **options):
    keras.utils.set_random_seed(0)
    model = small_networks.transfer_network(backbone, SIDE, task=task, stages=2, **options)
    liven(model)
    return model


def liven(model):
    """Random weights that tell pictures apart: each layer's signal fades without statistics."""
    side = model.inputs[0].shape[1]
    noise = np.random.default_rng(0).integers(0, 256, (16, side, side, 1), dtype=np.uint8)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True
    model([noise, np.zeros((16, 1), np.float32)], training=True)
    for norm in norms:
        norm.momentum, norm.trainable = 0.9, False


@pytest.mark.parametrize(
    ("backbone", "task", "sex_input"), [("MobileNet0.25", "stage", False), ("VGG16", "age", True)]
)
def test_the_joined_model_says_what_the_head_says(tmp_path, backbone, task, sex_input):
    stages = np.clip((DATA.target - 60) // 40, 0, 4)
    data = replace(DATA, target=stages) if task == "stage" else DATA
    model = network(backbone, task, sex_input=sex_input)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    head, seen = features.head_on(model, data, views=4)
    history = small_networks.fit(head, task, seen, 4, 1e-2, averaging=0.5)
    assert history["tuning_loss"].iloc[-1] < history["tuning_loss"].iloc[0]
    of_head = {layer.name for layer in head.layers}
    for layer in model.layers:
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True):
            assert (old != new).any() == (layer.name in of_head)

    said = head.predict(Batches(seen, ROWS, 13), verbose=0).squeeze()
    assert np.ptp(said, axis=0).max() > 0.01
    for whole in (model, saved.save(model, tmp_path / "joined.keras")):
        given = [DATA.images[ROWS][..., None], DATA.sex[ROWS][:, None]]
        np.testing.assert_allclose(whole.predict_on_batch(given).squeeze(), said, rtol=0, atol=1e-3)


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
        draws = np.random.default_rng((5, view)).uniform(-1, 1, (N, 10)).astype(np.float32)
        draws = draws[train]
        expected = body.predict_on_batch(np.array(networks.change(pixels[train], draws)))
        np.testing.assert_allclose(seen[view, train], expected, rtol=1e-3, atol=1e-4)
        assert np.abs(seen[view, train] - seen[view - 1, train]).max() > 0.01
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
        features.compute(model, DATA, views=4)
