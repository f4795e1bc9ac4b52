"""Which regions count more in the young: a trend is found, its absence too, and too few is said."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nbhelpers.explain import regions
from nbhelpers.explain.regions import REGIONS


def given(n=60, falling="Wrist"):
    rng = np.random.default_rng(0)
    age = pd.Series(np.linspace(12, 220, n), index=[str(case) for case in range(n)])
    rows = [
        (case, region, rng.uniform(0.9, 1.1) - (months / 400 if region == falling else 0))
        for case, months in age.items()
        for region in REGIONS
    ]
    return pd.DataFrame(rows, columns=["case_id", "region", "ratio"]), age


def test_the_region_that_counts_more_in_the_young_is_found():
    table, age = given()
    told = regions.trend_by_age(table, age).set_index("region")
    assert list(told.index) == list(REGIONS) and (told["n"] == 60).all()
    assert told.loc["Wrist", "upper"] < -0.5
    others = told.drop(index="Wrist")
    assert ((others["lower"] < 0) & (others["upper"] > 0)).all()
    wrist = table[table["region"] == "Wrist"]
    expected = stats.spearmanr(age[wrist["case_id"]], wrist["ratio"]).statistic
    assert told.loc["Wrist", "value"] == pytest.approx(expected)


def test_the_interval_holds_the_true_correlation_as_often_as_it_says():
    """Ranks of normals that correlate by 0.5: Spearman's is 6 / pi asin(0.25)."""
    rng, truth, held = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.25), 0
    for _ in range(400):
        age, other = rng.standard_normal((2, 40))
        ratio = 0.5 * age + np.sqrt(0.75) * other
        ids = [str(case) for case in range(40)]
        table = pd.DataFrame({"case_id": ids, "region": "Wrist", "ratio": ratio})
        told = regions.trend_by_age(table, pd.Series(age, index=ids)).set_index("region")
        held += told.loc["Wrist", "lower"] <= truth <= told.loc["Wrist", "upper"]
    assert 0.92 < held / 400 < 0.98


def test_too_few_cases_and_one_age_alone_say_so():
    table, age = given(regions.FEWEST - 1)
    told = regions.trend_by_age(table, age)
    assert (told["note"] == regions.TOO_FEW).all() and told["value"].isna().all()
    table, age = given()
    told = regions.trend_by_age(table, age * 0 + 100)
    assert (told["note"] == regions.TOO_FEW).all()


def test_cases_without_the_region_or_its_ratio_are_left_out():
    table, age = given()
    table.loc[(table["region"] == "DIP") & (table.index < 60), "ratio"] = np.nan
    told = regions.trend_by_age(table[table["region"] != "Ulna"], age).set_index("region")
    assert told.loc["Ulna", "n"] == 0 and told.loc["DIP", "n"] == 50
    assert told.loc["Wrist", "n"] == 60
