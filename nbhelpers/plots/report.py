"""What a page shows of any model: its scores as tables, its errors as figures."""

from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from nbhelpers.data.cases import load_cases, load_data_facts
from nbhelpers.evaluation import scores as scoring
from nbhelpers.images.preparation import load_images
from nbhelpers.plots import scores as drawn
from nbhelpers.plots import style, tables

UNITS = {"age": "months", "stage": "cross-entropy"}  # of losses
LARGEST = 8  # errors whose radiographs are shown


def show_training(history: pd.DataFrame, task: str) -> None:
    """The learning curve of a training; `history`: epochs or rounds, train_loss, tuning_loss."""
    style.show(*drawn.learning_curve(history, UNITS[task]))


def show_search(trials: pd.DataFrame, task: str) -> None:
    """The trials of a search, what mattered in them, and how the best of them learned."""
    from nbhelpers.models.search import histories
    from nbhelpers.plots import models

    display(models.trials_table(trials))
    style.show(*models.parallel_coordinates(trials, UNITS[task]))
    style.show(*models.hyperparameter_importance(trials))
    style.show(*models.trial_curves(histories(trials), UNITS[task]))


def show_scores(
    folder: Path, model: str, task: str, view: str
) -> tuple[pd.DataFrame, str, tuple[str, str]]:
    """Evaluate a model, show how far it errs and for whom, and return its scores.

    Of ages: months, and the stages that they fall into. Every score stands with its 95 % bootstrap
    interval, next to predictors that look at no picture.

    Args:
        view: the prepared pictures that are shown with the largest errors.

    Returns:
        What `scores.evaluate` gives; how far the model errs, in words; and the headline of its run,
        a measure and its value.
    """
    scores = scoring.evaluate(folder, model, task)
    for split in ("test", "calibration"):
        display(tables.score_table(scores, task, split))
    name = tables.model_name(model)
    if task == "age":
        errors = scoring.case_errors(folder, model, task, "test")
        style.show(*drawn.predicted_against_true(errors, f"{name}, test split"))
        style.show(*drawn.errors_by_age(errors))
        worst = scoring.largest_errors(folder, model, "test", LARGEST)
        pictures = load_images(folder, view)
        rows = load_cases(folder).set_index("case_id").index.get_indexer(worst["case_id"])
        style.show(*drawn.largest_errors(worst, pictures[rows]))
        display(Markdown("### The stages that these ages fall into"))
        display(tables.score_table(scores, "stage", "test"))
        by_years = scoring.score_under_cuts(folder, model, "test", "years")
        display(tables.score_table(by_years, "stage", "test"))
    stager = model + (scoring.DERIVED if task == "age" else "")
    names = load_data_facts(folder)["stage_names"]
    display(tables.class_table(scores, stager, "test", names))
    counts = scoring.confusion_matrix(folder, model, task, "test")
    style.show(*drawn.confusion(counts, f"{tables.model_name(stager)}, test split"))
    return scores, tables.verdict(scores, model, task), tables.headline(scores, model, task)


def compare(folder: Path, model: str, other: str, task: str) -> tuple[str, dict[str, object]]:
    """How much a model's error differs from another's on the test split: in words, and in figures.

    Without another name: nothing.
    """
    if not other:
        return "", {}
    found = scoring.compare_models(folder, model, other, task, "test")
    figures = {f"against {other}: {key}": value for key, value in found.items()}
    return tables.comparison_words(model, other, task, found), figures
