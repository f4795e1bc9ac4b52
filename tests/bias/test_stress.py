"""The stress test: films are disturbed, not pictures; undisturbed ones score as they did before."""

import functools
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import write_radiographs
from keras import layers
from PIL import Image

from nbhelpers import metrics, predictions
from nbhelpers.bias import corruptions, stress
from nbhelpers.data import cases, splits
from nbhelpers.evaluation import scores
from nbhelpers.images import preparation as images_preparation
from nbhelpers.images.radiograph import read_image
from nbhelpers.models import ensembles, hog, networks, saved
from nbhelpers.workspace import InputError

PREPARATIONS = {
    "plain": images_preparation.Preparation.from_steps(24, ""),
    "stretched": images_preparation.Preparation.from_steps(32, "stretch"),
}
MODELS = ("brightness", "edges", "both", "stretched")
# The mean grey level of a radiograph, and the direction of its stripes, tell the child's age.
DARKEST, LEVELS_A_MONTH, STRIPES = 80, 0.3, 20
LABEL_SPREAD = 6.0  # months
BOYS_LATER = 30  # months by which a boy's hand looks younger than a girl's of his age
SIDE = 40


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run whose models read brightness, edges, both, and brightness after stretching."""
    place = tmp_path_factory.mktemp("stressed")
    data, run = write_radiographs(place / "data", 120, side=SIDE), place / "run"
    read = cases.read_cases(data)
    for path, age, sex in zip(read["image_path"], read["age_months"], read["sex"], strict=True):
        looks = float(age) - BOYS_LATER * (sex == "male")
        Image.fromarray(film(looks, Path(path).stem)).save(path)
    for view, preparation in PREPARATIONS.items():
        geometry = images_preparation.prepare_cases(read, preparation, run, view)
    table, _ = cases.keep_readable(read, geometry)
    cases.save_cases(run, table, cases.fingerprint(data, read))
    (run / "models").mkdir()
    save_brightness(run, "brightness", "plain")
    save_edges(run, table)
    save_brightness(run, "stretched", "stretched")
    saved.save_ensemble(
        run, "both", ensembles.equal("age", ("brightness", "edges"), male_share=0.5)
    )
    pictures = functools.partial(images_preparation.load_images, run)
    sex = splits.sex_codes(table["sex"])
    said = saved.predict_each(run, list(MODELS), "age", pictures, sex)
    for model, months in said.items():
        predictions.save_predictions(run, model, "age", table, months)
    return run


def film(age, case):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    turned = np.pi / 2 * age / 228
    stripes = STRIPES * np.sin((columns * np.cos(turned) + rows * np.sin(turned)) * 0.6)
    seen = age + np.random.default_rng(int(case)).normal(0, LABEL_SPREAD)
    return np.rint(stripes - stripes.mean() + DARKEST + LEVELS_A_MONTH * seen).astype(np.uint8)


def facts_of(run, view):
    size = PREPARATIONS[view].image_size
    prepared = images_preparation.preparation_hash(run, view)
    facts = {"task": "age", "view": view, "image_size": size, "male_share": 0.5}
    return facts | {"preparation": prepared}


def save_brightness(run, model, view):
    """A network of the mean grey level and sex."""
    radiograph, sex, x = networks.inputs(PREPARATIONS[view].image_size, facts_of(run, view))
    mean = layers.GlobalAveragePooling2D()(x)  # in [-1, 1]
    middle = (127.5 - DARKEST) / LEVELS_A_MONTH
    months = layers.Rescaling(127.5 / LEVELS_A_MONTH, offset=middle)(mean)
    months = layers.Add()([months, layers.Rescaling(BOYS_LATER)(sex)])
    network = keras.Model([radiograph, sex], months)
    saved.save(network, run / "models" / f"{model}.age.keras")


def save_edges(run, table):
    settings = hog.HogSettings()
    features = hog.features(images_preparation.load_images(run, "plain"), settings)
    train = (table["split"] == "train").to_numpy()
    sex = splits.sex_codes(table["sex"])
    target = pd.Series(table["age_months"].to_numpy(float)[train])
    part = (hog.with_sex(features[train], sex[train]), target)
    trees = hog.TreeSettings(rounds=40, learning_rate=0.3, max_depth=2, share_of_features=0.5)
    booster, _ = hog.fit("age", part, part, trees)
    hog.save(booster, run / "models" / "edges.age.ubj", settings, facts_of(run, "plain"))


@pytest.fixture(scope="module")
def told(run_folder):
    """What all models score on some kinds, by kind, strength and model."""
    return scored(run_folder, MODELS, kinds=("brightness", "mirrored", "jpeg"))


@pytest.fixture(scope="module")
def all_kinds(run_folder):
    return scored(run_folder, ["edges"], kinds=tuple(corruptions.DISTURBANCES))


def scored(run_folder, models, kinds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RESAMPLES", 200)
        table = stress.stress(run_folder, models, "test", kinds=kinds)
    return table.set_index(["kind", "strength", "model"])


def paths_of(run_folder):
    return cases.load_cases(run_folder)["image_path"].tolist()


def pictures_of(paths, preparation, kind, strength):
    return corruptions.disturbed_pictures(paths, preparation, kind, [strength])[0]


def labelled(ids):
    return pd.DataFrame({"case_id": list(ids), "age_months": 100.0})


def test_the_cases_drawn_are_labelled_and_depend_on_nothing_but_their_ids():
    given = labelled(str(case) for case in range(600))
    drawn = stress.draw_cases(given, 50)
    pd.testing.assert_frame_equal(stress.draw_cases(given[::-1], 50), drawn)
    # A draw by hash is no draw of the first ones, and cases that are added only push others out.
    few = stress.draw_cases(given[:500], 50)["case_id"].tolist()
    old = [case for case in drawn["case_id"] if int(case) < 500]
    assert 30 < len(old) < 50 and old == few[: len(old)]
    given.loc[5:, "age_months"] = np.nan
    assert set(stress.draw_cases(given, 50)["case_id"]) == set("01234")


@pytest.mark.parametrize("view", PREPARATIONS)
def test_undisturbed_pictures_are_the_runs_own(run_folder, view):
    made = pictures_of(paths_of(run_folder), PREPARATIONS[view], "rotation", 0)
    np.testing.assert_array_equal(made, images_preparation.load_images(run_folder, view))
    assert made.dtype == np.uint8


def test_undisturbed_radiographs_score_as_in_the_run(run_folder, told):
    for model in MODELS:
        rows = stress.draw_cases(scores.case_errors(run_folder, model, "age", "test"))
        expected = metrics.score_mean(rows["error_months"].abs())
        for kind, identity in (("brightness", 0), ("mirrored", 0), ("jpeg", 100)):
            found = told.loc[(kind, identity, model)]
            assert tuple(found[["n", "mae", "lower", "upper"]]) == expected
            assert found["difference"] == 0


def test_every_strength_of_every_kind_is_scored(all_kinds):
    wanted = [
        (kind, strength, "edges")
        for kind, disturbance in corruptions.DISTURBANCES.items()
        for strength in (disturbance.identity, *disturbance.strengths)
    ]
    assert all_kinds.index.tolist() == wanted
    assert all_kinds.reset_index()[stress.COLUMNS].notna().all(axis=None)
    assert all_kinds["mae"].between(all_kinds["lower"], all_kinds["upper"]).all()
    plain = all_kinds.groupby("kind")["mae"].transform("first")
    np.testing.assert_allclose(all_kinds["difference"], all_kinds["mae"] - plain, atol=1e-9)
    ends = all_kinds["difference_lower"], all_kinds["difference_upper"]
    assert all_kinds["difference"].between(*ends).all()


def test_a_model_that_reads_brightness_is_hurt_by_it_and_not_by_mirroring(told):
    assert told.loc[("brightness", 0, "brightness"), "mae"] < 2 * LABEL_SPREAD
    for strength in (-40, -20, 20, 40):
        found = told.loc[("brightness", strength, "brightness")]
        assert found["mae"] == pytest.approx(abs(strength) / LEVELS_A_MONTH, abs=LABEL_SPREAD)
        assert found["difference_lower"] > 0
    assert told.loc[("mirrored", 1, "brightness"), "difference"] == pytest.approx(0, abs=1e-3)
    both = told.loc[("brightness", 80, "both"), "difference"]  # an ensemble with that member
    assert 0 < both < told.loc[("brightness", 80, "brightness"), "difference"]


def test_a_model_that_reads_the_direction_of_edges_is_hurt_by_rotation(told, all_kinds):
    assert all_kinds.loc[("rotation", 45, "edges"), "difference_lower"] > 0
    assert abs(told.loc[("brightness", 20, "edges"), "difference"]) < 1


def test_a_strength_has_its_own_errors(run_folder, all_kinds):
    """Those of pictures made and predicted one strength at a time."""
    cases_drawn = stress.draw_cases(scores.case_errors(run_folder, "edges", "age", "test"))
    sex = splits.sex_codes(cases_drawn["sex"])
    for strength in corruptions.DISTURBANCES["noise"].strengths:
        made = pictures_of(cases_drawn["image_path"], PREPARATIONS["plain"], "noise", strength)
        months = saved.predict_saved(run_folder, "edges", "age", made, sex)
        expected = abs(months - cases_drawn["age_months"].to_numpy(float)).mean()
        assert all_kinds.loc[("noise", strength, "edges"), "mae"] == pytest.approx(expected)


def test_films_are_disturbed_before_they_are_stretched(run_folder, told):
    """Stretching undoes another brightness, which it could not if it came first."""
    paths, preparation = paths_of(run_folder), PREPARATIONS["stretched"]
    made = pictures_of(paths, preparation, "brightness", 20)
    np.testing.assert_array_equal(made, images_preparation.load_images(run_folder, "stretched"))
    assert told.loc[("brightness", -20, "stretched"), "difference"] == pytest.approx(0, abs=1e-3)


def test_pictures_are_those_of_the_disturbed_film_on_one_core_and_on_several(
    run_folder, monkeypatch
):
    paths, preparation = paths_of(run_folder)[:5], PREPARATIONS["plain"]
    for cores in ("1", "3"):
        monkeypatch.setenv("NBHELPERS_CORES", cores)
        made = corruptions.disturbed_pictures(paths, preparation, "noise", (40, 0, 5))
        assert made.shape == (3, 5, 24, 24)
        for place, path in enumerate(paths):
            for index, strength in enumerate((40, 0, 5)):
                noisy = corruptions.disturb(read_image(path), "noise", strength, Path(path).stem)
                expected = images_preparation.prepare_image(noisy, preparation)[0]
                np.testing.assert_array_equal(made[index, place], expected)


def test_a_radiograph_that_cannot_be_read_is_named(run_folder, tmp_path):
    damaged = tmp_path / "1400.png"
    damaged.write_bytes(b"\x89PNG and no more")
    with pytest.raises(InputError, match=damaged.name):
        pictures_of([*paths_of(run_folder)[:3], damaged], PREPARATIONS["plain"], "noise", 5)


def test_a_network_is_read_once_and_undisturbed_radiographs_prepared_once(run_folder, monkeypatch):
    read, prepared = [], []
    load, make = saved.load, corruptions.disturbed_pictures

    def counted(paths, preparation, kind, strengths):
        prepared.append((kind, *strengths))
        return make(paths, preparation, kind, strengths)

    monkeypatch.setattr(saved, "load", lambda path: (read.append(path.name), load(path))[1])
    monkeypatch.setattr(corruptions, "disturbed_pictures", counted)
    models, kinds = ["brightness", "both", "edges"], ["mirrored", "inverted", "shift"]
    table = stress.stress(run_folder, models, "test", count=5, kinds=kinds)
    assert (table["n"] == 5).all()
    assert read == ["brightness.age.keras"]
    asked = [("mirrored", 0), ("mirrored", 1), ("inverted", 1), ("shift", 5, 10, 20, 30)]
    assert prepared == asked


def test_models_of_another_preparation_are_refused(run_folder, monkeypatch):
    monkeypatch.setattr(saved, "VERSION", 2)
    with pytest.raises(InputError, match=r"view plain .* this suite prepares by version 2"):
        stress.stress(run_folder, ["edges"], "test")


def table_of(kind, mae_of, model="one"):
    """As `stress` tells it, from the MAE of each strength."""
    rows = [(kind, float(strength), model, mae) for strength, mae in mae_of.items()]
    return pd.DataFrame(rows, columns=["kind", "strength", "model", "mae"])


def tips(kind, mae_of):
    table = stress.tipping_strength(table_of(kind, mae_of))
    return dict(zip(table["strongest"], table["strength"], strict=True))


def test_a_tipping_strength_lies_between_those_tried_in_its_direction():
    assert tips("shift", {0: 10, 5: 10.5, 10: 11.5, 20: 30}) == {20: pytest.approx(7.5)}
    assert tips("shift", {0: 10, 5: 12, 10: 10, 20: 30}) == {20: pytest.approx(2.5)}
    assert tips("shift", {0: 10, 5: 10, 10: 11, 20: 30}) == {20: pytest.approx(10)}
    # The quality of JPEG falls, and its identity is 100.
    assert tips("jpeg", {100: 10, 70: 10, 40: 12}) == {40: pytest.approx(55)}
    found = tips("brightness", {0: 10, -80: 20, -40: 10, -20: 9, 20: 10, 40: 10.9})
    assert found == {-80: pytest.approx(-44), 40: pytest.approx(np.nan, nan_ok=True)}
    assert tips("mirrored", {0: 10, 1: 40}) == {1: 1}  # on or off tips where it is on
    assert np.isnan(tips("mirrored", {0: 10, 1: 10.9})[1])


def test_tipping_strengths_are_told_by_model_and_kind(told):
    found = stress.tipping_strength(told.reset_index())
    assert found.columns.tolist() == stress.TIPPING_COLUMNS
    assert len(found) == 4 * len(MODELS)  # darker, brighter, mirrored, compressed
    reads = found.query("model == 'brightness' and kind == 'brightness'")
    assert reads["strength"].abs().max() < 20
