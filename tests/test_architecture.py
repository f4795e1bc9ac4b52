"""The floors of nbhelpers, what may be imported where, and who may read the test split."""

import ast
import json
import re
from pathlib import Path

import pytest

import nbhelpers

ROOT = Path(__file__).parents[1]
ROOMS = {path.stem: path for path in sorted((ROOT / "nbhelpers").glob("[!_]*.py"))}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The order of this dictionary is the order of the table.
FLOORS = {
    room: int(floor)
    for floor, room in re.findall(r"^    (\d) +(\w+)  +\S", nbhelpers.__doc__, flags=re.MULTILINE)
}
TABLE = "the table in nbhelpers/__init__.py"
WIDEST_LINE = 100
# Rooms that must name TensorFlow: they import it inside the function that needs it.
TENSORFLOW_ROOMS = {"sam", "devices", "grad_cam"}
NOTEBOOK_TOOLS = {"nbconvert", "nbclient", "nbformat", "papermill"}
NOTEBOOK_ROOMS = {"report", "execute"}
UNSAFE_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "read_pickle", "to_pickle", "enable_unsafe_deserialization"}
UNSAFE_KEYWORDS = {("allow_pickle", True), ("safe_mode", False), ("shell", True)}
# Rooms that fit or choose something: they may not even import the evaluator.
FITTING_ROOMS = {"hog", "networks", "sam", "training", "tuning"}
FITTING_ROOMS |= {"members", "ensembles", "meta_models", "intervals", "interval_files"}
# The word "test", as a split, may stand here and on the floors that show finished scores.
KNOW_THE_TEST_SPLIT = {"splits", "evaluation", "coverage"}
FIRST_SHOWING_FLOOR = 7


def notebook_code(path: Path) -> str:
    """All code cells of a notebook as one text, without magics."""
    cells = json.loads(path.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)


def imported_modules(tree: ast.AST) -> set[str]:
    """Every module that the code imports, wherever in it, with the names taken `from` it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_rooms(tree: ast.AST) -> set[str]:
    """Every room that the code imports."""
    parts = [name.split(".") for name in imported_modules(tree)]
    return {names[1] for names in parts if names[0] == "nbhelpers" and len(names) > 1} & set(ROOMS)


def floor_faults(room: str, rooms_used: set[str], floors: dict[str, int]) -> list[str]:
    """What a room imports although it lies no lower."""
    place = list(floors)
    return [
        f"{room} (floor {floors[room]}) imports {used} (floor {floors[used]})"
        for used in sorted(rooms_used)
        if (floors[used], place.index(used)) >= (floors[room], place.index(room))
    ]


def unsafe_uses(tree: ast.AST) -> set[str]:
    """Ways to run what a file says: pickles, eval, unsafe loading, a shell."""
    found = {name for name in imported_modules(tree) if name.split(".")[0] in UNSAFE_IMPORTS}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in UNSAFE_CALLS and not (name == "eval" and isinstance(node.func, ast.Attribute)):
            found.add(name)
        if ast.unparse(node.func) in ("yaml.load", "yaml.unsafe_load"):
            found.add("yaml.load")
        for keyword in node.keywords:
            value = getattr(keyword.value, "value", None)
            if (keyword.arg, value) in UNSAFE_KEYWORDS:
                found.add(f"{keyword.arg}={value}")
    return found


def split_uses(tree: ast.AST) -> set[str]:
    """Traces of reading the test split: all rows of predictions, their files, the split's name."""
    found = set()
    for node in ast.walk(tree):
        name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", "")))
        if name == "all_rows":
            found.add("all_rows")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.match(r"predictions/", node.value):
                found.add("predictions/")
            if node.value == "test" or re.search(r"""split *== *["']test["']""", node.value):
                found.add("test")
    return found


def tree_of(room: str) -> ast.AST:
    return ast.parse(ROOMS[room].read_text())


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_stands_in_the_table(room):
    assert room in FLOORS, f"nbhelpers/{room}.py has no line in {TABLE}: add its floor and noun."


def test_every_line_of_the_table_is_a_room():
    stale = sorted(set(FLOORS) - set(ROOMS))
    assert not stale, f"{TABLE} names rooms that are no files: {stale}."


def test_the_table_rises():
    assert list(FLOORS.values()) == sorted(FLOORS.values())


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_from_lower_floors(room):
    used = imported_rooms(tree_of(room)) - {room}
    unlisted = ({room} | used) - set(FLOORS)
    assert not unlisted, f"{unlisted} missing from {TABLE}"
    assert not floor_faults(room, used, FLOORS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_say_what_they_are(room):
    assert ast.get_docstring(tree_of(room)), f"{room} has no docstring"
    assert max(map(len, ROOMS[room].read_text().splitlines())) <= WIDEST_LINE


@pytest.mark.parametrize("room", ROOMS)
def test_only_report_and_execute_know_notebook_tools(room):
    used = {name.split(".")[0] for name in imported_modules(tree_of(room))} & NOTEBOOK_TOOLS
    assert not used or room in NOTEBOOK_ROOMS


@pytest.mark.parametrize("path", [*ROOMS.values(), *NOTEBOOKS], ids=lambda path: path.name)
def test_few_import_tensorflow_and_nothing_unpickles(path):
    code = notebook_code(path) if path.suffix == ".ipynb" else path.read_text()
    tree = ast.parse(code)
    roots = {name.split(".")[0] for name in imported_modules(tree)}
    if path.stem not in TENSORFLOW_ROOMS:
        assert not roots & {"tensorflow", "tf_keras"}, "write it with Keras alone"
    assert not unsafe_uses(tree)


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_but_the_evaluator_reads_the_test_split(room):
    found = split_uses(tree_of(room))
    if room not in {"predictions", "evaluation"}:
        assert "all_rows" not in found
    if room not in {"predictions", "workspace"}:
        assert "predictions/" not in found, "go through the room predictions"
    if room not in KNOW_THE_TEST_SPLIT and FLOORS.get(room, 0) < FIRST_SHOWING_FLOOR:
        assert "test" not in found, "a room below the showing floors names the test split"
    if room in FITTING_ROOMS:
        assert "evaluation" not in imported_rooms(tree_of(room))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_read_predictions_through_the_evaluator(path):
    found = split_uses(ast.parse(notebook_code(path)))
    assert not found & {"all_rows", "predictions/"}


def test_the_checks_see_what_they_look_for():
    floors = {"low": 1, "first": 2, "second": 2, "high": 3}
    assert not floor_faults("second", {"low", "first"}, floors)
    assert floor_faults("first", {"second"}, floors)
    assert floor_faults("first", {"high"}, floors)
    code = "def f():\n    from nbhelpers import cases as c\n    import nbhelpers.metrics"
    assert imported_rooms(ast.parse(code)) == {"cases", "metrics"}
    for bad in (
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "np.load(f, allow_pickle=True)",
    ):
        assert unsafe_uses(ast.parse(bad)), bad
    assert not unsafe_uses(ast.parse("model.eval(); np.load(f); yaml.safe_load(t)"))
    for bad in (
        "from nbhelpers.predictions import all_rows",
        "predictions.all_rows(f)",
        "x['test']",
    ):
        assert split_uses(ast.parse(bad)), bad
    assert split_uses(ast.parse("""c.query("split == 'test'")"""))
    assert split_uses(ast.parse("f'predictions/{model}'"))
