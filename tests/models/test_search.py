"""A search keeps to its budgets, survives being killed, and reports each trial once."""

import json
import signal
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
from nbhelpers.models.batches import Batches
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


def recipe(build=build, before_epoch=lambda seed, epoch: None) -> search.Recipe:
    """Pictures whose brightness tells the age."""
    rng = np.random.default_rng(1)
    light, sex = rng.uniform(0, 1, N), rng.integers(0, 2, N).astype(np.float32)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (N, SIZE, SIZE))).astype(np.uint8)
    months = (60 + 100 * light + 30 * sex).astype(np.float32)

    def epoch_batches(seed, epoch):
        before_epoch(seed, epoch)
        return Batches(pictures, np.arange(TRAIN), sex, months, 16, order=(seed, epoch))

    held_out = Batches(pictures, np.arange(TRAIN, N), sex, months, 16)
    return search.Recipe("age", Schedule(1, batch_size=16), build, epoch_batches, held_out)


def small(values, seed):
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


@pytest.fixture
def pretended(monkeypatch):
    """Trials that train nothing, for what only the course of a search shows.

    The loss is lowest at a learning rate of 1e-3.
    """

    def fit(network, task, batches, tuning, schedule, state_path, key):
        for epoch in range(schedule.epochs):
            batches(epoch)
            state_path.touch()
        loss = 9 + np.log10(schedule.learning_rate / 1e-3) ** 2
        rows = [(epoch + 1, loss + 1, loss / (epoch + 1), 1.0) for epoch in range(schedule.epochs)]
        return pd.DataFrame(rows, columns=["epoch", "train_loss", "tuning_loss", "seconds"])

    monkeypatch.setattr(training, "fit", fit)


def run(folder, settings=RANDOM, made_with=None, key="data"):
    return search.search(settings, made_with or recipe(), folder, key, SPACE)


def interrupt_at(number):
    """A hook that ends the search like Ctrl-C before the epoch with this running number."""
    asked = []

    def before_epoch(seed, epoch):
        asked.append((seed, epoch))
        if len(asked) == number:
            raise KeyboardInterrupt

    return before_epoch


def forbid_epochs(seed, epoch):
    raise AssertionError("a finished search trains again")


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


def test_the_first_trial_is_the_known_network(searched):
    _, trials = searched
    expected = {"blocks": 2, "first_width": 4, "dense_units": 8}
    expected["learning_rate"] = search.KNOWN["learning_rate"]
    assert trials.loc[0, list(expected)].to_dict() == expected


def test_a_finished_search_is_read_and_not_run_again(searched):
    folder, trials = searched
    again = run(folder, made_with=recipe(before_epoch=forbid_epochs))
    assert again.equals(trials)
    assert len(list(folder.iterdir())) == 1


def test_the_same_search_elsewhere_ends_alike(searched, tmp_path):
    assert run(tmp_path)[RESULTS].equals(searched[1][RESULTS])


@pytest.mark.parametrize("change", ["trials", "minutes", "epochs", "seed", "key", "schedule"])
def test_another_search_has_another_folder(searched, tmp_path, monkeypatch, change):
    monkeypatch.setattr(search, "work", lambda oracle, place, *_: oracle.save())
    monkeypatch.setattr(search, "trial_rows", lambda place: place)
    monkeypatch.setattr(search, "completed", lambda place: pytest.skip("made its folder"))
    made_with, settings, key = recipe(), RANDOM, "data"
    if change == "key":
        key = "other data"
    elif change == "schedule":
        made_with = replace(made_with, schedule=Schedule(1, batch_size=16, patience=3))
    else:
        settings = replace(RANDOM, **{change: getattr(RANDOM, change) + 1})
    with pytest.raises(pytest.skip.Exception):
        search.search(settings, made_with, tmp_path, key, SPACE)
    before, now = (next(folder.iterdir()).name for folder in (searched[0], tmp_path))
    assert before != now


