"""The tables of a model card: scores, coverage and groups of one model, out of results files."""

from dataclasses import replace

from nbhelpers import score_cells, scoreboard
from nbhelpers.score_cells import Cell
from nbhelpers.scoreboard import SHOWN_SPLIT

COMBINING = "05_"  # how the names of the runs begin that tell of coverage and groups
EVERYONE = "all"  # the group of all cases
FEW = 30  # a group of fewer cases is marked
TRAINING_SAW = ("train", "tuning")
KIND_WORDS = {
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

    Each is `scoreboard.split_table`; splits that training saw are left out.
    """
    shown = {
        (name, split): by_metric
        for (name, split), by_metric in scores.items()
        if name == model or name.startswith(scoreboard.TRIVIAL)
    }
    splits = {split for name, split in shown if name == model} - set(TRAINING_SAW)
    return [scoreboard.split_table(shown, task, split) for split in scoreboard.in_order(splits)]


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
            "kind": KIND_WORDS.get(kind, kind),
            "n": max(row["n"] for row in told.values()),
            "cells": [coverage_cell(told.get(level), size, words) for level in levels],
        }
        for kind, told in by_kind.items()
    ]
    return {"levels": [f"{100 * level:.0f} %" for level in levels], "rows": rows} if rows else {}


def coverage_cell(row: dict | None, size: str, words: str) -> Cell | None:
    """A coverage as a share with its interval, and in the place of years the mean width."""
    shown = score_cells.cell(row and {**row, "value": row["coverage"]}, "accuracy", 0.0)
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
    for split in scoreboard.in_order(set(by_split)):
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
        return score_cells.cell(row, metric, 0.0)
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
