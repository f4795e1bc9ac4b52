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

from nbhelpers import metrics, predictions, workspace
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
    return at_strengths(paths, preparation, kind, [strength])[0]


def at_strengths(*asked):
    with workspace.workers(corruptions.of_file) as each:
        return corruptions.disturbed_pictures(each, *asked)


def labelled(ids):
    return pd.DataFrame({"case_id": list(ids), "age_months": 100.0})


def test_the_cases_drawn_do_not_depend_on_their_order():
    given = labelled(str(case) for case in range(1000))
    drawn = stress.draw_cases(given, 50)
    pd.testing.assert_frame_equal(stress.draw_cases(given[::-1], 50), drawn)
    assert len(drawn) == 50
    assert len(stress.draw_cases(given[:30], 50)) == 30
    # A draw by hash is no draw of the first ones.
    assert drawn["case_id"].astype(int).max() > 900


def test_cases_that_are_added_only_push_others_out():
    few = stress.draw_cases(labelled(str(case) for case in range(500)), 50)["case_id"]
    many = stress.draw_cases(labelled(str(case) for case in range(600)), 50)["case_id"]
    old = [case for case in many if int(case) < 500]
    assert 30 < len(old) < 50
    assert old == few.tolist()[: len(old)]


def test_cases_without_a_label_are_not_drawn():
    given = labelled(str(case) for case in range(20))
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


def test_a_difference_is_that_to_the_undisturbed_radiographs(told):
    plain = told.groupby(["kind", "model"])["mae"].transform("first")
    np.testing.assert_allclose(told["difference"], told["mae"] - plain, atol=1e-9)
    ends = told["difference_lower"], told["difference_upper"]
    assert told["difference"].between(*ends).all()


def test_a_model_that_reads_brightness_is_hurt_by_it_and_not_by_mirroring(told):
    assert told.loc[("brightness", 0, "brightness"), "mae"] < 2 * LABEL_SPREAD
    for strength in (-40, -20, 20, 40):
        found = told.loc[("brightness", strength, "brightness")]
        assert found["mae"] == pytest.approx(abs(strength) / LEVELS_A_MONTH, abs=LABEL_SPREAD)
        assert found["difference_lower"] > 0
    assert told.loc[("mirrored", 1, "brightness"), "difference"] == pytest.approx(0, abs=1e-3)


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


def test_an_ensemble_is_hurt_by_what_hurts_a_member(told):
    both = told.loc[("brightness", 80, "both"), "difference"]
    assert 0 < both < told.loc[("brightness", 80, "brightness"), "difference"]


def test_films_are_disturbed_before_they_are_stretched(run_folder, told):
    """Stretching undoes another brightness, which it could not if it came first."""
    paths, preparation = paths_of(run_folder), PREPARATIONS["stretched"]
    made = pictures_of(paths, preparation, "brightness", 20)
    np.testing.assert_array_equal(made, images_preparation.load_images(run_folder, "stretched"))
    assert told.loc[("brightness", -20, "stretched"), "difference"] == pytest.approx(0, abs=1e-3)


def test_pictures_are_those_of_the_disturbed_film(run_folder):
    paths, preparation = paths_of(run_folder)[:5], PREPARATIONS["plain"]
    made = pictures_of(paths, preparation, "noise", 40)
    for path, picture in zip(paths, made, strict=True):
        noisy = corruptions.disturb(read_image(path), "noise", 40, Path(path).stem)
        np.testing.assert_array_equal(
            picture, images_preparation.prepare_image(noisy, preparation)[0]
        )


def test_strengths_stand_in_the_order_asked_for(run_folder):
    paths, preparation = paths_of(run_folder)[:4], PREPARATIONS["plain"]
    made = at_strengths(paths, preparation, "brightness", (40, 0, -40))
    assert made.shape == (3, 4, 24, 24)
    for index, strength in enumerate((40, 0, -40)):
        alone = pictures_of(paths, preparation, "brightness", strength)
        np.testing.assert_array_equal(made[index], alone)


def test_a_network_is_read_once_and_undisturbed_radiographs_prepared_once(run_folder, monkeypatch):
    read, prepared = [], []
    load, make = saved.load, corruptions.disturbed_pictures

    def counted(each, paths, preparation, kind, strengths):
        prepared.append((kind, *strengths))
        return make(each, paths, preparation, kind, strengths)

    monkeypatch.setattr(saved, "load", lambda path: (read.append(path.name), load(path))[1])
    monkeypatch.setattr(corruptions, "disturbed_pictures", counted)
    models, kinds = ["brightness", "both", "edges"], ["mirrored", "inverted", "shift"]
    stress.stress(run_folder, models, "test", count=5, kinds=kinds)
    assert read == ["brightness.age.keras"]
    asked = [("mirrored", 0), ("mirrored", 1), ("inverted", 1), ("shift", 5, 10, 20, 30)]
    assert prepared == asked


