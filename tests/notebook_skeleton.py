"""What every notebook has in common, checked on its JSON: a list of what is wrong, or nothing."""

import ast
import re

from nbhelpers.parameters import read_cell
from nbhelpers.results import GIVEN
from nbhelpers.workspace import InputError

MOST_PARAMETERS = 18  # beside those that the batch gives


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def problems(notebook: dict) -> list[str]:
    """All that a notebook lacks or has too much of, one line each."""
    cells = notebook["cells"]
    opening = "\n".join(source(cell) for cell in cells[:4])
    prose = "\n".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    wrong = {
        "the first cell is no title ('# ...')": not re.match(r"# \S", source(cells[0])),
        "the first cell does not ask the question it answers": "?" not in source(cells[0]),
        "the opening does not say how to run on Kaggle": "Kaggle" not in opening,
        "the opening does not say how to run on Colab": "Colab" not in opening,
        "the second cell shows no answer": "answer = display(" not in source(cells[1]),
        "no cell updates the answer": not any("answer.update(" in source(cell) for cell in cells),
        "no cell calls results.begin": not any("results.begin(" in source(one) for one in cells),
        "there is no heading '## What this shows'": "\n## What this shows" not in f"\n{prose}",
        "the last cell does not call results.save": "results.save(" not in source(cells[-1]),
        "there must be one cell tagged 'parameters'": len(tagged) != 1,
        "the notebook has metadata: strip it": bool(
            set(notebook["metadata"]) - {"kernelspec", "language_info"}
        ),
    }
    found = [text for text, is_so in wrong.items() if is_so]
    for number, cell in enumerate(cells):
        found += [f"cell {number} {problem}" for problem in _of_cell(cell)]
    return found + [problem for cell in tagged for problem in _of_parameters(source(cell))]


def _of_cell(cell: dict) -> list[str]:
    found = [] if source(cell).strip() else ["is empty"]
    if cell.get("outputs") or cell.get("execution_count") or set(cell["metadata"]) - {"tags"}:
        found.append("has outputs or metadata: strip it")
    if cell["cell_type"] != "code":
        return found
    code = re.sub(r"^(\s*)[%!].*$", r"\1pass", source(cell), flags=re.MULTILINE)
    for call in [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        # Alt text by name, in second place, or with the figure from a function that makes both.
        both = any(isinstance(argument, ast.Starred) for argument in call.args)
        alt = both or len(call.args) > 1 or any(word.arg == "alt" for word in call.keywords)
        if name in ("plt.show", "pyplot.show") or (name == "style.show" and not alt):
            found.append("shows a figure without alt text: use style.show")
    return found


def _of_parameters(code: str) -> list[str]:
    try:
        names = read_cell(code)
    except InputError as error:
        return [f"parameters: {error}"]
    lines = [line for line in code.splitlines() if not re.search(r"# *\S", line)]
    found = [f"parameters: {line!r} needs a comment with unit and range" for line in lines]
    found += [f"parameters: {name} is not declared" for name in GIVEN if name not in names]
    if len(names) > MOST_PARAMETERS + len(GIVEN):
        found.append(f"parameters: {len(names)} are more than {MOST_PARAMETERS}")
    return found
