"""What figures and tables say is what was measured: which way, how sure, best first."""

import re

import cv2
import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy.spatial.distance import pdist

from nbhelpers import metrics
from nbhelpers.bias.corruptions import CORRUPTIONS
from nbhelpers.bias.stress import TIPPING_COLUMNS
from nbhelpers.plots import bias as plots_bias
from nbhelpers.plots import maps as plots_maps
from nbhelpers.plots import models as plots_models
from nbhelpers.plots import scores as plots_scores
from nbhelpers.plots import style
from nbhelpers.plots import tables as plots_tables

# Linear light as it is seen (Machado, Oliveira and Fernandes 2009).
NO_RED = ".152286 1.052583 -.204868 .114503 .786281 .099216 -.003882 -.048116 1.051998"
NO_GREEN = ".367322 .860646 -.227968 .280085 .672501 .047413 -.01182 .04294 .968881"
DEFAULTS = {"blocks": 5, "first_width": 16, "convolutions": 2, "dropout": 0.2}
DEFAULTS |= {"dense_units": 256, "sex_units": 32}


def trials(n: int, effect: float = 0.0) -> pd.DataFrame:
    """n trials with values at random; `effect` months of loss a factor of ten of learning rate."""
    rng = np.random.default_rng(4)
    made = pd.DataFrame([DEFAULTS] * n)
    for name, ends in (("learning_rate", (5e-4, 4e-3)), ("weight_decay", (1e-5, 1e-2))):
        made[name] = np.exp(rng.uniform(*np.log(ends), n))
    loss = 12 + effect * np.log10(made["learning_rate"] / 1e-3) + rng.normal(0, 0.1, n)
    made = made.assign(trial=[f"{number:02d}" for number in range(n)], tuning_loss=loss)
    made = made.assign(status="completed", seconds=90.0, epochs=4, until_epoch=4, weights=123456)
    return made.assign(goes_on_from="", worker="alone", reason="")


@pytest.mark.parametrize("sight", ["1 0 0 0 1 0 0 0 1", NO_RED, NO_GREEN])
def test_colours_and_models_stay_apart_for_every_sight(sight):
    light = ((np.array([to_rgb(one) for one in style.COLOURS]) + 0.055) / 1.055) ** 2.4
    seen = (light @ np.array(sight.split(), float).reshape(3, 3).T).clip(0).astype(np.float32)
    assert pdist(cv2.cvtColor(seen[None], cv2.COLOR_LRGB2Lab)[0]).min() > 15
    assert style.model_look("pair_equal")["color"] != style.model_look("pair_ridge")["color"]
    looks = [style.model_look(name) for name in plots_tables.MODELS]
    assert len({(look["color"], look["marker"]) for look in looks}) == len(looks)
    assert len({look["color"] for look in looks[:5]}) == 5  # those of an ordinary run


def test_trials_stand_best_first_and_the_failed_with_its_reason_last():
    made = trials(10)
    made.loc[3, ["status", "tuning_loss", "reason"]] = ["failed", np.nan, "MemoryError: 9 TB"]
    table = plots_models.trials_table(made)
    losses = [float(text) for text in table["tuning loss"][:-1]]
    assert losses == sorted(losses)
    assert table.index[0] == made.loc[made["tuning_loss"].idxmin(), "trial"]
    assert table.index[-1] == "03" and table.loc["03", "note"] == "MemoryError: 9 TB"


@pytest.mark.parametrize(
    ("n", "effect", "said"),
    [
        (24, 3.0, r"over 24.* learning rate \+(1\.0|0\.9).*Beyond chance: learning rate\.$"),
        (24, -3.0, r"learning rate -"),
        (24, 0.0, r"Beyond chance: none\.$"),
    ],
)
def test_what_matters_among_trials_of_equal_length_is_told_from_chance(n, effect, said):
    made = pd.concat([trials(n, effect), trials(3).assign(until_epoch=1)], ignore_index=True)
    _, alt = plots_models.hyperparameter_importance(plots_models.comparable(made))
    assert re.search(said, alt), alt


def test_a_difference_that_may_be_chance_is_marked_though_its_interval_leaves_out_zero():
    rows = [("hog", 2.0, 0.2), ("vgg16", 1.5, 0.01), ("cnn", 0.001, 0.9)]
    table = pd.DataFrame(rows, columns=["model", "value", "p_holm"]).assign(best="mobilenet")
    table = table.assign(n=100, lower=table["value"] - 0.5, upper=table["value"] + 0.5, p=0.01)
    figure, alt = plots_scores.against_best(table, "age")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["clear after Holm's correction", "may be chance"]
    clear, chance = (bars[0].get_xdata() for bars in figure.axes[0].containers)
    assert np.isfinite(clear).tolist() == [False, True, False]
    assert np.isfinite(chance).tolist() == [True, False, True]
    assert "of each pair, not corrected" in figure.axes[0].get_xlabel()
    assert "from Custom CNN +0.00 to HOG and XGBoost +2.00 months; after" in alt
    assert alt.endswith("Holm's correction 0 are clearly better, 1 clearly worse.")


