"""What networks are trained on: labelled cases of the right split; folds see not themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbhelpers import predictions, workspace
from nbhelpers.models import batches, saved
from nbhelpers.models import material as materials
from nbhelpers.workspace import InputError

N = 60


@pytest.fixture
def table() -> pd.DataFrame:
    rows = pd.Series(np.arange(N))
    splits = ["train"] * 40 + ["tuning", "calibration", "test", "external"] * 4 + ["unlabelled"] * 4
    labelled, part = np.array(splits) != "unlabelled", (rows % 5).astype("Int8")
    facts = {"age_months": (rows * 3.0 + 1).where(labelled), "stage": part.where(labelled)}
    facts |= {"split": splits, "fold": part.where(rows < 40)}
    return pd.DataFrame(
        {"case_id": rows.astype(str), "sex": ["female", "male", None] * 20, **facts}
    )


@pytest.fixture(autouse=True)
def run_folder(monkeypatch):
    """A run folder whose files need not be there; a picture's grey level is its row."""
    pictures = np.broadcast_to(np.arange(N, dtype=np.uint8)[:, None, None], (N, 8, 8))
    monkeypatch.setattr(materials, "load_images", lambda folder, view: pictures)
    monkeypatch.setattr(materials, "preparation_hash", lambda folder, view: "hash")
    monkeypatch.setattr(materials.cases, "report_originals", lambda table: True)


def material(table: pd.DataFrame, task: str = "age", balanced: bool = False) -> materials.Material:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(materials.cases, "load_cases", lambda folder: table)
        return materials.read(Path(), "hand", task, balanced)


def fed_by(given: batches.Batches, epoch: int = 0) -> list[np.ndarray]:
    """All that an epoch feeds: pictures or features, sex, target, and weights where there are."""
    given.begin(epoch)
    each = [(*inputs, *rest) for inputs, *rest in (given[n] for n in range(len(given)))]
    return [np.concatenate(part) for part in zip(*each, strict=True)]


@pytest.mark.parametrize("with_features", [False, True])
def test_batches_keep_case_view_sex_target_and_weight_together(table, with_features):
    """In an order, and views, that follow from seed and epoch."""
    given = replace(material(table), weights=np.arange(N) / 7)
    if with_features:  # of three views
        seen = np.stack([np.tile(np.arange(3.0)[:, None], N), np.tile(np.arange(N), (3, 1))], -1)
        given = replace(given, features=seen)

    def rows_of(seed, epoch):
        fed = batches.Batches(given, given.train, 16, seed=seed)
        shown, sex, target, weights = fed_by(fed, epoch)
        rows = (shown[:, 1] if with_features else shown[:, 0, 0, 0]).astype(int)
        np.testing.assert_array_equal(target[:, 0], given.target[rows])
        known = np.nan_to_num(given.sex, nan=given.unknown_sex)
        np.testing.assert_allclose(sex[:, 0], known[rows])
        np.testing.assert_allclose(weights, given.weights[rows], rtol=1e-6)
        views = shown[:, 0] if with_features else np.zeros(len(rows))
        return rows.tolist(), views.tolist()

    rows, views = rows_of(3, 0)
    assert sorted(rows) == given.train.tolist() and rows_of(3, 0) == (rows, views)
    for seed, epoch in ((3, 1), (4, 0)):
        others = rows_of(seed, epoch)
        assert others[0] != rows and (others[1] != views) == with_features
    assert rows_of(None, 4) == (given.train.tolist(), [0] * len(given.train))


def test_only_labelled_train_and_tuning_cases_are_trained_on(table):
    table.loc[3, "age_months"] = np.nan
    got = material(table)
    splits = table["split"].to_numpy()
    assert set(splits[got.train]) == {"train"} and set(splits[got.tuning]) == {"tuning"}
    assert 3 not in got.train and len(got.train) == 39
    table.loc[table["split"].isin(["calibration", "test"]), "age_months"] = 7.0
    fed, without = batches.of_splits(got, 8, 1), batches.of_splits(material(table), 8, 1)
    for one, other in zip(fed, without, strict=True):
        for part, same in zip(fed_by(one), fed_by(other), strict=True):
            np.testing.assert_array_equal(part, same)
    assert set(fed_by(fed[0])[2][:, 0]) == set(table["age_months"].to_numpy()[got.train])


