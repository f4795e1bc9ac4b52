"""Frozen features: what the backbone sees, once; the joined model says what the head says."""

import keras
import numpy as np
import pytest
import small_networks

from nbhelpers.models import backbones, features, networks, saved
from nbhelpers.models.batches import FeatureBatches
from nbhelpers.workspace import InputError

SIDE, N = 32, 90
TRAIN, TUNING = np.arange(60), np.arange(60, 80)
ROWS = np.concatenate([TUNING, TRAIN])  # the last ten are never asked for
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def data():
    """Pictures whose brightness tells the age, shifted by sex."""
    rng = np.random.default_rng(1)
    sex = rng.integers(0, 2, N).astype(np.float32)
    light = rng.uniform(0, 1, N)
    noise = rng.uniform(0, 60, (N, SIDE, SIDE))
    pictures = (light[:, None, None] * 190 + noise).astype(np.uint8)
    return pictures, sex, (60 + 100 * light + 30 * sex).astype(np.float32)


def network(backbone="MobileNet0.25", task="age", seed=0, card=CARD, **options):
    keras.utils.set_random_seed(seed)
    options = {"dense_units": 8, "sex_units": 4, "dropout": 0.3, "stages": 2} | options
    options = {"weights_path": None, "standardise": True} | options
    model = small_networks.transfer_network(backbone, SIDE, card, task=task, seed=seed, **options)
    liven(model)
    for layer in backbones.of_network(model):
        layer.trainable = False
    return model


def liven(model):
    """Random weights that tell pictures apart: each layer's signal fades without statistics."""
    noise = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 1), dtype=np.uint8)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model([noise, np.zeros((16, 1), np.float32)], training=True)
    for norm in norms:
        norm.momentum = 0.9


def compute(model, data, **options):
    return features.compute(model, data[0], ROWS, TRAIN, **options)


def fed(seen, data, rows, seed=None, **options):
    _, sex, target = data
    return FeatureBatches(seen, rows, sex, target, 16, seed=seed, **options)


def train(model, seen, data, task="age"):
    """Train the head on features; returns the head's network and the history."""
    head = features.head_network(model)
    batches = fed(seen, data, TRAIN, seed=7), fed(seen, data, TUNING)
    return head, small_networks.fit(head, task, *batches, 4, 1e-2, averaging=0.5)


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


@pytest.mark.parametrize(
    ("backbone", "task", "sex_input"),
    [("MobileNet0.25", "age", True), ("MobileNet0.25", "stage", False), ("VGG16", "age", True)],
)
def test_the_joined_model_says_what_the_head_says(data, tmp_path, backbone, task, sex_input):
    pictures, sex, months = data
    target = months if task == "age" else np.clip((months - 60) // 40, 0, 4)
    model = network(backbone, task, sex_input=sex_input)
    backbone_before, head_before = weights_of(model, True), weights_of(model, False)
    masks = keras.ops.convert_to_numpy(model.get_layer("dropout").seed_generator.state)
    seen = compute(model, data)
    head, history = train(model, seen, (pictures, sex, target), task)

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

    clean = FeatureBatches(seen, ROWS, sex, None, 13)
    of_head = head.predict(clean, verbose=0).squeeze()
    joined = saved.predict(model, pictures[ROWS], sex[ROWS], flip=False)
    np.testing.assert_allclose(joined, of_head, rtol=0, atol=1e-3)
    assert np.ptp(of_head, axis=0).max() > 0.01
    saved.save(model, tmp_path / "joined.keras")
    again = saved.load(tmp_path / "joined.keras")
    predicted = saved.predict(again, pictures[ROWS], sex[ROWS], flip=False)
    np.testing.assert_allclose(predicted, of_head, rtol=0, atol=1e-3)


def test_views_are_what_the_backbone_sees_of_changed_pictures(data, monkeypatch):
    pictures = data[0]
    model = network()
    seen = compute(model, data, seed=5, views=3)
    pixels = (pictures / 127.5 - 1).astype(np.float32)[..., None]
    body = keras.Model(
        model.get_layer("augmentation").output, model.get_layer("picture_features").output
    )
    expected = body.predict(pixels[ROWS], verbose=0)
    np.testing.assert_allclose(seen[0, ROWS], expected, rtol=1e-4, atol=1e-5)
    for view in (1, 2):
        draws = np.random.default_rng((5, view)).uniform(-1, 1, (N, 8)).astype(np.float32)[TRAIN]
        changed = keras.ops.convert_to_numpy(networks.change(pixels[TRAIN], draws))
        expected = body.predict(changed, verbose=0)
        np.testing.assert_allclose(seen[view, TRAIN], expected, rtol=1e-3, atol=1e-4)
        assert np.abs(seen[view, TRAIN] - seen[0, TRAIN]).max() > 0.01
    assert np.abs(seen[1, TRAIN] - seen[2, TRAIN]).max() > 0.01
    # What was not asked for is no number, so that it cannot be trained on unseen.
    assert np.isnan(seen[:, 80:]).all() and np.isnan(seen[1:, TUNING]).all()
    monkeypatch.setattr(features, "BATCH_SIZE", 7)
    other = compute(model, data, seed=5, views=3)
    np.testing.assert_allclose(other, seen, rtol=1e-4, atol=1e-5)


def test_features_that_are_no_numbers_are_refused(data):
    model = network()
    layer = next(layer for layer in model.layers if layer.name.startswith("conv"))
    layer.set_weights([np.full_like(weight, np.inf) for weight in layer.get_weights()])
    with pytest.raises(InputError, match=r"features are infinite.*float32"):
        compute(model, data)


def test_batches_keep_case_view_sex_target_and_weight_together(data):
    _, sex, months = data
    seen = np.random.default_rng(0).normal(size=(3, N, 2)).astype(np.float32)
    weights = np.arange(N, dtype=np.float32)

    def shown(seed, epoch):
        batches = fed(seen, data, TRAIN, seed, weights=weights)
        batches.begin(epoch)
        rows, views = [], []
        for number in range(len(batches)):
            (given, codes), ages, counts = batches[number]
            for features_given, code, age, count in zip(given, codes, ages, counts, strict=True):
                case = int(count)
                assert age[0] == months[case] and code[0] == sex[case]
                of_case = seen[:, case]
                views.append([np.array_equal(features_given, v) for v in of_case].index(True))
                rows.append(case)
        return rows, views

    rows, views = shown(3, 0)
    assert sorted(rows) == TRAIN.tolist()
    assert set(views) == {0, 1, 2}
    assert shown(3, 0) == (rows, views)
    other_rows, other_views = shown(3, 1)
    assert other_rows != rows and other_views != views
    by_case = [dict(zip(*shown(3, epoch), strict=True)) for epoch in range(12)]
    assert all(len({epoch[case] for epoch in by_case}) > 1 for case in TRAIN.tolist())
    assert shown(None, 4) == (TRAIN.tolist(), [0] * len(TRAIN))
