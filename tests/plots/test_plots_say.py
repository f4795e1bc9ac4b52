"""What figures and tables say is what was measured: which way, how sure, best first."""

import re

import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import pytest

from nbhelpers import metrics
from nbhelpers.plots import models as plots_models
from nbhelpers.plots import scores as plots_scores
from nbhelpers.plots import tables as plots_tables

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


def test_pairs_that_may_be_chance_are_marked():
    rows = [("one", "two", -1.0, 0.2), ("one", "three", -2.0, 0.01), ("two", "three", -1.5, 0.03)]
    pairs = pd.DataFrame(rows, columns=["a", "b", "value", "p_holm"])
    pairs = pairs.assign(n=100, lower=pairs["value"] - 0.5, upper=pairs["value"] + 0.5, p=0.01)
    figure, _ = plots_scores.all_pairs(pairs, "months")
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"-1.00\n≈", "+1.00\n≈", "-2.00", "+2.00"} <= texts


@pytest.mark.parametrize(
    ("task", "difference", "said", "unsure"),
    [
        ("age", (-1.5, -2.0, -1.0), "is 1.50 months lower", False),
        ("age", (0.4, -0.1, 0.9), "is 0.40 months higher", True),
        ("stage", (0.02, 0.01, 0.03), "is 2.00 percentage points", False),
    ],
)
def test_a_comparison_says_which_way_and_whether_zero_is_excluded(task, difference, said, unsure):
    told = dict(zip(("value", "lower", "upper"), difference, strict=True), n=1701)
    words = plots_tables.comparison_words("sam", "base", task, told)
    assert said in words and ("does not exclude zero" in words) == unsure


def told(model: str = "cnn") -> pd.DataFrame:
    """As `subgroups.error_table` has it of all cases, and of three girls."""
    values = {"mae": 9.04, "signed_error": 1.26, "over_24": 0.031, "qwk": 0.81249}
    every = pd.DataFrame({"metric": [*values], "value": [*values.values()]})
    every = every.assign(lower=every["value"] - 0.02, upper=every["value"] + 0.02)
    every = every.assign(model=model, group="all", n=50, too_few=False)
    girls = every.assign(
        group="female", n=3, too_few=True, value=np.nan, lower=np.nan, upper=np.nan
    )
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
    assert words == "9.0 months or 0.75 years (95 % interval 9.0 to 9.1, n = 50)"
    nothing = {"n": 3, "value": np.nan, "lower": np.nan, "upper": np.nan}
    assert plots_tables.score_words(nothing, "difference") == "– (n = 3)"
    undefined = {"value": None, "lower": None, "upper": None}
    assert plots_tables.score_text(undefined, "qwk") == "–"
    assert plots_tables.value_and_interval(undefined | {"value": -1e-5}, "r2") == ("0.000", "")


def test_every_score_that_tables_show_has_a_name_and_is_measured():
    measured = metrics.score_ages([1, 2], [1, 2]), metrics.score_stages([0, 1], [0, 1])
    for (_, shown), table in zip(sorted(plots_tables.SHOWN.items()), measured, strict=True):
        assert set(shown) <= set(plots_tables.METRICS) & set(table["metric"])


def test_models_stand_under_their_names_and_small_groups_are_too_few():
    both = pd.concat([told("cnn"), told("my_model")])
    table = plots_tables.by_model(both, ["all", "female"])
    assert table.columns.tolist() == ["all, n = 50", "female, n = 3"]
    assert table.index.tolist()[:2] == [
        ("mean absolute error, months", "Custom CNN"),
        ("mean absolute error, months", "my_model"),
    ]
    assert table.iloc[1].tolist() == ["9.0 (9.0 to 9.1)", "too few"]
    derived = plots_tables.model_name("ensemble_ridge_sex (derived)")
    assert derived == "Ridge ensemble with sex (derived)"


def test_tipping_strengths_have_a_row_a_direction_and_a_column_a_model():
    rows = [("cnn", "brightness", "grey levels", -80.0, -31.26)]
    rows += [("cnn", "brightness", "grey levels", 80.0, np.nan)]
    rows += [("cnn", "mirrored", "on or off", 1.0, 1.0)]
    names = ["model", "kind", "unit", "strongest", "strength"]
    table = plots_tables.by_kind(pd.DataFrame(rows, columns=names))
    assert table["Custom CNN"].to_dict() == {
        "brightness, grey levels, tried to -80": "-31.3",
        "brightness, grey levels, tried to 80": "not reached",
        "mirrored, on or off": "on",
    }


def test_the_worst_corruption_is_named_with_its_harm():
    rows = [("blur", 2.0, "% of the side", "cnn", 30, 4.0, 3.0, 5.0)]
    rows += [("mirrored", 1.0, "on or off", "hog", 30, 1.0, 0.5, 1.5)]
    ends = [f"difference{end}" for end in ("", "_lower", "_upper")]
    table = pd.DataFrame(rows, columns=["kind", "strength", "unit", "model", "n", *ends])
    assert plots_tables.worst_corruption(table) == (
        "blur (2, % of the side) adds most to the error of Custom CNN: +4.0 months (95 % interval "
        "+3.0 to +5.0, n = 30)"
    )
    words = plots_tables.worst_corruption(table[1:])
    assert words.startswith("mirrored adds most to the error of HOG and XGBoost: +1.0 months")
