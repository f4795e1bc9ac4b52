"""What pages show of models: scores as tables, errors as figures, for all cases and by group."""

from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

from nbhelpers import predictions, results
from nbhelpers.bias import subgroups
from nbhelpers.data.cases import load_cases, load_data_facts
from nbhelpers.evaluation import conformal
from nbhelpers.evaluation import scores as scoring
from nbhelpers.images.geometry import load_geometry
from nbhelpers.images.preparation import load_images, load_preparation
from nbhelpers.models import ensembles
from nbhelpers.models.material import pictures_of
from nbhelpers.models.saved import view_of
from nbhelpers.plots import bias as drawn_bias
from nbhelpers.plots import scores as drawn
from nbhelpers.plots import style, tables
from nbhelpers.workspace import is_synthetic

UNITS = {"age": "months", "stage": "cross-entropy", "huber": "Huber"}  # of losses
STAGES_OF_AGES = """### The stages that these ages fall into

*Derived* stages follow from the predicted months and the child's sex. Under *years cuts*, stages
begin at 4, 8, 12 and 15 years in both sexes; kappas are comparable only under the same cuts. Means
of stages include those that occur or are predicted; one that is never predicted counts as
precision 0, though its row shows a dash."""
LARGEST = 8  # errors whose radiographs are shown


def show_training(history: pd.DataFrame, loss: str) -> None:
    """The learning curve of a training; `history`: epochs or rounds, train_loss, tuning_loss.

    `loss` is `huber`, or the task where it has the loss of most trainings.
    """
    style.show(*drawn.learning_curve(history, UNITS[loss]))


def show_search(trials: pd.DataFrame, task: str) -> None:
    """The trials of a search, from eight on what mattered in them, and how the best learnt."""
    from nbhelpers.models.search import histories
    from nbhelpers.plots import models

    display(models.trials_table(trials))
    alike = models.comparable(trials)
    if len(alike) < models.FEWEST_TRIALS:
        fewest = models.FEWEST_TRIALS
        print(f"comparable trials: {len(alike)}, too few to show what mattered ({fewest} needed)")
    else:
        style.show(*models.hyperparameter_importance(alike))
    style.show(*models.trial_curves(histories(trials), UNITS[task]))


def show_scores(
    folder: Path, model: str, task: str, view: str
) -> tuple[pd.DataFrame, str, tuple[str, str], dict[str, float]]:
    """Evaluate a model, show how far it errs and for whom, and return its scores.

    Of ages: months, and the stages that they fall into. Scores stand with their 95 %
    interval, where there is one, next to predictors that look at no picture.

    Args:
        view: the prepared pictures that are shown with the largest errors.

    Returns:
        What `scores.evaluate` gives; how far the model errs, in words; the headline of its run, a
        measure and its value; and as figures what a model that is the mean over seeds gains by it.
    """
    scores = scoring.evaluate(folder, model, task)
    for split in ("test", "calibration"):
        display(tables.score_table(scores, task, split))
    name = tables.model_name(model)
    if task == "age":
        errors = scoring.case_errors(folder, model, task, "test")
        style.show(*drawn.predicted_against_true(errors, f"{name}, test split"))
        style.show(*drawn.errors_by_age(errors, f"{name}, test split"))
        show_largest(folder, model, view)
        display(Markdown(STAGES_OF_AGES))
        display(tables.score_table(scores, "stage", "test"))
        by_years = scoring.score_under_cuts(folder, model, "test", "years")
        caption = f"test split, years cuts, n = {by_years['n'].max():,}"
        display(tables.score_table(by_years, "stage", "test").rename_axis(columns=caption))
    stager = model + (scoring.DERIVED if task == "age" else "")
    names = load_data_facts(folder)["stage_names"]
    display(tables.class_table(scores, stager, "test", names).rename_axis(columns="test, by stage"))
    counts = scoring.confusion_matrix(folder, model, task, "test")
    style.show(*drawn.confusion(counts, f"{tables.model_name(stager)}, test split"))
    each, interval = scoring.over_seeds(folder, model, task, "test")
    words, figures = tables.seeds(each, interval, scores, model, task)
    verdict = tables.verdict(scores, model, task) + words
    return scores, verdict, tables.headline(scores, model, task), figures


def show_largest(folder: Path, model: str, view: str = "", count: int = LARGEST) -> pd.DataFrame:
    """The test radiographs whose predicted months lie furthest off, the worst first.

    Args:
        view: the prepared pictures to show; empty: those that the model takes.

    Returns:
        Their `case_id`, `sex`, `age_months`, `predicted_months` and `error_months`.
    """
    view = view or view_of(folder, model, "age")
    worst = scoring.largest_errors(folder, model, "test", count)
    style.show(*drawn.largest_errors(worst, pictures_of(folder, view, worst["case_id"])))
    return worst[["case_id", "sex", "age_months", "predicted_months", "error_months"]]


