"""Profiles: folders of papermill parameter files, one a run, checked before any work starts.

`params/<profile>/<notebook>[.<name>].yaml` is one run. `_profile.yaml` next to them holds what the
runs share. Every file is flat, so each also works with plain papermill.

Here too: which runs of a profile wait for which, and the run that scores another folder of
radiographs with the models of a finished run folder.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from nbhelpers import results
from nbhelpers.parameters import Parameter, declared_parameters, nearest, problem, read_parameters
from nbhelpers.results import GIVEN
from nbhelpers.workspace import InputError, is_synthetic, read_json

SHARED = "_profile.yaml"
KERNEL = "kernel_name"  # the key of _profile.yaml that no notebook gets
DATA = "data_folder"  # the parameter that DATA=... replaces, in notebooks that declare it
# Words of the command line that make a parameter true: UNREADABLE=exclude, say.
SWITCHES = {
    "unreadable": ("exclude", "exclude_unreadable"),
    "doubtful": ("score", "score_doubtful"),
}
WEIGHTS = "weights"  # the parameter that WEIGHTS=none replaces where it asks for ImageNet's
IMAGENET = ("imagenet", "imagenet if found")
RANDOM_WEIGHTS = "none"
DEFAULT_KERNEL = "python3"
FOR_SYNTHETIC = ("demo", "smoke")  # profiles sized for the radiographs that they draw
ENSEMBLER = 5  # the notebook whose ages its stages are compared with
SCORER = 9  # the notebook that scores another folder
PREPARER = 1  # the notebook whose `view` names what it writes
OF_ONE_VIEW = ("view", "image_size", "steps")  # what may differ between views of one case table
TRAINERS = (2, 3, 4, 5)  # notebooks whose `model` and `task` name what they write


@dataclass(frozen=True)
class Run:
    """One run of a notebook: its name, the two files behind it, and the parameters it passes."""

    name: str
    notebook: Path
    settings: Path
    declared: dict[str, Parameter]  # every parameter of the notebook
    parameters: dict[str, object]  # shared and own values, without those in GIVEN

    @property
    def number(self) -> int:
        return int(self.name[:2])

    @property
    def values(self) -> dict[str, object]:
        """Every parameter as the notebook gets it, but those in GIVEN and DATA=...."""
        defaults = {name: parameter.default for name, parameter in self.declared.items()}
        return defaults | self.parameters

    @property
    def weights(self) -> str:
        """What its network starts from; "" where the notebook has no such parameter."""
        return str(self.values.get(WEIGHTS, ""))


@dataclass(frozen=True)
class Profile:
    """A checked profile."""

    name: str
    folder: Path
    kernel_name: str
    runs: tuple[Run, ...]


def find_project(named: str) -> Path:
    """The folder with `notebooks` and `params`: as named, else here, else where nbhelpers is."""
    places = [Path(named)] if named else [Path.cwd(), Path(__file__).parents[2]]
    for place in places:
        if (place / "notebooks").is_dir() and (place / "params").is_dir():
            return place.resolve()
    raise InputError(f"{places[0]} has no notebooks/ and params/. Run it in the project's folder.")


def read_profile(project: Path, name: str, weights: str = "") -> Profile:
    """Read `params/<name>`, check every run and that Jupyter knows the kernel.

    `weights` "none" is what runs start from that would start from ImageNet's weights. Raises
    InputError naming file, key and remedy.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    if weights not in ("", RANDOM_WEIGHTS):
        raise InputError(
            f"WEIGHTS={weights} is not known. WEIGHTS={RANDOM_WEIGHTS} starts from random weights; "
            "leave it out to start as the profile says. A file is named in the run's YAML."
        )
    folder = project / "params" / name
    if not re.fullmatch(r"[\w.-]+", name) or not folder.is_dir():
        known = sorted(path.name for path in (project / "params").glob("*") if path.is_dir())
        raise InputError(
            f"There is no profile {name!r}.{nearest(name, known)} Profiles: {', '.join(known)}."
        )
    shared = read_parameters(folder / SHARED) if (folder / SHARED).exists() else {}
    kernel_name = str(shared.pop(KERNEL, DEFAULT_KERNEL))
    paths = sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("_"))
    runs = tuple(_read_run(project, path, shared, weights) for path in paths)
    if not runs:
        raise InputError(f"{folder} has no run. Add a file such as 01_preprocessing.yaml.")
    declared = {key for run in runs for key in run.declared}
    for key in shared.keys() - declared | shared.keys() & {*GIVEN}:
        known = [*declared - {*GIVEN}, KERNEL]
        raise InputError(f"{folder / SHARED}: no run takes a shared {key}.{nearest(key, known)}")
    _check_outputs(runs)
    kernels = sorted(KernelSpecManager().find_kernel_specs())
    if kernel_name not in kernels:
        raise InputError(
            f"{folder / SHARED}: kernel_name: Jupyter has no kernel {kernel_name!r} (it has "
            f"{', '.join(kernels)}). Choose one or install it with `python -m ipykernel install`."
        )
    return Profile(name, folder, kernel_name, runs)