@pytest.mark.parametrize(
    ("task", "difference", "said", "figures"),
    [
        ("age", (-1.5, -2.0, -0.004), "sam is better than base: ", "-2.00 to -0.00, n = 17"),
        ("age", (0.4, -0.1, 0.9), "sam is not clearly worse than base: ", "-0.10 to +0.90, n = 17"),
        ("stage", (-0.22, -0.3, -0.1), "sam is worse than base: ", "kappa is -0.22 (95 %"),
        ("stage", (0.22, np.nan, np.nan), "sam is not clearly better than", "is +0.22 (n = 17)"),
        ("stage", (0.0, 0.0, 0.0), "sam predicts the same stages as base", "(n = 17)"),
    ],
)
def test_a_comparison_says_which_is_better_and_whether_clearly(task, difference, said, figures):
    told = dict(zip(("value", "lower", "upper"), difference, strict=True), n=17)
    words = plots_tables.comparison_words("sam", "base", task, told)
    assert said in words and figures in words


def told(model: str = "cnn") -> pd.DataFrame:
    """As `subgroups.error_table` has it of all cases, and of three girls."""
    values = {"mae": 9.04, "signed_error": 1.26, "over_24": 0.031, "qwk": 0.81249}
    every = pd.DataFrame({"metric": [*values], "value": [*values.values()]})
    every = every.assign(lower=every["value"] - 0.02, upper=every["value"] + 0.02)
    every = every.assign(model=model, group="all", n=50)
    girls = every.assign(group="female", n=3, value=np.nan, lower=np.nan, upper=np.nan)
    return pd.concat([every, girls], ignore_index=True)


def test_every_score_is_written_with_its_unit_and_interval():
    rows = told().to_dict("records")[:4]
    assert [plots_tables.score_text(row, row["metric"]) for row in rows] == [
        "9.0 (9.0 to 9.1)",
        "+1.3 (+1.2 to +1.3)",
        "3.1 % (1.1 to 5.1 %)",
        "0.812 (0.792 to 0.832)",
    ]
    words = plots_tables.score_words(rows[0], "mae")
    assert words == "9.0 months (95 % interval 9.0 to 9.1, n = 50; 0.75 years)"
    nothing = {"n": 3, "value": np.nan, "lower": np.nan, "upper": np.nan}
    assert plots_tables.score_words(nothing, "difference") == "too few (n = 3)"
    undefined = {"n": 10, "value": None, "lower": None, "upper": None}
    assert plots_tables.score_text(undefined, "qwk") == "–"
    assert plots_tables.value_and_interval(undefined | {"value": -1e-5}, "r2") == ("0.000", "")


def test_every_score_that_tables_show_has_a_name_and_is_measured():
    measured = metrics.score_ages([1, 2], [1, 2]), metrics.score_stages([0, 1], [0, 1])
    for (_, shown), table in zip(sorted(plots_tables.SHOWN.items()), measured, strict=True):
        assert set(shown) <= set(plots_tables.METRICS) & set(table["metric"])


def test_models_stand_under_their_names_and_small_groups_are_too_few():
    table = plots_tables.group_table(told("my_model"), ["mae"])
    assert table.loc["all"].tolist() == [50, "9.0 (9.0 to 9.1)"]
    assert table.loc["female"].tolist() == [3, "too few"]
    assert plots_tables.model_name("hog (derived)") == "HOG and XGBoost (derived)"


def test_tipping_strengths_have_a_row_a_direction_and_a_column_a_model():
    rows = [("cnn", "brightness", "grey levels", -20.0, -80.0, -31.26, -20.5, -50.0)]
    rows += [("cnn", "brightness", "grey levels", 20.0, 80.0, np.nan, 70.0, np.nan)]
    rows += [("cnn", "noise", "grey levels", 5.0, 80.0, 0.0, 0.0, 6.0)]
    rows += [("cnn", "mirrored", "on or off", 1.0, 1.0, 1.0, 1.0, 1.0)]
    table = plots_tables.by_kind(pd.DataFrame(rows, columns=TIPPING_COLUMNS))
    assert table["Custom CNN"].to_dict() == {
        "brightness, grey levels, tried to -80": "-31.3 (-20.5 to -50)",
        "brightness, grey levels, tried to 80": "not reached (70 to not reached)",
        "noise, grey levels, tried to 80": "weaker than 5 (weaker than 5 to 6)",
        "mirrored, on or off": "on",
    }


