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
        here = images.hash_here(found[view])
        if here != wanted:
            raise InputError(
                f"A model of {Path(run_folder).name} was made with pictures of preparation "
                f"{wanted}; this version of the suite prepares the view {view} differently "
                f"({here}). Run the profile again, or use the version that made the model."
            )
    return found
