"""The CNN learns, keeps its best epoch, and goes on after a kill to the bit."""

import signal
from dataclasses import replace

import keras
import numpy as np
import pytest
import small_networks
from small_networks import CARD

from nbhelpers.models import batches, sam, training
from nbhelpers.workspace import InputError

SIZE, EPOCHS, RATE = 32, 3, 5e-3
DATA = small_networks.light_tells_age(64, 32, SIZE)
STAGES = replace(DATA, target=np.clip((DATA.target - 60) // 30, 0, 4))


def network(task="age"):
    keras.utils.set_random_seed(0)
    return small_networks.custom_cnn(SIZE, task=task)


def train(model, state=None, data=DATA, task="age", epochs=EPOCHS, rate=RATE, **options):
    options = {"state": state, "about": "k", "batch_size": 32} | options
    return small_networks.fit(model, task, data, epochs, rate, **options)


def tuned(model, data=DATA) -> float:
    return model.evaluate(batches.of_splits(data, 16, 0)[1], verbose=0)


def interrupt():
    """As Ctrl-C does; a process that a shell started in the background would ignore the signal."""
    raise KeyboardInterrupt


def kill():
    signal.raise_signal(signal.SIGKILL)


def stop_after(monkeypatch, epochs, stop):
    """Stops this process once so many epochs have been kept."""
    keep = training.Progress.keep

    def keep_and_stop(progress):
        keep(progress)
        if len(progress.history) == epochs:
            stop()

    monkeypatch.setattr(training.Progress, "keep", keep_and_stop)


def assert_same_end(one, other):
    """Models and histories of two trainings, to the bit; they may differ in the time they took."""
    columns = ["epoch", "train_loss", "tuning_loss"]
    np.testing.assert_array_equal(one[1][columns], other[1][columns])
    for weight, again in zip(one[0].get_weights(), other[0].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, again)


@pytest.mark.parametrize(("task", "data"), [("age", DATA), ("stage", STAGES)])
def test_it_learns_and_keeps_the_weights_of_its_best_epoch(task, data):
    model = network(task)
    losses = train(model, data=data, task=task, epochs=12, rate=1e-2, batch_size=16)["tuning_loss"]
    assert tuned(model, data) == pytest.approx(losses.min(), rel=1e-4)
    assert losses.min() < 0.7 * losses[0]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, EPOCHS),  # stopped before the model was saved
        ({"averaging": 0.9, "with_sam": True}, 1),
        ({"averaging": 0.9, "epochs": 30, "rate": 1e-9}, 2),  # early stopping counts on
    ],
)
def test_a_stopped_training_ends_where_an_unbroken_one_ends(tmp_path, monkeypatch, options, kept):
    monkeypatch.setattr(training, "PATIENCE", 2)
    whole, again = network(), network()
    again.set_weights([weight + 1 for weight in again.get_weights()])  # all come from the file
    unbroken = train(whole, tmp_path / "whole.npz", **options)
    assert len(unbroken) < 30
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, kept, interrupt)
        train(network(), tmp_path / "stopped.npz", **options)
    assert_same_end((again, train(again, tmp_path / "stopped.npz", **options)), (whole, unbroken))


VICTIM = """
    import sys
    from pathlib import Path
    import pytest
    import test_training as t
    t.stop_after(pytest.MonkeyPatch(), 2, t.kill)
    t.train(t.network(), Path(sys.argv[1]), averaging=0.9)
"""


@pytest.mark.slow
def test_after_kill_9_it_ends_where_an_unbroken_run_ends(tmp_path):
    path, (whole, again) = tmp_path / "state.npz", (network(), network())
    victim = small_networks.start(VICTIM, path)
    assert victim.wait() == -signal.SIGKILL and path.exists(), victim.stdout.read()
    unbroken = train(whole, averaging=0.9)
    assert_same_end((again, train(again, path, averaging=0.9)), (whole, unbroken))


@pytest.mark.usefixtures("eagerly")
def test_what_is_judged_and_kept_are_averages_and_training_goes_on_without():
    """The losses of training are those of plain weights, the same with and without averaging."""
    averaged = network()
    without, using = train(network()), train(averaged, averaging=0.9)
    np.testing.assert_array_equal(using["train_loss"], without["train_loss"])
    assert (using["tuning_loss"] != without["tuning_loss"]).all()
    assert tuned(averaged) == pytest.approx(using["tuning_loss"].min(), rel=1e-4)


@pytest.mark.usefixtures("eagerly")
def test_a_state_of_no_use_is_not_used(tmp_path, capsys):
    path, whole = tmp_path / "state.npz", network()
    unbroken, kept = train(whole, path), path.read_bytes()
    for useless in (kept[:-200], b"not an archive"):
        path.write_bytes(useless)
        again = network()
        assert_same_end((again, train(again, path)), (whole, unbroken))
    train(network(), path, about="another")
    told = capsys.readouterr().out
    assert "belongs to another training" in told and told.count("cannot be read") == 2


def test_the_key_follows_data_network_loss_rate_and_epochs():
    def key(task="age", rows=64, epochs=EPOCHS, rate=RATE, card=CARD, rho=None, **options):
        model = network(task)
        loss, weights, target = map(options.pop, ("loss", "weights", "target"), ("mae", None, 0))
        model.get_layer("card").facts = card
        schedule = training.warm_up_and_decay(rate, 9)
        model = model if rho is None else sam.SharpnessAware(model, rho)
        model.compile(keras.optimizers.AdamW(schedule, **options), loss)
        data = replace(DATA, train=DATA.train[:rows], weights=weights, target=DATA.target + target)
        fed, _ = batches.of_splits(data, 16, 7)
        return training.training_key(model, fed, epochs)

    keys = {key(), key(rows=63), key(epochs=9), key(rate=1e-3), key(weight_decay=0.1)}
    assert len(keys | {key("stage"), key(card={**CARD, "preparation": "x"})}) == 7
    assert key() in keys  # names, which Keras numbers through, do not count
    huber, other = (training.loss_of("age", "huber") for _ in range(2))
    keys |= {key(rho=0.0), key(rho=0.1), key(weights=DATA.target), key(target=1), key(loss=huber)}
    other.fn = print  # shown with its place in memory, which no other process shares
    assert len(keys) == 10 and key(loss=other) in keys


def test_a_loss_of_another_task_is_refused_by_name():
    for task, loss, said in (("age", "cross-entropy", "l1 or huber"), ("stage", "l1", "cross-")):
        with pytest.raises(InputError, match=f"loss '{loss}': write {said}"):
            training.loss_of(task, loss)


def test_the_rate_rises_for_a_twentieth_of_the_steps_and_falls_to_zero():
    rate = training.warm_up_and_decay(0.5, 200)
    steps = np.array([float(rate(step)) for step in range(201)])
    assert steps.argmax() == 10 and steps[10] == pytest.approx(0.5)
    assert (np.diff(steps[:11]) > 0).all() and (np.diff(steps[10:]) < 0).all()
    assert steps[0] == 0 and steps[-1] == pytest.approx(0, abs=1e-6)