def without_unnamed_scoring(profile: Profile, run_folder: Path, data: str) -> Profile:
    """The profile without runs of notebook 09 that name no folder, where radiographs are real.

    Where they are synthetic such a run draws others; real models have nothing to be scored on.

    Args:
        data: the folder of radiographs as given, "" where the run folder or a run names it.
    """
    folders = [run.values.get("external_folder") for run in profile.runs]
    if any(folders) or not (data or is_of_real_radiographs(run_folder)):
        return profile
    kept = [run for run in profile.runs if run.number != SCORER or run.values.get("score_folder")]
    return replace(profile, runs=tuple(kept))


def is_of_real_radiographs(run_folder: Path) -> bool:
    """Whether notebook 01 has prepared other radiographs here than those that it draws."""
    path = run_folder / "data.json"
    return path.exists() and not is_synthetic(read_json(path)["fingerprint"]["data_folder"])


def find_run(profile: Profile, name: str) -> Run:
    """The run called `name`; raises InputError with the nearest name."""
    names = {run.name: run for run in profile.runs}
    if name not in names:
        raise InputError(f"Profile {profile.name} has no run {name}.{nearest(name, names)}")
    return names[name]


def _read_run(project: Path, path: Path, shared: dict[str, object], weights: str) -> Run:
    notebook = project / "notebooks" / f"{path.stem.partition('.')[0]}.ipynb"
    if not notebook.exists():
        known = sorted(found.stem for found in (project / "notebooks").glob("*.ipynb"))
        raise InputError(
            f"{path}: there is no notebook {notebook.name}.{nearest(notebook.stem, known)} "
            "A file is named <notebook>.yaml or <notebook>.<name>.yaml."
        )
    declared = declared_parameters(notebook)
    own = read_parameters(path)
    passed = {key: value for key, value in shared.items() if key in declared}
    for file, given in ((path, own), (path.with_name(SHARED), passed)):
        for key, value in given.items():
            if key in GIVEN:
                raise InputError(f"{file}: {key} is given by the batch. Remove the line.")
            if key not in declared:
                hint = nearest(key, declared)
                raise InputError(f"{file}: {notebook.name} has no parameter {key}.{hint}")
            if found := problem(key, value, declared[key]):
                raise InputError(f"{file}: {found}")
    run = Run(path.stem, notebook, path, declared, {**passed, **own})
    # A run that names a file of weights keeps it.
    if weights and run.weights in IMAGENET:
        run.parameters[WEIGHTS] = weights
    return run


