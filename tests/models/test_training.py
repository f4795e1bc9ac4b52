"""The CNN learns, keeps its best epoch, goes on after a kill to the bit, and travels whole."""

import re

import keras
import numpy as np
import pytest
import small_networks

from nbhelpers.models import batches, networks, saved, training
from nbhelpers.workspace import InputError

SIZE, N = 32, 96
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
EPOCHS, RATE = 4, 5e-3


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
    return small_networks.custom_cnn(
        SIZE, CARD, task=task, widths=(4, 8), convolutions_per_block=1, dense_units=16, seed=seed
    )


def train(model, data, state=None, epochs=EPOCHS, rate=RATE, task="age", about="k", **options):
    pictures, sex, target = data
    fed = batches.Batches(pictures, np.arange(64), sex, target, 16, seed=7)
    tuning = batches.Batches(pictures, np.arange(64, N), sex, target, 16)
    options |= {"state": state, "about": about}
    return small_networks.fit(model, task, fed, tuning, epochs, rate, **options)


def stop_after(monkeypatch, epochs):
    """Ends a training like Ctrl-C once so many epochs have been kept."""
    keep = training.Progress.keep

    def keep_and_stop(progress):
        keep(progress)
        if len(progress.history) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Progress, "keep", keep_and_stop)


def test_batches_hold_every_row_once_in_an_order_of_seed_and_epoch(data):
    pictures, sex, months = data
    rows = np.arange(5, 60)
    orders = []
    for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0), (None, 1)):
        fed = batches.Batches(pictures, rows, sex, months, 16, seed=seed)
        fed.begin(epoch)
        seen = np.concatenate([fed[number][1][:, 0] for number in range(len(fed))])
        orders.append(seen)
        np.testing.assert_array_equal(np.sort(seen), np.sort(months[rows]))
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[4], months[rows])
    assert (orders[0] != orders[2]).any()
    assert (orders[0] != orders[3]).any()


def test_batches_keep_picture_sex_and_target_together(data):
    pictures, sex, months = data
    fed = batches.Batches(pictures, np.arange(N), sex, months, 10, seed=3)
    (shown, codes), target = fed[4]
    for picture, code, age in zip(shown, codes, target, strict=True):
        row = int(np.flatnonzero(months == age[0])[0])
        np.testing.assert_array_equal(picture[..., 0], pictures[row])
        assert code[0] == sex[row]


def test_it_learns_and_keeps_the_weights_of_its_best_epoch(data):
    model = network()
    history = train(model, data, epochs=12, rate=1e-2)
    pictures, sex, months = data
    predicted = saved.predict(model, pictures[64:], sex[64:], flip=False)
    error = np.abs(predicted - months[64:]).mean()
    assert error == pytest.approx(history["tuning_loss"].min(), rel=1e-4)
    assert error < 0.7 * np.abs(months[64:] - months[:64].mean()).mean()


@pytest.mark.parametrize(
    ("options", "ended", "kept"),
    [
        ({}, 4, 2),
        ({"averaging": 0.9}, 4, 2),
        ({"averaging": 0.9, "with_sam": True}, 4, 1),
        ({}, 4, 4),  # stopped before the model was saved
        # It cannot get better: early stopping counts on.
        ({"averaging": 0.9, "epochs": 30, "rate": 1e-9, "patience": 3}, None, 3),
    ],
)
def test_a_stopped_training_ends_where_an_unbroken_one_ends(
    data, tmp_path, monkeypatch, options, ended, kept
):
    whole, again = network(), network()
    again.set_weights([weight + 1 for weight in again.get_weights()])  # all come from the file
    unbroken = train(whole, data, tmp_path / "whole.npz", **options)
    assert len(unbroken) == (ended or len(unbroken)) and len(unbroken) < 30
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, kept)
        train(network(), data, tmp_path / "stopped.npz", **options)
    resumed = train(again, data, tmp_path / "stopped.npz", **options)
    columns = ["epoch", "train_loss", "tuning_loss"]
    np.testing.assert_array_equal(resumed[columns], unbroken[columns])
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_judged_and_kept_are_averages_and_training_goes_on_without(data):
    """The losses of training are those of plain weights, the same with and without averaging."""
    plain, averaged = network(), network()
    without = train(plain, data)
    using = train(averaged, data, averaging=0.9)
    np.testing.assert_array_equal(using["train_loss"], without["train_loss"])
    assert (using["tuning_loss"] != without["tuning_loss"]).all()
    pictures, sex, months = data
    predicted = saved.predict(averaged, pictures[64:], sex[64:], flip=False)
    error = np.abs(predicted - months[64:]).mean()
    assert error == pytest.approx(using["tuning_loss"].min(), rel=1e-4)


