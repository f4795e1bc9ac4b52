"""Groups, errors of each group, groups against all others, and how many of each are in train."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_ind
from sklearn.metrics import cohen_kappa_score
from test_ensembles import case_table, save_table

from nbhelpers import metrics, predictions
from nbhelpers.bias import subgroups
from nbhelpers.data.stages import stage_of
from nbhelpers.evaluation import conformal, scores
from nbhelpers.evaluation.scores import FEWEST
from nbhelpers.workspace import write_json

NAMES = ["infants", "young", "middle", "late", "grown"]
FACTS = {"stage_cuts": "gilsanz_ratib", "stage_names": NAMES, "fingerprint": {}}
HARD = "male, 10 to 15 years"


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 400)


def cases(n=2000, sex=None):
    """Cases with stages; a twentieth have no sex, and so no stage."""
    table = case_table(n=n)
    table["sex"] = np.where(np.arange(n) % 20 == 0, None, table["sex"] if sex is None else sex)
    table["stage"] = stage_of(table["age_months"], table["sex"], "gilsanz_ratib")
    return table


def saved(folder, table, hard=1.0):
    """A run folder with two models: `made`, whose errors are `hard` times as large in HARD, and

    `staged`, which is right of three of four cases.
    """
    save_table(folder, table)
    write_json(folder / "data.json", FACTS)
    error = np.random.default_rng(5).normal(1, 8, len(table))
    error[scores.fine_groups(table, NAMES)[HARD]] *= hard
    predictions.save_predictions(folder, "made", "age", table, table["age_months"] + error)
    stage = table["stage"].fillna(0).to_numpy(int)
    said = np.where(np.arange(len(table)) % 4 == 0, np.abs(stage - 1), stage)
    predictions.save_predictions(folder, "staged", "stage", table, np.eye(5)[said])
    return folder


@pytest.fixture
def run_folder(tmp_path):
    return saved(tmp_path, cases())


def test_fine_groups_add_to_groups_and_split_the_cases():
    table = cases()
    found, coarse = scores.fine_groups(table, NAMES), scores.groups(table)
    assert list(found)[: len(coarse)] == list(coarse)
    for name, chosen in coarse.items():
        assert (found[name] == chosen).all()
    once = table["sex"].notna().to_numpy(int)
    assert (sum(found[name] for name in NAMES) == once).all()
    assert (sum(found[name] for name in found if ", " in name) == once).all()
    boys = table["age_months"].between(120, 180, inclusive="left") & (table["sex"] == "male")
    assert (found[HARD] == boys).all()
    young = table.query("age_months < 60 and sex == 'female'").reset_index(drop=True)
    of_young = ["all", "female", "0 to 5 years", "infants", "young", "female, 0 to 5 years"]
    assert list(scores.fine_groups(young, NAMES)) == of_young


@pytest.mark.parametrize("group", ["all", "male", "5 to 10 years", "middle", HARD])
def test_errors_of_a_group_are_those_of_its_cases_alone(run_folder, group):
    conformal.fit_intervals(run_folder, "made")
    told = subgroups.error_table(run_folder, "made", "test").query("group == @group")
    told = told.set_index("metric")
    rows = scores.case_errors(run_folder, "made", "age", "test")
    rows = rows[scores.fine_groups(rows, NAMES)[group]]
    error = rows["error_months"]
    assert told.loc["mae", "value"] == pytest.approx(error.abs().mean())
    assert told.loc["signed_error", "value"] == pytest.approx(error.mean())
    for far in (12, 24):
        assert told.loc[f"over_{far}", "value"] == pytest.approx((error.abs() > far).mean())
    known = rows.dropna(subset=["stage", "predicted_stage"])
    if group == "middle":
        assert np.isnan(told.loc["qwk", "value"]) and not told.loc["qwk", "too_few"]
    else:
        pair = known["stage"].astype(int), known["predicted_stage"].astype(int)
        kappa = cohen_kappa_score(*pair, weights="quadratic")
        assert told.loc["qwk", "value"] == pytest.approx(kappa)
    assert (told["n"].drop("qwk") == len(rows)).all() and told.loc["qwk", "n"] == len(known)
    defined = told.dropna()
    assert (defined["lower"] <= defined["value"]).all()
    assert (defined["value"] <= defined["upper"]).all()
    assert len(defined) >= 5 and not told["too_few"].any()
    staged = subgroups.stage_table(run_folder, "staged", "test").query("group == @group")
    staged = staged.set_index("metric")
    of_stage = scores.case_errors(run_folder, "staged", "stage", "test").query("stage.notna()")
    of_stage = of_stage[scores.fine_groups(of_stage, NAMES)[group]]
    assert (staged["n"] == len(of_stage)).all()
    assert staged.loc["accuracy", "value"] == pytest.approx(of_stage["correct"].mean())
    assert np.isnan(staged.loc["qwk", "value"]) == (group == "middle")


def test_coverage_is_that_of_the_room_coverage(run_folder):
    assert "coverage" not in set(subgroups.error_table(run_folder, "made", "test")["metric"])
    conformal.fit_intervals(run_folder, "made")
    told = subgroups.error_table(run_folder, "made", "test").query("metric == 'coverage'")
    held = conformal.coverage(run_folder, "made", "test").query(
        "kind == 'mondrian' and level == 0.9"
    )
    both = held.merge(told, on="group", suffixes=("_there", "_here"))
    assert len(both) == len(held) == 7
    for here, there in (
        ("value", "coverage"),
        ("lower_here", "lower_there"),
        ("n_here", "n_there"),
    ):
        assert both[here].tolist() == both[there].tolist()


def test_small_groups_keep_their_number_and_no_figure(tmp_path):
    table = cases(n=200).query("split == 'test'").reset_index(drop=True)
    saved(tmp_path, table)
    told = subgroups.error_table(tmp_path, "made", "test")
    few = told["n"] < FEWEST
    assert few.any() and (~few).any()
    assert (told["too_few"] == few).all()
    assert told.loc[few, ["value", "lower", "upper"]].isna().all(axis=None)
    assert told.loc[~few & (told["metric"] != "qwk"), "value"].notna().all()
    sizes = {name: chosen.sum() for name, chosen in scores.fine_groups(table, NAMES).items()}
    assert told.query("metric == 'mae'").set_index("group")["n"].to_dict() == sizes


def test_the_group_with_larger_errors_is_found_and_no_other(tmp_path):
    tests = subgroups.group_tests(saved(tmp_path, cases(), hard=2.0), "made", "test")
    told = tests.set_index("group").loc[HARD]
    rows = scores.case_errors(tmp_path, "made", "age", "test")
    inside, error = scores.fine_groups(rows, NAMES)[HARD], rows["error_months"].abs()
    assert told["value"] == pytest.approx(error[inside].mean() - error[~inside].mean())
    assert (told["n"], told["n_others"]) == (inside.sum(), (~inside).sum())
    assert told["lower"] > 0 and told["p_holm"] < 0.05
    assert told["p"] == tests["p"].min()
    assert "all" not in set(tests["group"])
    tested = tests.dropna()
    assert (tested["p_holm"] >= tested["p"]).all() and (tested["p_holm"] > tested["p"]).any()
    girls = tests[tests["group"].str.startswith("female")]
    # Girls are better than the others, since the hard group is among those.
    assert (girls["value"] < 0).mean() > 0.7


def test_groups_that_are_alike_are_rarely_called_different():
    random = np.random.default_rng(0)
    members = np.zeros((3, 300), bool)
    members[0, :12], members[1, :150], members[2, 100:140] = True, True, True
    # Spread differs between groups: a permutation test of the bare difference would be off.
    spread = np.where(np.arange(300) < 12, 3.0, 1.0)
    p = [subgroups.permutation_p(random.normal(0, spread), members) for _ in range(60)]
    assert (np.array(p) < 0.05).mean() < 0.12
    assert np.array(p).min() > 0 and 0.35 < np.median(p) < 0.65


def test_p_is_near_that_of_welch_where_cases_are_many(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 2000)
    values = np.random.default_rng(1).gamma(2, 4, 500)
    inside = np.arange(500) < 180
    for shift in (0.2, 0.8, 1.5):
        moved = values + shift * inside
        wanted = ttest_ind(moved[inside], moved[~inside], equal_var=False).pvalue
        found = subgroups.permutation_p(moved, np.array([inside, ~inside]))
        assert found[0] == pytest.approx(wanted, abs=0.03)
        assert found[0] == found[1]


def test_both_sides_of_a_comparison_are_drawn_apart(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 2000)
    values = np.sort(np.random.default_rng(2).normal(0, 10, 200))
    drawn = [
        [side @ values / 200 for side in block]
        for block in subgroups.independent_resamples(200, 200)
    ]
    one, other = np.hstack(drawn)
    assert len(one) == 2000
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
    wanted = values.std() * np.sqrt(2 / 200)
    assert (one - other).std() == pytest.approx(wanted, rel=0.1)


def test_balance_counts_train_and_scores_the_other_rows(run_folder):
    table, errors = cases(), scores.case_errors(run_folder, "made", "age", "test")
    told = subgroups.balance_table(table, errors).set_index("group")
    train = table[table["split"] == "train"]
    boys = train[(train["sex"] == "male") & train["age_months"].between(120, 179.999)]
    assert told.loc[HARD, "train"] == len(boys)
    assert told.loc[HARD, "train_share"] == pytest.approx(len(boys) / len(train))
    scored = errors[scores.fine_groups(errors, NAMES)[HARD]]["error_months"].abs()
    assert told.loc[HARD, "n"] == len(scored)
    assert told.loc[HARD, "mae"] == pytest.approx(scored.mean())
    assert told.loc["all", "train_share"] == 1
    bands = told[told.index.str.contains("years") & ~told.index.str.contains(",")]
    assert bands["train_share"].sum() == pytest.approx(1)


def rows_of(sizes, errors, split):
    """Boys and girls of the eight sex by age bands, so many of each, with one error a band."""
    band, sex = np.divmod(np.arange(8), 2)
    table = pd.DataFrame({"age_months": 60.0 * band + 30, "sex": np.take(["female", "male"], sex)})
    table = table.assign(error_months=errors, split=split)
    return table.loc[np.repeat(np.arange(8), sizes)].reset_index(drop=True)


def test_fewer_cases_and_larger_errors_go_together_where_they_do():
    sizes = 10 * np.arange(1, 9)
    train = rows_of(sizes, 0.0, "train")
    scored = rows_of([12] * 8, -1.0 * np.arange(8, 0, -1), "scored")
    found = subgroups.balance_correlation(train, scored)
    assert found["n_groups"] == 8
    assert found["value"] == pytest.approx(-1) and found["p"] < 0.02
    mixed = np.array([3, 1, 6, 2, 8, 4, 7, 5.0])
    found = subgroups.balance_correlation(train, rows_of([12] * 8, mixed, "scored"))
    wanted = spearmanr(sizes, mixed)
    assert found["value"] == pytest.approx(wanted.statistic)
    assert found["p"] == pytest.approx(wanted.pvalue, abs=0.05)


def test_a_correlation_over_groups_too_small_or_alike_is_none():
    train = rows_of(10 * np.arange(1, 9), 0.0, "train")
    few = rows_of([12, 12, *[FEWEST - 1] * 6], np.arange(8.0), "scored")
    found = subgroups.balance_correlation(train, few)
    assert found["n_groups"] == 2 and np.isnan(found["value"]) and np.isnan(found["p"])
    table = subgroups.balance_table(train, few).set_index("group")
    assert table.loc[HARD, "n"] == FEWEST - 1 and np.isnan(table.loc[HARD, "mae"])
    alike = rows_of([12] * 8, 5.0, "scored")
    found = subgroups.balance_correlation(train, alike)
    assert np.isnan(found["value"]) and np.isnan(found["p"])


def test_a_set_of_one_sex_compares_no_sexes(tmp_path):
    table = cases(sex="female").query("sex == sex").reset_index(drop=True)
    save_table(tmp_path, table)
    write_json(tmp_path / "data.json", FACTS)
    said = table["age_months"] + np.random.default_rng(0).normal(0, 8, len(table))
    predictions.save_predictions(tmp_path, "made", "age", table, said)
    tests = subgroups.group_tests(tmp_path, "made", "test").set_index("group")
    assert tests.loc["female", "too_few"] and np.isnan(tests.loc["female", "p_holm"])
    tested = tests.dropna()
    assert 0 < len(tested) < len(tests)
    assert tested["p_holm"].tolist() == metrics.holm(tested["p"]).tolist()
    balance = subgroups.balance_table(table, table.iloc[:0].assign(error_months=0.0))
    assert (balance["n"] == 0).all() and balance["mae"].isna().all()
