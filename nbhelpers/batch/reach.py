"""Which files of nbhelpers a notebook reaches through its imports, however deep."""

import ast
import re
from pathlib import Path

from nbhelpers.workspace import read_json

PACKAGE = "nbhelpers"


def helpers_reached(notebook: Path, package_folder: Path | None = None) -> list[Path]:
    """The files of nbhelpers that the notebook's code imports, directly or through another.

    A cell that does not parse makes every file count: rather run once too often.
    """
    folder = package_folder or Path(__file__).parents[1]
    try:
        waiting = imported_files(code_of(notebook), folder)
    except SyntaxError:
        return sorted(folder.rglob("*.py"))
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting |= imported_files(path.read_text(encoding="utf-8"), folder)
    return sorted(reached)


def code_of(notebook: Path) -> str:
    """The notebook's code cells as one module, without magics and shell lines."""
    cells = [cell for cell in read_json(notebook)["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)


def imported_files(source: str, folder: Path) -> set[Path]:
    """The files of nbhelpers, in `folder`, that a piece of code imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        package, *parts = name.split(".")
        if package == PACKAGE:
            # Every package on the way is run too; what is no file is a name inside the last one.
            places = [folder.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
            files |= {place / "__init__.py" for place in places}
            files |= {place.with_suffix(".py") for place in places[1:]}
    return {file for file in files if file.is_file()}