def show_groups(folder: Path, model: str) -> dict[str, pd.DataFrame]:
    """Errors on the test split by age and by group: of one model as figures, the rest folded.

    Returns:
        By name, `subgroups.error_table` of all models of ages, and of those of stages where there
        are any.
    """
    found = {}
    for title, task in (("errors by group", "age"), ("stages by group", "stage")):
        if models := predictions.saved_models(folder, task):
            each = [subgroups.error_table(folder, one, task, "test") for one in models]
            found[title] = pd.concat(each)
    errors = found["errors by group"]
    own, name = errors[errors["model"] == model], tables.model_name(model)
    rows = scoring.case_errors(folder, model, "age", "test")
    style.show(*drawn.errors_by_age(rows, f"{name}, test split"))
    in_figure = ("signed_error", "mae")
    style.show(*drawn_bias.by_group(own, in_figure))
    more = tables.group_table(own, [one for one in own["metric"].unique() if one not in in_figure])
    _show_folded(f"Further scores of {name} by group", more)
    words = {"train": "cases in train", "train_share": "share of train", "n": "test cases"}
    balance = subgroups.balance_table(load_cases(folder), rows).round(2)
    words |= {"mae": "mean absolute error, months"}
    _show_folded("Cases in train by group", tables.plain(balance, ["group"], words, 1))
    return found


def show_prepared(folder: Path, name: str, model: str) -> None:
    """Prepared radiographs of another folder, from young to old as a model of ages predicts them.

    Prints on how many a hand was found, where the preparation looks for one.
    """
    here, view = results.set_folder(folder, name), view_of(folder, model, "age")
    months = predictions.said_rows(here, model, "age")["predicted_months"].to_numpy()
    style.show(*drawn.gallery(load_cases(here), load_images(here, view), months))
    if load_preparation(here, view).find_hand:
        found = load_geometry(here, view)["found"]
        print(f"a hand was found on {found.sum():,} of {len(found):,}")


def show_statistics(train: pd.DataFrame, here: pd.DataFrame) -> None:
    """How statistics of pictures, a column each, are spread here and in train."""
    style.show(*drawn.image_statistics(train, here))


def show_elsewhere(
    folder: Path, name: str, model: str, scores: pd.DataFrame
) -> tuple[str, tuple[str, str]]:
    """Scores on another folder next to those on the test split, and where a model errs there.

    Args:
        name: of the folder (see `results.set_folder`).
        scores: what `external.score_set` gives of it.

    Returns:
        How far the model errs here and on the test split, in words; and the headline of the run.
    """
    finished = results.read_all_results(folder)
    # The model's own anew: its notebook may have ended before it wrote its results.
    own = scoring.evaluate(folder, model, "age").to_dict("records")
    before = pd.DataFrame([*own, *(score for result in finished for score in result["scores"])])
    before = before[before["split"] == "test"].drop_duplicates(["model", "task", "metric"])
    both = pd.concat([before, scores])
    for task, metric in (("age", "mae"), ("stage", "qwk")):
        part = both[(both["task"] == task) & (both["metric"] == metric)]
        order = scoring.in_order_of_rank(scoring.collect(finished, task), metric)
        part = part[part["model"].isin(order)]
        part = part[part.groupby("model")["split"].transform("nunique") == 2]
        if len(part):
            style.show(*drawn.scores_beside(part, order, metric))
    here, own = results.set_folder(folder, name), load_cases(folder)
    errors = scoring.case_errors(here, model, "age", "external")
    style.show(*drawn.predicted_against_true(errors, f"{tables.model_name(model)}, {name}"))
    style.show(*drawn.ages(own.loc[own["split"] == "train", "age_months"], errors["age_months"]))
    split = scores["split"].iloc[0]
    where = "On these **synthetic** radiographs, which say nothing about a hospital's, the"
    if not is_synthetic(load_data_facts(here)["fingerprint"]["data_folder"]):
        where = "The"
    words = (
        f"{where} model *{tables.model_name(model)}*, the best on calibration, has a "
        f"{tables.error_words(scores, model, 'age', split)}; on the test split its error is "
        f"{tables.score(before, model, 'test', 'mae')}."
    )
    return words, tables.headline(scores, model, "age", split)


def show_stress(table: pd.DataFrame, tips: pd.DataFrame) -> str:
    """What `stress.stress` found; gives what adds most to the error of any model, in words."""
    style.show(*drawn_bias.stress_curves(table))
    with pd.option_context("display.max_colwidth", None):
        display(tables.by_kind(tips))
    return tables.worst_corruption(table)


def show_members(known: ensembles.Known) -> None:
    """How the members' errors on calibration correlate."""
    style.show(*drawn.error_correlation(ensembles.error_correlation(known)))


