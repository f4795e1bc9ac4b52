"""Frozen features: computed once and resumed; the joined model says what the head says."""

import keras
import numpy as np
import pytest

from nbhelpers.models import backbones, features, networks, saved, training
from nbhelpers.models.batches import Batches
from nbhelpers.workspace import InputError

SIDE, N = 32, 90
TRAIN, TUNING = np.arange(60), np.arange(60, 80)
ROWS = np.concatenate([TUNING, TRAIN])  # the last ten are never asked for
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
SCHEDULE = training.Schedule(epochs=4, batch_size=16, learning_rate=1e-2, seed=7, averaging=0.5)


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
    model = backbones.transfer_network(backbone, SIDE, card, task=task, seed=seed, **options)
    liven(model)
    backbones.freeze(model)
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


def compute(model, data, folder, rows=ROWS, varied=TRAIN, name="mobilenet", **options):
    return features.compute(model, data[0], rows, varied, folder, name, **options)


def train(model, seen, data, state, stop_at=None, schedule=SCHEDULE, task="age"):
    """Train the head on features; returns the head's network and the history."""
    _, sex, target = data

    def epoch_batches(epoch):
        if epoch == stop_at:
            raise KeyboardInterrupt
        order = (schedule.seed, epoch)
        return features.FeatureBatches(seen, TRAIN, sex, target, 16, order=order)

    tuning = features.FeatureBatches(seen, TUNING, sex, target, 16)
    head = features.head_network(model)
    return head, training.fit(head, task, epoch_batches, tuning, schedule, state, "k")


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


def count_batches(monkeypatch, stop_after=None):
    """Counts batches sent through a backbone; raises after some, as an interruption does."""
    sent = []
    plain = keras.Model.predict_on_batch

    def counted(self, inputs):
        if len(sent) == stop_after:
            raise KeyboardInterrupt
        sent.append(inputs)
        return plain(self, inputs)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counted)
    return sent


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
    seen = compute(model, data, tmp_path)
    head, history = train(model, seen, (pictures, sex, target), tmp_path / "s.npz", task=task)

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

    clean = features.FeatureBatches(seen, ROWS, sex, None, 13)
    of_head = head.predict(clean, verbose=0).squeeze()
    joined = saved.predict(model, pictures[ROWS], sex[ROWS], flip=False)
    np.testing.assert_allclose(joined, of_head, rtol=0, atol=1e-3)
    assert np.ptp(of_head, axis=0).max() > 0.01
    saved.save(model, tmp_path / "joined.keras")
    again = saved.load(tmp_path / "joined.keras")
    predicted = saved.predict(again, pictures[ROWS], sex[ROWS], flip=False)
    np.testing.assert_allclose(predicted, of_head, rtol=0, atol=1e-3)


def test_views_are_what_the_backbone_sees_of_changed_pictures(data, tmp_path):
    pictures = data[0]
    model = network()
    seen = compute(model, data, tmp_path, seed=5, views=3)
    pixels = (pictures / 127.5 - 1).astype(np.float32)[..., None]
    body = keras.Model(
        model.get_layer("augmentation").output, model.get_layer("picture_features").output
    )
    expected = body.predict(pixels[ROWS], verbose=0)
    np.testing.assert_allclose(seen.views[0], expected, rtol=1e-4, atol=1e-5)
    for view in (1, 2):
        draws = np.random.default_rng((5, view)).uniform(-1, 1, (N, 8)).astype(np.float32)[TRAIN]
        changed = keras.ops.convert_to_numpy(networks.change(pixels[TRAIN], draws))
        expected = body.predict(changed, verbose=0)
        np.testing.assert_allclose(seen.views[view], expected, rtol=1e-3, atol=1e-4)
        assert np.abs(seen.views[view] - seen.views[0][len(TUNING) :]).max() > 0.01
    assert np.abs(seen.views[1] - seen.views[2]).max() > 0.01
    assert len(seen.views) == 3
    assert features.FEATURE_VIEWS == 4


