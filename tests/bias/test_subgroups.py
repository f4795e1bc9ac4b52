"""Groups, errors of each group, groups against all others, and how many of each are in train."""

import numpy as np
import pandas as pd
import pytest
from notebook_code import functions
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


def cases():
    """Cases with stages; a twentieth have no sex, and so no stage."""
    table = case_table(n=2000)
    table["sex"] = table["sex"].where(np.arange(2000) % 20 > 0, None)
    table["stage"] = stage_of(table["age_months"], table["sex"], "gilsanz_ratib")
    return table


def saved(folder):
    """A run folder of `made`, a model of ages, and of `staged`."""
    table = cases()
    save_table(folder, table)
    write_json(folder / "data.json", FACTS)
    error = np.random.default_rng(5).normal(1, 8, len(table))
    predictions.save_predictions(folder, "made", "age", table, table["age_months"] + error)
    stage = table["stage"].fillna(0).to_numpy(int)
    said = np.where(np.arange(len(table)) % 4 == 0, np.abs(stage - 1), stage)
    predictions.save_predictions(folder, "staged", "stage", table, np.eye(5)[said])
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = saved(tmp_path_factory.mktemp("groups"))
    conformal.fit_model(folder, "made", "age")
    return folder


def test_fine_groups_add_to_groups_and_split_the_cases():
    table = cases()
    found, once = scores.fine_groups(table, NAMES), table["sex"].notna().to_numpy(int)
    for name, chosen in scores.groups(table).items():
        assert (found[name] == chosen).all()
    assert (sum(found[name] for name in NAMES) == once).all()
    assert (sum(found[name] for name in found if ", " in name) == once).all()
    boys = table["age_months"].between(120, 180, inclusive="left") & (table["sex"] == "male")
    assert (found[HARD] == boys).all()


@pytest.mark.parametrize("group", ["male", "5 to 10 years", "middle", HARD])
def test_errors_of_a_group_are_those_of_its_cases_alone(run_folder, group):
    told = subgroups.error_table(run_folder, "made", "age", "test").query("group == @group")
    told = told.set_index("metric")
    rows = scores.case_errors(run_folder, "made", "age", "test")
    rows = rows[scores.fine_groups(rows, NAMES)[group]]
    error = rows["error_months"]
    assert told.loc["mae", "value"] == pytest.approx(error.abs().mean())
    assert told.loc["signed_error", "value"] == pytest.approx(error.mean())
    assert told.loc["over_24", "value"] == pytest.approx((error.abs() > 24).mean())
    known = rows.dropna(subset=["stage", "predicted_stage"])
    pair = known["stage"].astype(int), known["predicted_stage"].astype(int)
    kappa = np.nan if group == "middle" else cohen_kappa_score(*pair, weights="quadratic")
    assert told.loc["qwk", "value"] == pytest.approx(kappa, nan_ok=True)
    assert (told["n"].drop("qwk") == len(rows)).all() and told.loc["qwk", "n"] == len(known)
    held = conformal.coverage(run_folder, "made", "age", "test").query(
        "kind == 'mondrian' and level == 0.9 and group == @group"
    )
    assert held["coverage"].tolist() == told.loc[["coverage"] * len(held), "value"].tolist()
    told = subgroups.error_table(run_folder, "staged", "stage", "test").query("group == @group")
    right = scores.case_errors(run_folder, "staged", "stage", "test").dropna(subset="stage")
    right = right[scores.fine_groups(right, NAMES)[group]]["correct"].mean()
    assert told.set_index("metric").loc["accuracy", "value"] == pytest.approx(right)


def test_holm_is_that_of_the_scores():
    (holm,) = functions("07_bias_analysis", "holm")
    p = pd.Series(np.random.default_rng(0).random(20) ** 3)
    assert holm(p)[p.index].to_numpy() == pytest.approx(metrics.holm(p.to_numpy()))


def rows_of(sizes, errors, split):
    """Boys and girls of the eight sex by age bands, so many of each, with one error a band."""
    band, sex = np.divmod(np.arange(8), 2)
    table = pd.DataFrame({"age_months": 60.0 * band + 30, "sex": np.take(["female", "male"], sex)})
    table = table.assign(error_months=errors, split=split)
    return table.loc[np.repeat(np.arange(8), sizes)].reset_index(drop=True)


def test_the_balance_counts_cases_of_train_and_scores_those_of_test():
    sizes = 10 * np.arange(1, 9)
    train = rows_of(sizes, 0.0, "train")
    scored = rows_of([12] * 8, -1.0 * np.arange(8, 0, -1), "scored")
    table = subgroups.balance_table(train, scored).set_index("group")
    # Boys from 10 to 15 years are the sixth group of eight: 60 of 360 in train, off by 3 months.
    row = table.loc[HARD, ["train", "train_share", "n", "mae"]]
    assert row.tolist() == pytest.approx([60, 60 / 360, 12, 3])
    few = rows_of([12, 12, *[FEWEST - 1] * 6], np.arange(8.0), "scored")
    assert np.isnan(subgroups.balance_table(train, few).set_index("group").loc[HARD, "mae"])
