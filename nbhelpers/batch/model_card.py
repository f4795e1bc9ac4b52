"""The model card of a run folder: what its best models are, for whom, and how far they err.

It is written from results files alone and describes, for each task, the model that is best on
calibration; no figure of the test split chooses anything. Its sections follow Mitchell et al.,
"Model Cards for Model Reporting", FAT* 2019.
"""

from pathlib import Path

from nbhelpers.batch import claim, scoreboard, status
from nbhelpers.data import stages
from nbhelpers.evaluation.scores import DERIVED, tables_scored_on_test
from nbhelpers.plots.tables import model_name
from nbhelpers.workspace import write_text

CARD = "model_card.html"
PREPARING = "01_"  # how the names of the runs begin that prepare pictures


def write_card(environment, run_folder: Path, folder: dict) -> str:
    """Write the card and the checklist (see `claim`) into a run folder.

    `environment` is Jinja's, with the templates of `pages`, `folder` what `scoreboard.read_folder`
    gives, with its `boards` and what was `found` (see `findings`). Returns the card's name; ""
    where no model was scored on calibration: there is nothing to describe, and older pages go.
    """
    path = run_folder / CARD
    models = [best_of(folder, board) for board in folder["boards"] if board["best"]]
    if not models:
        for page in (path, run_folder / claim.PAGE):
            page.unlink(missing_ok=True)
        return ""
    prepared = [of for run, of in folder["results"].items() if run.startswith(PREPARING)]
    facts = {
        **folder,
        "models": models,
        "prepared": [link(folder, content) for content in prepared],
        "stages": stage_rows(folder["data"]),
        "excluded": len(folder["data"].get("excluded", [])),
        "looks": looks(run_folder),
        "few": scoreboard.FEW,
    }
    claim.write_claim(environment, run_folder, folder, facts["looks"])
    return write_text(path, environment.get_template("model_card.html.j2").render(page=facts)).name


def best_of(folder: dict, board: dict) -> dict[str, object]:
    """What the card says of the best model of a task, with its `board` of `scoreboard.boards`."""
    results, task, model = list(folder["results"].values()), board["task"], board["best"]
    maker = maker_of(results, model, task)
    members = filter(None, str(maker["figures"].get("members", "")).split(", "))
    of_task = maker["parameters"].get("task", task)
    return {
        **board,
        "name": model_name(model),
        "months_of": model_name(model.removesuffix(DERIVED)) if DERIVED in model else "",
        "maker": link(folder, maker),
        "members": [
            {**link(folder, maker_of(results, name, of_task)), "name": model_name(name)}
            for name in members
        ],
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
