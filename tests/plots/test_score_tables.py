"""Differences between models in words: which way, how sure, in which unit."""

import pytest

from nbhelpers.plots import tables as plots_tables


@pytest.mark.parametrize(
    ("task", "difference", "said", "unsure"),
    [
        ("age", (-1.5, -2.0, -1.0), "mean absolute error is 1.50 months lower", False),
        ("age", (0.4, -0.1, 0.9), "mean absolute error is 0.40 months higher", True),
        ("age", (-0.4, -0.9, 0.1), "(difference -0.40, 95 %", True),
        ("stage", (0.02, 0.01, 0.03), "share of wrong stages is 2.00 percentage points", False),
    ],
)
def test_a_comparison_says_which_way_and_whether_zero_is_excluded(task, difference, said, unsure):
    told = dict(zip(("value", "lower", "upper"), difference, strict=True), n=1701)
    words = plots_tables.comparison_words("sam", "base", task, told)
    assert said in words and "than that of base" in words and "n = 1,701" in words
    assert ("does not exclude zero" in words) == unsure
