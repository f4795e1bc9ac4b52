"""The prediction table: its form, and that what fits never sees a row of the test split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
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
    path = predictions.save_predictions(tmp_path, "cnn", "age", cases, months)
    assert path == tmp_path / "predictions" / "cnn.age.parquet"
    table = predictions.all_rows(tmp_path, "cnn", "age")
    assert list(table.columns) == [*predictions.CASE_COLUMNS, "predicted_months"]
    assert table["predicted_months"].tolist() == months.tolist()
    assert table["case_id"].tolist() == cases["case_id"].tolist()
    assert table["sex"].isna().tolist() == cases["sex"].isna().tolist()
    np.testing.assert_array_equal(table["age_months"], cases["age_months"])
    assert predictions.saved_models(tmp_path, "age") == ["cnn"]
    assert predictions.saved_models(tmp_path, "stage") == []


def test_intervals_and_probabilities(tmp_path):
    cases = case_table()
    months = np.full((len(cases), 1), 100.0)
    ends = np.column_stack([months - 10, months + 12])
    predictions.save_predictions(tmp_path, "cnn", "age", cases, months, intervals=ends)
    table = predictions.all_rows(tmp_path, "cnn", "age")
    assert (table["lower_months"] == 90).all()
    assert (table["upper_months"] == 112).all()
    shares = probabilities(len(cases))
    predictions.save_predictions(tmp_path, "cnn", "stage", cases, shares.astype("float32"))
    table = predictions.all_rows(tmp_path, "cnn", "stage")
    np.testing.assert_allclose(table[predictions.STAGE_COLUMNS], shares, atol=1e-6)


def test_only_calibration_and_out_of_fold_rows_may_be_fitted_on(tmp_path):
    cases = case_table()
    months = np.full(len(cases), 100.0)
    predictions.save_predictions(tmp_path, "plain", "age", cases, months)
    assert set(predictions.fitting_rows(tmp_path, "plain", "age")["split"]) == {"calibration"}
    predictions.save_predictions(tmp_path, "folds", "age", cases, months, out_of_fold=True)
    rows = predictions.fitting_rows(tmp_path, "folds", "age")
    assert set(rows["split"]) == {"calibration", "train"}
    wanted = cases["split"].isin(["calibration", "train"])
    assert rows["case_id"].tolist() == cases["case_id"][wanted].tolist()
    train = rows[rows["split"] == "train"]
    assert train["fold"].tolist() == cases.loc[cases["split"] == "train", "fold"].tolist()


def test_nothing_that_is_fitted_depends_on_the_test_split(tmp_path):
    """Poison every label and prediction of test: the rows to fit on stay the same, bit for bit."""
    cases = case_table(600)
    months = np.random.default_rng(0).uniform(1, 228, len(cases))
    rows = {}
    for name, poison in (("clean", False), ("poisoned", True)):
        changed, predicted = cases.copy(), months.copy()
        if poison:
            test = changed["split"] == "test"
            changed.loc[test, ["age_months", "sex", "stage"]] = [-999.0, None, 0]
            predicted[test] = 1e9
        folder = tmp_path / name
        predictions.save_predictions(folder, "m", "age", changed, predicted, out_of_fold=True)
        rows[name] = predictions.fitting_rows(folder, "m", "age")
    pd.testing.assert_frame_equal(rows["clean"], rows["poisoned"])
    assert "test" not in set(rows["clean"]["split"])


def test_the_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    cases = case_table()
    predictions.save_predictions(tmp_path, "cnn", "age", cases, np.full(len(cases), 1.0))

    def fail_midway(table, path, **options):
        path.write_bytes(b"half")
        raise RuntimeError("killed")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail_midway)
    with pytest.raises(RuntimeError):
        predictions.save_predictions(tmp_path, "cnn", "age", cases, np.full(len(cases), 2.0))
    table = predictions.all_rows(tmp_path, "cnn", "age")
    assert (table["predicted_months"] == 1).all()
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["cnn.age.parquet"]


BAD_AGES = {
    "one too few": lambda cases: (cases, np.ones(len(cases) - 1), None),
    "a NaN": lambda cases: (cases, np.where(np.arange(len(cases)) == 7, np.nan, 1.0), None),
    "probabilities": lambda cases: (cases, probabilities(len(cases)), None),
    "an interval upside down": lambda cases: (
        cases,
        np.ones(len(cases)),
        np.tile([2.0, 1.0], (len(cases), 1)),
    ),
    "a case twice": lambda cases: (cases.assign(case_id="c1"), np.ones(len(cases)), None),
    "a case without id": lambda cases: (cases.assign(case_id=None), np.ones(len(cases)), None),
    "a word for sex": lambda cases: (cases.assign(sex="boy"), np.ones(len(cases)), None),
}


@pytest.mark.parametrize("change", BAD_AGES.values(), ids=BAD_AGES)
def test_bad_ages_are_refused(tmp_path, change):
    cases, months, intervals = change(case_table())
    with pytest.raises(ValueError):
        predictions.save_predictions(tmp_path, "m", "age", cases, months, intervals)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p[:, :4],
        lambda p: p * 0.9,
        lambda p: np.column_stack([p[:, 0] - 2, p[:, 1] + 2, p[:, 2:]]),
        lambda p: p.argmax(axis=1),
    ],
    ids=["four classes", "do not sum to 1", "negative", "classes in place of probabilities"],
)
def test_bad_probabilities_are_refused(tmp_path, change):
    cases = case_table()
    with pytest.raises(ValueError):
        predictions.save_predictions(
            tmp_path, "m", "stage", cases, change(probabilities(len(cases)))
        )


def test_only_rows_of_train_are_out_of_fold(tmp_path):
    cases = case_table()
    cases["fold"] = pd.array([0] * len(cases), dtype="Int8")
    with pytest.raises(ValueError, match="Only rows of train"):
        predictions.save_predictions(
            tmp_path, "m", "age", cases, np.ones(len(cases)), out_of_fold=True
        )


@pytest.mark.parametrize("model", ["", "../cnn", "a.b", "a/b", "a b"])
def test_a_models_name_is_a_plain_name(tmp_path, model):
    with pytest.raises(InputError, match="model's name"):
        predictions.save_predictions(tmp_path, model, "age", case_table(6), np.ones(6))


def test_an_unknown_task_is_named(tmp_path):
    with pytest.raises(InputError, match="write age or stage"):
        predictions.save_predictions(tmp_path, "cnn", "sex", case_table(6), np.ones(6))


def test_what_is_missing_is_named_with_its_notebook(tmp_path):
    with pytest.raises(InputError, match=r"no predictions/cnn\.age\.parquet.*02_cnn_tuning"):
        predictions.fitting_rows(tmp_path, "cnn", "age")


@given(st.integers(1, 40), st.integers(0, 5), st.booleans(), st.sampled_from(["age", "stage"]))
def test_every_valid_table_comes_back_valid(tmp_path_factory, n, seed, out_of_fold, task):
    folder = tmp_path_factory.mktemp("run")
    cases = case_table(n, seed)
    values = np.linspace(-5, 300, n) if task == "age" else probabilities(n, seed)
    predictions.save_predictions(folder, "m", task, cases, values, out_of_fold=out_of_fold)
    table = predictions.all_rows(folder, "m", task)
    predictions.check_table(table, task)
    kept = predictions.fitting_rows(folder, "m", task)
    assert set(kept["split"]) <= ({"calibration", "train"} if out_of_fold else {"calibration"})


def test_a_model_to_compare_with_is_missed_before_any_training(tmp_path):
    predictions.require_saved(tmp_path, "", "age")
    with pytest.raises(InputError, match=r"has no predictions/hog\.age\.parquet"):
        predictions.require_saved(tmp_path, "hog", "age")
