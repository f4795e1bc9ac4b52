"""A search keeps to its budgets, survives being killed, and reports each trial once."""

import os
import socket
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import small_networks
from small_networks import CARD

from nbhelpers.models import networks, search, training
from nbhelpers.models.material import Material
from nbhelpers.workspace import InputError

SIZE = 16
SEARCHED = ("blocks", "first_width", "dropout", "dense_units", "learning_rate")
RANDOM = search.Settings("random", trials=3, minutes=60, epochs=2, batch_size=16, seed=1)
RESULTS = ["trial", "status", "tuning_loss", "epochs", "goes_on_from", *SEARCHED]
DEFAULTS = {"blocks": 2, "first_width": 4, "dense_units": 8, "learning_rate": 1.5e-3}


def values_of(hp) -> dict:
    """A space as that of notebook 02, smaller."""
    return {
        "blocks": hp.Int("blocks", 1, 2, default=2),
        "first_width": hp.Choice("first_width", [2, 4], default=4),
        "dropout": hp.Float("dropout", 0.0, 0.5, default=0.2),
        "dense_units": hp.Choice("dense_units", [4, 8], default=8),
        "learning_rate": hp.Float("learning_rate", 5e-4, 4e-3, default=1.5e-3, sampling="log"),
    }


def compiled(network, values, steps):
    rate = training.warm_up_and_decay(values["learning_rate"], steps)
    optimiser = keras.optimizers.AdamW(rate, use_ema=True, ema_momentum=0.9)
    network.compile(optimiser, "mean_absolute_error", run_eagerly=True)
    network.rate = values["learning_rate"]
    return network


