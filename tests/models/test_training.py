"""The CNN learns, keeps its best epoch, goes on after a kill to the bit, and travels whole."""

import re

import keras
import numpy as np
import pytest

from nbhelpers.models import batches, networks, saved, training
from nbhelpers.workspace import InputError

SIZE, N = 32, 96
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
SCHEDULE = training.Schedule(epochs=4, batch_size=16, learning_rate=5e-3, seed=7)


@pytest.fixture(scope="module")
def data():
    """Pictures whose brightness tells the age, shifted by sex."""
    rng = np.random.default_rng(1)
    sex = rng.integers(0, 2, N).astype(np.float32)
    light = rng.uniform(0, 1, N)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (N, SIZE, SIZE))).astype(np.uint8)
    months = (60 + 100 * light + 30 * sex).astype(np.float32)
    return pictures, sex, months


def network(task="age", seed=0):
    keras.utils.set_random_seed(seed)
    return networks.custom_cnn(
        SIZE, CARD, task=task, widths=(4, 8), convolutions_per_block=1, dense_units=16, seed=seed
    )


def train(model, data, state, schedule=SCHEDULE, task="age", key="k", stop_at=None):
    pictures, sex, target = data
    rows = np.arange(64)

    def epoch_batches(epoch):
        if stop_at is not None and epoch == stop_at:
            raise KeyboardInterrupt
        return batches.Batches(pictures, rows, sex, target, 16, order=(schedule.seed, epoch))

    tuning = batches.Batches(pictures, np.arange(64, N), sex, target, 16)
    return training.fit(model, task, epoch_batches, tuning, schedule, state, key)


def test_batches_hold_every_row_once_in_an_order_of_seed_and_epoch(data):
    pictures, sex, months = data
    rows = np.arange(5, 60)
    orders = []
    for order in ((0, 0), (0, 0), (0, 1), (1, 0), None):
        fed = batches.Batches(pictures, rows, sex, months, 16, order=order)
        seen = np.concatenate([fed[number][1][:, 0] for number in range(len(fed))])
        orders.append(seen)
        np.testing.assert_array_equal(np.sort(seen), np.sort(months[rows]))
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[4], months[rows])
    assert (orders[0] != orders[2]).any()
    assert (orders[0] != orders[3]).any()


def test_batches_keep_picture_sex_and_target_together(data):
    pictures, sex, months = data
    fed = batches.Batches(pictures, np.arange(N), sex, months, 10, order=(3, 1))
    (shown, codes), target = fed[4]
    for picture, code, age in zip(shown, codes, target, strict=True):
        row = int(np.flatnonzero(months == age[0])[0])
        np.testing.assert_array_equal(picture[..., 0], pictures[row])
        assert code[0] == sex[row]


def test_it_learns_and_keeps_the_weights_of_its_best_epoch(data, tmp_path):
    model = network()
    history = train(model, data, tmp_path / "state.npz", training.Schedule(12, 16, 1e-2))
    pictures, sex, months = data
    predicted = saved.predict(model, pictures[64:], sex[64:], flip=False)
    error = np.abs(predicted - months[64:]).mean()
    assert error == pytest.approx(history["tuning_loss"].min(), rel=1e-4)
    assert error < 0.7 * np.abs(months[64:] - months[:64].mean()).mean()


def test_a_killed_training_ends_where_an_unbroken_one_ends(data, tmp_path):
    whole = network()
    unbroken = train(whole, data, tmp_path / "whole.npz")
    killed = network()
    with pytest.raises(KeyboardInterrupt):
        train(killed, data, tmp_path / "killed.npz", stop_at=2)
    again = network(seed=5)
    resumed = train(again, data, tmp_path / "killed.npz")
    columns = ["epoch", "train_loss", "tuning_loss"]
    np.testing.assert_array_equal(resumed[columns], unbroken[columns])
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_early_stopping_counts_on_after_a_kill(data, tmp_path):
    schedule = training.Schedule(30, 16, 1e-9, patience=3)  # it cannot get better
    unbroken = train(network(), data, tmp_path / "whole.npz", schedule)
    with pytest.raises(KeyboardInterrupt):
        train(network(), data, tmp_path / "killed.npz", schedule, stop_at=len(unbroken) - 1)
    resumed = train(network(), data, tmp_path / "killed.npz", schedule)
    assert len(resumed) == len(unbroken) < 30


