"""The parameters of a notebook: what its cell says of them, and the flat YAML files that set them.

The comment beside a parameter says what it may be, and is the only place that says it:
`1 to 500` (with a point, as in `0.1 to 24`, not whole numbers alone), `0 or more`,
`one of age, stage`, `True or False`; of a name that files are called by it ends in `letters and
digits`. Any other comment is of a text.
"""

import ast
import difflib
import io
import math
import re
import tokenize
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from nbhelpers.workspace import InputError, read_json

TAG = "parameters"  # of the cell whose assignments are the notebook's parameters
MARK = "run_folder"  # which every cell of parameters sets
INJECTED = "# Parameters"  # how the cell begins that papermill puts behind it
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
RANGE = re.compile(rf"({NUMBER}) (?:to ({NUMBER})|or more)")
CHOICES = re.compile(r"\bone of ([\w-]+(?:, [\w-]+)*)")
TRUTH = "True or False"
NAMES = "letters and digits"
# What `_profile.yaml` may give to all notebooks: papermill passes it to those that lack it, too.
SHARED = ("view", "require_gpu", "weights", "backbone", "epochs", "kernel_name")
# A single fit of a model that is the mean of several is called so: see `predictions`.
OF_A_FIT = re.compile(r"_(fold|seed)\d+$")
PLAIN = bool | int | float | str
KIND_WORDS = {bool: TRUTH, int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Parameter:
    """A parameter's default and what it may be: `low` to `high`, one of `choices` if any, or a
    name."""

    default: PLAIN
    kind: type  # bool, int, float (which takes whole numbers too) or str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    is_name: bool = False


def check(values: dict[str, object]) -> tuple[str, ...]:
    """Check the parameters of the notebook whose variables are `values`; returns their names.

    They are compared with the comments of the cell that set them, as it was run last, so it works
    for values changed by hand and by papermill, whose misspelt names it finds too.

    Args:
        values: the notebook's variables, among them IPython's `In`, the cells run so far.

    Raises InputError naming the first parameter that cannot be used, and what it may be.
    """
    cells = list(values.get("In", []))
    own = [
        number
        for number, source in enumerate(cells)
        if re.search(rf"^{MARK} = ", source, re.MULTILINE) and not source.startswith(INJECTED)
    ]
    if not own:
        raise InputError("The cell of parameters was not run. Run it first, then this one.")
    declared = read_cell(cells[own[-1]])
    for source in cells[own[-1] + 1 : own[-1] + 2]:
        for name in read_cell(source) if source.startswith(INJECTED) else ():
            if name not in (*declared, *SHARED):
                raise InputError(f"There is no parameter {name}.{nearest(name, declared)}")
    for name, parameter in declared.items():
        if found := problem(name, values[name], parameter):
            raise InputError(found)
    return tuple(declared)


def problem(name: str, value: object, parameter: Parameter) -> str:
    """What is wrong with a parameter's value, with a remedy; "" where nothing is."""
    kind = parameter.kind
    if type(value) is not kind and not (kind is float and type(value) is int):
        wanted = f"{name} must be {KIND_WORDS[kind]} (default {parameter.default!r})"
        return f"{wanted}, got {value!r}.{_hint(value, kind)}"
    if parameter.choices and value not in parameter.choices:
        choices = ", ".join(parameter.choices)
        return f"{name} must be one of {choices}, got {value!r}.{nearest(value, parameter.choices)}"
    if parameter.is_name and (not re.fullmatch(r"[A-Za-z0-9_-]+", value) or OF_A_FIT.search(value)):
        return f"{name} must be of {NAMES}, '_' and '-', without a fit's _seed0, got {value!r}."
    if kind in (int, float) and not parameter.low <= value <= parameter.high:
        upward = f" to {parameter.high:,g}" if parameter.high < math.inf else " or more"
        return f"{name} must be {parameter.low:,g}{upward}, got {value!r}."
    return ""


def read_cell(source: str) -> dict[str, Parameter]:
    """The parameters that a cell declares, by name, in its order.

    Raises InputError for a default that is no plain value.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {one.start[0]: one.string for one in tokens if one.type == tokenize.COMMENT}
    found = {}
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Assign):
            continue
        try:
            default = ast.literal_eval(statement.value)
        except ValueError:
            default = None
        if not isinstance(default, PLAIN):
            line = ast.unparse(statement)
            raise InputError(f"Parameter `{line}` needs one number, text, {TRUTH}.")
        comment, name = comments.get(statement.end_lineno, ""), ast.unparse(statement.targets[0])
        found[name] = Parameter(default, type(default))
        if TRUTH in comment:
            found[name] = Parameter(default, bool)
        elif bounds := RANGE.search(comment):
            kind = float if set(".e") & set(bounds[1] + (bounds[2] or "")) else int
            high = float(bounds[2] or "inf")
            found[name] = Parameter(default, kind, float(bounds[1]), high)
        elif choices := CHOICES.search(comment):
            found[name] = Parameter(default, str, choices=tuple(choices[1].split(", ")))
        elif comment.endswith(NAMES):
            found[name] = Parameter(default, str, is_name=True)
    return found


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
        if not isinstance(value, PLAIN):
            raise InputError(f"{path}: {key} must be a number, text, true or false; got {value!r}.")
    return content


def declared_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of the cell tagged `parameters`, by name, in their order.

    Raises InputError when there is no such cell or a default is no plain value.
    """
    for cell in read_json(notebook, "Fetch the notebook anew").get("cells", []):
        if TAG in cell.get("metadata", {}).get("tags", []):
            try:
                return read_cell("".join(cell["source"]))
            except InputError as error:
                raise InputError(f"{notebook}: {error}") from error
    raise InputError(f"{notebook} has no cell tagged `parameters`. Tag the cell of its settings.")


def nearest(name: str, known: object) -> str:
    """The end of a message that offers the closest of the known names; empty where none is."""
    found = difflib.get_close_matches(name, [str(one) for one in known], n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""


def _hint(value: object, kind: type) -> str:
    """How to write a value of another kind so that YAML and papermill read what was meant."""
    text = str(value)
    if kind is str:
        return f' Write it in quotes: "{value}".'
    if kind is bool and text.lower() in ("true", "false"):
        return f" Write -p with a capital letter, {text.title()}, or YAML without quotes."
    if kind is not bool and isinstance(value, str) and re.fullmatch(NUMBER, value):
        return f" It is a text here: write {Decimal(value):f}, without quotes."  # as 1e-05 in YAML
    return ""
