"""The run that scores another folder of radiographs with the models of a finished run folder."""

from pathlib import Path

from nbhelpers import external_names, parameters, profiles
from nbhelpers.profiles import Profile, Run
from nbhelpers.workspace import InputError, read_json


def scoring_run(project: Path, run_folder: Path, data: str) -> tuple[Profile, Run]:
    """The profile that the run folder was made with, and a run of notebook 09 on `data`.

    Raises InputError where `data` is not named, or the run folder holds no finished run.
    """
    if not data:
        raise InputError("DATA is empty. Name the folder of radiographs to score: DATA=folder.")
    first = sorted((run_folder / "results").glob("01_*.json"))
    if not first:
        raise InputError(
            f"{run_folder} holds no finished run. Name one by RUN=, or make it: make report."
        )
    profile = profiles.read_profile(project, str(read_json(first[0])["profile"]))
    name = external_names.set_name(Path(data))
    notebook = project / "notebooks" / f"{external_names.NOTEBOOK}.ipynb"
    given = {"score_folder": data, "name": name}
    declared = parameters.declared_parameters(notebook)
    run = Run(f"{external_names.NOTEBOOK}.{name}", notebook, notebook, declared, given)
    return profile, run
