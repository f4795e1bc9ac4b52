"""Splits: the shares, the strata, and that nothing but id, age and sex decides."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhelpers.data import splits

SEX = st.sampled_from(["female", "male", None])
CASES = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
    st.tuples(SEX, st.integers(1, 228)),
    min_size=20,
    max_size=80,
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


@settings(max_examples=30)
@given(CASES, st.randoms())
def test_splits_have_their_shares_and_depend_on_no_order(rows, random):
    table = assigned(table_of(rows))
    counts, manifest = table["split"].value_counts(), splits.split_manifest(table)
    for split, share in splits.SHARES.items():
        assert counts.get(split, 0) >= 1
        assert abs(counts[split] - share * len(rows)) <= 2
    order = random.sample(range(len(table)), len(table))
    shuffled = assigned(table[["case_id", "sex", "age_months"]].iloc[order])
    pd.testing.assert_frame_equal(shuffled.loc[table.index], table)
    assert splits.split_manifest(shuffled) == manifest
    # The manifest sees one changed case.
    other = "train" if table.loc[0, "split"] == "test" else "test"
    table.loc[0, "split"] = other
    assert splits.split_manifest(table)["hash"] != manifest["hash"]


def test_shares_are_exact_and_strata_alike():
    table = assigned(rsna_like(11_336))
    counts = table["split"].value_counts()
    for split, share in splits.SHARES.items():
        assert counts[split] == pytest.approx(share * len(table), abs=2)
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


@pytest.mark.parametrize("column", ["fold", "split"])
def test_neither_splits_nor_folds_sort_by_id(column):
    table = assigned(rsna_like(5_000))
    mean = table.assign(number=table["case_id"].astype(int)).groupby(column)["number"].mean()
    assert mean.max() - mean.min() < 0.1 * mean.mean()


def test_the_split_of_a_known_set_never_changes():
    """Saved models and figures rest on it: a change here makes every earlier result void."""
    rows = {str(1377 + n): (["female", "male"][n % 2], 6 * (n * 17 % 38 + 1)) for n in range(500)}
    manifest = splits.split_manifest(assigned(table_of(rows)))
    assert manifest["counts"] == {"train": 350, "tuning": 38, "calibration": 37, "test": 75}
    assert manifest["hash"] == "e70e8aa72273eb1a"