def _check_outputs(runs: tuple[Run, ...]) -> None:
    """Refuse two runs that would write the same files: the second would replace the first's."""
    owners: dict[tuple[object, ...], Run] = {}
    for run in runs:
        made = _made_by(run)
        other = owners.setdefault(made, run)
        if made and other is not run:
            key, name, task = made
            of_task = f" for task {task}" if task else ""
            raise InputError(
                f"{run.settings} and {other.settings.name} both write {key} {name}{of_task}. "
                f"Give one of them another `{key}`."
            )
    first, *others = [run for run in runs if run.number == PREPARER] or [None]
    for run in others:
        for key in run.values.keys() & first.values.keys() - {*GIVEN, *OF_ONE_VIEW}:
            if run.values[key] != first.values[key]:
                raise InputError(
                    f"{run.settings}: {key} is {run.values[key]!r}, in {first.settings.name} "
                    f"{first.values[key]!r}. Views share one case table: set it in {SHARED}."
                )


def _made_by(run: Run) -> tuple[object, ...]:
    """What a run writes under a name: "view" or "model", the name, its task; () where nothing."""
    key = "view" if run.number == PREPARER else "model"
    if key not in run.values or run.number not in (PREPARER, *TRAINERS):
        return ()
    return key, run.values[key], run.values.get("task", "")


def scoring_run(project: Path, run_folder: Path, data: str) -> tuple[Profile, Run]:
    """The profile that the run folder was made with, and a run of notebook 09 on `data`.

    Where its notebooks were run by hand, the profile is that of their results files.

    Raises InputError where `data` is not named, or the run folder holds no finished run.
    """
    if not data:
        raise InputError("DATA is empty. Name the folder of radiographs to score: DATA=folder.")
    finished = sorted((run_folder / "results").glob("*.json"))
    if not finished:
        raise InputError(
            f"{run_folder} holds no finished run. Name one by RUN=, or make it: make report."
        )
    made_with = str(read_json(finished[0])["profile"])
    if (project / "params" / made_with).is_dir():
        profile = read_profile(project, made_with)
    else:
        runs = tuple(Run(path.stem, path, path, {}, {}) for path in finished)
        profile = Profile(made_with, project / "params", DEFAULT_KERNEL, runs)
    name = results.set_name(run_folder, Path(data))
    notebook = project / "notebooks" / f"{results.NOTEBOOK}.ipynb"
    given = {"score_folder": data, "name": name}
    declared = declared_parameters(notebook)
    run = Run(f"{results.NOTEBOOK}.{name}", notebook, notebook, declared, given)
    return profile, run


# Notebooks of a group wait for all runs of the nearest group before them that has runs.
GROUPS = ((1,), (2, 3, 4), (5,), (6, 7, 8, 9))


def upstream(runs: tuple[Run, ...], run: Run) -> list[Run]:
    """The runs that `run` waits for: the nearest earlier group that has any, what it compares its
    model with, and ensembles of ages, whose months ensembles of stages are compared with."""
    position = next((at for at, group in enumerate(GROUPS) if run.number in group), len(GROUPS))
    earlier = ([one for one in runs if one.number in group] for group in GROUPS[:position][::-1])
    waits_for = [*next(filter(None, earlier), []), *_compared(runs, run)]
    if run.number == ENSEMBLER and run.values.get("task") == "stage":
        waits_for += [
            one for one in runs if one.number == ENSEMBLER and one.values.get("task") != "stage"
        ]
    return waits_for


def check_comparisons(runs: tuple[Run, ...]) -> None:
    """Raise InputError where a run is to be compared with a model that no run of the profile makes
    before it."""
    for run in runs:
        wanted = run.values.get("compare_with")
        if wanted and not any(not one.values.get("compare_with") for one in _compared(runs, run)):
            raise InputError(
                f"{run.settings}: compare_with is {wanted!r}. Name a model that another run of "
                f"this profile makes for task {run.values.get('task')} and that is itself compared "
                "with none, or leave compare_with out."
            )


def _compared(runs: tuple[Run, ...], run: Run) -> list[Run]:
    """The run that makes the model which another's is compared with; [] where there is none."""
    model, task = run.values.get("compare_with"), run.values.get("task", "")
    made = "model", model, task
    return [one for one in runs if model and one is not run and _made_by(one) == made]
