"""What a run folder holds, read once as plain data, and the tables of scores made of it.

The scoreboard shows every model alongside the trivial predictors, by task and split. Models are
in the order of their score on `calibration`, and the best is named there: an order or a winner
taken from the test split would make the test scores of that model too good. Index and model card
show their tables alike: columns, and rows of a name, marks and cells.
"""

from pathlib import Path

from nbhelpers.batch import pages, status
from nbhelpers.data.splits import SPLITS
from nbhelpers.evaluation import scores as scoring
from nbhelpers.evaluation.conformal import TOLD_KIND, TOLD_LEVEL
from nbhelpers.plots import tables
from nbhelpers.results import EMPTY, NOTEBOOK, scored_runs, set_source
from nbhelpers.workspace import is_synthetic

EXTERNAL = "external"  # the first word of the splits of other folders
OUTDATED = "scored by earlier models: score it again"
FEW = 30  # a group of fewer cases is marked
# Task -> the table of a results file that holds coverage, and the kind that stands for all.
INTERVALS = {"age": ("intervals", TOLD_KIND), "stage": ("sets", "by stage")}


def read_folder(run_folder: Path, profile: str, runs: list[str]) -> dict[str, object]:
    """All that index and model card show of a run folder, without the folders of this machine.

    `runs` are those that the profile asks for; runs that scored another folder are added.
    """
    runs = [*runs, *scored_runs(run_folder, runs)]
    found = {run: pages.read_optional(status.results_path(run_folder, run)) for run in runs}
    results = {run: EMPTY | content for run, content in found.items() if content}
    # Scores on other folders that were made before a model of the run was made anew.
    made = [content.get("finished", "") for run, content in results.items() if run[:2] < "06"]
    for run, content in results.items():
        if run.startswith(NOTEBOOK) and content.get("finished", "") < max(made, default=""):
            content["marks"] = [*content["marks"], OUTDATED]
    data = pages.read_optional(run_folder / "data.json")
    source = data.get("fingerprint", {}).get("data_folder", "")
    newest = max(results.values(), key=lambda content: content.get("finished", ""), default={})
    counts = data.get("manifest", {}).get("counts", {}) or newest.get("splits", {})
    facts = {
        "folder": run_folder.name,
        "profile": profile,
        "runs": runs,
        "results": results,
        "states": {run: status.read_state(run_folder, run) for run in runs},
        "pages": {run: f"{run}.html" for run in runs if status.page_path(run_folder, run).exists()},
        "data": data,
        "synthetic": is_synthetic(source),
        "drawn_sets": [
            run
            for run, content in results.items()
            if (name := content["figures"].get("folder"))
            and is_synthetic(set_source(run_folder, name))
        ],
        "counts": {split: counts[split] for split in (*SPLITS, *counts) if counts.get(split)},
        "newest": newest,
        "css": pages.style_sheet(),
        "disclaimer": pages.DISCLAIMER,
        "unfit": pages.unfit(run_folder, profile),
    }
    return pages.shorten(facts, pages.places_of(run_folder))


def boards(results: list[dict]) -> list[dict]:
    """One board a task: heading, columns, and its splits with their rows; empty tasks left out.

    The last column, where results say, is how often the intervals or sets of `TOLD_LEVEL` hold the
    truth; `kind` says of what kind they are, and is "" where there are none.
    """
    found = []
    for task, heading in tables.TASKS.items():
        scores, kinds = scoring.collect(results, task), set()
        for row in told_coverage(results, task):
            if row["group"] == scoring.ALL and (row["model"], row["split"]) in scores:
                scores[row["model"], row["split"]]["coverage"] = row
                kinds.add(row["name"])
        if scores:
            metrics = [*tables.SHOWN[task], *["coverage"] * bool(kinds)]
            splits = in_order({split for _, split in scores})
            board = {
                "task": task,
                "heading": heading,
                "best": scoring.best_model(scores, tables.SHOWN[task][0]),
                "columns": [tables.METRICS[metric].heading for metric in metrics],
                "kind": " or ".join(sorted(kinds)),
                "splits": [split_table(scores, metrics, split) for split in splits],
            }
            found.append(board)
    return found


def in_order(splits: set[str]) -> list[str]:
    """The test split first, then what was not used in training, then the rest."""
    order = ["test", EXTERNAL, scoring.CHOOSING_SPLIT, "tuning", "train"]
    first = {split: split.split()[0] for split in splits}
    return sorted(splits, key=lambda split: ([*order, first[split]].index(first[split]), split))


