"""The scoreboard: every model's scores beside the trivial predictors, by task and split.

Models stand in the order of their score on `calibration`, and the best is named there: an order or
a winner taken from the test split would make the test scores of that model too good.

How a score stands in a table of the index: as text, with its interval and a bar.

What the index says of intervals and sets: how many of the cases they hold, how wide they are.

The tables of a model card: scores, coverage and groups of one model, out of results files.
"""

from dataclasses import dataclass, replace

from nbhelpers.evaluation import scores as scoring
from nbhelpers.evaluation.conformal import TOLD_LEVEL
from nbhelpers.evaluation.scores import (
    CHOOSING_SPLIT,
    LOWER_IS_BETTER,
    TRIVIAL,
    best_model,
    collect,
    in_order_of_rank,
)

MONTHS = ("mae", "rmse", "median_error")
SHARES = ("within_6", "within_12", "within_24", "accuracy")


@dataclass(frozen=True)
class Cell:
    """A score as the table shows it."""

    text: str  # "11.3"
    interval: str  # "10.9 to 11.8", or ""
    years: str  # "0.94 years" for the error that has a bar, or ""
    bar: dict[str, float] | None  # left, width and point in percent of the column's scale


def widest(by_model: dict[str, dict], metric: str) -> float:
    """The end of the bars' scale: 1 for shares and kappa, else the largest upper end."""
    if metric not in LOWER_IS_BETTER:
        return 1.0
    scores = [by_metric[metric] for by_metric in by_model.values() if metric in by_metric]
    ends = [score["upper"] or score["value"] or 0.0 for score in scores]
    return max(ends, default=0.0) * 1.02


def cell(score: dict | None, metric: str, scale: float) -> Cell | None:
    """A score as text, its 95 % interval beside it, and a bar where `scale` is not 0."""
    if score is None or score["value"] is None:
        return None
    value, lower, upper = score["value"], score["lower"], score["upper"]
    known = lower is not None and upper is not None
    interval = f"{number(lower, metric)} to {number(upper, metric)}" if known else ""
    years = f"{value / 12:.2f} years" if metric in MONTHS and scale > 0 else ""
    bar = None
    if scale > 0:
        left, right = (lower, upper) if known else (value, value)
        left, point, right = (100 * min(max(at / scale, 0.0), 1.0) for at in (left, value, right))
        bar = {"left": round(left, 2), "width": round(right - left, 2), "point": round(point, 2)}
    return Cell(number(value, metric), interval, years, bar)


def number(value: float, metric: str) -> str:
    """One decimal for months, per cent for shares, two or three decimals for the rest."""
    if metric in SHARES:
        return f"{100 * value:.1f} %"
    if metric in LOWER_IS_BETTER:
        return f"{value:.1f}"
    return f"{value + 0.0:.3f}".replace("-0.000", "0.000")


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


COMBINING = "05_"  # how the names of the runs begin that tell of coverage and groups
EVERYONE = "all"  # the group of all cases
FEW = 30  # a group of fewer cases is marked
TRAINING_SAW = ("train", "tuning")
CARD_KIND_WORDS = {
    "plain": "the same for all",
    "scaled": "scaled by difficulty",
    "mondrian": "by sex and stage",
}
# Task -> the table that tells of coverage, its column of widths, and how they are written.
SIZES = {
    "age": ("intervals", "width_months", "{:.1f} months wide"),
    "stage": ("sets", "mean_stages", "{:.2f} stages"),
}
GROUP_METRICS = {
    "mae": "Mean absolute error, months",
    "signed_error": "Predicted minus true, months",
    "qwk": "Quadratic kappa",
    "accuracy": "Accuracy",
}


def score_tables(scores: dict, task: str, model: str) -> list[dict]:
    """The model above the trivial predictors, a table a split; `scores` as the scoreboard's.

    Each is `split_table`; splits that training saw are left out.
    """
    shown = {
        (name, split): by_metric
        for (name, split), by_metric in scores.items()
        if name == model or name.startswith(scoring.TRIVIAL)
    }
    splits = {split for name, split in shown if name == model} - set(TRAINING_SAW)
    return [split_table(shown, task, split) for split in in_order(splits)]


def coverage_table(results: list[dict], task: str, model: str) -> dict[str, list]:
    """How often intervals or sets hold the truth of all test cases; {} where nothing tells.

    `levels` as headings, and a row a kind with n and a cell each level; beside a cell's interval
    stands how wide they are.
    """
    table, size, words = SIZES[task]
    by_kind: dict[str, dict[float, dict]] = {}
    for row in model_rows(results, table, model):
        if row["group"] == EVERYONE and row.get("split", SHOWN_SPLIT) == SHOWN_SPLIT:
            by_kind.setdefault(row["kind"], {}).setdefault(row["level"], row)
    levels = sorted({level for told in by_kind.values() for level in told})
    rows = [
        {
            "kind": CARD_KIND_WORDS.get(kind, kind),
            "n": max(row["n"] for row in told.values()),
            "cells": [coverage_cell(told.get(level), size, words) for level in levels],
        }
        for kind, told in by_kind.items()
    ]
    return {"levels": [f"{100 * level:.0f} %" for level in levels], "rows": rows} if rows else {}


