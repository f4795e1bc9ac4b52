"""The stress test: films are corrupted, not pictures; uncorrupted ones score as they did before."""

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
from nbhelpers.models import ensembles, networks, saved

PREPARATIONS = {
    "plain": images_preparation.Preparation.from_steps(24, ""),
    "stretched": images_preparation.Preparation.from_steps(32, "stretch"),
}
MODELS = ("brightness", "both", "stretched")
DARKEST, LEVELS_A_MONTH = 80, 0.3  # the mean grey level of a radiograph tells the child's age
LABEL_SPREAD = 6.0  # months
BOYS_LATER = 30  # months by which a boy's hand looks younger than a girl's of his age
SIDE = 40


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run whose models read brightness, before and after stretching; an ensemble of one."""
    place = tmp_path_factory.mktemp("stressed")
    data, run = write_radiographs(place / "data", 120, side=SIDE), place / "run"
    read = cases.read_cases(data)
    for path, age, sex in zip(read["image_path"], read["age_months"], read["sex"], strict=True):
        looks = float(age) - BOYS_LATER * (sex == "male")
        Image.fromarray(film(looks, Path(path).stem)).save(path)
    for view, preparation in PREPARATIONS.items():
        geometry = images_preparation.prepare_cases(read, preparation, run, view)
    table, _ = cases.keep_readable(read, geometry, score_doubtful=True)
    cases.save_cases(run, table, cases.fingerprint(data, read))
    (run / "models").mkdir()
    save_brightness(run, "brightness", "plain")
    save_brightness(run, "stretched", "stretched")
    saved.save_ensemble(run, "both", ensembles.equal("age", ("brightness",), male_share=0.5))
    pictures = functools.partial(images_preparation.load_images, run)
    sex = splits.sex_codes(table["sex"])
    said = saved.predict_each(run, list(MODELS), "age", pictures, sex)
    for model, months in said.items():
        predictions.save_predictions(run, model, "age", table, months)
    return run


def film(age, case):
    seen = age + np.random.default_rng(int(case)).normal(0, LABEL_SPREAD)
    ramp = np.tile(np.linspace(-20, 20, SIDE), (SIDE, 1))
    return np.rint(ramp + DARKEST + LEVELS_A_MONTH * seen).astype(np.uint8)


def save_brightness(run, model, view):
    """A network of the mean grey level and sex."""
    size = PREPARATIONS[view].image_size
    facts = {"task": "age", "view": view, "image_size": size, "male_share": 0.5}
    facts["preparation"] = images_preparation.preparation_hash(run, view)
    radiograph, sex, x = networks.inputs(size, facts)
    # Of the middle: a turned view has black corners.
    mean = layers.GlobalAveragePooling2D()(layers.Cropping2D(size // 4)(x))  # in [-1, 1]
    middle = (127.5 - DARKEST) / LEVELS_A_MONTH
    months = layers.Rescaling(127.5 / LEVELS_A_MONTH, offset=middle)(mean)
    months = layers.Add()([months, layers.Rescaling(BOYS_LATER)(sex)])
    network = keras.Model([radiograph, sex], months)
    saved.save(network, run / "models" / f"{model}.age.keras")


@pytest.fixture(scope="module")
def told(run_folder):
    """What all models score on some kinds, by kind, strength and model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RESAMPLES", 200)
        got, _ = stress.stress(run_folder, MODELS, "test", kinds=("brightness", "mirrored", "jpeg"))
    return got.set_index(["kind", "strength", "model"])


def test_the_cases_drawn_are_labelled_and_depend_on_nothing_but_their_ids():
    given = pd.DataFrame({"case_id": [str(case) for case in range(600)], "age_months": 100.0})
    drawn = stress.draw_cases(given, 50)
    pd.testing.assert_frame_equal(stress.draw_cases(given[::-1], 50), drawn)
    assert drawn["case_id"].astype(int).max() > 300  # no draw of the first ones
    given.loc[5:, "age_months"] = np.nan
    assert set(stress.draw_cases(given, 50)["case_id"]) == set("01234")


def test_uncorrupted_radiographs_score_as_in_the_run(run_folder, told):
    plain = told.groupby(["kind", "model"], sort=False)["mae"].transform("first")
    np.testing.assert_allclose(told["difference"], told["mae"] - plain, atol=1e-9)
    for model in MODELS:
        rows = stress.draw_cases(scores.case_errors(run_folder, model, "age", "test"))
        expected = metrics.score_mean(rows["error_months"].abs())
        for kind, identity in (("brightness", 0), ("mirrored", 0), ("jpeg", 100)):
            found = told.loc[(kind, identity, model)]
            assert tuple(found[["n", "mae", "lower", "upper"]]) == expected


