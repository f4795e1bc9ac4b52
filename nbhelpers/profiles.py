"""Profiles: folders of papermill parameter files, one a run, checked before any work starts.

`params/<profile>/<notebook>[.<name>].yaml` is one run. `_profile.yaml` beside them holds what the
runs share. Every file is flat, so each also works with plain papermill.
"""

import ast
import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from nbhelpers.workspace import InputError, read_json

SHARED = "_profile.yaml"
RESERVED = ("kernel_name",)  # keys of _profile.yaml that execute reads and no notebook gets
GIVEN = ("run", "run_folder", "profile")  # parameters that execute gives to every notebook
DATA = "data_folder"  # the parameter that DATA=... replaces, in notebooks that declare it
MOST_PARAMETERS = 12  # beside those that execute gives
DEFAULT_KERNEL = "python3"
RUN_NAME = re.compile(r"(?P<notebook>\d\d_[a-z0-9_]+)(\.[a-z0-9_-]+)?")
# Notebooks of a group wait for all runs of the nearest group before them that has runs.
GROUPS = ((1,), (2, 3, 4), (5,), (6, 7, 8))
TRAINERS = (2, 3, 4, 5)  # notebooks whose `model` and `task` name what they write
TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Run:
    """One run of a notebook: its name, the two files behind it, and the parameters it passes."""

    name: str
    notebook: Path
    settings: Path
    declared: dict[str, object]  # every parameter of the notebook with its default
    parameters: dict[str, object]  # shared and own values, without those in GIVEN

    @property
    def number(self) -> int:
        return int(self.name[:2])


@dataclass(frozen=True)
class Profile:
    """A checked profile."""

    name: str
    folder: Path
    kernel_name: str
    runs: tuple[Run, ...]


def read_profile(project: Path, name: str) -> Profile:
    """Read `params/<name>` and check every run; raises InputError naming file, key and remedy."""
    folder = _profile_folder(project, name)
    shared = read_parameters(folder / SHARED) if (folder / SHARED).exists() else {}
    reserved = {key: shared.pop(key) for key in RESERVED if key in shared}
    paths = sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("_"))
    runs = tuple(_read_run(project, path, folder, shared) for path in paths)
    if not runs:
        raise InputError(f"{folder} has no run. Add a file such as 01_preprocessing.yaml.")
    _check_shared(folder / SHARED, shared, runs)
    _check_models(runs)
    return Profile(name, folder, str(reserved.get("kernel_name") or DEFAULT_KERNEL), runs)


def find_run(profile: Profile, name: str) -> Run:
    """The run called `name`; raises InputError with the nearest name."""
    names = {run.name: run for run in profile.runs}
    if name not in names:
        raise InputError(f"Profile {profile.name} has no run {name}.{_nearest(name, names)}")
    return names[name]


def upstream(runs: tuple[Run, ...], run: Run) -> list[Run]:
    """The runs that `run` waits for: those of the nearest earlier group that has any."""
    position = next((at for at, group in enumerate(GROUPS) if run.number in group), len(GROUPS))
    for group in reversed(GROUPS[:position]):
        earlier = [other for other in runs if other.number in group]
        if earlier:
            return earlier
    return []


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
        if "parameters" in cell.get("metadata", {}).get("tags", []):
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


def _profile_folder(project: Path, name: str) -> Path:
    folder = project / "params" / name
    if not re.fullmatch(r"[\w.-]+", name) or not folder.is_dir():
        known = sorted(path.name for path in (project / "params").glob("*") if path.is_dir())
        raise InputError(
            f"There is no profile {name!r}.{_nearest(name, known)} Profiles: {', '.join(known)}."
        )
    return folder


def _read_run(project: Path, path: Path, folder: Path, shared: dict[str, object]) -> Run:
    match = RUN_NAME.fullmatch(path.stem)
    notebook = project / "notebooks" / f"{match['notebook'] if match else path.stem}.ipynb"
    if not match or not notebook.exists():
        known = sorted(found.stem for found in (project / "notebooks").glob("*.ipynb"))
        raise InputError(
            f"{path}: there is no notebook {notebook.name}.{_nearest(notebook.stem, known)} "
            "A file is named <notebook>.yaml or <notebook>.<name>.yaml."
        )
    declared = declared_parameters(notebook)
    _check_declared(notebook, declared)
    own = read_parameters(path)
    for key, value in own.items():
        if key in GIVEN:
            raise InputError(f"{path}: {key} is given by the batch. Remove the line.")
        if key not in declared:
            raise InputError(
                f"{path}: {notebook.name} has no parameter {key}.{_nearest(key, declared)}"
            )
        _check_type(path, key, value, declared[key])
    passed = {key: value for key, value in shared.items() if key in declared}
    for key, value in passed.items():
        _check_type(folder / SHARED, key, value, declared[key])
    return Run(path.stem, notebook, path, declared, {**passed, **own})


def _check_declared(notebook: Path, declared: dict[str, object]) -> None:
    for name in GIVEN:
        if name not in declared:
            raise InputError(f'{notebook}: its parameters cell lacks the line `{name} = ""`.')
    own = [name for name in declared if name not in GIVEN]
    if len(own) > MOST_PARAMETERS:
        raise InputError(
            f"{notebook} declares {len(own)} parameters; {MOST_PARAMETERS} is the most. "
            "Make the rest constants of the module that owns them."
        )


def _check_type(path: Path, key: str, value: object, default: object) -> None:
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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_point(number: str) -> str:
    """YAML takes 1e-05 for a text and 1.0e-05 for a number."""
    return re.sub(r"^(-?\d+)e", r"\1.0e", number)


def _check_shared(path: Path, shared: dict[str, object], runs: tuple[Run, ...]) -> None:
    declared = {name for run in runs for name in run.declared}
    for key in shared:
        if key in GIVEN:
            raise InputError(f"{path}: {key} is given by the batch. Remove the line.")
        if key not in declared:
            raise InputError(
                f"{path}: no notebook of this profile has a parameter {key}."
                f"{_nearest(key, [*declared, *RESERVED])}"
            )


def _check_models(runs: tuple[Run, ...]) -> None:
    """Refuse two runs that would write the same model: the second would replace the first."""
    owners: dict[tuple, Run] = {}
    for run in runs:
        values = {**run.declared, **run.parameters}
        if run.number not in TRAINERS or "model" not in values:
            continue
        key = (values["model"], values.get("task", ""))
        if key in owners:
            raise InputError(
                f"{run.settings} and {owners[key].settings.name} both write model {key[0]}"
                f"{' for task ' + str(key[1]) if key[1] else ''}. Give one another `model`."
            )
        owners[key] = run


def _nearest(name: str, known: object) -> str:
    found = difflib.get_close_matches(name, [str(one) for one in known], n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""