def test_the_worst_corruption_is_named_with_its_harm():
    rows = [("blur", 2.0, "% of the side", "cnn", 30, 4.0, 3.0, 5.0)]
    rows += [("mirrored", 1.0, "on or off", "hog", 30, 1.0, 0.5, 1.5)]
    ends = [f"difference{end}" for end in ("", "_lower", "_upper")]
    table = pd.DataFrame(rows, columns=["kind", "strength", "unit", "model", "n", *ends])
    assert plots_tables.worst_corruption(table) == (
        "Of 2 corruptions at the strengths tried, blur (2 % of the side) adds most to the error of "
        "Custom CNN: +4.0 months (95 % interval +3.0 to +5.0, n = 30); the interval is not "
        "corrected for that choice."
    )
    words = plots_tables.worst_corruption(table[1:])
    assert "mirrored adds most to the error of HOG and XGBoost: +1.0 months" in words

    of = {kind: (kind, max(one.strengths), one.unit) for kind, one in CORRUPTIONS.items()}
    told = [plots_tables.corruption_words(*of[kind]) for kind in ("scale", "gamma", "noise")]
    assert told == ["scale (40 %)", "gamma (exponent 2.5)", "noise (SD 80 grey levels)"]


def test_harm_grows_to_the_right_past_a_line_at_a_tenth_more_error():
    rows = [("jpeg", 100.0, 10.0), ("jpeg", 5.0, 14.0), ("blur", 0.0, 10.0), ("blur", 2.0, 20.0)]
    table = pd.DataFrame(rows, columns=["kind", "strength", "mae"])
    table = table.assign(model="cnn", unit="", lower=table["mae"], upper=table["mae"])
    figure, _ = plots_bias.stress_curves(table)
    assert [axes.xaxis_inverted() for axes in figure.axes[:2]] == [True, False]
    for axes in figure.axes[:2]:
        assert axes.lines[1].get_ydata() == pytest.approx([11.0, 11.0])


def test_groups_that_differ_are_named_and_more_than_three_counted():
    rows = [(f"g{place}", "absolute", 11, -16.3, 0.001 * place) for place in range(5)]
    tests = pd.DataFrame(rows, columns=["group", "error", "n", "value", "p_holm"])
    assert plots_tables.clear_words(tests[1:2]) == (
        "Clear after Holm's correction, among groups that overlap: g1, absolute error 16.3 months "
        "smaller than the others (n = 11)."
    )
    signed = plots_tables.clear_words(tests[1:2].assign(error="signed"))
    assert "g1, predicted 16.3 months younger than the others" in signed
    words = plots_tables.clear_words(tests[::-1])
    assert ": g0," in words and "g3" not in words and words.endswith("; 2 more of 5 comparisons.")
    assert plots_tables.clear_words(tests.assign(p_holm=0.06)).startswith("None of 5")


def test_the_stage_predicted_furthest_off_stands_beside_the_same_stage_as_predicted():
    rows = [("late (true)", 12, -3.0), ("post (true)", 11, -10.4), ("post (predicted)", 17, -5.8)]
    rows += [("early (true)", 4, np.nan), ("female", 20, -30.0)]
    signed = pd.DataFrame(rows, columns=["group", "n", "value"])
    signed = signed.assign(lower=signed["value"] - 1, upper=signed["value"] + 1)
    words = plots_tables.furthest_words(signed, "VGG16")
    assert "(here 2)" in words and "post (true): -10.4 months (95 % interval -11.4" in words
    assert "; post (predicted): -5.8 months" in words and "not corrected" in words
    assert plots_tables.furthest_words(signed[3:], "VGG16").startswith("Every stage has too few")


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        ("age", (33.4, 33.1), "no better than a predictor that looks at no picture"),
        ("age", (32.9, 33.1), "which may be as good as the model"),
        ("age", (20.0, 33.1), r"always predicting the median age by sex gives 33\.1 months .*\)$"),
        ("stage", (0.0, 0.0), "no better than a predictor"),
        ("stage", (0.5, 0.0), r"majority stage gives 0\.000 .*\)$"),
    ],
)
def test_a_model_no_better_than_one_without_pictures_is_said_to_be(monkeypatch, task, values, said):
    metric, half = plots_tables.RANKED_BY[task], 0.3 if task == "age" else 0.1
    rows = [("vgg16", values[0]), (f"trivial: {plots_tables.SIMPLEST[task]}", values[1])]
    scores = pd.DataFrame(rows, columns=["model", "value"]).assign(split="test", metric=metric)
    scores = scores.assign(n=100, lower=scores["value"] - half, upper=scores["value"] + half)
    words = plots_tables.error_words(scores, "vgg16", task)
    assert re.search(said, words), words
    if task == "age":
        monkeypatch.setattr(plots_maps.scoring, "evaluate", lambda *of: scores)
        answer = plots_maps.failures_first(None, "vgg16", [(True, "Fine."), (False, "Fails.")])
        assert ("VGG16 has" in answer) == ("model" in said or "picture" in said)
        assert re.search(r"(^|\. )Fails\. Fine\.$", answer), answer


