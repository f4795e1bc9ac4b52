"""What the figures of ensembles say is what their tables say."""

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nbhelpers.plots import scores as plots_scores
from nbhelpers.plots import style


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def pairs_of(*names: str) -> pd.DataFrame:
    rows = [
        (a, b, 100, float(i - j), i - j - 0.5, i - j + 0.5, 0.01, 0.2 if j == i + 1 else 0.01)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    ]
    columns = ["a", "b", "n", "value", "lower", "upper", "p", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def test_the_correlations_named_are_the_least_and_the_greatest():
    table = pd.DataFrame([[1, 0.2, 0.5], [0.2, 1, 0.9], [0.5, 0.9, 1]], list("abc"), list("abc"))
    figure, alt = plots_scores.error_correlation(table)
    assert "0.20 (a with b) to 0.90 (b with c)" in alt
    assert style.png(figure)


def test_members_stand_in_the_order_of_what_they_add():
    added = pd.DataFrame(
        {"value": [0.1, 2.0], "lower": [-0.2, 1.5], "upper": [0.4, 2.5]}, index=["little", "much"]
    )
    figure, alt = plots_scores.added_by_member(added, "percentage points", 100)
    assert alt.endswith("much +200.00, little +10.00.")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["little", "much"]


def test_pairs_that_may_be_chance_are_marked():
    figure, alt = plots_scores.all_pairs(pairs_of("one", "two", "three"), "months")
    assert "all 3 pairs of 3 models" in alt and "1 are clear" in alt
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "-1.00\n≈" in texts and "+1.00\n≈" in texts
    assert "-2.00" in texts and "+2.00" in texts


def test_coverage_is_drawn_for_each_group_and_kind():
    rows = [
        (kind, level, group, 50, level, level - 0.1, level + 0.05, 40.0)
        for kind in plots_scores.KIND_WORDS
        for level in (0.8, 0.9)
        for group in ("all", "female")
    ]
    columns = ["kind", "level", "group", "n", "coverage", "lower", "upper", "width_months"]
    figure, alt = plots_scores.coverage_by_group(pd.DataFrame(rows, columns=columns), 0.9)
    assert "plain 90.0 %" in alt and "by sex and stage 90.0 %" in alt
    points = [line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert any(np.allclose(x, 90) for x in points)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["all, n = 50", "female, n = 50"]
