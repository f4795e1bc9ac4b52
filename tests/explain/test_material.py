"""Which cases are explained, and how a network is given them."""

import keras
import numpy as np
import pandas as pd
import pytest
from small_networks import custom_cnn

from nbhelpers.explain import grad_cam, material, regions
from nbhelpers.images.geometry import AFFINE
from nbhelpers.models import saved

SIDE, N = 32, 30
CARD = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.25, "view": "hand"}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Two splits in turn; every third case of unknown sex, the last one of unknown age."""
    number = np.arange(N)
    ages = ((number * 7) % N * 6.0 + 12).tolist()
    found = {"case_id": [f"c{one}" for one in number], "split": ["test", "train"] * (N // 2)}
    found |= {"sex": ["female", "male", None] * (N // 3), "age_months": [*ages[:-1], np.nan]}
    return pd.DataFrame(found | {"stage": pd.array(number % 5, dtype="Int8")})


def explained(table: pd.DataFrame, task: str) -> material.Explained:
    keras.utils.set_random_seed(0)
    network = custom_cnn(SIDE, CARD, task=task, widths=(4, 8))
    images = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE)).astype(np.uint8)
    identity = dict(zip(AFFINE, (1.0, 0, 0, 0, 1, 0), strict=True))
    geometry = table[["case_id"]].assign(**identity)
    return material.Explained("cnn", task, network, table, geometry, images)


def test_cases_are_drawn_evenly_over_the_ages_of_a_split(table):
    boxes = pd.DataFrame({"case_id": ["c0", "c2", "c3"]})
    data = material.Material({}, None, table, [], boxes, originals=False)
    rows = data.drawn("train", 5)
    ages = table["age_months"].to_numpy()
    known = np.sort(ages[(table["split"] == "train") & np.isfinite(ages)])
    assert len(rows) == 5 and (table["split"].iloc[rows] == "train").all()
    assert ages[rows].tolist() == known[[0, 3, 6, 10, 13]].tolist()
    assert len(data.drawn("train", 999)) == len(known)
    assert sorted(data.drawn("test", 999, with_boxes=True)) == [0, 2]


def test_a_network_is_given_its_pictures_and_the_share_of_boys_for_an_unknown_sex(table):
    one, rows = explained(table, "age"), np.array([4, 2, 0])
    pictures, sex = one.given(rows)
    np.testing.assert_array_equal(pictures, one.images[rows])
    assert sex.tolist() == [1, 0.25, 0]
    both = grad_cam.heat_maps(one.network, pictures, sex, "hires_cam")
    np.testing.assert_array_equal(one.heat_maps(rows, "hires_cam"), both)


def test_of_stages_the_predicted_one_is_explained_and_maps_are_laid_on_boxes(table):
    one, rows = explained(table, "stage"), np.arange(8)
    predicted = saved.predict(one.network, *one.given(rows), averaged=False).argmax(axis=1)
    maps = one.heat_maps(rows, "hires_cam")
    about = *one.given(rows), "hires_cam", predicted
    np.testing.assert_array_equal(maps, grad_cam.heat_maps(one.network, *about))
    other = explained(table, "stage").network
    other.set_weights([0.5 * weights for weights in other.get_weights()])
    assert (one.coarse_maps(rows, "hires_cam", other) != one.coarse_maps(rows, "hires_cam")).any()
    edges = dict(zip(regions.EDGES, (4, 4, 9, 9), strict=True))
    boxes = table[["case_id"]].iloc[:3].assign(region="Wrist", **edges)
    local = one.on_regions(rows, boxes, {"own": maps, "even": np.ones_like(maps)})
    assert local["map"].value_counts().to_dict() == {"own": 6, "even": 6}
    assert set(local["case_id"]) == {"c0", "c1", "c2"}
