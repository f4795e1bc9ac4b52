"""The geometry of every prepared case as a table: size, affine, whether a hand was found."""

from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers.workspace import atomic_path, find_run_file

AFFINE = ("a", "b", "c", "d", "e", "f")  # the affine's first row, then its second


def geometry_table(cases: pd.DataFrame, records: dict[int, dict]) -> pd.DataFrame:
    """One row a case, in the order of `cases`.

    records: by row, `width`, `height`, `affine` (6 numbers), `found`, `sha256` and `unreadable`
    (null or the reason); an unreadable one has nothing else. Columns: case_id, original_width,
    original_height (pixels), a..f, found, image_sha256, unreadable.
    """
    rows = [records[row] for row in range(len(cases))]
    affines = np.array([row.get("affine", [np.nan] * 6) for row in rows], float).reshape(-1, 6)
    return pd.DataFrame(
        {
            "case_id": cases["case_id"].astype(str).to_numpy(),
            "original_width": np.array([row.get("width", 0) for row in rows], np.int32),
            "original_height": np.array([row.get("height", 0) for row in rows], np.int32),
            **dict(zip(AFFINE, affines.T, strict=True)),
            "found": np.array([row.get("found", False) for row in rows], bool),
            "image_sha256": pd.array([row.get("sha256") for row in rows], dtype="string"),
            "unreadable": pd.array([row.get("unreadable") for row in rows], dtype="string"),
        }
    )


def records_of(geometry: pd.DataFrame) -> list[dict]:
    """The records of a geometry table, so that `geometry_table` of them is the same table."""
    return [
        {
            "width": row.original_width,
            "height": row.original_height,
            "affine": [getattr(row, column) for column in AFFINE],
            "found": row.found,
            "sha256": row.image_sha256,
            "unreadable": None if pd.isna(row.unreadable) else row.unreadable,
        }
        for row in geometry.itertuples(index=False)
    ]


def affine_of(geometry: pd.DataFrame, row: int) -> np.ndarray:
    """The affine float64 [2, 3], original to prepared pixels, of one row of a geometry table."""
    return geometry.iloc[row][list(AFFINE)].to_numpy(np.float64).reshape(2, 3)


def save_geometry(run_folder: Path, view: str, geometry: pd.DataFrame) -> None:
    """Write geometry.<view>.parquet atomically."""
    with atomic_path(run_folder / f"geometry.{view}.parquet") as temporary:
        geometry.to_parquet(temporary, index=False)


def load_geometry(run_folder: Path, view: str) -> pd.DataFrame:
    """The geometry of a view, one row a prepared picture (see `geometry_table`)."""
    return pd.read_parquet(find_run_file(Path(run_folder), f"geometry.{view}.parquet"))
