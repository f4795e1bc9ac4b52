"""Every notebook has the skeleton, is stripped and clean; the check itself is tried on faults."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from notebook_skeleton import problems, source, tags

from nbhelpers.batch.profiles import MOST_PARAMETERS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def markdown(*lines: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(*lines: str, tags: tuple[str, ...] = ()) -> dict:
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": "\n".join(lines),
        "outputs": [],
        "execution_count": None,
    }


GOOD = {
    "metadata": {"kernelspec": {"name": "python3"}},
    "cells": [
        markdown("# A notebook", "", "How far off is it? Runs on Kaggle, Colab and here."),
        code(
            'run = "01_a"  # name of this run',
            'run_folder = ""  # folder; empty: reports/interactive',
            'profile = "interactive"  # profile that runs it',
            "size = 128  # pixels a side, 32 to 512",
            "rate = -1.0e-3  # a step, -1 to 1",
            tags=("parameters",),
        ),
        code("%matplotlib inline", 'style.show(figure, alt="Ages")'),
        markdown("## What this shows"),
        code("results.save_results(run_folder, run=run)"),
    ],
}


def change(path: str, value: object) -> dict:
    """The good notebook with one place of it changed; a place is written cells/1/source."""
    notebook = copy.deepcopy(GOOD)
    place = notebook
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in way:
        place = place[part]
    place[last] = value
    return notebook


PARAMETERS = GOOD["cells"][1]["source"]
FAULTS = {
    "no title": (change("cells/0/source", "A notebook? Kaggle, Colab"), "no title"),
    "no question": (change("cells/0/source", "# A notebook. Kaggle, Colab"), "question"),
    "nothing about Colab": (change("cells/0/source", "# Why? Kaggle"), "run on Colab"),
    "no parameters tag": (change("cells/1/metadata", {}), "tagged 'parameters'"),
    "two parameters cells": (
        change("cells/2/metadata", {"tags": ["parameters"]}),
        "tagged 'parameters'",
    ),
    "no comment": (change("cells/1/source", PARAMETERS + "\nseed = 1"), "seed needs a comment"),
    "an empty comment": (change("cells/1/source", PARAMETERS + "\nseed = 1  #"), "seed needs"),
    "a computed parameter": (
        change("cells/1/source", PARAMETERS + "\nseed = 1 + 1  # any"),
        "is not 'name = plain value'",
    ),
    "a list parameter": (
        change("cells/1/source", PARAMETERS + "\nsizes = [1]  # any"),
        "is not 'name = plain value'",
    ),
    "one parameter too many": (  # two of its own stand there
        change(
            "cells/1/source",
            PARAMETERS + "".join(f"\np{i} = 1  # any" for i in range(MOST_PARAMETERS - 1)),
        ),
        f"{MOST_PARAMETERS + 1} are more than {MOST_PARAMETERS}",
    ),
    "no profile": (change("cells/1/source", PARAMETERS.replace("profile =", "p =")), "profile"),
    "no finding": (change("cells/3/source", "## Something"), "What this shows"),
    "no results": (change("cells/4/source", "print(1)"), "does not call save_results"),
    "something after the results": (
        {**GOOD, "cells": [*GOOD["cells"], code("print(1)")]},
        "does not call save_results",
    ),
    "a figure without alt": (change("cells/2/source", "style.show(figure)"), "alt text"),
    "a figure with its name alone": (change("cells/2/source", "style.show(f)"), "alt text"),
    "plt.show": (change("cells/2/source", "plt.show()"), "use style.show"),
    "outputs": (change("cells/2/outputs", [{}]), "has outputs"),
    "a count": (change("cells/2/execution_count", 3), "has outputs"),
    "papermill's metadata": (change("cells/2/metadata", {"papermill": {}}), "papermill"),
    "papermill's metadata on top": (change("metadata/papermill", {}), "papermill"),
    "an empty cell": (change("cells/2/source", " "), "is empty"),
}


def test_the_check_passes_a_good_notebook():
    assert problems(GOOD) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_sees_a_fault(fault):
    notebook, said = FAULTS[fault]
    found = problems(notebook)
    assert len(found) == 1
    assert said in found[0]


def test_there_are_notebooks():
    assert NOTEBOOKS, "notebooks/ holds no notebook"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_the_skeleton(path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    assert problems(json.loads(path.read_text())) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_run_is_named_after_its_notebook_by_default(path):
    cells = json.loads(path.read_text())["cells"]
    (parameters,) = [source(cell) for cell in cells if "parameters" in tags(cell)]
    assert re.search(rf'^run = "{path.stem}"', parameters, flags=re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid(path):
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_notebooks_are_clean(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", str(ROOT / "notebooks")]
    done = subprocess.run(ruff, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
