"""The scoreboard: every model's scores beside the trivial predictors, by task and split.

Models stand in the order of their score on `calibration`, and the best is named there: an order or
a winner taken from the test split would make the test scores of that model too good.
"""

from nbhelpers.score_cells import LOWER_IS_BETTER, cell, widest

TRIVIAL = "trivial: "
CHOOSING_SPLIT = "calibration"
SHOWN_SPLIT = "test"
EXTERNAL = "external"  # the first word of the splits of other folders
# Task, its heading, and its metrics: the first orders the models and gets a bar.
TASKS = {
    "age": (
        "Bone age",
        ("mae", "rmse", "median_error", "within_6", "within_12", "within_24", "r2"),
    ),
    "stage": (
        "Developmental stage",
        ("qwk", "accuracy", "macro_f1", "macro_precision", "macro_recall"),
    ),
}
HEADLINES = {"age": "mean absolute error, months", "stage": "quadratic weighted kappa"}
LABELS = {
    "mae": "Mean absolute error",
    "rmse": "RMSE",
    "median_error": "Median error",
    "within_6": "Within 6 months",
    "within_12": "Within 12",
    "within_24": "Within 24",
    "r2": "R²",
    "qwk": "Quadratic kappa",
    "accuracy": "Accuracy",
    "macro_f1": "F1",
    "macro_precision": "Precision",
    "macro_recall": "Recall",
}


def boards(results: list[dict]) -> list[dict]:
    """One board a task: heading, metrics, and its splits with their rows; empty tasks left out."""
    found = []
    for task, (heading, metrics) in TASKS.items():
        scores = collect(results, task)
        if not scores:
            continue
        splits = {key[1] for key in scores}
        found.append(
            {
                "task": task,
                "heading": heading,
                "metrics": [LABELS[metric] for metric in metrics],
                "splits": [split_table(scores, task, split) for split in in_order(splits)],
                "headline": headline(scores, task),
            }
        )
    return found


def collect(results: list[dict], task: str) -> dict[tuple[str, str], dict[str, dict]]:
    """(model, split) -> metric -> score, of all runs; trivial predictors stand in several once."""
    scores: dict[tuple[str, str], dict[str, dict]] = {}
    for result in results:
        for score in result.get("scores", []):
            if score["task"] == task:
                place = scores.setdefault((score["model"], score["split"]), {})
                facts = {"run": result["run"], "marks": result.get("marks", [])}
                place.setdefault(score["metric"], {**score, **facts})
    return scores


def in_order(splits: set[str]) -> list[str]:
    """The test split first, then what was not used in training, then the rest."""
    order = [SHOWN_SPLIT, EXTERNAL, CHOOSING_SPLIT, "tuning", "train"]
    first = {split: split.split()[0] for split in splits}
    return sorted(splits, key=lambda split: ([*order, first[split]].index(first[split]), split))


def headline(scores: dict, task: str) -> dict[str, str] | None:
    """What the model named on calibration scores on the test split, and the best trivial one."""
    metric = TASKS[task][1][0]
    table = split_table(scores, task, SHOWN_SPLIT)
    chosen = [row for row in table["rows"] if row["best"] and row["cells"][0]]
    trivial = [row for row in table["rows"] if row["trivial"] and row["cells"][0]]
    if not chosen:
        return None
    cell = chosen[0]["cells"][0]
    return {
        "value": cell.text,
        "caption": HEADLINES[task],
        "interval": cell.interval,
        "years": cell.years,
        "model": chosen[0]["model"],
        "run": chosen[0]["run"],
        "marks": chosen[0]["marks"],
        "n": f"{scores[chosen[0]['model'], SHOWN_SPLIT][metric]['n']:,}",
        "trivial": f"{trivial[0]['cells'][0].text} by {trivial[0]['model']}" if trivial else "",
    }


def split_table(scores: dict, task: str, split: str) -> dict:
    """The rows of one split: real models by their calibration score, trivial ones below."""
    metrics = TASKS[task][1]
    here = {model: by_metric for (model, at), by_metric in scores.items() if at == split}
    models = [model for model in in_order_of_rank(scores, metrics[0]) if model in here]
    best = best_model(scores, metrics[0])
    scale = widest(here, metrics[0])
    rows = [
        {
            "model": model.removeprefix(TRIVIAL),
            "trivial": model.startswith(TRIVIAL),
            "best": model == best,
            "run": next(iter(here[model].values()))["run"],
            "marks": marks_of(scores, model, split),
            "cells": [
                cell(here[model].get(metric), metric, scale if metric == metrics[0] else 0.0)
                for metric in metrics
            ],
        }
        for model in models
    ]
    sizes = [score["n"] for by_metric in here.values() for score in by_metric.values()]
    return {"split": split, "n": max(sizes, default=0), "rows": rows}


def marks_of(scores: dict, model: str, split: str) -> list[str]:
    """The marks of the runs that made a model and that scored it here; trivial ones have none."""
    places = [(model, SHOWN_SPLIT), (model, CHOOSING_SPLIT), (model, split)]
    marks = [
        mark
        for place in places
        if place in scores and not model.startswith(TRIVIAL)
        for mark in next(iter(scores[place].values()))["marks"]
    ]
    return list(dict.fromkeys(marks))


def rank(scores: dict, model: str, metric: str) -> tuple[bool, float, str]:
    """What the rows are sorted by."""
    value = scores.get((model, CHOOSING_SPLIT), {}).get(metric, {}).get("value")
    sign = 1 if metric in LOWER_IS_BETTER else -1
    return model.startswith(TRIVIAL), float("inf") if value is None else sign * value, model


def in_order_of_rank(scores: dict, metric: str) -> list[str]:
    """All models by their score on calibration, the best first; trivial ones last."""
    return sorted({model for model, _ in scores}, key=lambda model: rank(scores, model, metric))


def best_model(scores: dict, metric: str) -> str | None:
    """The model with the best score on calibration, or None where none was scored there."""
    scored = {
        place: by_metric
        for place, by_metric in scores.items()
        if place[1] == CHOOSING_SPLIT
        and not place[0].startswith(TRIVIAL)
        and by_metric.get(metric, {}).get("value") is not None
    }
    return next(iter(in_order_of_rank(scored, metric)), None)
