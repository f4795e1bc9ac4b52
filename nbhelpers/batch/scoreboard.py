"""What a run folder holds, read once as plain data, and the tables of scores made of it.

The scoreboard shows every model beside the trivial predictors, by task and split. Models stand in
the order of their score on `calibration`, and the best is named there: an order or a winner taken
from the test split would make the test scores of that model too good. Index and model card show
their tables alike: columns, and rows of a name, marks and cells.
"""

from pathlib import Path

from nbhelpers.batch import pages, status
from nbhelpers.data.splits import SPLITS
from nbhelpers.evaluation.conformal import TOLD_KIND, TOLD_LEVEL
from nbhelpers.evaluation.scores import (
    ALL,
    CHOOSING_SPLIT,
    TRIVIAL,
    best_model,
    collect,
    in_order_of_rank,
)
from nbhelpers.metrics import LOWER_IS_BETTER
from nbhelpers.plots.tables import KINDS, METRICS, SHOWN, TASKS, model_name, value_and_interval
from nbhelpers.results import NOTEBOOK, scored_runs

SHOWN_SPLIT = "test"
EXTERNAL = "external"  # the first word of the splits of other folders
OUTDATED = "of earlier models: score it again"
COMBINING = "05_"  # how the names of the runs begin that write coverage and groups
FEW = 30  # a group of fewer cases is marked
TRAINING_SAW = ("train", "tuning")
# Task -> the table of a results file that holds coverage, its heading, and the kind of the index.
INTERVALS = {
    "age": ("intervals", "Intervals around bone ages", TOLD_KIND),
    "stage": ("sets", "Sets of stages", "by stage"),
}


def read_folder(run_folder: Path, profile: str, runs: list[str]) -> dict[str, object]:
    """All that index and model card show of a run folder, without the folders of this machine.

    `runs` are those that the profile asks for; runs that scored another folder are added.
    """
    runs = [*runs, *scored_runs(run_folder, runs)]
    missing = {"scores": [], "figures": {}, "notes": [], "marks": [], "tables": {}}
    found = {run: pages.read_optional(status.results_path(run_folder, run)) for run in runs}
    results = {run: missing | content for run, content in found.items() if content}
    mark_outdated(results)
    data = pages.read_optional(run_folder / "data.json")
    fingerprint = data.get("fingerprint", {})
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
        "described": describe(run_folder, fingerprint),
        "fingerprint": fingerprint.get("hash", ""),
        "counts": {split: counts[split] for split in (*SPLITS, *counts) if counts.get(split)},
        "newest": newest,
        "css": pages.style_sheet(),
        "disclaimer": pages.DISCLAIMER,
        "unfit": pages.unfit(run_folder, profile),
    }
    return pages.shorten(facts, pages.places_of(run_folder))


def mark_outdated(results: dict[str, dict]) -> None:
    """Mark scores on other folders that were made before a model of the run was made anew."""
    made = [content.get("finished", "") for run, content in results.items() if run[:2] < "06"]
    for run, content in results.items():
        if run.startswith(NOTEBOOK) and content.get("finished", "") < max(made, default=""):
            content["marks"] = [*content["marks"], OUTDATED]


def describe(run_folder: Path, fingerprint: dict) -> str:
    """How many radiographs there are and of which folder, without the way to it."""
    if not fingerprint:
        return ""
    folder, count = Path(fingerprint["data_folder"]), f"{fingerprint.get('images', 0):,}"
    # A run that is given no data draws its own, inside the run folder.
    if folder.is_relative_to(run_folder):
        return f"{count} synthetic radiographs"
    return f"{count} radiographs of {folder.name}"


def boards(results: list[dict]) -> list[dict]:
    """One board a task: heading, columns, and its splits with their rows; empty tasks left out."""
    found = []
    for task, heading in TASKS.items():
        if scores := collect(results, task):
            splits = in_order({split for _, split in scores})
            board = {"task": task, "heading": heading, "columns": headings(SHOWN[task])}
            board["splits"] = [split_table(scores, task, split) for split in splits]
            board["headline"] = headline(split_table(scores, task, SHOWN_SPLIT)["rows"])
            found.append({**board, "caption": METRICS[SHOWN[task][0]].heading})
    return found


