"""What every notebook has in common, checked on its JSON: a list of what is wrong, or nothing."""

import ast
import io
import re
import tokenize

from nbhelpers.batch.profiles import GIVEN, MOST_PARAMETERS

HEADING = "What this shows"
LAST_CALL = "save_results"


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def problems(notebook: dict) -> list[str]:
    """All that a notebook lacks or has too much of, one line each."""
    cells = notebook["cells"]
    return [
        *_not_stripped(notebook),
        *_title(cells),
        *_parameters(cells),
        *_story(cells),
        *_figures(cells),
        *_results(cells),
    ]


def _not_stripped(notebook: dict) -> list[str]:
    found = []
    extra = set(notebook["metadata"]) - {"kernelspec", "language_info"}
    if extra:
        found.append(f"metadata {sorted(extra)} of the notebook: strip it")
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"] is not None):
            found.append(f"cell {number} has outputs: strip it")
        extra = set(cell["metadata"]) - {"tags"}
        if extra:
            found.append(f"cell {number} has metadata {sorted(extra)}: strip it")
        if not source(cell).strip():
            found.append(f"cell {number} is empty")
    return found


def _title(cells: list[dict]) -> list[str]:
    first = source(cells[0]) if cells and cells[0]["cell_type"] == "markdown" else ""
    found = []
    if not re.match(r"# \S", first):
        found.append("the first cell is no title ('# ...')")
    if "?" not in first:
        found.append("the first cell does not ask the question that the notebook answers")
    opening = " ".join(source(cell) for cell in cells[:4])
    lacking = [place for place in ("Kaggle", "Colab") if place not in opening]
    if lacking:
        found.append(f"the opening does not say how to run on {' and '.join(lacking)}")
    return found


def _parameters(cells: list[dict]) -> list[str]:
    tagged = [cell for cell in cells if "parameters" in tags(cell)]
    if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
        return ["there must be one code cell tagged 'parameters'"]
    code = source(tagged[0])
    commented = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT and token.string.strip("# ")
    }
    found, names = [], []
    for node in ast.parse(code).body:
        simple = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if not simple or not _is_plain(node.value):
            found.append(f"parameters: {ast.unparse(node)!r} is not 'name = plain value'")
            continue
        names.append(node.targets[0].id)
        if node.end_lineno not in commented or node.lineno != node.end_lineno:
            found.append(f"parameters: {names[-1]} needs a comment with unit and range on its line")
    missing = [name for name in GIVEN if name not in names]
    if missing:
        found.append(f"parameters: {missing} are not declared")
    own = [name for name in names if name not in GIVEN]
    if len(own) > MOST_PARAMETERS:
        found.append(f"parameters: {len(own)} are more than {MOST_PARAMETERS}")
    return found


def _is_plain(node: ast.expr) -> bool:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return False
    return isinstance(value, bool | int | float | str)


def _story(cells: list[dict]) -> list[str]:
    headings = [
        line.lstrip("# ").strip()
        for cell in cells
        if cell["cell_type"] == "markdown"
        for line in source(cell).splitlines()
        if line.startswith("## ")
    ]
    return [] if HEADING in headings else [f"there is no heading '## {HEADING}'"]


def _code(cell: dict) -> ast.AST:
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source(cell), flags=re.MULTILINE))


def _calls(cell: dict) -> list[ast.Call]:
    if cell["cell_type"] != "code":
        return []
    return [node for node in ast.walk(_code(cell)) if isinstance(node, ast.Call)]


def _figures(cells: list[dict]) -> list[str]:
    found = []
    for number, cell in enumerate(cells):
        for call in _calls(cell):
            name = ast.unparse(call.func)
            if name == "style.show" and not _has_alt(call):
                found.append(f"cell {number} shows a figure without alt text")
            if name in ("plt.show", "pyplot.show"):
                found.append(f"cell {number} calls {name}: use style.show with alt text")
    return found


def _has_alt(call: ast.Call) -> bool:
    """Alt text by name, in second place, or with the figure from a function that makes both."""
    both = any(isinstance(argument, ast.Starred) for argument in call.args)
    return both or len(call.args) > 1 or any(k.arg == "alt" for k in call.keywords)


def _results(cells: list[dict]) -> list[str]:
    last = cells[-1] if cells else {"cell_type": "none"}
    names = [ast.unparse(call.func).split(".")[-1] for call in _calls(last)]
    return [] if LAST_CALL in names else [f"the last cell does not call {LAST_CALL}"]
