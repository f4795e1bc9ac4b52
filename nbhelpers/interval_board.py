"""What the index says of intervals and sets: how many of the cases they hold, how wide they are."""

from nbhelpers import scoreboard
from nbhelpers.intervals import TOLD_LEVEL

# Table of a results file -> task, heading, the kind shown, the column of its size, the unit.
BOARDS = {
    "intervals": ("age", "Intervals around bone ages", "mondrian", "width_months", "months wide"),
    "sets": ("stage", "Sets of stages", "by stage", "mean_stages", "stages"),
}
KIND_WORDS = {"mondrian": "sex and stage", "by stage": "stage"}


def boards(results: list[dict]) -> list[dict]:
    """One board a task: heading, its splits, and a row a model in the scoreboard's order."""
    found = []
    for title, (task, heading, kind, size, unit) in BOARDS.items():
        held = collect(results, title, kind)
        ranked = scoreboard.collect(results, task)
        order = scoreboard.in_order_of_rank(ranked, scoreboard.TASKS[task][1][0])
        splits = scoreboard.in_order({split for _, split in held})
        rows = [
            {
                "model": model,
                "marks": scoreboard.marks_of(ranked, model, scoreboard.SHOWN_SPLIT),
                "cells": [cell(held.get((model, at)), size, unit) for at in splits],
            }
            for model in order
            if any((model, split) in held for split in splits)
        ]
        if rows:
            by = KIND_WORDS[kind]
            found.append({"heading": heading, "by": by, "splits": splits, "rows": rows})
    return found


def collect(results: list[dict], title: str, kind: str) -> dict[tuple[str, str], dict]:
    """(model, split) -> the record of all cases at `TOLD_LEVEL`."""
    return {
        (record["model"], record.get("split", "test")): record
        for content in results
        for record in content.get("tables", {}).get(title, [])
        if (record["kind"], record["level"], record["group"]) == (kind, TOLD_LEVEL, "all")
    }


def cell(record: dict | None, size: str, unit: str) -> dict[str, str] | None:
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
