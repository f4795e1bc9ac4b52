"""The gap between girls and boys: planted, due to age alone, equivalent to none."""

import numpy as np
import pandas as pd
import pytest
from notebook_code import functions

from nbhelpers import metrics
from nbhelpers.bias import subgroups
from nbhelpers.bias.subgroups import EQUIVALENT, NOT_SHOWN, TOO_FEW, UNDECIDED
from nbhelpers.plots import tables

(gap,) = functions("07_bias_analysis", "gap")


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 600)


def made(n=1000, seed=0, girls=0.5, spread=4.0):
    """Cases of both sexes at all ages, errors of one spread, months."""
    random = np.random.default_rng(seed)
    sex = np.where(random.random(n) < girls, "female", "male").astype(object)
    error = random.normal(0, spread, n)
    return pd.DataFrame(
        {"sex": sex, "age_months": random.uniform(24, 216, n), "error_months": error}
    )


def told(rows, margin_months=2.0):
    return subgroups.sex_gap(rows, gap, margin_months).set_index(["metric", "adjustment"])


def of_girls(rows):
    return (rows["sex"] == "female").to_numpy()


def test_a_gap_that_was_put_in_is_found():
    rows = made()
    rows["error_months"] += 3.0 * of_girls(rows)
    found = told(rows)
    for adjustment in ("raw", "standardised"):
        row = found.loc[("signed_error", adjustment)]
        assert row["lower"] > 0 and row["lower"] < 3 < row["upper"]
        assert row["verdict"] == NOT_SHOWN
        assert row["lower"] < row["lower_90"] < row["value"] < row["upper_90"] < row["upper"]
    assert told(rows, margin_months=5.0).loc[("signed_error", "raw"), "verdict"] == EQUIVALENT


def test_raw_figures_are_those_of_the_two_means():
    rows = made()
    found = told(rows).xs("raw", level="adjustment")
    girls, boys = (rows[rows["sex"] == sex]["error_months"] for sex in ("female", "male"))
    assert found.loc["mae", "value"] == pytest.approx(girls.abs().mean() - boys.abs().mean())
    assert found.loc["signed_error", "value"] == pytest.approx(girls.mean() - boys.mean())
    assert found.loc["mae", ["n_female", "n_male"]].tolist() == [len(girls), len(boys)]
    swapped = rows.assign(sex=np.where(of_girls(rows), "male", "female"))
    assert told(swapped)["value"].to_numpy() == pytest.approx(-told(rows)["value"].to_numpy())
    unknown = rows.assign(sex=None, error_months=300.0)  # is not compared
    assert told(pd.concat([rows, unknown], ignore_index=True)).equals(told(rows))


def test_standardisation_is_the_mean_of_the_gaps_of_bands_weighted_by_their_cases():
    """Girls are older, errors grow with age, and at one age girls err as boys do."""
    rows, random = made(n=500, spread=1.0), np.random.default_rng(9)
    older = np.sqrt(random.random(len(rows)))
    rows["age_months"] = 24 + 192 * np.where(of_girls(rows), older, 1 - older)
    rows["error_months"] *= rows["age_months"] / 12
    bands = rows.assign(error=rows["error_months"].abs(), band=rows["age_months"] // 24)
    means = bands.pivot_table(index="band", columns="sex", values="error", aggfunc="mean")
    sizes = bands.pivot_table(index="band", columns="sex", values="error", aggfunc="count")
    enough = (sizes.fillna(0) >= subgroups.FEWEST_IN_BAND).all(axis=1)
    gaps = (means["female"] - means["male"])[enough]
    wanted = np.average(gaps, weights=sizes[enough].sum(axis=1))
    row = told(rows).loc[("mae", "standardised")]
    assert row["value"] == pytest.approx(wanted)
    assert row["bands"] == enough.sum() and row["bands_left_out"] == (~enough).sum() > 0
    assert row["cases_left_out"] == sizes[~enough].sum(axis=None)
    # A gap of age alone vanishes.
    assert row["lower"] < 0 < row["upper"] and told(rows).loc[("mae", "raw"), "lower"] > 2


def test_equal_sexes_are_equivalent_not_shown_so_or_too_few_by_how_many_they_are():
    many, few = told(made(n=4000)), told(made(n=40, spread=8.0))
    assert (many["verdict"] == EQUIVALENT).all()
    assert (few["verdict"].xs("raw", level="adjustment") == NOT_SHOWN).all()
    for chosen in ("sex == 'female'", "sex != sex", "index < 15"):
        found = told(made().query(chosen))
        assert (found["verdict"] == TOO_FEW).all()
        assert found[["value", "lower", "upper", "lower_90", "upper_90"]].isna().all(axis=None)
    assert tables.gap_words(found.reset_index()).startswith("There are too few girls and boys")


def test_a_bound_within_the_error_of_resampling_of_the_margin_is_undecided():
    rows = made()
    rows["error_months"] += 1.0 * of_girls(rows)
    row = told(rows).loc[("signed_error", "raw")]
    verdicts = [
        told(rows, row["upper_90"] + off).loc[("signed_error", "raw"), "verdict"]
        for off in (-0.3, -0.001, 0.001, 0.3)
    ]
    assert verdicts == [NOT_SHOWN, UNDECIDED, UNDECIDED, EQUIVALENT]