def split_table(scores: dict, metrics: list[str], split: str) -> dict:
    """The rows of a split: models by their first metric on calibration, then trivial predictors."""
    here = {model: by_metric for (model, at), by_metric in scores.items() if at == split}
    best = scoring.best_model(scores, metrics[0])
    rows = [
        {
            "name": tables.model_name(model.removeprefix(scoring.TRIVIAL)),
            "trivial": model.startswith(scoring.TRIVIAL),
            "best": model == best,
            "page": f"{next(iter(here[model].values()))['run']}.html",
            "marks": marks_of(scores, model, split),
            "cells": [cell(here[model].get(metric)) for metric in metrics],
        }
        for model in scoring.in_order_of_rank(scores, metrics[0])
        if model in here
    ]
    sizes = [score["n"] for by_metric in here.values() for score in by_metric.values()]
    return {"split": split, "n": max(sizes, default=0), "rows": rows}


def cell(score: dict | None) -> dict | None:
    """A score with its text and its 95 % interval as text; None where there is no value."""
    if score is None or score["value"] is None:
        return None
    text, interval = tables.value_and_interval(score, score["metric"])
    return {**score, "text": text, "interval": interval}


def marks_of(scores: dict, model: str, split: str) -> list[str]:
    """The marks of the runs that made a model and that scored it here; trivial ones have none."""
    if model.startswith(scoring.TRIVIAL):
        return []
    places = [(model, "test"), (model, scoring.CHOOSING_SPLIT), (model, split)]
    by_metric = [scores[place] for place in places if place in scores]
    marks = [mark for of in by_metric for mark in next(iter(of.values()))["marks"]]
    return list(dict.fromkeys(marks))


def records(results: list[dict], table: str) -> list[dict]:
    """The rows of a table in all results files that have it, with their run."""
    return [
        {**row, "run": content["run"]}
        for content in results
        for row in content["tables"].get(table, [])
    ]


def rows_of(scores: list[dict], row: str, column: str, columns: list) -> list[dict]:
    """Scores as rows, one for each value of `row`, with a cell for each of the `columns`.

    A row has what its first score says, its number of cases `n`, and whether these are `few`.
    """
    found: dict[object, dict[object, dict]] = {}
    for score in scores:
        found.setdefault(score[row], {})[score[column]] = score
    rows = []
    for of in found.values():
        n = max(score["n"] for score in of.values())
        cells = [cell(of.get(one)) for one in columns]
        rows.append({**next(iter(of.values())), "n": n, "few": n < FEW, "cells": cells})
    return rows


def coverage(results: list[dict], task: str) -> list[dict]:
    """How often intervals or sets hold the truth, as scores, with how large they are.

    Older results files name no split.
    """
    found = []
    for row in records(results, INTERVALS[task][0]):
        sizes = [
            f"{row[size]:.{digits}f} {unit}"
            for size, (_, unit, digits) in tables.SIZES.items()
            if row.get(size) is not None
        ]
        name = tables.kind_words(row["kind"], row.get("quantiles"))
        score = {"metric": "coverage", "value": row["coverage"], "more": " ".join(sizes)}
        found.append({"split": "test", **row, **score, "name": name})
    return found


def told_coverage(results: list[dict], task: str) -> list[dict]:
    """As `coverage`, of the kind and level that stand for all."""
    of = INTERVALS[task][1], TOLD_LEVEL
    return [row for row in coverage(results, task) if (row["kind"], row["level"]) == of]


def coverage_table(results: list[dict], task: str, model: str) -> dict[str, list]:
    """How often intervals or sets hold the truth of all test cases.

    One row per kind, one column per level; {} where no results say.
    """
    of = model, "test", scoring.ALL
    told = [r for r in coverage(results, task) if (r["model"], r["split"], r["group"]) == of]
    levels = sorted({record["level"] for record in told})
    columns = [f"{100 * level:.0f} % promised" for level in levels]
    return {"columns": columns, "rows": rows_of(told, "kind", "level", levels)} if told else {}


def group_tables(results: list[dict], task: str, model: str) -> list[dict[str, object]]:
    """One table per split: `split`, `columns`, and one row per group with one cell per metric."""
    of = model, task
    told = [r for r in records(results, "subgroups") if (r["model"], r["task"]) == of]
    found = []
    for split in in_order({row["split"] for row in told}):
        here = [{**row, "name": row["group"]} for row in told if row["split"] == split]
        measured = {row["metric"] for row in here}
        metrics = [metric for metric in tables.METRICS if metric in measured]
        columns = [tables.METRICS[metric].heading for metric in metrics]
        rows = rows_of(here, "group", "metric", metrics)
        found.append({"split": split, "columns": columns, "rows": rows})
    return found
