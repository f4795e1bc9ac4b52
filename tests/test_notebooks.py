"""Every notebook has the skeleton of an article, is stripped and clean."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_code import NOTEBOOKS as FOLDER
from notebook_code import code_of

from nbhelpers.parameters import declared_parameters
from nbhelpers.results import GIVEN

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_PARAMETERS = 19  # beside those that the batch gives
PARAMETERS = 4  # the number of that cell


def sources(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_the_skeleton(path: Path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    title, answer, *_, last = cells = sources(path)
    code = code_of(path)
    assert title.startswith("# ") and re.search(r"\*\*.+\?\*\*", title), "a title and a question"
    assert "Kaggle" in title and "Colab" in title, "the opening says how to run there"
    assert "answer = display(" in answer and "answer.update(" in code
    assert "results.begin(" in code and "results.save(" in last
    assert any(cell.startswith("## What this shows") for cell in cells)
    declared = declared_parameters(path)
    assert [*declared][:3] == [*GIVEN] and declared["run"].default == path.stem
    assert len(declared) <= MOST_PARAMETERS + len(GIVEN)
    assert all(re.search(r"# *\S", line) for line in cells[PARAMETERS].splitlines()), "commented"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stripped(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert cell.source.strip() and set(cell.metadata) <= {"tags"}
        assert not cell.get("outputs") and not cell.get("execution_count")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_figures_are_shown_with_alternative_text(path: Path):
    """By `style.show`: by name, in second place, or from a function that gives both."""
    for call in [one for one in ast.walk(ast.parse(code_of(path))) if isinstance(one, ast.Call)]:
        assert ast.unparse(call.func) not in ("plt.show", "pyplot.show")
        if ast.unparse(call.func) == "style.show":
            both = any(isinstance(argument, ast.Starred) for argument in call.args)
            assert both or len(call.args) > 1 or any(word.arg == "alt" for word in call.keywords)


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_notebooks_are_clean(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", str(FOLDER)]
    done = subprocess.run(ruff, capture_output=True, text=True, cwd=FOLDER.parent)
    assert done.returncode == 0, done.stdout + done.stderr