def coverage_cell(row: dict | None, size: str, words: str) -> Cell | None:
    """A coverage as a share with its interval, and in the place of years the mean width."""
    shown = cell(row and {**row, "value": row["coverage"]}, "accuracy", 0.0)
    if shown is None or row.get(size) is None:
        return shown
    return replace(shown, years=words.format(row[size]))


def group_tables(results: list[dict], task: str, model: str) -> list[dict[str, object]]:
    """A table a split: `split`, `metrics` as headings, `rows` of group, n, few and cells."""
    by_split: dict[str, dict[str, dict]] = {}
    for row in model_rows(results, "subgroups", model):
        if row["task"] == task:
            groups = by_split.setdefault(row["split"], {})
            groups.setdefault(row["group"], {}).setdefault(row["metric"], row)
    tables = []
    for split in in_order(set(by_split)):
        groups = by_split[split]
        known = [metric for metric in GROUP_METRICS if any(metric in of for of in groups.values())]
        rows = []
        for group, of in groups.items():
            n = max(row["n"] for row in of.values())
            cells = [group_cell(of.get(metric), metric) for metric in known]
            rows.append({"group": group, "n": n, "few": n < FEW, "cells": cells})
        metrics = [GROUP_METRICS[metric] for metric in known]
        tables.append({"split": split, "metrics": metrics, "rows": rows})
    return tables


def group_cell(row: dict | None, metric: str) -> Cell | None:
    """A score of a group; a signed error keeps its sign, plus too."""
    if metric != "signed_error" or row is None or row["value"] is None:
        return cell(row, metric, 0.0)
    ends = (row["lower"], row["upper"])
    interval = "" if None in ends else f"{ends[0]:+z.1f} to {ends[1]:+z.1f}"
    return Cell(f"{row['value']:+z.1f}", interval, "", None)


def model_rows(results: list[dict], table: str, model: str) -> list[dict]:
    """What the runs that combine models tell of one model in a table; older files have none."""
    return [
        row
        for content in results
        if content["run"].startswith(COMBINING)
        for row in content.get("tables", {}).get(table, [])
        if row["model"] == model
    ]


# Table of a results file -> task, heading, the kind shown, the column of its size, the unit.
BOARDS = {
    "intervals": ("age", "Intervals around bone ages", "mondrian", "width_months", "months wide"),
    "sets": ("stage", "Sets of stages", "by stage", "mean_stages", "stages"),
}
KIND_WORDS = {"mondrian": "sex and stage", "by stage": "stage"}


def interval_boards(results: list[dict]) -> list[dict]:
    """One board a task: heading, its splits, and a row a model in the scoreboard's order."""
    found = []
    for title, (task, heading, kind, size, unit) in BOARDS.items():
        held = collect_intervals(results, title, kind)
        ranked = collect(results, task)
        order = scoring.in_order_of_rank(ranked, TASKS[task][1][0])
        splits = in_order({split for _, split in held})
        rows = [
            {
                "model": model,
                "marks": marks_of(ranked, model, SHOWN_SPLIT),
                "cells": [interval_cell(held.get((model, at)), size, unit) for at in splits],
            }
            for model in order
            if any((model, split) in held for split in splits)
        ]
        if rows:
            by = KIND_WORDS[kind]
            found.append({"heading": heading, "by": by, "splits": splits, "rows": rows})
    return found


def collect_intervals(results: list[dict], title: str, kind: str) -> dict[tuple[str, str], dict]:
    """(model, split) -> the record of all cases at `TOLD_LEVEL`."""
    return {
        (record["model"], record.get("split", "test")): record
        for content in results
        for record in content.get("tables", {}).get(title, [])
        if (record["kind"], record["level"], record["group"]) == (kind, TOLD_LEVEL, "all")
    }


def interval_cell(record: dict | None, size: str, unit: str) -> dict[str, str] | None:
    """The share held with its 95 % interval and n, and the size of intervals or sets."""
    if record is None:
        return None
    share, lower, upper = (100 * record[key] for key in ("coverage", "lower", "upper"))
    decimals = 1 if unit.startswith("months") else 2
    return {
        "share": f"{share:.1f} %",
        "interval": f"{lower:.1f} to {upper:.1f}, n = {record['n']:,}",
        "size": f"{record[size]:.{decimals}f} {unit}",
    }