@pytest.mark.parametrize(("n", "more"), [(6, 1.0), (12, 0.0), (12, 1.0)])
def test_maps_lie_on_regions_where_they_do_so_beyond_controls_in_enough_cases(n, more):
    random = np.random.default_rng(0)
    made = {"region": "any", "case_id": range(n), "stage": np.arange(n) % 2, "area_share": 0.5}
    made |= {"energy_share": 0.5, "chance": 0.7, "hit": pd.array([True] * n, "boolean")}
    every = {"cnn age": 1 + more, "edges": 1.0}
    local = pd.concat(
        pd.DataFrame(made | {"map": name, "ratio": random.normal(mean, 0.2, n)})
        for name, mean in every.items()
    )
    _, (passed, words) = plots_maps.show_localisation(local, "cnn age", ["edges"], ["a", "b"])
    assert passed == (n < 10 or more == 1) and ("too few cases (6)" in words) == (n < 10)
    assert ("not clearly more" in words) == (not passed) and "nan" not in words


def test_maps_are_called_worse_as_plainly_as_better():
    rows = [("deletion", "random map", -0.1, -0.2, 0.1), ("deletion", "blob", -0.2, -0.3, -0.1)]
    rows += [("insertion", "random map", 0.2, 0.1, 0.3), ("insertion", "blob", 0.4, 0.3, 0.5)]
    rows += [("both", control, 0.1, 0.05, 0.2) for control in ("random map", "blob")]
    gains = pd.DataFrame(rows, columns=["kind", "against", "value", "lower", "upper"])
    curves, names = np.ones((3, 2, 10, 11)), ["hires_cam", "random map", "blob"]
    for gained, passes in ((gains, False), (gains.assign(lower=0.01, upper=0.5), True)):
        gained = gained.assign(network="cnn age", n=10)
        passed, words = plots_maps.show_faithfulness(curves, names, gained, "cnn age")
        assert passed == passes and ("worse" in words) != passes
    first = plots_maps.show_faithfulness(curves, names, gains.assign(network="x", n=10), "x")[1]
    assert "in deletion clearly worse than a blob, -0.20 (-0.30 to -0.10), and not clearly" in first
    assert "in insertion clearly better than a random map, 0.20 (0.10 to 0.30), and cl" in first


@pytest.mark.parametrize(
    ("share", "change", "passes"),
    [((0.8, 1.2), (-1, 1), True), ((1.1, 2), (-1, 1), False), ((0.8, 1.2), (0.5, 1), False)],
)
def test_maps_or_errors_that_hang_on_lead_markers_fail(share, change, passes):
    columns = ["place", "value", "lower", "upper"]
    energy = pd.DataFrame([("marker", 1.0, *share)], columns=columns).assign(metric="ratio", n=12)
    masking = pd.DataFrame([("marker", 0.7, *change)], columns=columns).assign(n=12)
    masking = masking.rename(columns={"value": "difference"})
    passed, words = plots_maps._marker_words(energy, masking)
    assert passed == passes and "1.00 (" in words and "by +0.7 (" in words
    assert ("not clearly more" in words) == (share[0] < 1)
    assert ("not clearly (" in words) == (change[0] < 0)
    few = masking.assign(difference=np.nan, lower=np.nan, upper=np.nan, n=3)
    assert "too few" in plots_maps._marker_words(energy, few)[1]


def test_what_a_mean_over_seeds_gains_is_said_beside_a_fit_alone():
    of = {"model": ["cnn"], "split": "test", "metric": "mae", "n": 300, "value": 8.5}
    each = pd.Series([8.8, 9.0, 9.2], ["cnn_seed0", "cnn_seed1", "cnn_seed2"])
    words, figures = plots_tables.seeds(each, (8.6, 9.4), pd.DataFrame(of), "cnn", "age")
    assert "One of its 3 fits, which differ only in the seed, has 9.00 months on average" in words
    assert "8.60 to 9.40" in words and "SD over seeds 0.20" in words and "by -0.50." in words
    assert figures["one fit, mean over seeds"] == pytest.approx(9) and figures["cnn_seed2"] == 9.2
    assert plots_tables.seeds(each[:0], (), None, "cnn", "age") == ("", {})