def build(hp, steps, seed):
    values = values_of(hp)
    radiograph, sex, x = networks.inputs(SIZE, CARD, seed)
    for block in range(values["blocks"]):
        x = keras.layers.Conv2D(values["first_width"] * 2**block, 3, strides=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(values["dense_units"], activation="relu")(x)
    output = networks.output(keras.layers.Concatenate()([x, sex]), "age", CARD)
    return compiled(keras.Model([radiograph, sex], output), values, steps)


def small(hp, steps, seed):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    return compiled(network, values_of(hp), steps)


def material(key: str = "data") -> Material:
    return small_networks.light_tells_age(32, 16, SIZE, card=CARD | {"preparation": key})


@pytest.fixture
def pretended(monkeypatch):
    """Trials that train nothing, for what only the course of a search shows.

    The loss is lowest at a learning rate of 1e-3.
    """

    def fit(network, fed, initial_epoch, epochs, callbacks, **options):
        loss = 9 + np.log10(network.rate / 1e-3) ** 2
        for epoch in range(initial_epoch, epochs):
            losses = {"train_loss": loss + 1, "tuning_loss": loss / (epoch + 1)}
            callbacks[-1].history.append({"epoch": epoch + 1, **losses, "seconds": 1.0})

    monkeypatch.setattr(keras.Model, "fit", fit)


def run(folder, settings=RANDOM, build=build, key="data"):
    return search.search(build, material(key), settings, folder).trials


def interrupt_at(monkeypatch, number):
    """End the search like Ctrl-C when this trial, counted from 1, has been trained."""
    trained, fit = [], keras.Model.fit

    def interrupted(network, *arguments, **options):
        fit(network, *arguments, **options)
        trained.append(network)
        if len(trained) == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", interrupted)


def forbid_training(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *given, **options: pytest.fail("trains again"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    return folder, run(folder)


def test_every_trial_is_reported_once_with_its_values(searched):
    _, trials = searched
    assert list(trials["trial"]) == ["0", "1", "2"]
    assert set(trials["status"]) == {"completed"}
    assert (trials["epochs"] == 2).all()
    assert (trials["weights"] > 0).all()
    assert (trials["seconds"] > 0).all()
    assert not trials.duplicated(list(SEARCHED)).any()
    # The first is the default network.
    assert trials.loc[0, list(DEFAULTS)].to_dict() == DEFAULTS


def test_a_finished_search_is_read_and_not_run_again(searched, monkeypatch):
    folder, trials = searched
    forbid_training(monkeypatch)
    again = search.search(build, material(), RANDOM, folder)
    pd.testing.assert_frame_equal(again.trials, trials)
    assert len(list(folder.iterdir())) == 1
    best = trials.loc[trials["tuning_loss"].idxmin(), list(SEARCHED)].to_dict()
    assert again.best.values == best and again.ended == ""


def test_tensorboard_is_not_imported():
    assert "tensorboard" not in sys.modules


def test_another_search_has_another_folder(searched, tmp_path, pretended):
    changed = (replace(RANDOM, trials=4),), (replace(RANDOM, seed=2),), (RANDOM, small)
    for given in (*changed, (RANDOM, build, "other data")):
        run(tmp_path, *given)
    made = {folder.name for place in (searched[0], tmp_path) for folder in place.iterdir()}
    assert len(made) == 5


@pytest.mark.parametrize(
    ("strategy", "trials", "number"),
    [("random", 5, 2), ("hyperband", 7, 1), ("hyperband", 7, 4), ("bayesian", 4, 4)],
)
def test_a_search_broken_off_ends_as_one_that_ran_through(
    tmp_path, pretended, monkeypatch, strategy, trials, number
):
    monkeypatch.setattr(search, "INITIAL_POINTS", 3)
    epochs = 3 if strategy == "hyperband" else 2
    settings = replace(RANDOM, strategy=strategy, trials=trials, epochs=epochs)
    whole = run(tmp_path / "whole", settings, small)
    with monkeypatch.context() as patch:
        interrupt_at(patch, number)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", settings, small)
    built = []
    counted = lambda *given: built.append(given) or small(*given)  # noqa: E731
    resumed = run(tmp_path / "broken", settings, counted)
    assert resumed[RESULTS].equals(whole[RESULTS])
    assert len(built) == 1 + trials - number + 1  # finished trials are kept
    assert list(whole["trial"]) == [str(number) for number in range(trials)]
    if strategy == "bayesian":  # the Gaussian process proposes from the fourth trial on
        random = run(tmp_path, replace(settings, strategy="random"), small)
        same = random["learning_rate"] == whole["learning_rate"]
        assert list(same) == [True] * 3 + [False]


def test_hyperband_trains_the_best_further_from_their_weights(tmp_path, monkeypatch):
    began, ended, fit = [], [], keras.Model.fit

    def watched(network, *arguments, **options):
        began.append(network.get_weights())
        fit(network, *arguments, **options)
        ended.append(network.get_weights())

    monkeypatch.setattr(keras.Model, "fit", watched)
    trials = run(tmp_path, replace(RANDOM, strategy="hyperband", trials=4, epochs=3, seed=0))
    first_round, promoted = trials.iloc[:3], trials.iloc[3]
    parent = first_round["tuning_loss"].idxmin()
    assert promoted["goes_on_from"] == str(parent)
    for kept, taken in zip(ended[parent], began[3], strict=True):
        np.testing.assert_array_equal(kept, taken)
    assert list(trials["epochs"]) == [1, 1, 1, 2]
    curves = search.histories(trials, count=4).set_index("trial")
    assert list(curves.loc["3", "epoch"]) == [1, 2, 3]
    assert curves.loc["3", "tuning_loss"].iloc[0] == pytest.approx(trials["tuning_loss"][parent])


def test_minutes_end_a_search_and_that_is_told_but_one_trial_completes(tmp_path, pretended):
    settings = replace(RANDOM, minutes=1 / 60)  # a trial of two epochs takes two seconds
    found = search.search(small, material(), settings, tmp_path)
    assert list(found.trials["status"]) == ["completed"]
    assert "minutes of training was reached" in found.ended
    assert search.search(small, material(), RANDOM, tmp_path).ended == ""


def test_a_failed_trial_is_told_with_its_reason_and_the_search_goes_on(
    tmp_path, pretended, monkeypatch
):
    built = []

    def fragile(hp, steps, seed):
        built.append(hp)
        if len(built) == 3:  # the first tells the space
            raise MemoryError("out of memory while allocating 9 TB")
        return small(hp, steps, seed)

    trials = run(tmp_path, build=fragile)
    assert list(trials["status"]) == ["completed", "failed", "completed"]
    assert trials.loc[1, "reason"] == "MemoryError: out of memory while allocating 9 TB"
    assert np.isnan(trials.loc[1, "tuning_loss"])
    forbid_training(monkeypatch)
    pd.testing.assert_frame_equal(run(tmp_path, build=small), trials)


def test_three_failures_in_a_row_stop_the_search_with_their_reason(tmp_path):
    built = []

    def too_deep(hp, steps, seed):
        built.append(hp)
        if len(built) > 1:  # the first tells the space
            keras.layers.MaxPooling2D()(keras.Input((1, 1, 1)))
        return small(hp, steps, seed)

    with pytest.raises(InputError, match=r"No trial .* completed.*ValueError.*negative"):
        run(tmp_path, replace(RANDOM, trials=9), too_deep)
    assert (next(tmp_path.iterdir()) / "oracle.json").read_text().count('"FAILED"') == 3


def test_a_loss_that_is_no_number_is_a_failure(tmp_path):
    def broken(hp, steps, seed):
        network = build(hp, steps, seed)
        network.get_layer("standard_age").bias.assign([np.nan])
        return network

    with pytest.raises(InputError, match="tuning loss is not a finite number"):
        run(tmp_path, replace(RANDOM, trials=1), broken)


PROCESS = """
    import sys
    from pathlib import Path
    import test_search as t
    print("trials", len(t.run(Path(sys.argv[1]))))
"""


def start(folder: Path, **variables: str) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), str(folder)]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=os.environ | variables, **options)


@pytest.mark.slow
def test_a_chief_and_a_worker_share_a_search(searched, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    processes = [start(tmp_path, **place, KERASTUNER_TUNER_ID=name) for name in ("chief", "one")]
    try:
        told = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told
    assert told[0].strip().endswith("trials 3") and "trials" not in told[1].splitlines()[-1]
    np.testing.assert_allclose(  # values are rounded on their way to a worker
        run(tmp_path)["tuning_loss"], searched[1]["tuning_loss"], rtol=1e-3
    )
