"""Functions that notebooks define, so that tests can ask them as they ask the package's."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def code_of(path: Path) -> str:
    """A file's code; of a notebook all code cells as one text, without magics."""
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)


def functions(notebook: str, *names: str, **given: object) -> list[Callable]:
    """Functions of a notebook by name, defined with the notebook's imports and nothing else.

    Args:
        given: further variables of the notebook that they use.
    """
    code = code_of(NOTEBOOKS / f"{notebook}.ipynb")
    wanted = [
        node
        for node in ast.parse(code).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.FunctionDef) and node.name in names)
    ]
    exec(compile(ast.Module(wanted, []), notebook, "exec"), given)
    return [given[name] for name in names]
