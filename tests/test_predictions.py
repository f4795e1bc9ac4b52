"""The prediction table: its form, and that what fits never sees a row of the test split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers import predictions
from nbhelpers.workspace import InputError

SPLITS = ("train", "tuning", "calibration", "test", "external", "unlabelled")


def case_table(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Cases of every split, one in ten of unknown sex; those of `unlabelled` without age."""
    random = np.random.default_rng(seed)
    split = np.array([SPLITS[row % len(SPLITS)] for row in range(n)], dtype=object)
    labelled = split != "unlabelled"
    sex = random.choice(np.array(["female", "male"], dtype=object), n)
    sex[::10] = None
    fold = pd.array(random.integers(0, 5, n), dtype="Int8")
    fold[split != "train"] = pd.NA
    return pd.DataFrame(
        {
            "case_id": [f"c{row}" for row in range(n)],
            "image_path": "/nowhere.png",
            "sex": sex,
            "age_months": np.where(labelled, random.uniform(1, 228, n), np.nan),
            "stage": pd.array([2] * n, dtype="Int8"),
            "split": split,
            "fold": fold,
        }
    )


def probabilities(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(5), n)


def test_a_table_of_ages_comes_back(tmp_path):
    cases = case_table()
    months = np.linspace(1, 228, len(cases))
    path = predictions.save_predictions(tmp_path, "cnn", "age", cases, months[:, None])
    assert path == tmp_path / "predictions" / "cnn.age.parquet"
    # Tables of earlier versions may hold intervals.
    pd.read_parquet(path).assign(lower_months=0.0, upper_months=240.0).to_parquet(path)
    table = predictions.all_rows(tmp_path, "cnn", "age")
    assert [*table] == [*predictions.CASE_COLUMNS, "predicted_months"]
    assert table["predicted_months"].tolist() == months.tolist()
    known = [name for name in predictions.CASE_COLUMNS if name != "fold"]
    pd.testing.assert_frame_equal(table[known], cases[known], check_dtype=False)
    assert predictions.saved_models(tmp_path, "age") == ["cnn"]
    assert predictions.saved_models(tmp_path, "stage") == []


def test_nothing_that_is_fitted_depends_on_the_test_split(tmp_path):
    """Poison every label and prediction of test: the rows to fit on stay the same, bit for bit."""
    cases, months = case_table(600), np.random.default_rng(0).uniform(1, 228, 600)
    poisoned, test = cases.copy(), cases["split"] == "test"
    poisoned.loc[test, ["age_months", "sex", "stage"]] = [-999.0, None, 0]
    rows = []
    for name, table, predicted in (("a", cases, months), ("b", poisoned, months + 1e9 * test)):
        folder = tmp_path / name
        predictions.save_predictions(folder, "m", "age", table, predicted, out_of_fold=True)
        rows.append(predictions.fitting_rows(folder, "m", "age"))
    pd.testing.assert_frame_equal(*rows)
    assert "test" not in set(rows[0]["split"])


@pytest.mark.parametrize(
    ("task", "changed", "predicted"),
    [
        ("age", {}, np.ones(59)),
        ("age", {}, np.full(60, np.nan)),
        ("age", {}, probabilities(60)),
        ("age", {"case_id": "c1"}, np.ones(60)),
        ("age", {"fold": pd.array([0] * 60, dtype="Int8")}, np.ones(60)),
        ("stage", {}, probabilities(60)[:, :4]),
        ("stage", {}, probabilities(60) * 0.9),
        ("stage", {}, np.ones(60)),
    ],
)
def test_what_is_no_prediction_is_refused(tmp_path, task, changed, predicted):
    cases = case_table().assign(**changed)
    with pytest.raises(ValueError):
        predictions.save_predictions(tmp_path, "m", task, cases, predicted, out_of_fold=True)
    assert not list(tmp_path.rglob("*.parquet"))


def test_wrong_names_and_missing_tables_are_named(tmp_path):
    with pytest.raises(InputError, match="model's name"):
        predictions.save_predictions(tmp_path, "../cnn", "age", case_table(6), np.ones(6))
    with pytest.raises(InputError, match=r"no predictions/cnn\.age\.parquet.*02_cnn_tuning"):
        predictions.fitting_rows(tmp_path, "cnn", "age")
    # A model to compare with is missed before any training.
    predictions.require_saved(tmp_path, "", "age")
    with pytest.raises(InputError, match=r"has no predictions/hog\.age\.parquet"):
        predictions.require_saved(tmp_path, "hog", "age")


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(0, 5), st.booleans(), st.sampled_from(["age", "stage"]))
def test_every_valid_table_comes_back_valid(tmp_path_factory, n, seed, out_of_fold, task):
    folder = tmp_path_factory.mktemp("run")
    cases = case_table(n, seed)
    values = np.linspace(-5, 300, n) if task == "age" else probabilities(n, seed)
    predictions.save_predictions(folder, "m", task, cases, values, out_of_fold=out_of_fold)
    table = predictions.all_rows(folder, "m", task)
    predicted = table[predictions.STAGE_COLUMNS if task == "stage" else ["predicted_months"]]
    np.testing.assert_allclose(predicted.to_numpy().squeeze(), values.squeeze(), atol=1e-6)
    kept = predictions.fitting_rows(folder, "m", task)
    wanted = cases["case_id"][cases["split"] == "calibration"]
    assert kept["case_id"].tolist() == wanted.tolist()
