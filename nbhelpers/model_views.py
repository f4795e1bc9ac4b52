"""Which prepared pictures saved models take, and whether this version can still prepare them."""

from collections.abc import Iterable
from pathlib import Path

from nbhelpers import images, prediction
from nbhelpers.images import Preparation
from nbhelpers.workspace import InputError


def view_of(run_folder: Path, model: str, task: str) -> str:
    """The view that a model takes; of an ensemble, that of its first member."""
    return prediction.model_views(run_folder, model, task)[0][0]


def preparations(run_folder: Path, models: Iterable[tuple[str, str]]) -> dict[str, Preparation]:
    """How the pictures of every view that models (name, task) take are prepared, by view.

    Raises InputError where a model was made with pictures that this version of the suite would
    prepare in another way: new ones would not be like them.
    """
    named = [view for model in models for view in prediction.model_views(run_folder, *model)]
    found = {}
    for view, wanted in sorted(set(named)):
        found[view] = images.load_preparation(run_folder, view)
        described = images.read_description(run_folder, view)
        if wanted != described["hash"] or described["version"] != images.VERSION:
            raise InputError(
                f"A model of {Path(run_folder).name} was made with pictures of preparation "
                f"{wanted}; the view {view} there is of preparation {described['hash']}, version "
                f"{described['version']}, and this suite prepares by version {images.VERSION}. Run "
                "the profile again, or use the suite that made the model."
            )
    return found
