"""Every notebook has the skeleton, is stripped and clean; the check itself is tried on faults."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_skeleton import problems, source

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code(source: str) -> dict:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": []}


GOOD = {
    "metadata": {"kernelspec": {"name": "python3"}},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# Ages\n\nHow far? Kaggle, Colab."},
        code("answer = display(Markdown('Expect much.'), display_id=True)"),
        code(
            'run = "01_a"  # name\nrun_folder = ""  # folder\nprofile = ""  # profile\n'
            "size = 128  # pixels, 32 to 512\nrate = -1.0e-3  # a step, -1 to 1"
        ),
        code('%matplotlib inline\nstyle.show(figure, alt="Ages")'),
        {"cell_type": "markdown", "metadata": {}, "source": "## What this shows"},
        code("record = results.begin(globals(), 'Ages')\nanswer.update(Markdown('Much.'))"),
        code("results.save(record)"),
    ],
}
GOOD["cells"][2]["metadata"]["tags"] = ["parameters"]
# Number of a cell, what is replaced in its source by what, and what is said of it.
FAULTS = [
    (0, "# Ages", "Ages", "no title"),
    (0, "far?", "far.", "question"),
    (0, "Colab", "", "run on Colab"),
    (2, "size = 128  # pixels, 32 to 512", "size = 128  #", "'size = 128  #' needs a comment"),
    (2, "size = 128", "size = 64 + 64", "`size = 64 + 64` needs one number"),
    (2, "size = 128", "size = [128]", "`size = [128]` needs one number"),
    (2, "profile =", "p =", "profile is not declared"),
    (2, "128", "1  # any\n" + "".join(f"p{i} = 1  # any\n" for i in range(99)) + "q = 1", "more"),
    (3, ', alt="Ages"', "", "alt text"),
    (3, "style.show", "plt.show", "alt text"),
    (4, "What this shows", "Something", "What this shows"),
    (6, "results.save", "print", "does not call results.save"),
    (1, "answer = ", "", "no answer"),
    (5, "answer.update", "print", "no cell updates the answer"),
    (5, "results.begin", "print", "no cell calls results.begin"),
]


def test_the_check_passes_a_good_notebook():
    assert problems(GOOD) == []


@pytest.mark.parametrize(("number", "old", "new", "said"), FAULTS)
def test_the_check_sees_a_fault(number: int, old: str, new: str, said: str):
    notebook = copy.deepcopy(GOOD)
    cell = notebook["cells"][number]
    cell["source"] = cell["source"].replace(old, new)
    (found,) = problems(notebook)
    assert said in found


@pytest.mark.parametrize(
    "left", [{"outputs": [{}]}, {"metadata": {}}, {"metadata": {"papermill": 1}}]
)
def test_the_check_sees_what_a_run_left_and_a_lost_tag(left: dict):
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][2] |= left
    assert problems(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_the_skeleton(path: Path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    notebook = json.loads(path.read_text())
    assert problems(notebook) == []
    assert any(f'run = "{path.stem}"  #' in source(cell) for cell in notebook["cells"])
    nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_notebooks_are_clean(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", str(ROOT / "notebooks")]
    done = subprocess.run(ruff, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