def headings(metrics: list[str]) -> list[str]:
    """The names of metrics with a capital letter."""
    return [METRICS[metric].heading[0].upper() + METRICS[metric].heading[1:] for metric in metrics]


def in_order(splits: set[str]) -> list[str]:
    """The test split first, then what was not used in training, then the rest."""
    order = [SHOWN_SPLIT, EXTERNAL, CHOOSING_SPLIT, "tuning", "train"]
    first = {split: split.split()[0] for split in splits}
    return sorted(splits, key=lambda split: ([*order, first[split]].index(first[split]), split))


def headline(rows: list[dict]) -> dict | None:
    """The row of the model named on calibration and that of the best trivial predictor."""
    scored = [row for row in rows if row["cells"][0]]
    chosen = next((row for row in scored if row["best"]), None)
    trivial = next((row for row in scored if row["trivial"]), None)
    return chosen and {"chosen": chosen, "trivial": trivial}


def split_table(scores: dict, task: str, split: str, only: str = "") -> dict:
    """The rows of a split: models (all, or `only` one) by calibration score, then trivial ones."""
    ranking, *others = SHOWN[task]
    here = {model: by_metric for (model, at), by_metric in scores.items() if at == split}
    best, scale = best_model(scores, ranking), widest(here.values(), ranking)
    rows = [
        {
            "name": model_name(model.removeprefix(TRIVIAL)),
            "trivial": model.startswith(TRIVIAL),
            "best": model == best,
            "page": f"{next(iter(here[model].values()))['run']}.html",
            "marks": marks_of(scores, model, split),
            "cells": [
                cell(here[model].get(ranking), ranking, scale),
                *(cell(here[model].get(metric), metric) for metric in others),
            ],
        }
        for model in in_order_of_rank(scores, ranking)
        if model in here and (not only or model == only or model.startswith(TRIVIAL))
    ]
    sizes = [score["n"] for by_metric in here.values() for score in by_metric.values()]
    return {"split": split, "n": max(sizes, default=0), "rows": rows}


def widest(by_model: list[dict], metric: str) -> float:
    """The end of the bars' scale: 1 for shares and kappa, else the largest upper end."""
    if metric not in LOWER_IS_BETTER:
        return 1.0
    scores = [by_metric[metric] for by_metric in by_model if metric in by_metric]
    return 1.02 * max((one["upper"] or one["value"] or 0.0 for one in scores), default=0.0)


def cell(score: dict | None, metric: str, scale: float = 0.0, more: str = "") -> dict | None:
    """A score as text, with its 95 % interval and n, and a bar and years where `scale` is not 0."""
    if score is None or score["value"] is None:
        return None
    text, interval = value_and_interval(score, metric)
    bar = None
    if scale:
        ends = [score["value"] if score[key] is None else score[key] for key in ("lower", "upper")]
        left, point, right = (
            100 * min(max(at / scale, 0.0), 1.0) for at in (ends[0], score["value"], ends[1])
        )
        bar = {"left": round(left, 2), "width": round(right - left, 2), "point": round(point, 2)}
        if METRICS[metric].unit == "months":
            more = f"{score['value'] / 12:.2f} years"
    return {"text": text, "interval": interval, "n": score["n"], "bar": bar, "more": more}


def marks_of(scores: dict, model: str, split: str) -> list[str]:
    """The marks of the runs that made a model and that scored it here; trivial ones have none."""
    if model.startswith(TRIVIAL):
        return []
    places = [(model, SHOWN_SPLIT), (model, CHOOSING_SPLIT), (model, split)]
    by_metric = [scores[place] for place in places if place in scores]
    marks = [mark for of in by_metric for mark in next(iter(of.values()))["marks"]]
    return list(dict.fromkeys(marks))


