"""The index of a run folder: a scoreboard, and a way into every page."""

import base64
import io
import re
from pathlib import Path

from nbhelpers.batch import model_card, pages, scoreboard, status
from nbhelpers.results import EMPTY

PICTURE_WIDTH = 720  # pixels of a card's picture, twice what it is shown with


def write_index(run_folder: Path, profile_name: str, runs: list[str]) -> Path:
    """Write `index.html` from whatever there is; `runs` are the names the profile asks for."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pages.TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = pages.duration
    folder = scoreboard.read_folder(run_folder, profile_name, runs)
    results = folder["results"].values()
    facts = {
        **folder,
        "card": model_card.write_card(environment, run_folder, folder),
        "cards": [card(run_folder, folder, run) for run in folder["runs"]],
        "boards": scoreboard.boards(results),
        "intervals": scoreboard.interval_boards(results),
    }
    pages.link_pages(run_folder, folder["runs"])
    page = environment.get_template("index.html.j2").render(page=facts)
    return pages.write(run_folder / "index.html", page)


def card(run_folder: Path, folder: dict, run: str) -> dict[str, object]:
    """What the index shows of one run."""
    results, state = folder["results"].get(run, EMPTY), folder["states"][run]
    cells = pages.read_optional(status.executed_path(run_folder, run)).get("cells", [])
    (title, question), (source, alt) = opening(cells), picture(cells)
    return {
        "run": run,
        "title": results.get("title") or title or run,
        "question": question,
        "results": results,
        "status": "",  # a run without a state was not reached
        **state,
        "page": folder["pages"].get(run, ""),
        "picture": source,
        "alt": alt,
        "seconds": float(state.get("seconds") or results.get("seconds") or 0.0),
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
    for cell in sorted(cells, key=lambda one: "picture" not in one["metadata"].get("tags", [])):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                facts = output.get("metadata", {}).get("image/png", {})
                return shrink(output["data"]["image/png"]), facts.get("alt", "")
    return "", ""


def shrink(encoded: str | list[str]) -> str:
    """A PNG in base64, made small enough for a card."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode("".join(encoded)))).convert("RGB")
    image.thumbnail((PICTURE_WIDTH, image.height), reducing_gap=2)
    buffer = io.BytesIO()
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
