"""What networks are trained on: labelled cases of the right split; folds see not themselves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nbhelpers.models import batches
from nbhelpers.workspace import InputError

N = 60


@pytest.fixture
def table() -> pd.DataFrame:
    splits = ["train"] * 40 + ["tuning", "calibration", "test", "external"] * 4 + ["unlabelled"] * 4
    unlabelled = np.array(splits) == "unlabelled"
    return pd.DataFrame(
        {
            "case_id": [str(number) for number in range(N)],
            "sex": ["female", "male", None] * 20,
            "age_months": np.where(unlabelled, np.nan, np.arange(N) * 3.0 + 1),
            "stage": pd.array(
                [None if missing else number % 5 for number, missing in enumerate(unlabelled)],
                dtype="Int8",
            ),
            "split": splits,
            "fold": pd.array([n % 5 if n < 40 else None for n in range(N)], dtype="Int8"),
        }
    )


def material(table: pd.DataFrame, task: str = "age", loss: str = "") -> batches.Material:
    return batches.material(table, np.zeros((N, 8, 8), np.uint8), task, loss)


def test_only_labelled_train_and_tuning_cases_are_trained_on(table):
    table.loc[3, "age_months"] = np.nan
    got = material(table)
    splits = table["split"].to_numpy()
    assert set(splits[got.train]) == {"train"} and set(splits[got.tuning]) == {"tuning"}
    assert 3 not in got.train and len(got.train) == 39
    fed = batches.training_batches(got, 8, 0)
    seen = np.concatenate([fed[number][1][:, 0] for number in range(len(fed))])
    assert set(seen) == set(table["age_months"].to_numpy()[got.train])


def test_labels_outside_train_and_tuning_change_nothing_that_is_fed(table):
    before = material(table)
    table.loc[table["split"].isin(["calibration", "test"]), "age_months"] = 7.0
    after = material(table)
    for feed in (lambda m: batches.training_batches(m, 8, 1), batches.tuning_batches):
        for one, other in zip(feed(before), feed(after), strict=True):
            np.testing.assert_array_equal(one[1], other[1])


def test_rare_stages_count_more_when_balanced(table):
    table["stage"] = pd.array([0 if number % 10 == 0 else 1 for number in range(N)], dtype="Int8")
    weights = material(table, "stage", "balanced cross-entropy").weights
    assert weights[0] == pytest.approx(9 * weights[1])
    assert weights[:40].mean() == pytest.approx(1)
    assert material(table, "stage").weights is None


def test_no_member_sees_its_own_fold_and_together_they_see_all(table):
    got = material(table)
    members = batches.fold_materials(table, got)
    folds = table["fold"].to_numpy(float, na_value=np.nan)
    assert len(members) == 5
    for fold, member in enumerate(members):
        assert fold not in folds[member.train]
        assert len(member.train) == 32
        np.testing.assert_array_equal(member.tuning, got.tuning)


def test_out_of_fold_takes_the_members_that_did_not_see_the_case(table):
    table.loc[40:, "split"] = "test"
    members = batches.fold_materials(table, material(table))
    unseen = [np.setdiff1d(np.arange(N), member.train) for member in members]
    predicted = [np.full(len(rows), float(10 * fold)) for fold, rows in enumerate(unseen)]
    rows, together = batches.out_of_fold(unseen, predicted)
    np.testing.assert_array_equal(rows, np.arange(N))
    np.testing.assert_array_equal(together[:40], [10 * (number % 5) for number in range(40)])
    np.testing.assert_array_equal(together[40:], 20)
    rows, alone = batches.out_of_fold(unseen[:1], predicted[:1])
    np.testing.assert_array_equal(rows, unseen[0])
    np.testing.assert_array_equal(alone, predicted[0])


def test_several_devices_get_even_shares(table, monkeypatch):
    monkeypatch.setattr(batches.devices, "sharing_devices", lambda: 3)
    got = replace(material(table), tuning=np.arange(40, 60))
    fed, tuned = batches.training_batches(got, 16, 0), batches.tuning_batches(got)
    assert [len(fed[number][1]) for number in range(len(fed))] == [15, 15]  # of 40
    assert [len(tuned[number][1]) for number in range(len(tuned))] == [18]  # of 20


def test_a_share_of_train_is_a_part_of_it_fixed_by_the_seed(table):
    got = material(table)
    part = batches.share_of_train(got, 0.5, 1)
    assert len(part.train) == 20 and set(part.train) < set(got.train)
    np.testing.assert_array_equal(part.train, batches.share_of_train(got, 0.5, 1).train)
    assert set(part.train) != set(batches.share_of_train(got, 0.5, 2).train)
    with pytest.raises(InputError, match=r"trial_share is 1\.5"):
        batches.share_of_train(got, 1.5, 1)