def interval_boards(results: list[dict]) -> list[dict]:
    """Of each task: heading, splits, and a row a model in the scoreboard's order."""
    found = []
    for task, (_, heading, kind) in INTERVALS.items():
        held = {
            (model, split): record
            for (model, split, *of), record in collect_coverage(results, task).items()
            if of == [kind, TOLD_LEVEL]
        }
        scores, splits = collect(results, task), in_order({split for _, split in held})
        rows = [
            {
                "name": model_name(model),
                "marks": marks_of(scores, model, SHOWN_SPLIT),
                "cells": [coverage_cell(held.get((model, split))) for split in splits],
            }
            for model in in_order_of_rank(scores, SHOWN[task][0])
            if any((model, split) in held for split in splits)
        ]
        if rows:
            board = {"heading": heading, "kind": KINDS[kind], "splits": splits}
            found.append({**board, "rows": rows})
    return found


def collect_coverage(results: list[dict], task: str) -> dict[tuple, dict]:
    """(model, split, kind, level) -> coverage of all cases, and how large intervals or sets are."""
    return {
        (record["model"], record.get("split", SHOWN_SPLIT), record["kind"], record["level"]): record
        for content in results
        for record in content["tables"].get(INTERVALS[task][0], [])
        if record["group"] == ALL
    }


def coverage_cell(record: dict | None) -> dict | None:
    """A coverage as a share with its interval, and the mean size of the intervals or sets."""
    if record is None:
        return None
    size = ""
    if record.get("width_months") is not None:
        size = f"{record['width_months']:.1f} months wide"
    elif record.get("mean_stages") is not None:
        size = f"{record['mean_stages']:.2f} stages"
    return cell({**record, "value": record["coverage"]}, "coverage", more=size)


def score_tables(scores: dict, task: str, model: str) -> list[dict]:
    """The model above the trivial predictors, a `split_table` a split that training did not see."""
    splits = {split for name, split in scores if name == model} - set(TRAINING_SAW)
    return [split_table(scores, task, split, model) for split in in_order(splits)]


def coverage_table(results: list[dict], task: str, model: str) -> dict[str, list]:
    """How often intervals or sets hold the truth of all test cases: a row a kind, a column a level.

    {} where no results say.
    """
    held = {
        (kind, level): record
        for (name, split, kind, level), record in collect_coverage(results, task).items()
        if (name, split) == (model, SHOWN_SPLIT)
    }
    levels = sorted({level for _, level in held})
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in held):
        records = [held.get((kind, level)) for level in levels]
        n = max(record["n"] for record in records if record)
        cells = [coverage_cell(record) for record in records]
        rows.append({"name": KINDS.get(kind, kind), "n": n, "cells": cells})
    columns = [f"{100 * level:.0f} % promised" for level in levels]
    return {"columns": columns, "rows": rows} if rows else {}


def group_tables(results: list[dict], task: str, model: str) -> list[dict[str, object]]:
    """A table a split: `split`, `columns` and `rows` of name, n, few and cells."""
    records = [
        row
        for content in results
        if content["run"].startswith(COMBINING)
        for row in content["tables"].get("subgroups", [])
        if (row["model"], row["task"]) == (model, task)
    ]
    tables = []
    for split in in_order({row["split"] for row in records}):
        groups: dict[str, dict[str, dict]] = {}
        for row in records:
            if row["split"] == split:
                groups.setdefault(row["group"], {})[row["metric"]] = row
        metrics = [metric for metric in METRICS if any(metric in of for of in groups.values())]
        rows = []
        for group, of in groups.items():
            n = max(row["n"] for row in of.values())
            cells = [cell(of.get(metric), metric) for metric in metrics]
            rows.append({"name": group, "n": n, "few": n < FEW, "cells": cells})
        tables.append({"split": split, "columns": headings(metrics), "rows": rows})
    return tables