def test_views_are_the_same_whatever_the_batch_size(data, tmp_path, monkeypatch):
    usual = compute(network(), data, tmp_path / "usual", views=2)
    monkeypatch.setattr(features, "BATCH_SIZE", 7)
    other = compute(network(), data, tmp_path / "other", views=2)
    for one, another in zip(usual.views, other.views, strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 4])  # three of the clean view, two of the other
@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_computation_goes_on_from_its_last_batch(
    data, tmp_path, monkeypatch, batches, torn
):
    with monkeypatch.context() as patch:
        sent = count_batches(patch)
        whole = compute(network(), data, tmp_path / "whole", views=2)
        assert len(sent) == 5
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_batches(patch, stop_after=batches)
        compute(network(), data, folder, views=2)
    if torn:
        (partial,) = folder.glob("*.partial")
        with partial.open("ab") as file:
            file.write(b"\xff" * 41)
    with monkeypatch.context() as patch:
        sent = count_batches(patch)
        resumed = compute(network(seed=0), data, folder, views=2)
    assert len(sent) == 5 - batches
    for one, other in zip(whole.views, resumed.views, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list(folder.glob("*.partial"))


def test_a_kill_between_the_last_batch_and_the_rename_costs_a_batch(data, tmp_path, monkeypatch):
    whole = compute(network(), data, tmp_path, views=1)
    path = features.path_of(tmp_path, "mobilenet", whole.key, 0)
    expected = np.array(whole.views[0])
    path.with_name(f".{path.name}.partial").write_bytes(expected.tobytes())
    path.unlink()
    sent = count_batches(monkeypatch)
    np.testing.assert_array_equal(compute(network(), data, tmp_path, views=1).views[0], expected)
    assert len(sent) == 1


def test_features_that_are_there_are_not_computed_again(data, tmp_path, monkeypatch):
    first = compute(network(), data, tmp_path)
    sent = count_batches(monkeypatch)
    # Another head on the same backbone, for other ages: the features are the same.
    other_card = CARD | {"mean_months": 90.0, "task": "stage"}
    model = network(task="stage", card=other_card, dense_units=3)
    backbones.unfreeze(model, batch_norm=True)
    again = compute(model, data, tmp_path)
    assert not sent
    assert again.key == first.key


@pytest.mark.parametrize("what", ["weights", "pictures", "rows", "seed", "network"])
def test_features_of_other_things_are_not_used(data, tmp_path, what):
    first = compute(network(), data, tmp_path, views=2)
    pictures = data[0].copy()
    pictures[TUNING[-1], 0, 0] ^= 1
    other = compute(
        network(
            seed=1 if what == "weights" else 0,
            stages=1 if what == "network" else 2,
        ),
        (pictures,) if what == "pictures" else data,
        tmp_path,
        rows=ROWS[1:] if what == "rows" else ROWS,
        seed=int(what == "seed"),
        views=2,
    )
    assert other.key != first.key
    left = sorted(path.name for path in tmp_path.glob("*.npy"))
    assert left == [f"mobilenet.{other.key}.{view}.npy" for view in range(2)]


def test_forgetting_leaves_other_models_alone(data, tmp_path):
    compute(network(), data, tmp_path, views=1, name="vgg16.age")
    kept = compute(network(), data, tmp_path, views=1, name="vgg16")
    (tmp_path / f".vgg16.age.{kept.key}.1.npy.partial").write_bytes(b"half")
    features.forget(tmp_path, "vgg16.age")
    assert [path.name for path in tmp_path.glob("*.npy*")] == [f"vgg16.{kept.key}.0.npy"]
    features.forget(tmp_path, "vgg16")
    assert not list(tmp_path.iterdir())
    features.forget(tmp_path / "nowhere", "vgg16")


def test_features_that_are_no_numbers_are_refused(data, tmp_path):
    model = network()
    layer = next(layer for layer in model.layers if layer.name.startswith("conv"))
    layer.set_weights([np.full_like(weight, np.inf) for weight in layer.get_weights()])
    with pytest.raises(InputError, match=r"features of mobilenet, view 1 of 4.*float32"):
        compute(model, data, tmp_path)


def test_batches_keep_case_view_sex_target_and_weight_together(data, tmp_path):
    _, sex, months = data
    seen = compute(network(), data, tmp_path, views=3)
    weights = np.arange(N, dtype=np.float32)

    def shown(order):
        fed = features.FeatureBatches(
            seen, TRAIN, sex, months, 16, order=order, weights=weights, unknown_sex=0.5
        )
        assert isinstance(fed, Batches)  # what takes those takes these
        views = []
        rows = []
        for number in range(len(fed)):
            (given, codes), ages, counts = fed[number]
            for features_given, code, age, count in zip(given, codes, ages, counts, strict=True):
                case = int(count)
                assert age[0] == months[case]
                assert code[0] == sex[case]
                of_case = [seen.views[0][len(TUNING) + case]] + [v[case] for v in seen.views[1:]]
                views.append([np.array_equal(features_given, v) for v in of_case].index(True))
                rows.append(case)
        return rows, views

    rows, views = shown((3, 0))
    assert sorted(rows) == TRAIN.tolist()
    assert set(views) == {0, 1, 2}
    assert shown((3, 0)) == (rows, views)
    other_rows, other_views = shown((3, 1))
    assert other_rows != rows
    assert other_views != views
    by_case = [dict(zip(*shown((3, epoch)), strict=True)) for epoch in range(12)]
    assert all(len({epoch[case] for epoch in by_case}) > 1 for case in TRAIN.tolist())
    assert shown(None) == (TRAIN.tolist(), [0] * len(TRAIN))


def test_cases_without_features_are_refused(data, tmp_path):
    _, sex, months = data
    seen = compute(network(), data, tmp_path, views=2)
    with pytest.raises(ValueError, match="case 80 has no features of view 0"):
        features.FeatureBatches(seen, [79, 80], sex, months, 4)[0]
    with pytest.raises(ValueError, match="has no features of view 1"):
        features.FeatureBatches(seen, TUNING, sex, months, 20, order=(0, 0))[0]


def test_unknown_sex_is_fed_as_told(data, tmp_path):
    seen = compute(network(), data, tmp_path, views=1)
    fed = features.FeatureBatches(seen, TUNING, np.full(N, np.nan), None, 20, unknown_sex=0.25)
    ((_, sex),) = fed[0]
    assert (sex == 0.25).all()


def test_a_killed_training_of_the_head_ends_where_an_unbroken_one_ends(data, tmp_path):
    whole = network()
    seen = compute(whole, data, tmp_path)
    _, unbroken = train(whole, seen, data, tmp_path / "whole.npz")
    killed = network()
    with pytest.raises(KeyboardInterrupt):
        train(killed, seen, data, tmp_path / "killed.npz", stop_at=2)
    again = network()
    again.get_layer("dense").set_weights([w + 1 for w in again.get_layer("dense").get_weights()])
    seen = compute(again, data, tmp_path)
    _, resumed = train(again, seen, data, tmp_path / "killed.npz")
    columns = ["epoch", "train_loss", "tuning_loss"]
    np.testing.assert_array_equal(resumed[columns], unbroken[columns])
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_head_first_and_then_everything(data, tmp_path):
    pictures, sex, months = data
    model = network(standardise=False)
    seen = compute(model, data, tmp_path, views=1)
    _, first = train(model, seen, data, tmp_path / "head.npz")
    before = weights_of(model, backbone=True)
    tuning = Batches(pictures, TUNING, sex, months, 16)
    backbones.unfreeze(model, batch_norm=False)
    second = training.fit(
        model,
        "age",
        lambda epoch: Batches(pictures, TRAIN, sex, months, 16, order=(7, epoch)),
        tuning,
        training.Schedule(epochs=1, batch_size=16, learning_rate=1e-6),
        tmp_path / "all.npz",
        "k",
    )
    # The second phase begins where the first one ended.
    assert second["tuning_loss"][0] == pytest.approx(first["tuning_loss"].min(), rel=0.01)
    after = weights_of(model, backbone=True)
    assert any((one != other).any() for one, other in zip(before, after, strict=True))
