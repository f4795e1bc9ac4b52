"""What figures and tables say is what was measured: which way, how sure, best first."""

import re

import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import pytest

from nbhelpers.models import search
from nbhelpers.plots import models as plots_models
from nbhelpers.plots import scores as plots_scores
from nbhelpers.plots import tables as plots_tables


def trials(n: int, effect: float = 0.0) -> pd.DataFrame:
    """n trials with values at random; `effect` months of loss a factor of ten of learning rate."""
    rng, space = np.random.default_rng(4), search.Space()
    made = pd.DataFrame([search.KNOWN] * n)
    for name in ("learning_rate", "weight_decay"):
        made[name] = np.exp(rng.uniform(*np.log(getattr(space, name)), n))
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
        (24, 3.0, r"learning rate \+(1\.0|0\.9).*Beyond chance: learning rate\.$"),
        (24, -3.0, r"learning rate -"),
        (24, 0.0, r"Beyond chance: none\.$"),
        (7, 3.0, r"^Too few trials"),
    ],
)
def test_what_matters_in_a_search_is_told_from_chance(n, effect, said):
    _, alt = plots_models.hyperparameter_importance(trials(n, effect))
    assert re.search(said, alt), alt


def test_only_trials_of_equal_length_are_compared():
    made = trials(20, effect=3.0)
    made.loc[10:, ["epochs", "until_epoch"]] = 1
    assert "over 10 trials" in plots_models.hyperparameter_importance(made)[1]


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
        ("age", (-1.5, -2.0, -1.0), "mean absolute error is 1.50 months lower", False),
        ("age", (0.4, -0.1, 0.9), "mean absolute error is 0.40 months higher", True),
        ("stage", (0.02, 0.01, 0.03), "share of wrong stages is 2.00 percentage points", False),
    ],
)
def test_a_comparison_says_which_way_and_whether_zero_is_excluded(task, difference, said, unsure):
    told = dict(zip(("value", "lower", "upper"), difference, strict=True), n=1701)
    words = plots_tables.comparison_words("sam", "base", task, told)
    assert said in words and ("does not exclude zero" in words) == unsure


@pytest.mark.parametrize(("p", "word"), [(0.01, "to smaller"), (0.2, "no clear")])
def test_more_cases_in_train_go_with_smaller_errors_where_the_correlation_says_so(p, word):
    assert word in plots_tables.balance({"value": -1, "n_groups": 8, "p": p})[0]


def test_what_labels_allow_follows_from_rounding_and_raters():
    random = np.random.default_rng(0)
    steps = random.choice([12, 6, 1], 20_000, p=[0.5, 0.3, 0.2])
    labels = np.round(random.uniform(24, 216, 20_000) / steps) * steps
    shares = plots_tables.rounding_shares(labels)
    assert (shares[12], shares[6]) == pytest.approx((0.5, 0.3), abs=0.02)
    found = plots_tables.smallest_error(np.round(labels / 12) * 12, 0.0)
    assert found["both"] == pytest.approx(3, rel=0.05)
    found = plots_tables.smallest_error(labels, 7.0)
    assert found["rater"] == pytest.approx(7.0 * np.sqrt(2 / np.pi), rel=0.01)
    assert found["rater"] < found["both"]
