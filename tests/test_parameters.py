"""A notebook's parameters are checked against what its own comments say, before any work."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhelpers import parameters
from nbhelpers.workspace import InputError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CELL = """run_folder = ""  # folder for all outputs
epochs = 20  # passes over the training split, 1 to 500
rate = 1e-3  # peak of the rate, 1e-6 to 1e-1
seed = 0  # seed of weights, 0 or more
task = "age"  # one of age, stage: months, or one of five classes
frozen = False  # True or False: train the head alone, or everything
model = "cnn"  # name of the model, letters and digits"""
DEFAULTS = {"run_folder": "", "epochs": 20, "rate": 1e-3, "seed": 0}
DEFAULTS |= {"task": "age", "frozen": False, "model": "cnn"}


def check(injected: str = "", cell: str = CELL, **values: object) -> None:
    """What `parameters.check(globals())` does in a notebook with these values."""
    cells = ["", "import sys", cell, *([f"# Parameters\n{injected}\n"] if injected else []), "now"]
    parameters.check({"In": cells, **DEFAULTS, **values})


def test_values_that_the_comments_allow_pass():
    check()
    check("epochs = 500\nrate = 0.1", epochs=500, rate=0.1, seed=10**6, task="stage", frozen=True)
    check(cell=CELL.replace("epochs = 20", "epochs = 1"), epochs=1, model="16")
    for path in NOTEBOOKS[0].parents[1].glob("params/*/_profile.yaml"):
        check("\n".join(f"{name} = 0" for name in parameters.read_parameters(path)))


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"frozen": "True"}, "frozen must be True or False (default False), got 'True'. Write -p"),
        ({"frozen": 0}, "frozen must be True or False"),
        ({"epochs": 501}, "epochs must be 1 to 500, got 501."),
        ({"epochs": "20"}, "epochs must be a whole number (default 20), got '20'. It is a text"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"rate": "1e-4"}, "write 0.0001"),
        ({"rate": float("nan")}, "rate must be 1e-06 to 0.1"),
        ({"seed": -1}, "seed must be 0 or more, got -1."),
        ({"task": "aeg"}, "task must be one of age, stage, got 'aeg'. Did you mean age?"),
        ({"model": 16}, "model must be a text (default 'cnn'), got 16. Write it in quotes: \"16\""),
        ({"cell": CELL.replace("= False", '= "f"'), "frozen": "f"}, "frozen must be True or False"),
        ({"model": "b3.v2"}, "model must be of letters and digits, '_' and '-', without"),
        ({"model": "cnn_seed1"}, "without a fit's _seed0, got 'cnn_seed1'."),
        ({"injected": "epoch = 3"}, "There is no parameter epoch. Did you mean epochs?"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line_with_a_remedy(value: dict, part: str):
    with pytest.raises(InputError, match=re.escape(part)) as caught:
        check(**value)
    assert "\n" not in str(caught.value)


def test_the_cell_that_was_run_last_counts():
    old = CELL.replace("1 to 500", "1 to 5")
    parameters.check({"In": ["", old, CELL, "now"], **DEFAULTS})
    with pytest.raises(InputError, match="epochs must be 1 to 5,"):
        parameters.check({"In": ["", CELL, old, "now"], **DEFAULTS})
    with pytest.raises(InputError, match="parameters was not run"):
        parameters.check({"In": ["", "now"], **DEFAULTS})


@given(low=st.integers(-50, 50), span=st.integers(0, 50), value=st.integers(-200, 200))
def test_a_range_takes_what_lies_in_it_and_nothing_else(low: int, span: int, value: int):
    (parameter,) = parameters.read_cell(f"size = {low}  # pixels, {low} to {low + span}").values()
    wrong = parameters.problem("size", value, parameter)
    assert (wrong == "") == (low <= value <= low + span)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_comment_says_what_its_parameter_may_be(path: Path):
    declared = parameters.declared_parameters(path)
    for name, parameter in declared.items():
        assert parameters.problem(name, parameter.default, parameter) == "", name
        assert type(parameter.default) is parameter.kind, name
        if parameter.kind in (int, float):
            assert parameter.low > float("-inf"), f"{name} has no range in its comment"
    if "task" in declared:
        assert declared["task"].choices == ("age", "stage")
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    after = code[1 + next(n for n, source in enumerate(code) if "run_folder = " in source)]
    assert "results.begin(globals()," in after, "parameters are checked before any work"
