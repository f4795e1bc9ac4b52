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
from nbhelpers.plots.tables import METRICS, SHOWN, TASKS, kind_words, model_name, value_and_interval
from nbhelpers.results import EMPTY, NOTEBOOK, scored_runs
from nbhelpers.workspace import is_synthetic

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
    found = {run: pages.read_optional(status.results_path(run_folder, run)) for run in runs}
    results = {run: EMPTY | content for run, content in found.items() if content}
    # Scores on other folders that were made before a model of the run was made anew.
    made = [content.get("finished", "") for run, content in results.items() if run[:2] < "06"]
    for run, content in results.items():
        if run.startswith(NOTEBOOK) and content.get("finished", "") < max(made, default=""):
            content["marks"] = [*content["marks"], OUTDATED]
    data = pages.read_optional(run_folder / "data.json")
    fingerprint, described = data.get("fingerprint", {}), ""
    source = Path(fingerprint.get("data_folder", ""))
    if fingerprint:
        kind = "synthetic radiographs" if is_synthetic(source) else f"radiographs of {source.name}"
        described = f"{fingerprint.get('images', 0):,} {kind}"
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
        "described": described,
        "synthetic": is_synthetic(source),
        "fingerprint": fingerprint.get("hash", ""),
        "counts": {split: counts[split] for split in (*SPLITS, *counts) if counts.get(split)},
        "newest": newest,
        "css": pages.style_sheet(),
        "disclaimer": pages.DISCLAIMER,
        "unfit": pages.unfit(run_folder, profile),
    }
    return pages.shorten(facts, pages.places_of(run_folder))


def boards(results: list[dict]) -> list[dict]:
    """One board a task: heading, columns, and its splits with their rows; empty tasks left out.

    `chosen` is the row of the model named on calibration, `trivial` that of the best trivial one.
    """
    found = []
    for task, heading in TASKS.items():
        if scores := collect(results, task):
            splits = in_order({split for _, split in scores})
            rows = [row for row in split_table(scores, task, "test")["rows"] if row["cells"][0]]
            board = {
                "heading": heading,
                "columns": headings(SHOWN[task]),
                "splits": [split_table(scores, task, split) for split in splits],
                "chosen": next((row for row in rows if row["best"]), None),
                "trivial": next((row for row in rows if row["trivial"]), None),
            }
            found.append(board)
    return found


def headings(metrics: list[str]) -> list[str]:
    """The names of metrics with a capital letter."""
    return [METRICS[metric].heading[0].upper() + METRICS[metric].heading[1:] for metric in metrics]


def in_order(splits: set[str]) -> list[str]:
    """The test split first, then what was not used in training, then the rest."""
    order = ["test", EXTERNAL, CHOOSING_SPLIT, "tuning", "train"]
    first = {split: split.split()[0] for split in splits}
    return sorted(splits, key=lambda split: ([*order, first[split]].index(first[split]), split))


def split_table(scores: dict, task: str, split: str, only: str = "") -> dict:
    """The rows of a split: models (all, or `only` one) by calibration score, then trivial ones."""
    ranking, *others = SHOWN[task]
    here = {model: by_metric for (model, at), by_metric in scores.items() if at == split}
    best, scale = best_model(scores, ranking), 1.0
    if ranking in LOWER_IS_BETTER:  # else a share or kappa
        ranked = [by_metric[ranking] for by_metric in here.values() if ranking in by_metric]
        scale = 1.02 * max((score["upper"] or score["value"] or 0.0 for score in ranked), default=0)
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


def cell(score: dict | None, metric: str, scale: float = 0.0, more: str = "") -> dict | None:
    """A score as text, with its 95 % interval and n, and a bar and years where `scale` is not 0."""
    if score is None or score["value"] is None:
        return None
    text, interval = value_and_interval(score, metric)
    bar = None
    if scale:
        ends = [score["value"] if score[key] is None else score[key] for key in ("lower", "upper")]
        left, right, point = (100 * max(at, 0) / scale for at in (*ends, score["value"]))
        bar = {"left": left, "width": right - left, "point": point}
        if METRICS[metric].unit == "months":
            more = f"{score['value'] / 12:.2f} years"
    return {"text": text, "interval": interval, "n": score["n"], "bar": bar, "more": more}


def marks_of(scores: dict, model: str, split: str) -> list[str]:
    """The marks of the runs that made a model and that scored it here; trivial ones have none."""
    if model.startswith(TRIVIAL):
        return []
    places = [(model, "test"), (model, CHOOSING_SPLIT), (model, split)]
    by_metric = [scores[place] for place in places if place in scores]
    marks = [mark for of in by_metric for mark in next(iter(of.values()))["marks"]]
    return list(dict.fromkeys(marks))


def by(records: list[dict], row: str, column: str) -> dict[object, dict[object, dict]]:
    """Records by what they say of `row`, then by what they say of `column`."""
    found: dict[object, dict[object, dict]] = {}
    for record in records:
        found.setdefault(record[row], {})[record[column]] = record
    return found


def coverage(results: list[dict], task: str) -> list[dict]:
    """How often intervals or sets hold the truth of all cases of a split, and how large they are.

    Older results files name no split.
    """
    tables = [content["tables"].get(INTERVALS[task][0], []) for content in results]
    records = [{"split": "test", **record} for table in tables for record in table]
    return [record for record in records if record["group"] == ALL]


def interval_boards(results: list[dict]) -> list[dict]:
    """Of each task: heading, splits, and a row a model in the scoreboard's order."""
    found = []
    for task, (_, heading, kind) in INTERVALS.items():
        told = [r for r in coverage(results, task) if (r["kind"], r["level"]) == (kind, TOLD_LEVEL)]
        held, scores = by(told, "model", "split"), collect(results, task)
        splits = in_order({record["split"] for record in told})
        quantiles = {record.get("quantiles") for record in told}
        known = quantiles.pop() if len(quantiles) == 1 else None
        rows = [
            {
                "name": model_name(model),
                "marks": marks_of(scores, model, "test"),
                "cells": [coverage_cell(held[model].get(split)) for split in splits],
            }
            for model in in_order_of_rank(scores, SHOWN[task][0])
            if model in held
        ]
        if rows:
            board = {"heading": heading, "kind": kind_words(kind, known), "splits": splits}
            found.append({**board, "rows": rows})
    return found


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
    of_model = [
        record
        for record in coverage(results, task)
        if (record["model"], record["split"]) == (model, "test")
    ]
    levels = sorted({record["level"] for record in of_model})
    rows = [
        {
            "name": kind_words(kind, next(iter(held.values())).get("quantiles")),
            "n": max(record["n"] for record in held.values()),
            "cells": [coverage_cell(held.get(level)) for level in levels],
        }
        for kind, held in by(of_model, "kind", "level").items()
    ]
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
        groups = by([row for row in records if row["split"] == split], "group", "metric")
        metrics = [metric for metric in METRICS if any(metric in of for of in groups.values())]
        rows = []
        for group, of in groups.items():
            n = max(row["n"] for row in of.values())
            cells = [cell(of.get(metric), metric) for metric in metrics]
            rows.append({"name": group, "n": n, "few": n < FEW, "cells": cells})
        tables.append({"split": split, "columns": headings(metrics), "rows": rows})
    return tables
