"""A search keeps to its budgets, survives being killed, and reports each trial once."""

import os
import signal
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

from nbhelpers.models import networks, search, training
from nbhelpers.models.batches import Material
from nbhelpers.models.training import Schedule
from nbhelpers.workspace import InputError

SIZE, N, TRAIN = 16, 48, 32
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5, "view": "hand"}
SPACE = search.Space(
    blocks=(1, 2), first_width=(2, 4), convolutions=(1, 1), dense_units=(4, 8), sex_units=(2, 4)
)
RANDOM = search.SearchSettings("random", trials=3, minutes=60, epochs=2, seed=1)
RESULTS = ["trial", "status", "tuning_loss", "epochs", "goes_on_from", *search.SEARCHED]


def build(values, seed):
    settings = search.cnn_settings(values)
    return networks.custom_cnn(SIZE, CARD, task="age", seed=seed, **settings)


def recipe(build=build) -> search.Recipe:
    """Pictures whose brightness tells the age."""
    rng = np.random.default_rng(1)
    light, sex = rng.uniform(0, 1, N), rng.integers(0, 2, N).astype(np.float32)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (N, SIZE, SIZE))).astype(np.uint8)
    months = (60 + 100 * light + 30 * sex).astype(np.float32)
    material = Material(pictures, sex, months, np.arange(TRAIN), np.arange(TRAIN, N))
    return search.Recipe("age", Schedule(1, batch_size=16), build, material)


def small(values, seed):
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


@pytest.fixture
def pretended(monkeypatch):
    """Trials that train nothing, for what only the course of a search shows.

    The loss is lowest at a learning rate of 1e-3.
    """

    def fit(network, task, batches, tuning, schedule, first_epoch):
        loss = 9 + np.log10(schedule.learning_rate / 1e-3) ** 2
        epochs = range(first_epoch, schedule.epochs)
        rows = [(epoch + 1, loss + 1, loss / (epoch + 1), 1.0) for epoch in epochs]
        return pd.DataFrame(rows, columns=["epoch", "train_loss", "tuning_loss", "seconds"])

    monkeypatch.setattr(training, "fit", fit)


def run(folder, settings=RANDOM, made_with=None, key="data"):
    return search.search(settings, made_with or recipe(), folder, key, SPACE)[0]


def interrupt_at(monkeypatch, number):
    """End the search like Ctrl-C when this trial, counted from 1, has been trained."""
    trained, fit = [], training.fit

    def interrupted(*arguments, **options):
        history = fit(*arguments, **options)
        trained.append(history)
        if len(trained) == number:
            raise KeyboardInterrupt
        return history

    monkeypatch.setattr(training, "fit", interrupted)


def forbid_training(monkeypatch):
    monkeypatch.setattr(training, "fit", lambda *arguments, **options: pytest.fail("trains again"))


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
    assert not trials.duplicated(list(search.SEARCHED)).any()
    best = search.best_values(trials)
    assert best == trials.loc[trials["tuning_loss"].idxmin(), list(best)].to_dict()
    # The first is the known network.
    expected = {"blocks": 2, "first_width": 4, "dense_units": 8}
    expected["learning_rate"] = search.KNOWN["learning_rate"]
    assert trials.loc[0, list(expected)].to_dict() == expected


def test_a_finished_search_is_read_and_not_run_again(searched, monkeypatch):
    folder, trials = searched
    forbid_training(monkeypatch)
    pd.testing.assert_frame_equal(run(folder), trials)
    assert len(list(folder.iterdir())) == 1


def test_tensorboard_is_not_imported():
    assert "tensorboard" not in sys.modules


@pytest.mark.parametrize("change", ["trials", "seed", "key", "schedule"])
def test_another_search_has_another_folder(searched, tmp_path, pretended, change):
    made_with, settings, key = recipe(small), RANDOM, "data"
    if change == "key":
        key = "other data"
    elif change == "schedule":
        made_with = replace(made_with, schedule=Schedule(1, batch_size=16, patience=3))
    else:
        settings = replace(RANDOM, **{change: getattr(RANDOM, change) + 1})
    run(tmp_path, settings, made_with, key)
    before, now = (next(folder.iterdir()).name for folder in (searched[0], tmp_path))
    assert before != now


