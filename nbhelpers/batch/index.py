"""The index of a run folder: a scoreboard, and a way into every page."""

import base64
import io
import json
from pathlib import Path

from nbhelpers.batch import model_card, pages, scoreboard
from nbhelpers.batch import status as batch_status
from nbhelpers.results import NOTEBOOK, scored_runs
from nbhelpers.workspace import atomic_path

PICTURE_TAG = "picture"
PICTURE_WIDTH = 720  # pixels of a card's picture, twice what it is shown with
OUTDATED = "of earlier models: score it again"
KEY_FIGURES = 3  # of a page on its card
# State of a run -> what its card says. A run without a state was not reached.
WORDS = {
    batch_status.DONE: "complete",
    batch_status.FAILED: "failed",
    batch_status.STOPPED: "stopped",
    batch_status.RUNNING: "running",
    "": "not run",
}


def write_index(run_folder: Path, profile_name: str, runs: list[str]) -> Path:
    """Write `index.html` from whatever there is; `runs` are the names the profile asks for."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts = index_facts(run_folder, profile_name, runs)
    facts["card"] = model_card.write_card(environment, run_folder, facts)
    page = environment.get_template("index.html.j2").render(page=facts)
    path = run_folder / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def index_facts(run_folder: Path, profile_name: str, runs: list[str]) -> dict[str, object]:
    """Everything the template shows."""
    runs = [*runs, *scored_runs(run_folder, runs)]
    results = {run: pages.read_optional(batch_status.results_path(run_folder, run)) for run in runs}
    mark_outdated(results)
    finished = [content for content in results.values() if content]
    cards = [card(run_folder, run, results[run]) for run in runs]
    data = pages.read_optional(run_folder / "data.json")
    newest = max(finished, key=lambda content: content.get("finished", ""), default={})
    counts = data.get("manifest", {}).get("counts", {}) or newest.get("splits", {})
    return {
        "title": "Bone age from hand radiographs",
        "profile": profile_name,
        "results": finished,
        "cards": cards,
        "open": [one for one in cards if one["status"] != batch_status.DONE],
        "boards": scoreboard.boards(finished),
        "intervals": scoreboard.interval_boards(finished),
        "data": data_text(run_folder, data.get("fingerprint", {})),
        "fingerprint": data.get("fingerprint", {}).get("hash", ""),
        "splits": split_bar(counts),
        "hardware": newest.get("hardware", {}),
        "versions": newest.get("versions", {}),
        "notes": [(content["run"], note) for content in finished for note in content["notes"]]
        if all("notes" in content for content in finished)
        else [],
        "run_time": pages.duration(sum(one["seconds"] for one in cards)),
        "css": pages.style_sheet(),
        "disclaimer": pages.DISCLAIMER,
        "unfit": pages.unfit(run_folder, profile_name),
    }


def mark_outdated(results: dict[str, dict]) -> None:
    """Mark scores on other folders that were made before a model of the run was made anew."""
    made = [content.get("finished", "") for run, content in results.items() if run[:2] < "06"]
    for run, content in results.items():
        old = content.get("finished", "") < max(made, default="")
        if content and run.startswith(NOTEBOOK) and old:
            content["marks"] = [*content.get("marks", []), OUTDATED]


def data_text(run_folder: Path, fingerprint: dict) -> str:
    """How many radiographs there are and of which folder, without the way to it."""
    if not fingerprint:
        return ""
    folder = Path(fingerprint["data_folder"])
    count = f"{fingerprint.get('images', 0):,}"
    # A run that is given no data draws its own, inside the run folder.
    if folder.is_relative_to(run_folder):
        return f"{count} synthetic radiographs"
    return f"{count} radiographs of {folder.name}"


def card(run_folder: Path, run: str, results: dict) -> dict[str, object]:
    """What the index shows of one run."""
    state = pages.shorten(batch_status.read_state(run_folder, run), pages.places_of(run_folder))
    notebook = read_notebook(batch_status.executed_path(run_folder, run))
    page = batch_status.page_path(run_folder, run)
    source, alt = picture(notebook)
    seconds = float(state.get("seconds") or results.get("seconds") or 0.0)
    status = str(state.get("status", ""))
    return {
        "run": run,
        "title": results.get("title") or heading(notebook) or run,
        "question": results.get("question", ""),
        "marks": results.get("marks", []),
        "status": status,
        "word": WORDS[status],
        "message": state.get("message", ""),
        "page": page.name if page.exists() else "",
        "picture": source,
        "alt": alt,
        "seconds": seconds,
        "run_time": pages.duration(seconds),
        "figures": key_figures(results.get("figures", {})),
        "earlier": bool(results) and status not in (batch_status.DONE, ""),
    }


def key_figures(figures: dict) -> list[tuple[str, str]]:
    """The first key figures of a results file as name and text, comparisons last."""
    known = [
        (name, figures[name])
        for name in sorted(figures, key=lambda name: name.startswith("against "))
        if isinstance(figures[name], int | float | str)
    ]
    return [(name.replace("_", " "), figure_text(value)) for name, value in known[:KEY_FIGURES]]


def figure_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def split_bar(counts: dict[str, int]) -> list[dict[str, object]]:
    """The splits with their share of all cases, in per cent."""
    known = [(name, counts[name]) for name in pages.SPLIT_ORDER if counts.get(name)]
    total = sum(n for _, n in known)
    return [{"name": name, "n": n, "share": round(100 * n / total, 2)} for name, n in known]


def read_notebook(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"cells": []}


def heading(notebook: dict) -> str:
    """The notebook's title: its first heading of level 1."""
    for cell in notebook["cells"]:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line[2:].strip()
    return ""


def picture(notebook: dict) -> tuple[str, str]:
    """A page's picture as a data address and its alternative text; ("", "") where it has none.

    It is the first PNG of the cell tagged `picture`, else the first of the page.
    """
    found = []
    for cell in notebook["cells"]:
        tagged = PICTURE_TAG in cell["metadata"].get("tags", [])
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                facts = output.get("metadata", {}).get("image/png", {})
                found.append((not tagged, output["data"]["image/png"], facts.get("alt", "")))
    if not found:
        return "", ""
    _, encoded, alt = min(found, key=lambda one: one[0])
    return shrink(encoded), alt


def shrink(encoded: str | list[str]) -> str:
    """A PNG in base64, made small enough for a card."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode("".join(encoded)))).convert("RGB")
    if image.width > PICTURE_WIDTH:
        height = max(1, round(image.height * PICTURE_WIDTH / image.width))
        image = image.resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.quantize(64).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
