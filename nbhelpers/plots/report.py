"""What a page shows of any model: its scores as tables, its errors as figures."""

from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from nbhelpers import predictions
from nbhelpers.bias import subgroups
from nbhelpers.data.cases import load_cases, load_data_facts
from nbhelpers.evaluation import conformal
from nbhelpers.evaluation import scores as scoring
from nbhelpers.images.preparation import load_images
from nbhelpers.models import ensembles
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


def show_losses(by_model: dict[str, float], task: str) -> None:
    """What each model's cases of calibration cost on average, the best first."""
    name = "mean absolute error, months" if task == "age" else "wrong stages, %"
    table = tables.LOSSES[task][0] * pd.Series(by_model, name=name).sort_values().to_frame()
    display(table.rename(tables.model_name).round(2))


def show_members(known: ensembles.Known) -> dict[str, float]:
    """What each member's cases of calibration cost, and how the members' errors correlate."""
    own = ensembles.part_of(known, known.calibration)
    alone = {
        name: ensembles.losses(own.task, own.predicted[:, place], own.truth).mean()
        for place, name in enumerate(own.members)
    }
    show_losses(alone, known.task)
    style.show(*drawn.error_correlation(ensembles.error_correlation(known)))
    return alone


def show_weights(made: dict[str, ensembles.Combination]) -> None:
    """The weights of ensembles by name, but for logistic ones, which have five for each column."""
    rows = {}
    for name, one in made.items():
        if len(one.weights) == 1:
            rows[name] = dict(zip(one.members, one.weights[0], strict=True))
            if one.task == "age":
                ends = {"a boy adds, months": one.sex[0], "intercept, months": one.intercept[0]}
                rows[name] |= ends
    table = pd.DataFrame.from_dict(rows, orient="index")
    display(table.rename(index=tables.model_name, columns=tables.model_name).round(3))


def show_ensembles(
    folder: Path, models: list[str], best: str, task: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate ensembles, show their scores, how far the best of them errs, and for whom.

    Returns:
        What `scores.evaluate` gives of all, and `subgroups.scores_by_group` of every model of the
        task, on the test split.
    """
    evaluated = pd.concat(scoring.evaluate(folder, name, task) for name in models)
    scores = evaluated.drop_duplicates(["model", "task", "split", "metric"])
    for split in ("test", "calibration"):
        display(tables.score_table(scores, task, split, tables.SHOWN[task][:3]).T)
    title = f"{tables.model_name(best)}, test split"
    if task == "age":
        errors = scoring.case_errors(folder, best, task, "test")
        style.show(*drawn.predicted_against_true(errors, title))
    style.show(*drawn.confusion(scoring.confusion_matrix(folder, best, task, "test"), title))
    every = predictions.saved_models(folder, task)
    by_group = [subgroups.scores_by_group(folder, name, task, "test") for name in every]
    display(tables.group_table(by_group[every.index(best)].query("model == @best")))
    return scores, pd.concat(by_group)


def show_coverage(folder: Path, best: str, task: str) -> tuple[pd.DataFrame, str]:
    """How often intervals or sets hold the test cases: of the best model by group, and of all.

    Returns:
        `conformal.coverage` of all cases, and of the best model at one level by group; and what it
        says of the best, in words.
    """
    measure = conformal.coverage if task == "age" else conformal.set_coverage
    level, kind = conformal.TOLD_LEVEL, conformal.TOLD_KIND if task == "age" else "by stage"
    by_model = [
        measure(folder, name, "test").assign(model=name, split="test")
        for name in predictions.saved_models(folder, task)
    ]
    held = pd.concat(by_model)
    every, at_level = held["group"] == scoring.ALL, held["level"] == level
    own = held[(held["model"] == best) & at_level]
    style.show(*drawn.coverage_by_group(own, level))
    display(tables.coverage_table(own, "group"))
    display(tables.coverage_table(held[every & at_level], "model"))
    (row,) = own[(own["group"] == scoring.ALL) & (own["kind"] == kind)].to_dict("records")
    return held[every | ((held["model"] == best) & at_level)], tables.coverage_words(row)


def show_added(added: pd.DataFrame, task: str) -> None:
    """What each member adds, of `ensembles.leave_one_out`."""
    style.show(*drawn.added_by_member(added, task))


def show_pairs(folder: Path, task: str) -> None:
    """Every pair of models on the same test cases, with Holm's correction."""
    unit = "months" if task == "age" else "kappa"
    style.show(*drawn.all_pairs(scoring.all_pairs(folder, task, "test"), unit))


def compare(folder: Path, model: str, other: str, task: str) -> tuple[str, dict[str, object]]:
    """How much a model's error differs from another's on the test split: in words, and in figures.

    Without another name: nothing.
    """
    if not other:
        return "", {}
    found = scoring.compare_models(folder, model, other, task, "test")
    figures = {f"against {other}: {key}": value for key, value in found.items()}
    return tables.comparison_words(model, other, task, found), figures
