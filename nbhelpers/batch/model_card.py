"""The model card of a run folder: what its best models are, for whom, and how far they err.

It is written from results files alone and describes, for each task, the model that is best on
calibration; no figure of the test split chooses anything. Its sections follow Mitchell et al.,
"Model Cards for Model Reporting", FAT* 2019.
"""

from pathlib import Path

from nbhelpers.batch import claim, pages, scoreboard, status
from nbhelpers.data import stages
from nbhelpers.evaluation.scores import DERIVED, best_model, collect, tables_scored_on_test
from nbhelpers.plots.tables import SHOWN, TASKS, model_name

CARD = "model_card.html"
PREPARING = "01_"  # how the names of the runs begin that prepare pictures


def write_card(environment, run_folder: Path, folder: dict) -> str:
    """Write the card and the checklist (see `claim`) into a run folder.

    `environment` is Jinja's, with the templates of `pages`, `folder` what `scoreboard.read_folder`
    gives. Returns the card's name; "" where no model was scored on calibration: there is nothing to
    describe, and older pages are removed.
    """
    path = run_folder / CARD
    models = [best for task in TASKS if (best := best_of(folder, task))]
    if not models:
        for page in (path, run_folder / claim.PAGE):
            page.unlink(missing_ok=True)
        return ""
    results = folder["results"].values()
    prepared = [content for content in results if content["run"].startswith(PREPARING)]
    facts = {
        **folder,
        "models": models,
        "prepared": [link(folder, content) for content in prepared],
        "made_with": made_with(results, models),
        "stages": stage_rows(folder["data"]),
        "excluded": len(folder["data"].get("excluded", [])),
        "looks": looks(run_folder),
        "few": scoreboard.FEW,
    }
    claim.write_claim(environment, run_folder, folder, facts["looks"])
    return pages.write(path, environment.get_template("model_card.html.j2").render(page=facts)).name


def best_of(folder: dict, task: str) -> dict[str, object]:
    """What the card says of the best model of a task; {} where none was scored on calibration."""
    results = list(folder["results"].values())
    scores = collect(results, task)
    model = best_model(scores, SHOWN[task][0])
    if model is None:
        return {}
    maker = maker_of(results, model, task)
    members = filter(None, str(maker["figures"].get("members", "")).split(", "))
    of_task = maker["parameters"].get("task", task)
    return {
        "task": task,
        "heading": TASKS[task],
        "name": model_name(model),
        "months_of": model_name(model.removesuffix(DERIVED)) if DERIVED in model else "",
        "maker": link(folder, maker),
        "members": [
            {**link(folder, maker_of(results, name, of_task)), "name": model_name(name)}
            for name in members
        ],
        "columns": scoreboard.headings(SHOWN[task]),
        "scores": scoreboard.score_tables(scores, task, model),
        "coverage": scoreboard.coverage_table(results, task, model),
        "groups": scoreboard.group_tables(results, task, model),
    }


def maker_of(results: list[dict], model: str, task: str) -> dict:
    """The results of the run that first scored a model on a task; {} where none did."""
    for content in results:
        if any((score["model"], score["task"]) == (model, task) for score in content["scores"]):
            return content
    return {}


def link(folder: dict, content: dict) -> dict[str, object]:
    """The results of a run, its page ("" where there is none), and if a later attempt is open.

    `content` is of its results file; {} gives no run.
    """
    run = content.get("run", "")
    state = folder["states"].get(run, {}).get("status", status.DONE)
    return {**content, "page": folder["pages"].get(run, ""), "open": state != status.DONE}


def made_with(results: list[dict], models: list[dict]) -> dict[str, dict]:
    """Parameters and versions of the runs that made the models: caption to table, each once."""
    used = {model["maker"]["run"] for model in models}
    makers = [content for content in results if content["run"] in used]
    tables = {f"Parameters of {of['run']}": of["parameters"] for of in makers}
    versions = {f"Versions of {of['run']}": of["versions"] for of in makers}
    first = next(iter(versions.values()))
    if all(other == first for other in versions.values()):
        versions = {"Versions": first}
    return {caption: table for caption, table in (tables | versions).items() if table}


def stage_rows(data: dict) -> list[tuple[str, float, float]]:
    """Each stage's name and the months at which it begins, for girls and for boys."""
    if "stage_cuts" not in data:
        return []
    begins = stages.begins(data["stage_cuts"])
    return list(zip(data["stage_names"], begins["female"], begins["male"], strict=True))


def looks(run_folder: Path) -> dict[str, int]:
    """Model and task, and how many of its prediction tables had their test rows scored."""
    tables = tables_scored_on_test(run_folder)
    names = tables["model"].map(model_name) + " (" + tables["task"] + ")"
    return names.value_counts(sort=False).to_dict()
