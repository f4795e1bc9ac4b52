"""Notes on radiographs: put there on purpose, they are found; on a plain film there is none."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbhelpers.bias import visible_faults
from nbhelpers.bias.visible_faults import (
    CUT_OFF,
    FLAT,
    HALF_YEARS,
    NO_HAND,
    NOTES,
    SECOND,
    WHOLE_YEARS,
)
from nbhelpers.workspace import InputError

SEEN = (NO_HAND, CUT_OFF, FLAT, SECOND)


def film():
    """A plain hand of ellipses on dark ground, fingers up, the forearm leaving below."""
    rows, columns = np.mgrid[:200, :160]
    shape = ((rows - 120) / 30) ** 2 + ((columns - 80) / 27) ** 2 < 1
    shape |= (abs(columns - 80) < 14) & (rows > 120)
    for middle, top in ((58, 60), (72, 45), (87, 42), (101, 55)):
        shape |= (abs(columns - middle) < 5) & (rows > top) & (rows < 120)
    shape |= (abs(rows - 118 + 0.6 * (columns - 105)) < 6) & (columns > 100) & (columns < 132)
    noise = np.random.default_rng(0).normal(0, 2, shape.shape)
    return (np.where(shape, 170, 20) + noise).clip(0, 255).astype(np.uint8)


def seen(pixels):
    return dict(zip(SEEN, visible_faults.of_pixels(pixels), strict=True))


def test_a_plain_film_has_no_note():
    assert not any(seen(film()).values())


def test_a_film_of_nothing_has_no_hand_and_no_other_note():
    found = seen(np.full((200, 160), 40, np.uint8))
    assert found == {NO_HAND: True, CUT_OFF: False, FLAT: False, SECOND: False}


def test_fingers_beyond_the_film_are_cut_off_and_the_forearm_is_not():
    assert seen(film()[62:])[CUT_OFF]
    assert not seen(film()[30:])[CUT_OFF]


def test_a_film_of_few_grey_levels_is_flat():
    dim = (60 + film() * 0.2).astype(np.uint8)
    assert seen(dim) == {NO_HAND: False, CUT_OFF: False, FLAT: True, SECOND: False}


def test_a_bright_area_beside_the_hand_is_found_and_a_marker_is_not():
    marked, glaring = np.pad(film(), 20, constant_values=20), np.pad(film(), 20, constant_values=20)
    marked[30:45, 20:30] = 250
    glaring[:, :25] = 250
    assert not seen(marked)[SECOND]
    assert seen(glaring)[SECOND]


def saved(folder, pictures, months):
    paths = []
    for number, pixels in enumerate(pictures):
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    ids = [str(number) for number in range(len(paths))]
    return pd.DataFrame({"case_id": ids, "age_months": months, "image_path": map(str, paths)})


@pytest.mark.parametrize("cores", ["1", "2"])
def test_notes_of_cases_in_their_order(tmp_path, monkeypatch, cores):
    monkeypatch.setenv("NBHELPERS_CORES", cores)
    pictures = [film(), film()[62:], (60 + film() * 0.2).astype(np.uint8), film()]
    noted = visible_faults.notes(saved(tmp_path, pictures, [120.0, 126.0, 121.0, np.nan]))
    assert noted.columns.tolist() == ["case_id", *NOTES]
    assert noted["case_id"].tolist() == ["0", "1", "2", "3"]
    expected = [WHOLE_YEARS, f"{HALF_YEARS}, {CUT_OFF}", FLAT, ""]
    assert visible_faults.in_words(noted) == expected


def test_a_radiograph_that_cannot_be_read_is_named(tmp_path):
    cases = saved(tmp_path, [film(), film()], [120.0, 126.0])
    (tmp_path / "1.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(InputError, match=r"1\.png"):
        visible_faults.notes(cases)


def noted(worst, others):
    """`CUT_OFF` on some of the worst and of the others: pairs of how many, of how many."""
    stands = [number < some for some, of in (worst, others) for number in range(of)]
    table = pd.DataFrame({"case_id": [str(number) for number in range(len(stands))]})
    return table.assign(**(dict.fromkeys(NOTES, False) | {CUT_OFF: stands}))


def test_shares_are_of_the_worst_and_of_all_others():
    found = visible_faults.compare(noted((5, 20), (10, 200)), [str(case) for case in range(20)])
    assert found.columns.tolist() == visible_faults.COLUMNS
    assert found["note"].tolist() == list(NOTES)
    row = found.set_index("note").loc[CUT_OFF]
    assert (row["n_worst"], row["n_others"]) == (20, 200)
    assert (row["worst"], row["others"]) == (0.25, 0.05)
    # Wilson's interval of 5 of 20.
    assert (row["lower"], row["upper"]) == pytest.approx((0.1119, 0.4687), abs=1e-4)
    assert not found.set_index("note").drop(CUT_OFF)[["worst", "others"]].any(axis=None)


def test_where_all_cases_are_the_worst_there_are_no_others():
    found = visible_faults.compare(noted((5, 20), (0, 0)), [str(case) for case in range(20)])
    assert (found["n_others"] == 0).all()
    assert found["others"].isna().all()