def test_an_interrupted_search_ends_where_an_unbroken_one_ends(searched, tmp_path):
    # training.fit asks for the batches of epoch 0 once more, to count its steps: three calls a
    # trial. So: before the second epoch of trial 0, and once that is trained as trial 1 begins.
    for call in (3, 3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, made_with=recipe(before_epoch=interrupt_at(call)))
    asked = []
    trials = run(tmp_path, made_with=recipe(before_epoch=lambda *call: asked.append(call)))
    assert trials[RESULTS].equals(searched[1][RESULTS])
    assert [epoch for _, epoch in asked] == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("strategy", "trials", "call"),
    [("random", 5, 5), ("hyperband", 7, 1), ("hyperband", 7, 6), ("bayesian", 5, 8)],
)
def test_every_strategy_goes_on_after_an_interruption(
    tmp_path, pretended, monkeypatch, strategy, trials, call
):
    monkeypatch.setattr(search, "INITIAL_POINTS", 3)
    epochs = 3 if strategy == "hyperband" else 2
    settings = replace(RANDOM, strategy=strategy, trials=trials, epochs=epochs)
    whole = run(tmp_path / "whole", settings, recipe(small))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", settings, recipe(small, before_epoch=interrupt_at(call)))
    resumed = run(tmp_path / "broken", settings, recipe(small))
    assert resumed[RESULTS].equals(whole[RESULTS])
    assert list(whole["trial"]) == [str(number) for number in range(trials)]
    if strategy == "bayesian":  # the Gaussian process proposes from the fourth trial on
        random = run(tmp_path, replace(settings, strategy="random"), recipe(small))
        same = random["learning_rate"] == whole["learning_rate"]
        assert list(same) == [True] * 3 + [False] * 2


def test_hyperband_trains_the_best_further_from_their_weights(tmp_path, monkeypatch):
    began, ended, fit = {}, {}, training.fit

    def watched(network, task, batches, tuning, schedule, state_path, key):
        trial = state_path.parent.name.removeprefix("trial_")
        began[trial] = network.get_weights()
        history = fit(network, task, batches, tuning, schedule, state_path, key)
        ended[trial] = network.get_weights()
        return history

    monkeypatch.setattr(training, "fit", watched)
    settings = search.SearchSettings("hyperband", trials=4, minutes=60, epochs=3)
    trials = run(tmp_path, settings)
    first_round, promoted = trials.iloc[:3], trials.iloc[3]
    parent = first_round.loc[first_round["tuning_loss"].idxmin(), "trial"]
    assert promoted["goes_on_from"] == parent
    for kept, taken in zip(ended[parent], began["3"], strict=True):
        np.testing.assert_array_equal(kept, taken)
    assert list(trials["epochs"]) == [1, 1, 1, 2]
    curves = search.histories(trials, count=4).set_index("trial")
    assert list(curves.loc["3", "epoch"]) == [1, 2, 3]
    assert curves.loc["3", "tuning_loss"].iloc[0] == first_round["tuning_loss"].min()
    # What no trial can start from any more fills no disk.
    assert not list(tmp_path.rglob("*.npz"))


def test_weights_stay_while_a_trial_may_still_be_promoted(tmp_path, pretended):
    settings = search.SearchSettings("hyperband", trials=4, minutes=60, epochs=3)
    made_with = recipe(before_epoch=interrupt_at(3))  # in trial 2 of the first round of three
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings, made_with)
    kept = [path.parent.name for path in tmp_path.rglob(search.BEST)]
    assert len(kept) == 1  # one place in the next round: the better of the two that ended
    losses = json.loads(next(tmp_path.rglob("search.json")).read_text())["trials"]
    best = min((trial for trial in losses if trial["score"]), key=lambda trial: trial["score"])
    assert kept == [f"trial_{best['trial_id']}"]


def test_minutes_end_a_search_but_one_trial_always_completes(tmp_path, pretended):
    trials = run(tmp_path, replace(RANDOM, minutes=1e-9))
    assert list(trials["status"]) == ["completed"]


def test_minutes_count_what_was_trained_before_the_search_was_killed(tmp_path, pretended):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, made_with=recipe(before_epoch=interrupt_at(4)))
    path = next(tmp_path.rglob("search.json"))
    kept = json.loads(path.read_text())
    kept["trials"][0]["metrics"]["metrics"]["seconds"]["observations"][0]["value"] = [3600.0]
    path.write_text(json.dumps(kept))
    trials = run(tmp_path)
    assert list(trials["status"]) == ["completed"] * 2  # the begun one is finished, no third begins


