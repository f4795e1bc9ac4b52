"""The model card of a run folder: what its best models are, for whom, and how far they err.

It is written from results files alone and describes, for each task, the model that is best on
calibration; no figure of the test split chooses anything. Its sections follow Mitchell et al.,
"Model Cards for Model Reporting", FAT* 2019.
"""

from pathlib import Path

from nbhelpers.batch import pages, scoreboard, status
from nbhelpers.data import stages
from nbhelpers.evaluation.scores import DERIVED, best_model, collect, tables_scored_on_test
from nbhelpers.workspace import InputError, atomic_path

CARD = "model_card.html"
PREPARING = "01_"  # how the names of the runs begin that prepare pictures


def write_card(environment, run_folder: Path, index: dict) -> str:
    """Write the card into a run folder; `environment` is Jinja's, with the templates of `pages`.

    `index` holds what the index shows: `results` (the contents of results files), `profile`, and
    `data` in words. Returns the name of the file; "" where no model was scored on calibration:
    there is nothing to describe, and an older card is removed.
    """
    path = run_folder / CARD
    results = pages.shorten(index["results"], pages.places_of(run_folder))
    models = [best for task in scoreboard.TASKS if (best := best_of(run_folder, results, task))]
    if not models:
        path.unlink(missing_ok=True)
        return ""
    facts = card_facts(run_folder, results, models)
    said = [index["data"], *(note for of in facts["prepared"] for note in of.get("notes", []))]
    facts |= {"profile": index["profile"], "data": index["data"], "models": models}
    facts["synthetic"] = any("synthetic" in text for text in said)
    with atomic_path(path) as temporary:
        page = environment.get_template("model_card.html.j2").render(page=facts)
        temporary.write_text(page, encoding="utf-8")
    return path.name


def card_facts(run_folder: Path, results: list[dict], models: list[dict]) -> dict[str, object]:
    """What the template shows beside the models."""
    data = pages.read_optional(run_folder / "data.json")
    newest = max(results, key=lambda content: content.get("finished", ""))
    counts = data.get("manifest", {}).get("counts", {}) or newest.get("splits", {})
    order = [*pages.SPLIT_ORDER, *counts]
    prepared = [content for content in results if content["run"].startswith(PREPARING)]
    return {
        "folder": run_folder.name,
        "newest": newest.get("finished", ""),
        "fingerprint": data.get("fingerprint", {}).get("hash", ""),
        "counts": sorted(counts.items(), key=lambda item: order.index(item[0])),
        "excluded": len(data.get("excluded", [])),
        "stages": stage_rows(data),
        "prepared": [{**content, **link(run_folder, content)} for content in prepared],
        "made_with": made_with(results, models),
        "looks": looks(run_folder),
        "few": scoreboard.FEW,
        "css": pages.style_sheet(),
        "disclaimer": pages.DISCLAIMER,
    }


def best_of(run_folder: Path, results: list[dict], task: str) -> dict[str, object]:
    """What the card says of the best model of a task; {} where none was scored on calibration."""
    heading, metrics = scoreboard.TASKS[task]
    scores = collect(results, task)
    model = best_model(scores, metrics[0])
    if model is None:
        return {}
    maker = maker_of(results, model, task)
    parameters = maker.get("parameters", {})
    members = [name.strip() for name in str(parameters.get("combine") or "").split(",")]
    of_task = parameters.get("task", task)
    return {
        "task": task,
        "heading": heading,
        "name": model,
        "months_of": model.removesuffix(DERIVED) if DERIVED in model else "",
        "maker": link(run_folder, maker),
        "finished": maker.get("finished", ""),
        "parameters": parameters,
        "members": [
            {**link(run_folder, maker_of(results, name, of_task)), "name": name}
            for name in members
            if name
        ],
        "metrics": [scoreboard.LABELS[metric] for metric in metrics],
        "scores": scoreboard.score_tables(scores, task, model),
        "coverage": scoreboard.coverage_table(results, task, model),
        "groups": scoreboard.group_tables(results, task, model),
    }


def maker_of(results: list[dict], model: str, task: str) -> dict:
    """The results of the run that first scored a model on a task; {} where none did."""
    for content in results:
        for score in content.get("scores", []):
            if (score["model"], score["task"]) == (model, task):
                return content
    return {}


def link(run_folder: Path, content: dict) -> dict[str, object]:
    """A run, its page ("" where there is none), its marks, and if a later attempt is not complete.

    `content` is of its results file; {} gives no run.
    """
    run = content.get("run", "")
    page = status.page_path(run_folder, run)
    return {
        "run": run,
        "page": page.name if run and page.exists() else "",
        "marks": content.get("marks", []),
        "open": status.read_state(run_folder, run).get("status", status.DONE) != status.DONE,
    }


def made_with(results: list[dict], models: list[dict]) -> dict[str, dict]:
    """Parameters and versions of the runs that made the models: caption to table, each once."""
    used = {model["maker"]["run"] for model in models}
    makers = [content for content in results if content["run"] in used]
    tables = {f"Parameters of {of['run']}": of.get("parameters", {}) for of in makers}
    versions = {f"Versions of {of['run']}": of.get("versions", {}) for of in makers}
    first = next(iter(versions.values()))
    if all(other == first for other in versions.values()):
        versions = {"Versions": first}
    return {caption: table for caption, table in (tables | versions).items() if table}


def stage_rows(data: dict) -> list[tuple[str, float, float]]:
    """Each stage's name and the months at which it begins, for girls and for boys."""
    try:
        cuts = stages.parse_cuts(data.get("stage_cuts", ""))
    except InputError:
        return []
    begins = [(0.0, *cuts[sex]) for sex in ("female", "male")]
    return list(zip(data.get("stage_names", []), *begins, strict=False))


def looks(run_folder: Path) -> dict[str, int]:
    """Model and task, and how many of its prediction tables had their test rows scored."""
    try:
        tables = tables_scored_on_test(run_folder)
    except ValueError:  # a line that a kill cut off
        return {}
    names = [f"{one['model']} ({one['task']})" for one in tables.to_dict("records")]
    return {name: names.count(name) for name in names}
