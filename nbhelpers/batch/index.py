"""The index of a run folder: a scoreboard, and a way into every page."""

import base64
import io
import re
from pathlib import Path

from nbhelpers.batch import model_card, pages, scoreboard, status

PICTURE_WIDTH = 720  # pixels of a card's picture, twice what it is shown with
# What a card says where it is not the state itself; a run without a state was not reached.
STATES = {status.DONE: "complete", "": "not run"}


def write_index(run_folder: Path, profile_name: str, runs: list[str]) -> Path:
    """Write `index.html` from whatever there is; `runs` are the names the profile asks for."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pages.TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = scoreboard.read_folder(run_folder, profile_name, runs)
    results = folder["results"].values()
    cards = [card(run_folder, folder, run) for run in folder["runs"]]
    facts = {
        **folder,
        "card": model_card.write_card(environment, run_folder, folder),
        "cards": cards,
        "open": [one for one in cards if one["status"] != status.DONE],
        "boards": scoreboard.boards(results),
        "intervals": scoreboard.interval_boards(results),
        "total": sum(folder["counts"].values()),
        "notes": [(content["run"], note) for content in results for note in content["notes"]],
        "run_time": pages.duration(sum(one["seconds"] for one in cards)),
    }
    page = environment.get_template("index.html.j2").render(page=facts)
    return pages.write(run_folder / "index.html", page)


def card(run_folder: Path, folder: dict, run: str) -> dict[str, object]:
    """What the index shows of one run."""
    results, state = folder["results"].get(run, {}), folder["states"][run]
    cells = pages.read_optional(status.executed_path(run_folder, run)).get("cells", [])
    (title, question), (source, alt) = opening(cells), picture(cells)
    seconds = float(state.get("seconds") or results.get("seconds") or 0.0)
    at = state.get("status", "")
    return {
        "run": run,
        "title": results.get("title") or title or run,
        "question": question,
        "marks": results.get("marks", []),
        "status": at,
        "word": STATES.get(at, at),
        "message": state.get("message", ""),
        "page": folder["pages"].get(run, ""),
        "picture": source,
        "alt": alt,
        "seconds": seconds,
        "run_time": pages.duration(seconds),
        "headline": results.get("headline", ["", ""]),
        "earlier": bool(results) and at not in (status.DONE, ""),
    }


def opening(cells: list[dict]) -> tuple[str, str]:
    """The notebook's title, and the question below it in bold; "" where there is none."""
    texts = ["".join(cell["source"]) for cell in cells]
    text = next((text for text in texts if text.startswith("# ")), "")
    asked = re.search(r"\*\*(.+?\?)\*\*", text)
    return text.partition("\n")[0].removeprefix("# "), asked[1] if asked else ""


def picture(cells: list[dict]) -> tuple[str, str]:
    """A page's picture as a data address and its alternative text; ("", "") where it has none.

    It is the first PNG of the cell tagged `picture`, else the first of the page.
    """
    found = []
    for cell in cells:
        tagged = "picture" in cell["metadata"].get("tags", [])
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
    image.thumbnail((PICTURE_WIDTH, image.height), reducing_gap=2)
    buffer = io.BytesIO()
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