def test_rare_stages_count_more_when_balanced_but_not_in_tuning(table):
    table["stage"] = pd.array([0 if number % 10 == 0 else 1 for number in range(N)], dtype="Int8")
    balanced = material(table, "stage", balanced=True)
    assert balanced.weights[0] == pytest.approx(9 * balanced.weights[1])
    assert balanced.weights[:40].mean() == pytest.approx(1)
    assert [len(fed[0]) for fed in batches.of_splits(balanced, 8, 0)] == [3, 2]


def test_no_member_sees_its_own_fold(table):
    members = materials.by_fold(material(table))
    folds = table["fold"].to_numpy(float, na_value=np.nan)
    seen = [set(folds[member.train]) for member in members]
    assert seen == [{0, 1, 2, 3, 4} - {fold} for fold in range(5)]


def test_a_case_is_predicted_by_the_members_that_did_not_see_it(table, monkeypatch):
    table.loc[40:, "split"] = "test"
    members, written = materials.by_fold(material(table)), []
    monkeypatch.setattr(saved, "predict", lambda fold, images, sex, rows: np.full(len(rows), fold))
    monkeypatch.setattr(saved, "save_ensemble", lambda folder, model, mean: written.append(mean))
    monkeypatch.setattr(saved.predictions, "save_predictions", lambda *given: written.append(given))
    named = {f"m_fold{fold}": 10.0 * fold for fold in range(5)}
    saved.predict_unseen(Path(), "m", named, members)
    mean, (_, name, _, cases, predicted, out_of_fold) = written
    assert (name, out_of_fold) == ("m", True)
    assert mean.members == tuple(named) and mean.weights == [[0.2] * 5]
    assert cases.index.tolist() == list(range(N))
    assert predicted.tolist() == [10 * (number % 5) for number in range(40)] + [20] * 20
    saved.predict_unseen(Path(), "m", {"m": 7.0}, members[:1])
    ((*_, cases, _, out_of_fold),) = written[2:]
    unseen = np.setdiff1d(np.arange(N), members[0].train)
    assert cases.index.tolist() == unseen.tolist() and not out_of_fold
    with pytest.raises(InputError, match="seeds is 3: with cross_validate write 1"):
        materials.by_fold(material(table), seeds=3)


def test_each_seed_has_a_table_and_their_mean_is_the_model(table, tmp_path, monkeypatch):
    table.loc[40:, "split"] = "test"
    for name in ("m.age.keras", "m_seed2.age.keras", "m.stage.keras", "m_big.age.keras"):
        workspace.write_json(tmp_path / "models" / name, {})
    monkeypatch.setattr(saved, "predict", lambda said, images, sex, rows: np.full(len(rows), said))
    monkeypatch.setattr(saved, "save_ensemble", lambda folder, model, mean: None)
    saved.predict_unseen(tmp_path, "m", {"m_seed0": 60.0, "m_seed1": 80.0}, [material(table)] * 2)
    assert predictions.saved_models(tmp_path, "age") == ["m"]
    assert predictions.seeds_of(tmp_path, "m", "age") == ["m_seed0", "m_seed1"]
    said = {name: predictions.said_rows(tmp_path, name, "age") for name in ("m", "m_seed1")}
    assert set(said["m"]["split"]) == {"test"} and said["m"]["fold"].isna().all()
    assert [set(one["predicted_months"]) for one in said.values()] == [{70.0}, {80.0}]
    # What an earlier run left under the model's name would be read in its place.
    assert {path.name for path in tmp_path.glob("models/*")} == {"m.stage.keras", "m_big.age.keras"}
    workspace.write_json(tmp_path / "models" / "m.age.intervals.json", {})
    saved.predict_unseen(tmp_path, "m", {"m": 90.0}, [material(table)])
    assert predictions.seeds_of(tmp_path, "m", "age") == [] == [*tmp_path.glob("models/m.age.*")]


def test_several_devices_get_even_shares(table, monkeypatch):
    monkeypatch.setattr(batches.devices, "sharing_devices", lambda: 3)
    fed = batches.of_splits(replace(material(table), tuning=np.arange(40, 60)), 16, 0)
    sizes = [[len(one[number][1]) for number in range(len(one))] for one in fed]
    assert sizes == [[15, 15], [18]]  # of 40 and of 20


def test_a_share_of_train_is_a_part_of_it_fixed_by_the_seed(table):
    got = material(table)
    part, same, other = (set(materials.share_of_train(got, 0.5, n).train) for n in (1, 1, 2))
    assert len(part) == 20 and part < set(got.train) and part == same != other
    with pytest.raises(InputError, match=r"trial_share is 1\.5"):
        materials.share_of_train(got, 1.5, 1)
