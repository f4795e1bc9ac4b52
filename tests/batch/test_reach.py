"""Which helpers a notebook reaches."""

from pathlib import Path

import pytest
from batch_tools import write_notebook

from nbhelpers.batch.reach import helpers_reached

PACKAGE = {
    "__init__": "",
    "low": "import os",
    "middle": "from nbhelpers.low import thing",
    "high": "def f():\n    from nbhelpers import middle\n",
    "other": "import nbhelpers.low",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "nbhelpers"
    folder.mkdir()
    for name, source in PACKAGE.items():
        (folder / f"{name}.py").write_text(source)
    return folder


@pytest.mark.parametrize(
    ("code", "reached"),
    [
        ("import numpy", set()),
        ("from nbhelpers import low", {"__init__", "low"}),
        ("import nbhelpers.middle as m", {"__init__", "low", "middle"}),
        ("%matplotlib inline\nfrom nbhelpers.high import f", {"__init__", "low", "middle", "high"}),
        ("if True:\n    from nbhelpers import other, absent", {"__init__", "low", "other"}),
        ("if True:\n    !pip install x\n    import nbhelpers.low", {"__init__", "low"}),
        ("two words", set(PACKAGE)),
    ],
)
def test_imports_are_followed_however_deep(tmp_path: Path, package: Path, code: str, reached: set):
    write_notebook(tmp_path / "a.ipynb", code)
    assert {path.stem for path in helpers_reached(tmp_path / "a.ipynb", package)} == reached