def test_a_failed_trial_is_told_with_its_reason_and_the_search_goes_on(tmp_path, pretended):
    built = []

    def fragile(values, seed):
        built.append(values)
        if len(built) == 2:
            raise MemoryError("out of memory while allocating 9 TB")
        return build(values, seed)

    trials = run(tmp_path, made_with=recipe(fragile))
    assert list(trials["status"]) == ["completed", "failed", "completed"]
    assert trials.loc[1, "reason"] == "MemoryError: out of memory while allocating 9 TB"
    assert np.isnan(trials.loc[1, "tuning_loss"])
    assert trials.loc[1, "seconds"] >= 0
    again = run(tmp_path, made_with=recipe(before_epoch=forbid_epochs))
    assert again.equals(trials)


def test_three_failures_in_a_row_stop_the_search_with_their_reason(tmp_path):
    def too_deep(values, seed):
        keras.layers.MaxPooling2D()(keras.Input((1, 1, 1)))

    with pytest.raises(InputError, match=r"No trial .* completed.*ValueError.*negative"):
        run(tmp_path, replace(RANDOM, trials=9), recipe(too_deep))
    assert len(search.trial_rows(next(tmp_path.iterdir()))) == 3


def test_a_loss_that_is_no_number_is_a_failure(tmp_path):
    def broken(values, seed):
        network = build(values, seed)
        network.get_layer("standard_age").bias.assign([np.nan])
        return network

    with pytest.raises(InputError, match="tuning loss is not a finite number"):
        run(tmp_path, replace(RANDOM, trials=1), recipe(broken))


def test_a_trial_that_keeps_ending_the_process_counts_as_failed(tmp_path, pretended):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, made_with=recipe(before_epoch=interrupt_at(3)))
    (next(tmp_path.rglob("trial_1")) / "deaths").write_text(str(search.DEATHS))
    trials = run(tmp_path)
    assert list(trials["status"]) == ["completed", "failed", "completed"]
    assert "died 3 times" in trials.loc[1, "reason"]


@pytest.mark.parametrize("damage", ["{", '{"trials": []}', '{"trials": [{}], "oracle": {}}'])
def test_a_damaged_search_is_refused_with_what_to_do(searched, tmp_path, damage):
    place = tmp_path / next(searched[0].iterdir()).name
    place.mkdir()
    (place / "search.json").write_text(damage)
    with pytest.raises(InputError, match=r"search\.json .*[Dd]elete"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("strategy", "grid"), ("trials", 0), ("minutes", 0), ("epochs", 0)]
)
def test_settings_that_cannot_be_used_are_named(tmp_path, field, value):
    with pytest.raises(InputError, match=field):
        run(tmp_path, replace(RANDOM, **{field: value}))


def test_channels_double_up_to_a_cap():
    values = dict(search.KNOWN, blocks=6, first_width=32)
    assert search.cnn_settings(values)["widths"] == (32, 64, 128, 256, 256, 256)


KILLED = """
    import os, signal, sys
    sys.path.insert(0, sys.argv[1])
    import test_search as t
    from pathlib import Path
    asked = []
    def before_epoch(seed, epoch):
        asked.append(epoch)
        if len(asked) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
    t.run(Path(sys.argv[2]), made_with=t.recipe(before_epoch=before_epoch))
"""


@pytest.mark.slow
def test_after_kill_9_the_running_trial_goes_on_and_none_runs_again(searched, tmp_path):
    code, here = textwrap.dedent(KILLED), str(Path(__file__).parent)
    killed = subprocess.run([sys.executable, "-c", code, here, str(tmp_path)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    asked = []
    trials = run(tmp_path, made_with=recipe(before_epoch=lambda *call: asked.append(call)))
    assert trials[RESULTS].equals(searched[1][RESULTS])
    # Trial 1 had one epoch behind it: of it the count and the second epoch, all three of trial 2.
    assert [epoch for _, epoch in asked] == [0, 1, 0, 0, 1]