@pytest.mark.parametrize("kind", ["rotation", "noise", "blur"])
def test_pictures_do_not_depend_on_the_number_of_cores(run_folder, monkeypatch, kind):
    strength = corruptions.DISTURBANCES[kind].strengths[-1]
    made = []
    for cores in ("1", "3"):
        monkeypatch.setenv("NBHELPERS_CORES", cores)
        pictures = pictures_of(paths_of(run_folder), PREPARATIONS["stretched"], kind, strength)
        made.append(pictures)
    np.testing.assert_array_equal(*made)


def test_a_smaller_draw_scores_fewer_cases(run_folder):
    table = stress.stress(run_folder, ["edges"], "test", count=7, kinds=["mirrored"])
    assert table["n"].tolist() == [7, 7]
    assert table["strength"].tolist() == [0, 1]


def test_a_radiograph_that_cannot_be_read_is_named(run_folder, tmp_path):
    damaged = tmp_path / "1400.png"
    damaged.write_bytes(b"\x89PNG and no more")
    for path in (damaged, tmp_path / "1401.png"):
        paths = [*paths_of(run_folder)[:3], path]
        with pytest.raises(InputError, match=path.name):
            pictures_of(paths, PREPARATIONS["plain"], "noise", 5)


def test_models_of_another_preparation_are_refused(run_folder, monkeypatch):
    monkeypatch.setattr(saved, "VERSION", 2)
    with pytest.raises(InputError, match=r"view plain .* this suite prepares by version 2"):
        stress.stress(run_folder, ["edges"], "test")


@pytest.mark.parametrize(
    ("models", "kinds", "split", "message"),
    [
        ([], ["blur"], "test", "models or kinds is empty"),
        (["edges"], [], "test", "models or kinds is empty"),
        (["edges"], ["fog"], "test", "'fog' is unknown"),
        (["nothing"], ["blur"], "test", r"has no models/nothing\.age"),
        (["edges"], ["blur"], "external", "no predictions of the split 'external'"),
    ],
)
def test_what_cannot_be_stressed_is_said(run_folder, models, kinds, split, message):
    with pytest.raises(InputError, match=message):
        stress.stress(run_folder, models, split, kinds=kinds)


def table_of(kind, mae_of, model="one"):
    """As `stress` tells it, from the MAE of each strength."""
    rows = [(kind, float(strength), model, mae) for strength, mae in mae_of.items()]
    return pd.DataFrame(rows, columns=["kind", "strength", "model", "mae"])


def tips(kind, mae_of):
    table = stress.tipping_strength(table_of(kind, mae_of))
    return dict(zip(table["strongest"], table["strength"], strict=True))


def test_a_tipping_strength_lies_between_those_tried():
    assert tips("shift", {0: 10, 5: 10.5, 10: 11.5, 20: 30}) == {20: pytest.approx(7.5)}
    assert tips("shift", {0: 10, 5: 12, 10: 10, 20: 30}) == {20: pytest.approx(2.5)}
    assert tips("shift", {0: 10, 5: 10, 10: 11, 20: 30}) == {20: pytest.approx(10)}
    # The quality of JPEG falls, and its identity is 100.
    assert tips("jpeg", {100: 10, 70: 10, 40: 12}) == {40: pytest.approx(55)}


def test_each_direction_has_its_own_tipping_strength():
    found = tips("brightness", {0: 10, -80: 20, -40: 10, -20: 9, 20: 10, 40: 10.9})
    assert found == {-80: pytest.approx(-44), 40: pytest.approx(np.nan, nan_ok=True)}
    found = tips("gamma", {1: 10, 0.4: 11.5, 0.8: 10.5, 1.25: 10, 2.5: 10})
    assert found == {0.4: pytest.approx(0.6), 2.5: pytest.approx(np.nan, nan_ok=True)}


def test_what_is_on_or_off_tips_where_it_is_on():
    assert tips("mirrored", {0: 10, 1: 40}) == {1: 1}
    assert np.isnan(tips("mirrored", {0: 10, 1: 10.9})[1])


def test_tipping_strengths_are_told_by_model_and_kind(told):
    found = stress.tipping_strength(told.reset_index())
    assert found.columns.tolist() == stress.TIPPING_COLUMNS
    assert len(found) == 4 * len(MODELS)  # darker, brighter, mirrored, compressed
    reads = found.query("model == 'brightness' and kind == 'brightness'")
    assert reads["strength"].abs().max() < 20
