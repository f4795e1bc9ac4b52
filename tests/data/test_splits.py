"""Splits: the shares, the strata, and that nothing but id, age and sex decides."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers.data import splits

SEX = st.sampled_from(["female", "male", None])
CASES = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
    st.tuples(SEX, st.integers(1, 228)),
    min_size=20,
    max_size=150,
)


def table_of(rows: dict) -> pd.DataFrame:
    sex, age = zip(*rows.values(), strict=True)
    table = pd.DataFrame({"case_id": list(rows), "sex": sex, "age_months": age})
    return table.astype({"sex": object, "age_months": float})


def assigned(table: pd.DataFrame) -> pd.DataFrame:
    arguments = (table["case_id"], table["sex"], table["age_months"])
    split = splits.assign_splits(*arguments)
    train = table[split == "train"]
    fold = splits.assign_folds(train["case_id"], train["sex"], train["age_months"])
    return table.assign(split=split, fold=fold.reindex(table.index))


def rsna_like(n: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    ids = random.permutation(np.arange(1377, 1377 + 2 * n))[:n].astype(str)
    age = np.clip(random.normal(127, 41, n).round(), 1, 228)
    sex = np.where(random.random(n) < 0.54, "male", "female")
    return pd.DataFrame({"case_id": ids, "sex": sex, "age_months": age})


@given(CASES)
def test_every_split_is_there_and_has_its_share(rows):
    counts = assigned(table_of(rows))["split"].value_counts()
    for split, share in splits.SHARES.items():
        assert counts.get(split, 0) >= 1
        assert abs(counts[split] - share * len(rows)) <= 2


@given(CASES, st.randoms())
def test_row_order_and_index_do_not_matter(rows, random):
    table = assigned(table_of(rows))
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = assigned(table[["case_id", "sex", "age_months"]].iloc[order])
    assert shuffled.loc[table.index, "split"].tolist() == table["split"].tolist()
    pd.testing.assert_series_equal(shuffled.loc[table.index, "fold"], table["fold"])
    assert splits.split_manifest(shuffled) == splits.split_manifest(table)


@given(CASES, st.integers(0, 1000))
def test_the_manifest_sees_one_changed_case(rows, which):
    table = assigned(table_of(rows))
    before = splits.split_manifest(table)
    row = which % len(table)
    other = next(s for s in splits.SHARES if s != table.loc[row, "split"])
    changed = table.copy()
    changed.loc[row, "split"] = other
    assert splits.split_manifest(changed)["hash"] != before["hash"]
    assert sum(before["counts"].values()) == len(table)


def test_shares_are_exact_and_strata_alike():
    table = assigned(rsna_like(11_336))
    counts = table["split"].value_counts()
    assert counts["train"] == pytest.approx(7935, abs=2)
    assert counts["test"] == pytest.approx(1700, abs=2)
    for split in ("tuning", "calibration"):
        assert counts[split] == pytest.approx(850, abs=2)
    by_split = table.groupby("split")["age_months"]
    assert by_split.mean().max() - by_split.mean().min() < 1.0
    assert by_split.std().max() - by_split.std().min() < 1.0
    boys = (table["sex"] == "male").groupby(table["split"]).mean()
    assert boys.max() - boys.min() < 0.01
    folds = table["fold"].value_counts()
    assert set(folds.index) == set(range(splits.FOLDS))
    assert folds.max() - folds.min() <= 2
    assert table["fold"].notna().equals(table["split"] == "train")


def test_most_cases_keep_their_split_when_others_are_removed():
    """A model of a part of the set has then seen few of the whole set's test cases."""
    whole = assigned(rsna_like(10_000)).set_index("case_id")
    part = assigned(rsna_like(10_000).iloc[::2]).set_index("case_id")
    same = part["split"] == whole.loc[part.index, "split"]
    assert same.mean() > 0.9


def test_splits_differ_from_folds_and_from_sorting():
    table = assigned(rsna_like(5_000))
    train = table[table["split"] == "train"]
    by_id = train.assign(number=train["case_id"].astype(int)).groupby("fold")["number"].mean()
    assert by_id.max() - by_id.min() < 0.1 * by_id.mean()
    by_id = table.assign(number=table["case_id"].astype(int)).groupby("split")["number"].mean()
    assert by_id.max() - by_id.min() < 0.1 * by_id.mean()


def test_the_split_of_a_known_set_never_changes():
    """Saved models and figures rest on it: a change here makes every earlier result void."""
    rows = {str(1377 + n): (["female", "male"][n % 2], 6 * (n * 17 % 38 + 1)) for n in range(500)}
    manifest = splits.split_manifest(assigned(table_of(rows)))
    assert manifest["counts"] == {"train": 350, "tuning": 38, "calibration": 37, "test": 75}
    assert manifest["hash"] == "e70e8aa72273eb1a"