@pytest.mark.parametrize("fault", ["another key", "cut short", "no archive"])
def test_a_state_of_no_use_is_not_used(data, tmp_path, fault):
    path = tmp_path / "state.npz"
    train(network(), data, path, training.Schedule(1, 16))
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[:-200])
    if fault == "no archive":
        path.write_text("not an archive")
    key = "another" if fault == "another key" else "k"
    history = train(network(), data, path, training.Schedule(1, 16), key=key)
    assert len(history) == 1
    assert (train(network(), data, path, training.Schedule(1, 16), key=key)["epoch"] == [1]).all()


def test_the_key_follows_data_network_and_schedule():
    rows = np.arange(10)
    model = network()
    keys = {
        training.training_key(CARD, SCHEDULE, rows, model),
        training.training_key({**CARD, "preparation": "x"}, SCHEDULE, rows, model),
        training.training_key(CARD, training.Schedule(9), rows, model),
        training.training_key(CARD, SCHEDULE, rows[1:], model),
        training.training_key(CARD, SCHEDULE, rows, network("stage")),
    }
    assert len(keys) == 5
    assert training.training_key(CARD, SCHEDULE, rows, network()) in keys


@pytest.mark.parametrize("task", ["age", "stage"])
def test_a_saved_model_predicts_the_same_bits(data, tmp_path, task):
    pictures, sex, _ = data
    model = network(task)
    before = saved.predict(model, pictures, sex)
    saved.save(model, tmp_path / "cnn.keras")
    again = saved.load(tmp_path / "cnn.keras")
    np.testing.assert_array_equal(saved.predict(again, pictures, sex), before)
    assert networks.model_facts(again) == CARD
    assert before.shape == ((N,) if task == "age" else (N, 5))


def test_unknown_sex_is_the_weighted_mean_of_both(data):
    pictures, _, _ = data
    model = network()
    girls, boys, unknown = (
        saved.predict(model, pictures, np.full(N, code)) for code in (0.0, 1.0, np.nan)
    )
    np.testing.assert_allclose(unknown, 0.25 * boys + 0.75 * girls, rtol=1e-5)


def test_prediction_is_the_same_whatever_the_company(data):
    pictures, sex, _ = data
    model = network()
    together = saved.predict(model, pictures, sex)
    alone = np.array([saved.predict(model, pictures[i : i + 1], sex[i : i + 1])[0] for i in (0, 9)])
    np.testing.assert_allclose(alone, together[[0, 9]], atol=1e-3)


def test_stages_are_learnt(data, tmp_path):
    pictures, sex, months = data
    stage = np.clip((months - 60) // 30, 0, 4)
    model = network("stage")
    train(
        model,
        (pictures, sex, stage),
        tmp_path / "s.npz",
        training.Schedule(12, 16, 1e-2),
        "stage",
    )
    predicted = saved.predict(model, pictures[64:], sex[64:])
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-5)
    majority = (stage[64:] == np.bincount(stage[:64].astype(int)).argmax()).mean()
    assert (predicted.argmax(axis=1) == stage[64:]).mean() > majority


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("age", {"loss": "cross-entropy"}, "loss 'cross-entropy': write l1 or huber"),
        ("stage", {"loss": "l1"}, "loss 'l1': write cross-entropy"),
        ("age", {"optimiser": "sgd"}, "optimiser 'sgd'"),
        ("age", {"epochs": 0}, "epochs is 0"),
        ("age", {"learning_rate": -0.1}, "learning_rate is -0.1"),
    ],
)
def test_a_schedule_that_cannot_be_trained_is_refused_by_name(task, settings, said):
    with pytest.raises(InputError, match=re.escape(said)):
        training.check_schedule(training.Schedule(**{"epochs": 1, **settings}), task)