def test_a_model_that_reads_brightness_is_hurt_by_it_and_not_by_mirroring(told):
    assert told.loc[("brightness", 0, "brightness"), "mae"] < 2 * LABEL_SPREAD
    for strength in (-40, -20, 20, 40):
        found = told.loc[("brightness", strength, "brightness")]
        assert found["mae"] == pytest.approx(abs(strength) / LEVELS_A_MONTH, abs=LABEL_SPREAD)
        assert found["difference_lower"] > 0
    assert told.loc[("mirrored", 1, "brightness"), "difference"] == pytest.approx(0, abs=1e-3)
    alone, both = (told.loc[("brightness", 80, of), "difference"] for of in ("brightness", "both"))
    assert both == pytest.approx(alone)  # an ensemble of it


def test_films_are_corrupted_before_they_are_stretched(run_folder, told):
    """Stretching undoes another brightness, which it could not if it came first."""
    paths, preparation = cases.load_cases(run_folder)["image_path"], PREPARATIONS["stretched"]
    made = corruptions.corrupted_pictures(paths, preparation, "brightness", [20, 0])
    stretched = images_preparation.load_images(run_folder, "stretched")
    np.testing.assert_array_equal(made, [stretched, stretched])
    assert told.loc[("brightness", -20, "stretched"), "difference"] == pytest.approx(0, abs=1e-3)
    (noisy,) = corruptions.corrupted_pictures(paths[:1], PREPARATIONS["plain"], "noise", [40])
    film = corruptions.corrupt(read_image(paths[0]), "noise", 40, Path(paths[0]).stem)
    np.testing.assert_array_equal(
        noisy[0], images_preparation.prepare_image(film, PREPARATIONS["plain"])[0]
    )


def tips(kind, mae_of, n=40):
    """Strongest tried to the strength of tipping and its interval; every case errs alike."""
    tried = {float(strength): {"one": np.full(n, mae)} for strength, mae in mae_of.items()}
    rows = pd.DataFrame(stress.tipping_strengths(kind, tried), columns=stress.TIPPING_COLUMNS)
    ends = rows[["strength", "lower", "upper"]].to_numpy().tolist()
    return dict(zip(rows["strongest"], ends, strict=True))


def test_a_tipping_strength_lies_between_those_tried_in_its_direction():
    assert tips("shift", {0: 10, 5: 10.5, 10: 11.5, 20: 30}) == {20: pytest.approx([7.5] * 3)}
    # The quality of JPEG falls, and its identity is 100.
    assert tips("jpeg", {100: 10, 70: 10, 40: 12}) == {40: pytest.approx([55] * 3)}
    found = tips("brightness", {0: 10, -80: 20, -40: 10, -20: 9, 20: 10, 40: 10.9})
    assert found[-80] == pytest.approx([-44] * 3) and np.isnan(found[40]).all()
    assert tips("mirrored", {0: 10, 1: 40}) == {1: [1] * 3}  # on or off tips where it is on
    assert np.isnan(tips("mirrored", {0: 10, 1: 10.9})[1]).all()
    assert tips("noise", {0: 10, 5: 12, 10: 20}) == {10: [0] * 3}  # below the weakest tried


def test_the_step_in_which_a_model_tips_is_tried_in_finer_ones():
    tried = {0.0: {"one": np.full(9, 10.0)}, 6.0: {"one": np.full(9, 12.0)}}
    assert stress.between("noise", tried) == pytest.approx([2, 4])
    assert stress.between("noise", tried | {6.0: {"one": np.full(9, 10.5)}}) == []
    assert stress.between("mirrored", {0.0: tried[0.0], 1.0: tried[6.0]}) == []


def test_the_interval_of_a_tipping_strength_is_over_the_cases():
    random = np.random.default_rng(0)
    base, harm = random.gamma(2, 5, 60), random.gamma(1, 0.2, 60)
    tried = {float(strength): {"one": base + strength * harm} for strength in range(0, 21, 2)}
    ((*_, value, lower, upper),) = stress.tipping_strengths("shift", tried)
    assert value == pytest.approx(0.1 * base.mean() / harm.mean()) and lower < value < upper
