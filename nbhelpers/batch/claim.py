"""The checklist CLAIM 2024 of a run folder, each item answered out of its files, or not at all.

Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiol
Artif Intell 2024;6:e240300; items are named here in words of our own. What a file holds is an
answer, with its key; whether it is a good one is for a reader to judge, so nothing is counted.
"""

import textwrap
from pathlib import Path

from nbhelpers.batch import pages
from nbhelpers.results import EMPTY
from nbhelpers.workspace import read_json, write_text

PAGE = "claim.html"
ANSWERED, NOT_DONE, NOT_APPLICABLE = "answered", "not done", "not applicable"
NOTHING = EMPTY | {"scored": 0}  # values that answer nothing
LONGEST = 160  # characters of a value that is shown


def write_claim(environment, run_folder: Path, folder: dict, looks: dict[str, int]) -> str:
    """Write the checklist into a run folder; returns the name of the file.

    Args:
        environment: Jinja's, with the templates of `pages`.
        folder: what `scoreboard.read_folder` gives.
        looks: prediction tables whose test rows were opened, by model and task.
    """
    results = folder["results"].items()
    # Radiographs that the suite drew are of no other hospital.
    kept = {f"results/{run}.json": of for run, of in results if run not in folder["drawn_sets"]}
    files = {"data.json": folder["data"], **kept}
    items = [answer(item, files) for item in read_json(pages.TEMPLATES / "claim.json")]
    template = environment.get_template("claim.html.j2")
    page = template.render(page={**folder, "items": items, "looks": looks})
    return write_text(run_folder / PAGE, page).name


def answer(item: dict, files: dict[str, dict]) -> dict[str, object]:
    """An item of `claim.json` with its `state` and the `found` file, key and value of each answer.

    files: their content by name.
    """
    found = [
        {"file": file, "key": ", ".join(keys), "value": words(value)}
        for start, *keys in item["from"]
        for file, content in files.items()
        if file.removeprefix("results/").startswith(start)
        and (value := value_at(content, keys)) not in (None, "", {}, NOTHING.get(keys[-1]))
    ]
    state = ANSWERED if found else NOT_DONE
    if item["otherwise"].startswith(NOT_APPLICABLE):
        state = NOT_APPLICABLE
    return {**item, "state": state, "found": found}


def value_at(content: object, keys: list[str]) -> object:
    """What stands in nested dictionaries; None where there is no such key."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def words(value: object) -> str:
    """A value in a line: numbers of four digits, of a table the number of its rows."""
    if isinstance(value, dict):
        told = value.items()
        value = ", ".join(f"{name} {words(of)}" for name, of in told if of not in (None, ""))
    if isinstance(value, float):
        value = f"{value:.4g}"
    if isinstance(value, list):
        plain = value and not isinstance(value[0], dict)
        value = ", ".join(map(str, value)) if plain else f"{len(value):,} rows"
    return textwrap.shorten(str(value), LONGEST, placeholder=" …")
