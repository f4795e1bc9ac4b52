"""The parameters of a notebook, and the flat YAML files that set them."""

import ast
import difflib
import re
from pathlib import Path

from nbhelpers.workspace import InputError, read_json

TAG = "parameters"  # of the cell whose assignments are the notebook's parameters
TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def read_parameters(path: Path) -> dict[str, object]:
    """One flat parameter file; raises InputError for anything else."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path} is not valid YAML ({line}). Correct it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold lines `name: value`, not {content!r}.")
    for key, value in content.items():
        if not isinstance(value, bool | int | float | str):
            raise InputError(
                f"{path}: {key} must be one number, text, true or false; got {value!r}."
            )
    return content


def declared_parameters(notebook: Path) -> dict[str, object]:
    """Names and defaults of the cell tagged `parameters`, in their order.

    Raises InputError when there is no such cell or a default is not a plain value.
    """
    for cell in read_json(notebook).get("cells", []):
        if TAG in cell.get("metadata", {}).get("tags", []):
            return _assignments(notebook, "".join(cell["source"]))
    raise InputError(f"{notebook} has no cell tagged `parameters`. Tag the cell of its settings.")


def _assignments(notebook: Path, source: str) -> dict[str, object]:
    found = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target = statement.target
        else:
            continue
        try:
            value = ast.literal_eval(statement.value)
        except ValueError:
            value = None
        if not isinstance(target, ast.Name) or not isinstance(value, bool | int | float | str):
            line = ast.unparse(statement)
            raise InputError(f"{notebook}: parameter `{line}` needs one number, text or bool.")
        found[target.id] = value
    return found


def check_type(path: Path, key: str, value: object, default: object) -> None:
    wanted = type(default)
    if type(value) is wanted or (wanted is float and type(value) is int):
        return
    hint = ""
    if wanted in (int, float) and isinstance(value, str) and _is_number(value):
        plain = repr(float(value)) if wanted is float else value
        hint = " YAML reads it as text: "
        hint += f"write {_with_point(plain)}." if wanted is float else "write it without quotes."
    elif wanted is str:
        hint = f' Write it in quotes: "{value}".'
    raise InputError(
        f"{path}: {key} must be {TYPE_WORDS[wanted]} (default {default!r}), got {value!r}.{hint}"
    )


def nearest(name: str, known: object) -> str:
    """The end of a message that offers the closest of the known names; empty where none is."""
    found = difflib.get_close_matches(name, [str(one) for one in known], n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_point(number: str) -> str:
    """YAML takes 1e-05 for a text and 1.0e-05 for a number."""
    return re.sub(r"^(-?\d+)e", r"\1.0e", number)