def show_fitted(
    ranking: pd.Series,
    made: dict[str, ensembles.Combination],
    known: ensembles.Known,
    fits: dict[str, ensembles.Fit],
) -> None:
    """How all models rank on calibration, the weights of ensembles, what members add to the best.

    All weights except those of logistic ensembles, which have five for each column.

    Args:
        ranking: what `scores.ranked` gives.
        fits: by the kind of ensemble.
    """
    task = known.task
    style.show(*drawn.ranking(ranking, task))
    style.show(*drawn.weights(made))
    best = next(made[name] for name in ranking.index if name in made)
    if len(known.members) > 2:
        added = ensembles.leave_one_out(fits[best.kind], known)
        style.show(*drawn.added_by_member(added, task))


def show_ensembles(
    folder: Path, ranking: pd.Series, models: list[str], single: str, task: str
) -> tuple[pd.DataFrame, str, tuple[str, str], dict[str, float], pd.DataFrame]:
    """Evaluate ensembles, show their scores, how far the best of them errs, and for whom.

    Args:
        ranking: what `scores.ranked` gives.
        models: the ensembles.
        single: the member that is best on calibration.

    Returns:
        What `scores.evaluate` gives of all; whether the best is better than that member on the test
        split and how far it errs, in words; the headline of its run; the comparison as figures; and
        `subgroups.scores_by_group` of every model of the task, on the test split.
    """
    best = next(name for name in ranking.index if name in models)
    evaluated = pd.concat(scoring.evaluate(folder, name, task) for name in models)
    scores = evaluated.drop_duplicates(["model", "task", "split", "metric"])
    for split in ("test", "calibration"):
        table = tables.score_table(scores, task, split, tables.LEADING[task]).T
        display(table.rename_axis(index=None, columns=table.index.name))
    title = f"{tables.model_name(best)}, test split"
    if task == "age":
        errors = scoring.case_errors(folder, best, task, "test")
        style.show(*drawn.predicted_against_true(errors, title))
    style.show(*drawn.confusion(scoring.confusion_matrix(folder, best, task, "test"), title))
    every = predictions.saved_models(folder, task)
    by_group = [subgroups.scores_by_group(folder, name, task, "test") for name in every]
    own = by_group[every.index(best)].query("model == @best")
    display(tables.group_table(own).rename_axis(columns=f"{title}, by group"))
    against, difference = compare(folder, best, single, task)
    name, member, first = map(tables.model_name, (best, single, ranking.index[0]))
    leads = f"{first} is the best model" + f", {name} the best ensemble" * (first != name)
    verdict = (
        f"On calibration, {leads} and {member} the best member; "
        f"{against.replace('On the', 'on the', 1)} The model *{name}* has a "
        f"{tables.error_words(scores, best, task)}."
    )
    measure, value = tables.headline(scores, best, task)
    headline = (f"{measure}, {name}", value)
    return scores, verdict, headline, difference, pd.concat(by_group)


def show_coverage(folder: Path, best: str, task: str) -> tuple[pd.DataFrame, str]:
    """How often intervals or sets hold the test cases: of one model by group, then of all models.

    Returns:
        `conformal.coverage` of all cases, and of the best model at one level by group; and what it
        says of the best, in words.
    """
    level, kind = conformal.TOLD_LEVEL, conformal.TOLD_KIND if task == "age" else "by stage"
    by_model = [
        conformal.coverage(folder, name, task, "test").assign(model=name, split="test")
        for name in predictions.saved_models(folder, task)
    ]
    held = pd.concat(by_model)
    every, at_level = held["group"] == scoring.ALL, held["level"] == level
    own = held[(held["model"] == best) & at_level]
    shipped = own[own["kind"] == kind]
    display(tables.kept_table(shipped).rename_axis(columns="test cases held, by group"))
    style.show(*drawn.coverage_by_group(shipped, level))
    display(tables.coverage_table(held[every & at_level], "model"))
    return held[every | ((held["model"] == best) & at_level)], tables.coverage_words(shipped)


def show_against_best(folder: Path, task: str) -> pd.DataFrame:
    """Every model against the best on calibration, on the same test cases; gives the table."""
    table = scoring.against_best(folder, task, "test")
    style.show(*drawn.against_best(table, task))
    return table


def compare(folder: Path, model: str, other: str, task: str) -> tuple[str, dict[str, object]]:
    """Whether a model is better than another on the test split: in words, and in figures.

    Without another name: nothing.
    """
    if not other:
        return "", {}
    found = scoring.compare_models(folder, model, other, task, "test")
    figures = {f"against {other}: {key}": value for key, value in found.items()}
    return tables.comparison_words(model, other, task, found), figures


def _show_folded(title: str, table: pd.DataFrame) -> None:
    """A table that is too long to stand open on a page."""
    shown = f'<div style="overflow-x: auto">{table.to_html()}</div>'
    display(HTML(f"<details><summary>{title}</summary>{shown}</details>"))
