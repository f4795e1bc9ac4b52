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
    folder = package_folder or Path(__file__).parent
    try:
        waiting = imported_names(code_of(notebook))
    except SyntaxError:
        return sorted(folder.glob("*.py"))
    reached: set[Path] = set()
    while waiting:
        path = folder / f"{waiting.pop()}.py"
        if path in reached or not path.exists():
            continue
        reached.add(path)
        waiting |= imported_names(path.read_text(encoding="utf-8"))
    return sorted(reached)


def code_of(notebook: Path) -> str:
    """The notebook's code cells as one module, without magics and shell lines."""
    cells = [cell for cell in read_json(notebook)["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)


def imported_names(source: str) -> set[str]:
    """The modules of nbhelpers that a piece of code imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            modules = [f"{PACKAGE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        else:
            continue
        parts = [module.split(".") for module in modules]
        names |= {part[1] if len(part) > 1 else "__init__" for part in parts if part[0] == PACKAGE}
    return names | {"__init__"} if names else names