@pytest.mark.parametrize("fault", ["another key", "cut short", "no archive"])
def test_a_state_of_no_use_is_not_used(data, tmp_path, fault):
    path = tmp_path / "state.npz"
    train(network(), data, path, epochs=1)
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[:-200])
    if fault == "no archive":
        path.write_text("not an archive")
    about = "another" if fault == "another key" else "k"
    for _ in range(2):
        assert (train(network(), data, path, epochs=1, about=about)["epoch"] == [1]).all()


def test_the_key_follows_data_network_rate_and_epochs(data):
    def key(model, rows=64, rate=RATE, epochs=EPOCHS, **options):
        model.compile(keras.optimizers.AdamW(training.warm_up_and_decay(rate, 9), **options), "mae")
        fed = batches.Batches(data[0], np.arange(rows), data[1], data[2], 16, seed=7)
        return training.training_key(model, fed, epochs)

    other = network()
    other.get_layer("card").facts = {**CARD, "preparation": "x"}
    keys = {key(network()), key(network(), rows=63), key(network(), rate=1e-3), key(other)}
    keys |= {key(network(), epochs=9), key(network(), weight_decay=0.1), key(network("stage"))}
    assert len(keys) == 7
    assert key(network()) in keys  # names, which Keras numbers through, do not count


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


def test_rows_are_predicted_alike_whatever_the_company(data, monkeypatch, capsys):
    pictures, sex, _ = data
    unknown = np.where(np.arange(N) % 3 == 0, np.nan, sex)
    model, rows = network(), np.array([0, 9, 40, 95])
    together = saved.predict(model, pictures, unknown)
    np.testing.assert_allclose(
        saved.predict(model, pictures, unknown, rows), together[rows], atol=1e-3
    )
    assert not capsys.readouterr().out
    monkeypatch.setattr(saved, "LONG", 1)
    saved.predict(model, pictures, sex, rows)
    assert "predictions, batches of 128: 1 in" in capsys.readouterr().out


def test_stages_are_learnt(data):
    pictures, sex, months = data
    stage = np.clip((months - 60) // 30, 0, 4)
    model = network("stage")
    train(model, (pictures, sex, stage), epochs=12, rate=1e-2, task="stage")
    predicted = saved.predict(model, pictures[64:], sex[64:])
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-5)
    majority = (stage[64:] == np.bincount(stage[:64].astype(int)).argmax()).mean()
    assert (predicted.argmax(axis=1) == stage[64:]).mean() > majority


@pytest.mark.parametrize(
    ("task", "loss", "said"),
    [
        ("age", "cross-entropy", "loss 'cross-entropy': write l1 or huber"),
        ("stage", "l1", "loss 'l1': write cross-entropy"),
    ],
)
def test_a_loss_of_another_task_is_refused_by_name(task, loss, said):
    with pytest.raises(InputError, match=re.escape(said)):
        training.loss_of(task, loss)


def test_the_rate_rises_for_a_twentieth_of_the_steps_and_falls_to_zero():
    rate = training.warm_up_and_decay(0.5, 200)
    steps = np.array([float(rate(step)) for step in range(201)])
    assert steps.argmax() == 10 and steps[10] == pytest.approx(0.5)
    assert (np.diff(steps[:11]) > 0).all() and (np.diff(steps[10:]) < 0).all()
    assert steps[0] == 0 and steps[-1] == pytest.approx(0, abs=1e-6)
