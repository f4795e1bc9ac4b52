"""A search keeps to its budgets, survives being killed, and reports each trial once."""

import socket
import sys
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import small_networks
from keras import layers
from small_networks import CARD

from nbhelpers.models import networks, search, training
from nbhelpers.models.material import Material
from nbhelpers.workspace import InputError

SIZE = 16
SEARCHED = ["dense_units", "dropout", "learning_rate"]
DEFAULTS = [8, 0.2, 1.5e-3]
RANDOM = search.Settings("random", trials=3, minutes=60, epochs=2, batch_size=16, seed=1)
RESULTS = ["trial", "status", "tuning_loss", "epochs", "goes_on_from", *SEARCHED]


def build(hp, steps, seed):
    """A space as that of notebook 02, smaller."""
    units = hp.Choice("dense_units", [2, 4, 8], default=8)
    dropout = hp.Float("dropout", 0.0, 0.5, default=0.2)
    rate = hp.Float("learning_rate", 5e-4, 4e-3, default=1.5e-3, sampling="log")
    radiograph, sex, x = networks.inputs(SIZE, CARD, seed)
    x = layers.Dense(units, activation="relu")(layers.GlobalAveragePooling2D()(x))
    x = layers.Concatenate()([layers.Dropout(dropout, seed=seed)(x), sex])
    network = keras.Model([radiograph, sex], networks.output(x, "age", CARD))
    network.rate, schedule = rate, training.warm_up_and_decay(rate, steps)
    optimiser = keras.optimizers.AdamW(schedule, use_ema=True, ema_momentum=0.9)
    network.compile(optimiser, "mean_absolute_error", run_eagerly=True)
    return network


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


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    return folder, run(folder)


def test_a_search_reports_each_trial_once_and_is_not_run_again(searched, monkeypatch):
    folder, trials = searched
    assert list(trials["trial"]) == ["0", "1", "2"] and set(trials["status"]) == {"completed"}
    assert (trials["epochs"] == 2).all() and (trials[["weights", "seconds"]] > 0).all(axis=None)
    assert not trials.duplicated(SEARCHED).any() and trials.loc[0, SEARCHED].tolist() == DEFAULTS
    assert "tensorboard" not in sys.modules
    monkeypatch.setattr(keras.Model, "fit", lambda *given, **options: pytest.fail("trains again"))
    again = search.search(build, material(), RANDOM, folder)
    pd.testing.assert_frame_equal(again.trials, trials)
    best = trials.loc[trials["tuning_loss"].idxmin(), SEARCHED].to_dict()
    assert again.best.values == best and again.ended == ""


def test_another_search_has_another_folder(tmp_path, pretended):
    others = (replace(RANDOM, trials=4),), (replace(RANDOM, seed=2),), (RANDOM, build, "other data")
    for given in ((), *others):
        run(tmp_path, *given)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("strategy", "trials", "number"),
    [("random", 5, 2), ("hyperband", 7, 1), ("hyperband", 7, 4), ("bayesian", 4, 4)],
)
def test_a_search_broken_off_ends_whole(tmp_path, pretended, monkeypatch, strategy, trials, number):
    monkeypatch.setattr(search, "INITIAL_POINTS", 3)
    epochs = 3 if strategy == "hyperband" else 2
    settings = replace(RANDOM, strategy=strategy, trials=trials, epochs=epochs)
    whole, built = run(tmp_path / "whole", settings), []

    def ctrl_c(*given):
        built.append(given)
        if len(built) == 1 + number:  # the first tells the space
            raise KeyboardInterrupt
        return build(*given)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", settings, ctrl_c)
    resumed = run(tmp_path / "broken", settings, ctrl_c)
    assert resumed[RESULTS].equals(whole[RESULTS])
    assert len(built) == 1 + number + 1 + trials - number + 1  # finished trials are kept
    assert list(whole["trial"]) == [str(number) for number in range(trials)]
    if strategy == "bayesian":  # the Gaussian process proposes from the fourth trial on
        random = run(tmp_path, replace(settings, strategy="random"))
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
    parent = trials["tuning_loss"][:3].idxmin()
    assert trials["goes_on_from"].tolist() == ["", "", "", str(parent)]
    for kept, taken in zip(ended[parent], began[3], strict=True):
        np.testing.assert_array_equal(kept, taken)
    assert list(trials["epochs"]) == [1, 1, 1, 2]
    curve = search.histories(trials).query("trial == '3'")
    assert list(curve["epoch"]) == [1, 2, 3]
    assert curve["tuning_loss"].iloc[0] == pytest.approx(trials["tuning_loss"][parent])


def test_minutes_end_a_search_and_that_is_told_but_one_trial_completes(tmp_path, pretended):
    settings = replace(RANDOM, minutes=1 / 60)  # a trial of two epochs takes two seconds
    found = search.search(build, material(), settings, tmp_path)
    assert list(found.trials["status"]) == ["completed"]
    assert "minutes of training was reached" in found.ended


def test_a_failed_trial_is_told_with_its_reason_and_the_search_goes_on(tmp_path, pretended):
    built = []

    def fragile(hp, steps, seed):
        built.append(hp)
        if len(built) == 3:  # the first tells the space
            raise MemoryError("out of memory while allocating 9 TB")
        return build(hp, steps, seed)

    trials = run(tmp_path, build=fragile)
    assert list(trials["status"]) == ["completed", "failed", "completed"]
    assert trials.loc[1, "reason"] == "MemoryError: out of memory while allocating 9 TB"
    assert np.isnan(trials.loc[1, "tuning_loss"])


def test_three_failures_in_a_row_as_losses_that_are_no_numbers_end_a_search(tmp_path):
    def broken(hp, steps, seed):
        network = build(hp, steps, seed)
        network.get_layer("standard_age").bias.assign([np.nan])
        return network

    with pytest.raises(InputError, match=r"No trial .* completed.*loss is not finite"):
        run(tmp_path, replace(RANDOM, trials=9), broken)
    assert (next(tmp_path.iterdir()) / "oracle.json").read_text().count('"FAILED"') == 3


PROCESS = """
    import sys
    from pathlib import Path
    import test_search as t
    print("trials", len(t.run(Path(sys.argv[1]))))
"""


@pytest.mark.slow
def test_a_chief_and_a_worker_share_a_search(searched, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    processes = [
        small_networks.start(PROCESS, tmp_path, **place, KERASTUNER_TUNER_ID=name)
        for name in ("chief", "one")
    ]
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
