"""Checks of heat maps: faithful ones beat maps that know nothing; covering what matters is seen."""

import keras
import numpy as np
import pandas as pd
import pytest
import small_networks
from notebook_code import functions

from nbhelpers import metrics
from nbhelpers.explain import checks, grad_cam, regions
from nbhelpers.models import saved

SIDE, N = 32, 30
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}
KINDS, CONTROLS = ("deletion", "insertion"), ("random map", "blob in the middle")
curve, gains = functions("06_grad_cam", "curve", "gains")
gain_table, choose, randomised = functions(
    "06_grad_cam", "gain_table", "choose", "randomised", gains=gains, kinds=KINDS, controls=CONTROLS
)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    shown = rng.integers(60, 120, (N, SIDE, SIDE)).astype(np.uint8)
    shown[:, 4:8, 20:24] = 250
    return shown, rng.choice([0.0, 1.0], N)


def corner(images):
    """A score that sees the bright square alone."""
    return images[:, 4:8, 20:24].mean(axis=(1, 2))


def of_corner():
    maps = np.zeros((N, SIDE, SIDE), np.float32)
    maps[:, 4:8, 20:24] = 1
    return maps


def curves(images, heat):
    known = checks.controls(images)
    compared = [heat, *(known[name] for name in CONTROLS)]
    return np.array([[curve(corner, images, one, kind) for kind in KINDS] for one in compared])


def test_the_right_map_beats_both_controls_and_the_wrong_one_does_not(given):
    right = curves(given[0], of_corner())
    ends = right[:, :, :, [0, -1]]
    np.testing.assert_allclose(ends, np.broadcast_to(ends[:1], ends.shape))
    assert (right[0, 0, :, 0] == 0).all() and right[0, 0, :, 1].min() > 50  # deletion
    assert (right[0, 1, :, -1] == 0).all() and right[0, 1, :, 0].min() > 50  # insertion
    table = gain_table(right)
    assert set(zip(table["against"], table["kind"], strict=True)) == {
        (control, kind) for control in CONTROLS for kind in (*KINDS, "both")
    }
    assert (table["n"] == N).all() and (table["lower"] > 0).all()
    assert (gain_table(curves(given[0], 1 - of_corner()))["upper"] < 0).all()


def test_a_gain_is_a_share_of_the_control_s_area_which_is_drawn_again_too():
    areas = np.random.default_rng(0).gamma(2, 1, (2, N))  # of a map and its control
    drawn = np.array(
        [areas[:, rows].mean(axis=1) for block, _ in metrics.resamples(N) for rows in block]
    )
    (table,) = [
        gain_table(np.repeat(np.stack([areas[0], areas[1], areas[1]])[:, None, :, None], 2, axis=1))
    ]
    row = table.query("kind == 'deletion' and against == 'random map'").iloc[0]
    assert row["value"] == pytest.approx(areas[0].mean() / areas[1].mean() - 1)
    ends = np.quantile(drawn[:, 0] / drawn[:, 1] - 1, [0.025, 0.975])
    assert row[["lower", "upper"]].tolist() == pytest.approx(ends)


def test_the_finest_size_that_gains_clearly_is_chosen_and_the_last_map_where_none_does():
    table = pd.DataFrame({"cells": [0, 12, 24, 48], "value": [0.3, 0.6, 0.58, 0.4]})
    table = table.assign(lower=0.1, upper=table["value"] + 0.1, against="random map")
    blob = table.assign(against="blob in the middle", value=9.0, upper=9.0)
    assert choose(pd.concat([table, blob])) == 24
    assert choose(table.assign(upper=table["value"])) == 12
    assert choose(table.assign(lower=-0.1)) == 0


def test_only_the_square_that_matters_is_marked(given):
    before = given[0].copy()
    maps = checks.occlusion_maps(corner, given[0])
    np.testing.assert_array_equal(given[0], before)
    assert maps.shape == (N, 8, 8)
    assert (maps[:, 1, 5] > 100).all()
    assert (checks.likeness(of_corner(), maps) > 0.99).all()  # the finer map by its means
    maps[:, 1, 5] = 0
    assert (maps == 0).all() and (checks.likeness(of_corner(), maps) == 0).all()


def network(task="age"):
    keras.utils.set_random_seed(0)
    return small_networks.custom_cnn(SIDE, CARD, task=task)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_a_score_is_what_the_network_predicts_of_pictures_changed_in_several_ways(given, task):
    made, (images, sex) = network(task), given
    grey = np.full_like(images, 90)
    own, changed = (saved.predict(made, one, sex, averaged=False) for one in (images, grey))
    if task == "stage":
        own, changed = (one[np.arange(N), own.argmax(axis=1)] for one in (own, changed))
    found = checks.network_score(made, images, sex)(np.concatenate([images, grey]))
    np.testing.assert_allclose(found, np.concatenate([own, changed]), rtol=1e-4)


def test_random_weights_change_the_map_five_times_and_leave_the_network_alone(given):
    made = network()
    before, own = made.get_weights(), grad_cam.coarse_maps(made, *given, "hires_cam")
    alike = {}
    for seed, share, changed in randomised(made):
        maps = grad_cam.coarse_maps(changed, *given, "hires_cam")
        alike[seed, share] = checks.likeness(own, maps).mean()
        if share == 0.25:  # the first layers are still the network's own
            np.testing.assert_array_equal(changed.get_weights()[0], before[0])
    whole = [value for (_, share), value in alike.items() if share == 1]
    assert len(set(np.round(whole, 4))) == 5 and max(whole) < 0.9
    other = checks.trained_on_shuffled(made, *given, np.linspace(20, 200, N), epochs=1)
    assert checks.likeness(own, grad_cam.coarse_maps(other, *given, "hires_cam")).mean() < 0.9
    for mine, then in zip(made.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, then)


def test_a_twin_with_a_networks_weights_predicts_as_it_does():
    pixels, normalise = keras.Input((4,)), keras.layers.Normalization()
    made = keras.Model(pixels, keras.layers.Dense(1)(normalise(pixels)))
    normalise.set_weights([np.full(4, 120.0), np.full(4, 60.0), np.array(0)])
    normalise.finalize_state()
    twin, some = checks.twin(made), np.arange(8.0).reshape(2, 4)
    twin.set_weights(made.get_weights())
    np.testing.assert_array_equal(twin(some), made(some))


def test_a_map_is_beyond_controls_only_where_it_is_so_on_the_same_cases():
    ratio = np.random.default_rng(0).normal(2, 0.5, 20)
    table = pd.concat(
        pd.DataFrame(
            {
                "map": name,
                "region": "Wrist",
                "case_id": range(20),
                "ratio": ratio + np.resize(more, 20),
            }
        )
        for name, more in (("own", [0.0]), ("lower", [-0.05, -0.15]), ("equal", [0.2, -0.2]))
    )
    found = regions.beyond(table, "own", ["lower", "equal"]).set_index("map")
    assert found.loc["lower", ["n", "value"]].tolist() == pytest.approx([20, 0.1])
    assert found["lower"].tolist()[0] > 0 > found["lower"].tolist()[1]
    few = regions.beyond(table[table["case_id"] < 4], "own", ["lower"])
    assert few[["value", "lower", "upper"]].isna().all(axis=None)
