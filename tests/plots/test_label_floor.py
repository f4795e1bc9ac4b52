"""What the labels allow: by formula where there is one, and shares that were put in."""

import numpy as np
import pytest

from nbhelpers.plots import tables as plots_tables


def labels(n=20_000, year=0.5, half=0.3):
    random = np.random.default_rng(0)
    steps = random.choice([12, 6, 1], n, p=[year, half, 1 - year - half])
    return np.round(random.uniform(24, 216, n) / steps) * steps


def test_the_shares_that_were_rounded_are_found():
    found = plots_tables.rounding_shares(labels())
    assert found[12] == pytest.approx(0.5, abs=0.02)
    assert found[6] == pytest.approx(0.3, abs=0.02)
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(("step", "floor"), [(12, 3.0), (6, 1.5), (1, 0.25)])
def test_rounding_alone_costs_a_quarter_of_the_step(step, floor):
    months = np.round(np.linspace(24, 216, 10_000) / step) * step
    assert plots_tables.smallest_error(months, 0.0)["both"] == pytest.approx(floor, rel=0.05)


def test_a_rater_alone_costs_what_a_normal_error_costs():
    months = np.arange(24, 216)
    found = plots_tables.smallest_error(months, 7.0)
    assert found["rater"] == pytest.approx(7.0 * np.sqrt(2 / np.pi), rel=0.01)
    assert found["rater"] < plots_tables.smallest_error(labels(), 7.0)["both"]
