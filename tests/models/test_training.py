"""The CNN learns, keeps its best epoch, and goes on after a kill to the bit."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pytest
import small_networks
from small_networks import CARD

from nbhelpers.models import batches, training
from nbhelpers.workspace import InputError

SIZE = 32
EPOCHS, RATE = 3, 5e-3
DATA = small_networks.light_tells_age(64, 32, SIZE)
# Where a training that cannot get better is ended by early stopping.
STALLS = {"averaging": 0.9, "epochs": 30, "rate": 1e-9, "patience": 2}


def network(task="age"):
    keras.utils.set_random_seed(0)
    return small_networks.custom_cnn(SIZE, task=task)


def train(model, state=None, data=DATA, task="age", epochs=EPOCHS, rate=RATE, **options):
    options = {"state": state, "about": "k", "batch_size": 32} | options
    return small_networks.fit(model, task, data, epochs, rate, **options)


def stop_after(monkeypatch, epochs, stop):
    """Calls `stop` once so many epochs have been kept."""
    keep = training.Progress.keep

    def keep_and_stop(progress):
        keep(progress)
        if len(progress.history) == epochs:
            stop()

    monkeypatch.setattr(training.Progress, "keep", keep_and_stop)


def interrupt():
    raise KeyboardInterrupt


def assert_same_end(one, other):
    """Models and histories of two trainings, to the bit; they may differ in the time they took."""
    columns = ["epoch", "train_loss", "tuning_loss"]
    np.testing.assert_array_equal(one[1][columns], other[1][columns])
    for weight, again in zip(one[0].get_weights(), other[0].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, again)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_it_learns_and_keeps_the_weights_of_its_best_epoch(task):
    data, model = DATA, network(task)
    if task == "stage":
        data = replace(DATA, target=np.clip((DATA.target - 60) // 30, 0, 4))
    history = train(model, data=data, task=task, epochs=12, rate=1e-2, batch_size=16)
    tuned = model.evaluate(batches.tuning_batches(data), verbose=0)
    assert tuned == pytest.approx(history["tuning_loss"].min(), rel=1e-4)
    assert tuned < 0.7 * history["tuning_loss"][0]
    truth = data.target[data.tuning]
    if task == "age":
        assert tuned < 0.7 * np.abs(truth - data.target[data.train].mean()).mean()
    else:
        said = model.predict(batches.tuning_batches(data), verbose=0)
        np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
        majority = np.bincount(data.target[data.train].astype(int)).argmax()
        assert (said.argmax(axis=1) == truth).mean() > (truth == majority).mean()


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, EPOCHS),  # stopped before the model was saved
        ({"averaging": 0.9, "with_sam": True}, 1),
        (STALLS, 2),  # early stopping counts on
    ],
)
def test_a_stopped_training_ends_where_an_unbroken_one_ends(tmp_path, monkeypatch, options, kept):
    whole, again = network(), network()
    again.set_weights([weight + 1 for weight in again.get_weights()])  # all come from the file
    unbroken = train(whole, tmp_path / "whole.npz", **options)
    assert len(unbroken) < 30
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, kept, interrupt)
        train(network(), tmp_path / "stopped.npz", **options)
    assert_same_end((again, train(again, tmp_path / "stopped.npz", **options)), (whole, unbroken))


VICTIM = """
    import functools, os, signal, sys
    from pathlib import Path
    import pytest
    import test_training as t
    kill = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
    t.stop_after(pytest.MonkeyPatch(), 2, kill)
    t.train(t.network(), Path(sys.argv[1]), averaging=0.9)
"""


@pytest.mark.slow
def test_after_kill_9_it_ends_where_an_unbroken_run_ends(tmp_path):
    path = tmp_path / "state.npz"
    command = [sys.executable, "-c", textwrap.dedent(VICTIM), path]
    shared = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(command, env=os.environ | shared, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL and path.exists(), ended.stderr[-2000:]
    whole, again = network(), network()
    unbroken = train(whole, averaging=0.9)
    assert_same_end((again, train(again, path, averaging=0.9)), (whole, unbroken))


@pytest.mark.usefixtures("eagerly")
def test_what_is_judged_and_kept_are_averages_and_training_goes_on_without():
    """The losses of training are those of plain weights, the same with and without averaging."""
    averaged = network()
    without, using = train(network()), train(averaged, averaging=0.9)
    np.testing.assert_array_equal(using["train_loss"], without["train_loss"])
    assert (using["tuning_loss"] != without["tuning_loss"]).all()
    tuned = averaged.evaluate(batches.tuning_batches(DATA), verbose=0)
    assert tuned == pytest.approx(using["tuning_loss"].min(), rel=1e-4)


def compiled(model, rate=RATE, **options):
    model.compile(keras.optimizers.AdamW(training.warm_up_and_decay(rate, 9), **options), "mae")
    return model


@pytest.mark.usefixtures("eagerly")
def test_a_state_of_no_use_is_not_used(tmp_path, capsys):
    path = tmp_path / "state.npz"
    fed = batches.training_batches(DATA, 16, 7)

    def epochs_behind(about="k"):
        return training.Progress(fed, EPOCHS, path, about).resume(compiled(network()))

    kept, model = training.Progress(fed, EPOCHS, path, "k"), compiled(network())
    first = kept.resume(model)
    model.fit(fed, validation_data=fed, verbose=0, epochs=1, callbacks=[kept])
    assert (first, epochs_behind()) == (0, 1)
    assert epochs_behind("another") == 0
    whole = path.read_bytes()
    for useless in (whole[:-200], b"not an archive"):
        path.write_bytes(useless)
        assert epochs_behind() == 0
    told = capsys.readouterr().out
    assert "is of another training" in told and told.count("cannot be read") == 2


def test_the_key_follows_data_network_rate_and_epochs():
    def key(model, rows=64, epochs=EPOCHS):
        data = replace(DATA, train=DATA.train[:rows])
        return training.training_key(model, batches.training_batches(data, 16, 7), epochs)

    plain, other = compiled(network()), compiled(network())
    other.get_layer("card").facts = {**CARD, "preparation": "x"}
    keys = {key(plain), key(plain, rows=63), key(plain, epochs=9), key(other)}
    keys |= {key(compiled(network(), rate=1e-3)), key(compiled(network(), weight_decay=0.1))}
    assert len(keys | {key(compiled(network("stage")))}) == 7
    assert key(compiled(network())) in keys  # names, which Keras numbers through, do not count


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