@pytest.mark.parametrize(
    ("strategy", "trials", "number"),
    [("random", 5, 2), ("hyperband", 7, 1), ("hyperband", 7, 4), ("bayesian", 5, 4)],
)
def test_a_search_broken_off_ends_as_one_that_ran_through(
    tmp_path, pretended, monkeypatch, strategy, trials, number
):
    monkeypatch.setattr(search, "INITIAL_POINTS", 3)
    epochs = 3 if strategy == "hyperband" else 2
    settings = replace(RANDOM, strategy=strategy, trials=trials, epochs=epochs)
    whole = run(tmp_path / "whole", settings, recipe(small))
    with monkeypatch.context() as patch:
        interrupt_at(patch, number)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", settings, recipe(small))
    trained = []
    counted = recipe(lambda values, seed: trained.append(values) or small(values, seed))
    resumed = run(tmp_path / "broken", settings, counted)
    assert resumed[RESULTS].equals(whole[RESULTS])
    assert len(trained) == trials - number + 1  # finished trials are kept
    assert list(whole["trial"]) == [str(number) for number in range(trials)]
    if strategy == "bayesian":  # the Gaussian process proposes from the fourth trial on
        random = run(tmp_path, replace(settings, strategy="random"), recipe(small))
        same = random["learning_rate"] == whole["learning_rate"]
        assert list(same) == [True] * 3 + [False] * 2


def test_hyperband_trains_the_best_further_from_their_weights(tmp_path, monkeypatch):
    began, ended, fit = [], [], training.fit

    def watched(network, *arguments, **options):
        began.append(network.get_weights())
        history = fit(network, *arguments, **options)
        ended.append(network.get_weights())
        return history

    monkeypatch.setattr(training, "fit", watched)
    trials = run(tmp_path, search.SearchSettings("hyperband", trials=4, minutes=60, epochs=3))
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
    trials, ended = search.search(settings, recipe(small), tmp_path, "data", SPACE)
    assert list(trials["status"]) == ["completed"]
    assert "minutes of training was reached" in ended
    assert search.search(RANDOM, recipe(small), tmp_path, "data", SPACE)[1] == ""


def test_a_failed_trial_is_told_with_its_reason_and_the_search_goes_on(
    tmp_path, pretended, monkeypatch
):
    built = []

    def fragile(values, seed):
        built.append(values)
        if len(built) == 2:
            raise MemoryError("out of memory while allocating 9 TB")
        return small(values, seed)

    trials = run(tmp_path, made_with=recipe(fragile))
    assert list(trials["status"]) == ["completed", "failed", "completed"]
    assert trials.loc[1, "reason"] == "MemoryError: out of memory while allocating 9 TB"
    assert np.isnan(trials.loc[1, "tuning_loss"])
    forbid_training(monkeypatch)
    pd.testing.assert_frame_equal(run(tmp_path), trials)


def test_three_failures_in_a_row_stop_the_search_with_their_reason(tmp_path):
    def too_deep(values, seed):
        keras.layers.MaxPooling2D()(keras.Input((1, 1, 1)))

    with pytest.raises(InputError, match=r"No trial .* completed.*ValueError.*negative"):
        run(tmp_path, replace(RANDOM, trials=9), recipe(too_deep))
    assert (next(tmp_path.iterdir()) / "oracle.json").read_text().count('"FAILED"') == 3


def test_a_loss_that_is_no_number_is_a_failure(tmp_path):
    def broken(values, seed):
        network = build(values, seed)
        network.get_layer("standard_age").bias.assign([np.nan])
        return network

    with pytest.raises(InputError, match="tuning loss is not a finite number"):
        run(tmp_path, replace(RANDOM, trials=1), recipe(broken))


def test_channels_double_up_to_a_cap():
    values = dict(search.KNOWN, blocks=6, first_width=32)
    assert search.cnn_settings(values)["widths"] == (32, 64, 128, 256, 256, 256)


PROCESS = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_search as t
    from nbhelpers.models import search, training
    if sys.argv[3:]:  # killed in its second trial
        fit, begun = training.fit, []
        def killed(*arguments, **options):
            begun.append(1)
            if len(begun) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return fit(*arguments, **options)
        training.fit = killed
    trials = t.run(Path(sys.argv[2]))
    print("trials", len(trials), search.is_worker())
"""


def start(folder: Path, *more: str, **variables: str) -> subprocess.Popen:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), here, str(folder), *more]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=os.environ | variables, **options)


@pytest.mark.slow
def test_after_kill_9_the_search_ends_as_one_that_ran_through(searched, tmp_path):
    killed = start(tmp_path, "killed")
    told = killed.communicate(timeout=300)[0]
    assert killed.returncode == -signal.SIGKILL, told[-2000:]
    assert run(tmp_path)[RESULTS].equals(searched[1][RESULTS])


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
    assert told[0].strip().endswith("trials 3 False") and told[1].strip().endswith("trials 0 True")
    np.testing.assert_allclose(  # values are rounded on their way to a worker
        run(tmp_path)["tuning_loss"], searched[1]["tuning_loss"], rtol=1e-3
    )
