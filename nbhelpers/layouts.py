"""Find the table and the images of a folder of radiographs, whichever way it is laid out.

Found by looking, not by a name that the user gives:

- Kaggle's copy of the RSNA set: `boneage-training-dataset.csv` and the images once or twice
  nested in `boneage-training-dataset/`; beside it, if wanted, the set without ages,
  `boneage-test-dataset.csv` and `boneage-test-dataset/`;
- RSNA's packages: `train.csv` and `boneage-training-dataset/`; `Validation Dataset.csv` and
  `boneage-validation-dataset-1/` and `-2/`; `Bone age ground truth.xlsx` (or `.csv`) and
  `Test Set Images/`;
- any folder with one CSV or Excel table and PNG or JPEG images, nested as deep as they like.

So a table with ids and ages is *the* table; one with ids and sexes but no ages is a set to be
predicted; other tables are left alone. Tables are sought in the folder itself, then one and two
levels down. A folder named like a table holds the images of that table and of no other. Two
tables with ages, or two images of one id, are two layouts: an error names both.
"""

import os
from pathlib import Path

from nbhelpers.tables import TABLE_SUFFIXES, Table, missing_columns, read_table
from nbhelpers.workspace import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Path of an image, and whether it lies inside the folder once links are followed.
Images = dict[str, list[tuple[Path, bool]]]


def find_tables(folder: Path) -> tuple[Table, Table | None]:
    """The table with ages, and the one without them or None; InputError where that is not clear."""
    labelled, to_predict = find_any_tables(folder, ("id", "age", "sex"))
    if labelled is None:
        raise InputError(
            f"{folder} holds no table (.csv or .xlsx), neither itself nor two levels down. "
            "Name the folder that holds the table and the images."
        )
    return labelled, to_predict


def find_any_tables(
    folder: Path, needed: tuple[str, ...] = ("id",)
) -> tuple[Table | None, Table | None]:
    """The table with ages and the one without, each or both None where the folder has none.

    Raises InputError for two of a kind, and for tables of which none has the columns `needed`.
    """
    for pattern in ("*", "*/*", "*/*/*"):
        paths = sorted(
            path
            for path in folder.glob(pattern)
            if path.suffix.lower() in TABLE_SUFFIXES
            and not path.name.startswith((".", "~$"))
            and path.is_file()
        )
        if paths:
            return _choose(folder, paths, needed)
    return None, None


def _choose(
    folder: Path, paths: list[Path], needed: tuple[str, ...]
) -> tuple[Table | None, Table | None]:
    tables, errors = [], []
    for path in paths:
        try:
            tables.append(read_table(path))
        except InputError as error:
            errors.append(str(error))
    labelled = [table for table in tables if {"id", "age"} <= set(table.columns)]
    to_predict = [table for table in tables if set(table.columns) == {"id", "sex"}]
    for rivals, kind in ((labelled, "bone ages"), (to_predict, "sexes but no bone ages")):
        if len(rivals) > 1:
            both = " and ".join(str(table.path) for table in rivals[:2])
            raise InputError(
                f"{folder} holds two layouts: {both} are both tables with {kind}. "
                "Keep one, or name the folder of one."
            )
    if labelled or (to_predict and "age" not in needed):
        return labelled[0] if labelled else None, to_predict[0] if to_predict else None
    if errors:
        raise InputError(errors[0])
    table = max(tables, key=lambda table: len(table.columns))
    raise InputError(missing_columns(table, needed) or _no_known_table(table))


def _no_known_table(table: Table) -> str:
    return (
        f"{table.path} has ids but neither ages nor sexes. Add a column, such as sex, or take the "
        "table away: a folder of images alone is predicted too."
    )


def find_images(folder: Path, table: Table | None, others: list[Table], skip: list[Path]) -> Images:
    """Every image that may belong to `table`: name without suffix -> where it was found.

    Without a table, every image of the folder.

    Folders named like one of the `others`, and the folders in `skip`, are passed over.
    """
    own = table.path.with_suffix("") if table else folder
    inside = folder.resolve()
    passed = {path.resolve() for path in skip}
    passed |= {other.path.with_suffix("").resolve() for other in others}
    images: Images = {}
    pending = [own if own.is_dir() else folder]
    while pending:
        current = pending.pop()
        real = current.resolve()
        if real in passed:
            continue
        passed.add(real)
        with os.scandir(current) as entries:
            visible = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
        for entry in visible:
            path = Path(entry.path)
            if entry.is_dir():
                pending.append(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                target = path.resolve() if entry.is_symlink() else real
                images.setdefault(path.stem, []).append((path, target.is_relative_to(inside)))
    return images
