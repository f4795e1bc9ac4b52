"""The layers of nbhelpers, what is safe to import, and who may read the test split."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from notebook_code import NOTEBOOKS as FOLDER
from notebook_code import code_of

import nbhelpers

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nbhelpers"
PATHS = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PATHS}
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Name of a file or folder to its layer, from the table in nbhelpers/__init__.py.
TABLE = re.findall(r"^    (\d)  (\w+)  +\S", nbhelpers.__doc__, flags=re.MULTILINE)
LAYERS = {name: int(layer) for layer, name in TABLE}
WITHOUT_TENSORFLOW = ("data", "images", "phantom", "batch")
# Files that must name TensorFlow: they import it inside the function that needs it. Notebook 06
# shows a gradient tape, which Keras alone has not.
NAME_TENSORFLOW = {"models.sam", "models.devices", "models.training", "explain.grad_cam"}
NOTEBOOK_WITH_TAPE = "06_grad_cam"
# Ways to run what a file says: pickles, eval, unsafe loading, a shell.
UNSAFE = r"(?<![.\w])(?:eval|exec)\("
UNSAFE += r"|\b(?:import|from) (?:c?pickle|dill|cloudpickle|marshal|shelve)\b"
UNSAFE += r"|(?:read|to)_pickle\(|\byaml\.(?:unsafe_)?load\(|\bjoblib\.load|joblib import load"
UNSAFE += r"|enable_unsafe_deserialization|allow_pickle=True|safe_mode=False|shell=True"
READ_ALL_ROWS = {"predictions", "evaluation.scores"}
# The word "test", as a split, may stand here and in the layers that show finished scores.
KNOW_THE_TEST_SPLIT = {"data.splits", "evaluation.scores"}
FIRST_SHOWING_LAYER = 6


def layer_of(file: str) -> int:
    return LAYERS[file.partition(".")[0]]


def imported_modules(tree: ast.AST) -> set[str]:
    """Every module that the code imports, wherever in it, with the names taken `from` it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_files(tree: ast.AST) -> set[str]:
    """The files of nbhelpers that the code imports."""
    return {name.removeprefix("nbhelpers.") for name in imported_modules(tree)} & set(FILES)


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


TREES = {file: ast.parse(path.read_text()) for file, path in FILES.items()}


def test_imports_run_downward_between_layers_and_in_no_circle():
    assert set(LAYERS) == {file.partition(".")[0] for file in FILES}
    used = {file: imported_files(tree) - {file} for file, tree in TREES.items()}
    pairs = [(file, other) for file, others in used.items() for other in others]
    assert not [pair for pair in pairs if layer_of(pair[1]) > layer_of(pair[0])]
    list(graphlib.TopologicalSorter(used).static_order())  # raises CycleError


def test_packages_hold_a_docstring_alone():
    for path in PACKAGE.rglob("__init__.py"):
        (statement,) = ast.parse(path.read_text()).body
        assert isinstance(statement, ast.Expr) and isinstance(statement.value.value, str), path


def test_what_needs_no_network_imports_without_tensorflow():
    """In a fresh process: an import anywhere on the way would show. 01 and 04 have no network."""
    files = {file for file in FILES if file.startswith(WITHOUT_TENSORFLOW)}
    for path in NOTEBOOKS:
        if path.name.startswith(("01", "04")):
            files |= imported_files(ast.parse(code_of(path)))
    names = [f"nbhelpers.{file}" for file in sorted(files)]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules))"
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize("path", [*FILES.values(), *NOTEBOOKS], ids=lambda path: path.stem)
def test_few_name_tensorflow_and_nothing_unpickles(path: Path):
    tree = ast.parse(code_of(path))
    assert ast.get_docstring(tree) or path.suffix == ".ipynb", "say what the file knows"
    roots = {name.split(".")[0] for name in imported_modules(tree)}
    if path not in {FILES[file] for file in NAME_TENSORFLOW} and path.stem != NOTEBOOK_WITH_TAPE:
        assert not roots & {"tensorflow", "tf_keras"}, "write it with Keras alone"
    assert not re.findall(UNSAFE, ast.unparse(tree))


def test_nothing_but_the_evaluator_reads_the_test_split():
    for file, tree in TREES.items():
        found = split_uses(tree)
        if file not in READ_ALL_ROWS:
            assert "all_rows" not in found, file
        if file not in {"predictions", "workspace"}:
            assert "predictions/" not in found, f"{file}: go through predictions"
        if file not in KNOW_THE_TEST_SPLIT and layer_of(file) < FIRST_SHOWING_LAYER:
            assert "test" not in found, f"{file} lies below what shows scores"


def test_notebooks_know_no_batch_and_read_predictions_through_the_evaluator():
    for path in NOTEBOOKS:
        tree = ast.parse(code_of(path))
        assert not {file for file in imported_files(tree) if file.startswith("batch")}, path.name
        assert not split_uses(tree) & {"all_rows", "predictions/"}, path.name


def test_the_checks_see_what_they_look_for():
    code = "def f():\n    from nbhelpers.data import cases as c\n    import nbhelpers.metrics"
    assert imported_files(ast.parse(code)) == {"data.cases", "metrics"}
    unsafe = "import pickle|from joblib import load|joblib.load(f)|eval('1')"
    for bad in f"{unsafe}|np.load(f, allow_pickle=True)".split("|"):
        assert re.search(UNSAFE, bad), bad
    assert not re.search(UNSAFE, "model.eval(); np.load(f); yaml.safe_load(t)")
    reading = "from nbhelpers.predictions import all_rows|predictions.all_rows(f)|x['test']"
    for bad in f"{reading}|c.query(\"split == 'test'\")|f'predictions/{{model}}'".split("|"):
        assert split_uses(ast.parse(bad)), bad
