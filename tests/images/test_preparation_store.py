"""A store of pictures goes on after any kind of stop and is never half in place."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nbhelpers.images.preparation import PartialStore
from nbhelpers.workspace import InputError

ROWS, SIZE = 5, 8
PICTURES = np.random.default_rng(0).integers(0, 255, (ROWS, SIZE, SIZE), np.uint8)


def fill(store: PartialStore, rows: list[int]) -> None:
    for row in rows:
        store.pictures.write(row, PICTURES[row])
        store.mark_done(row, {"note": f"row {row}"})


def test_rows_in_any_order_make_a_plain_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    with PartialStore(path, "key", ROWS, SIZE) as store:
        fill(store, [3, 0, 4, 2, 1])
        assert not path.exists()
        store.finish(dropped=set())
        store.forget()
    np.testing.assert_array_equal(np.load(path), PICTURES)
    assert {file.name for file in tmp_path.iterdir()} == {"images.npy", ".images.npy.lock"}


def test_dropped_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    with PartialStore(path, "key", ROWS, SIZE) as store:
        fill(store, [0, 2, 4])
        store.finish(dropped={1, 3})
    np.testing.assert_array_equal(np.load(path), PICTURES[[0, 2, 4]])


@pytest.mark.parametrize("torn", ["", '{"row": 4, "no', '{"row": 4, "note": "row 4"}'])
def test_goes_on_where_it_stopped_without_a_half_written_line(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "images.npy"
    with PartialStore(path, "key", ROWS, SIZE) as store:
        fill(store, [0, 1])
    with store.journal.open("a") as journal:
        journal.write(torn)
    with PartialStore(path, "key", ROWS, SIZE) as store:
        assert store.records == {0: {"note": "row 0"}, 1: {"note": "row 1"}}
        fill(store, [2, 3])
    with PartialStore(path, "key", ROWS, SIZE) as store:
        assert sorted(store.records) == [0, 1, 2, 3]
        fill(store, [4])
        store.finish(dropped=set())
    np.testing.assert_array_equal(np.load(path), PICTURES)


def test_another_key_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    with PartialStore(path, "key", ROWS, SIZE) as store:
        fill(store, [0, 1])
    with PartialStore(path, "other", ROWS, SIZE) as store:
        assert store.records == {}


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    with (
        PartialStore(path, "key", ROWS, SIZE) as store,
        pytest.raises(InputError, match=f"process {os.getpid()}"),
    ):
        fill(store, [0])
        PartialStore(path, "key", ROWS, SIZE).__enter__()
    with PartialStore(path, "key", ROWS, SIZE) as store:
        assert sorted(store.records) == [0]


def test_too_little_space_is_told_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(InputError, match="Free some space"):
        PartialStore(tmp_path / "images.npy", "key", ROWS, SIZE).__enter__()


def test_a_full_disk_loses_nothing_that_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.npy"

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with PartialStore(path, "key", ROWS, SIZE) as store:
        fill(store, [0, 1])
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", refuse)
            with pytest.raises(InputError, match="disk is full"):
                store.pictures.write(2, PICTURES[2])
    with PartialStore(path, "key", ROWS, SIZE) as store:
        assert sorted(store.records) == [0, 1]
        fill(store, [2, 3, 4])
        store.finish(dropped=set())
    np.testing.assert_array_equal(np.load(path), PICTURES)
