"""What the page says about a search is what its trials say."""

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nbhelpers.models import search
from nbhelpers.plots import models as plots_models
from nbhelpers.plots import style


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def trials(n: int, effect: float = 0.0) -> pd.DataFrame:
    """n trials with values at random; `effect` months of loss a factor of ten of learning rate."""
    rng, space = np.random.default_rng(4), search.Space()
    rows = []
    for number in range(n):
        rate = float(np.exp(rng.uniform(*np.log(space.learning_rate))))
        values = search.KNOWN | {
            "blocks": int(rng.integers(3, 7)),
            "first_width": int(rng.choice(space.first_width)),
            "learning_rate": rate,
            "weight_decay": float(np.exp(rng.uniform(*np.log(space.weight_decay)))),
        }
        loss = 12 + effect * np.log10(rate / 1e-3) + rng.normal(0, 0.1)
        told = {"trial": f"{number:02d}", "status": "completed", "tuning_loss": loss}
        told |= {"seconds": 90.0, "epochs": 4, "until_epoch": 4, "weights": 123456}
        rows.append(told | values | {"goes_on_from": "", "worker": "alone", "reason": ""})
    return pd.DataFrame(rows)


def with_a_failure() -> pd.DataFrame:
    made = trials(10)
    made.loc[3, ["status", "tuning_loss", "reason"]] = ["failed", np.nan, "MemoryError: 9 TB"]
    made.loc[3, ["epochs", "weights"]] = 0
    made.loc[7, ["goes_on_from", "epochs", "until_epoch"]] = ["02", 6, 9]
    return made


def test_the_table_has_the_best_first_and_the_failed_with_its_reason_last():
    made = with_a_failure()
    table = plots_models.trials_table(made)
    losses = [float(text) for text in table["tuning loss"][:-1]]
    assert losses == sorted(losses)
    assert table.index[0] == made.loc[made["tuning_loss"].idxmin(), "trial"]
    assert table.index[-1] == "03"
    assert table.loc["03", "note"] == "MemoryError: 9 TB"
    assert (table.loc["03", ["tuning loss", "epochs", "weights"]] == "–").all()
    assert table.loc["07", ["epochs", "note"]].tolist() == ["3 + 6", "goes on from 02"]


def test_the_table_of_a_smooth_search_has_no_empty_notes():
    assert "note" not in plots_models.trials_table(trials(4))


def test_parallel_coordinates_show_each_completed_trial_and_say_which_is_best():
    made = with_a_failure()
    figure, alt = plots_models.parallel_coordinates(made, "months")
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 9]
    assert len(drawn) == 9
    best = made.loc[made["tuning_loss"].idxmin()]
    emphasised = max(drawn, key=lambda line: line.get_linewidth())
    assert emphasised.get_label() == f"best: trial {best['trial']}"
    assert emphasised.get_ydata()[-1] == 0  # lowest on the axis of the loss
    assert f"{best['tuning_loss']:.2f} months" in alt
    assert f"first channels {best['first_width']}" in alt


def test_rates_stand_on_logarithmic_axes():
    heights, marks = plots_models._axis("learning_rate", pd.Series([1e-4, 1e-3, 1e-2]))
    np.testing.assert_allclose(heights, [0, 0.5, 1])
    assert [text for _, text in marks] == ["1e-4", "1e-3", "0.01"]
    heights, _ = plots_models._axis("dropout", pd.Series([0.0, 0.1, 1.0]))
    np.testing.assert_allclose(heights, [0, 0.1, 1])


@pytest.mark.parametrize("n", [1, 2])
def test_a_search_of_one_or_two_trials_is_drawn(n):
    made = trials(n)
    for figure, alt in (
        plots_models.parallel_coordinates(made),
        plots_models.hyperparameter_importance(made),
    ):
        assert style.png(figure)
        assert alt


def test_what_matters_is_told_from_chance():
    _, alt = plots_models.hyperparameter_importance(trials(24, effect=3.0))
    assert "learning rate +1.00" in alt or "learning rate +0.9" in alt
    assert alt.endswith("Beyond chance: learning rate.")
    _, alt = plots_models.hyperparameter_importance(trials(24, effect=-3.0))
    assert "learning rate -" in alt
    _, alt = plots_models.hyperparameter_importance(trials(24))
    assert alt.endswith("Beyond chance: none.")


def test_few_trials_are_not_read_too_much_into():
    _, alt = plots_models.hyperparameter_importance(trials(7, effect=3.0))
    assert alt.startswith("Too few trials")
    assert "7 comparable" in alt


def test_only_trials_of_equal_length_are_compared():
    made = trials(20, effect=3.0)
    made.loc[10:, ["epochs", "until_epoch"]] = 1
    made.loc[[0, 1], "goes_on_from"] = "15"
    _, alt = plots_models.hyperparameter_importance(made)
    assert "over 10 trials" in alt


def test_curves_name_the_best_trial_first():
    curves = pd.DataFrame(
        {"trial": ["1", "1", "2", "2"], "epoch": [1, 2, 1, 2], "tuning_loss": [9.0, 8.0, 7.0, 6.0]}
    )
    figure, alt = plots_models.trial_curves(curves, "months")
    assert alt.endswith("2 6.00, 1 8.00.")
    assert figure.axes[0].get_ylabel() == "tuning loss, months"
