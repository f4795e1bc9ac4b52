"""The index of a run folder: its front page, and a way into every other page."""

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from nbhelpers.batch import findings, model_card, pages, places, scoreboard, status
from nbhelpers.evaluation.conformal import told_ends
from nbhelpers.evaluation.scores import case_errors
from nbhelpers.plots.tables import corruption_words, model_name, score_words
from nbhelpers.results import EMPTY
from nbhelpers.workspace import InputError, write_text

PICTURE_WIDTH = 720  # pixels of a card's picture, twice what it is shown with
SHOWN_CASES = 6
MEASURED = places.PROJECT / "reports" / "measured"  # results on real radiographs


def write_index(run_folder: Path, profile_name: str, runs: list[str]) -> Path:
    """Write `index.html` from whatever there is; `runs` are the names the profile asks for."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pages.TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": pages.duration, "said": score_words}
    environment.filters |= {"model": model_name, "corruption": corruption_words}
    folder = scoreboard.read_folder(run_folder, profile_name, runs)
    folder["boards"] = scoreboard.boards(folder["results"].values())
    folder["found"] = findings.find(folder)
    facts = {
        **folder,
        "card": model_card.write_card(environment, run_folder, folder),
        "cards": [card(run_folder, folder, run) for run in folder["runs"]],
        "shown": shown_cases(run_folder, folder),
        "measured": measured() if folder["synthetic"] else {},
    }
    pages.link_pages(run_folder, folder["runs"])
    page = environment.get_template("index.html.j2").render(page=facts)
    return write_text(run_folder / "index.html", page)


def measured() -> dict[str, object]:
    """The board of ages on real radiographs and where its files are; {} without the repository."""
    files = sorted(MEASURED.glob("0*.json"))
    boards = scoreboard.boards([EMPTY | pages.read_optional(path) for path in files])
    return {**boards[0], "repository": places.repository()} if boards else {}


def shown_cases(run_folder: Path, folder: dict) -> list[dict[str, object]]:
    """Test radiographs closest to even steps of true age, with what the best model predicts.

    [] before there is a best model, and where its predictions or the pictures are not there, or
    are of another split of the cases.
    """
    model = folder["found"]["model"]
    if model is None:
        return []
    results = folder["results"].items()
    view = next((of["parameters"].get("view") for run, of in results if run[:2] == "01"), "hand")
    try:
        rows = case_errors(run_folder, model, "age", "test")
        steps = np.linspace(rows["age_months"].min(), rows["age_months"].max(), SHOWN_CASES)
        nearest = [(rows["age_months"] - step).abs().idxmin() for step in steps]
        rows = rows.loc[nearest].drop_duplicates("case_id")
        ends = told_ends(run_folder, model, rows["predicted_months"], rows["sex"])
        from nbhelpers.models.material import pictures_of  # with scikit-learn: it takes a second

        pictures = pictures_of(run_folder, view, rows["case_id"])
    except InputError:
        return []
    rows[["lower", "upper"]] = np.nan if ends is None else ends
    rows["picture"] = [shrink(Image.fromarray(pixels)) for pixels in pictures]
    return rows.to_dict("records")


def card(run_folder: Path, folder: dict, run: str) -> dict[str, object]:
    """What the index shows of one run."""
    results, state = folder["results"].get(run, EMPTY), folder["states"][run]
    cells = pages.read_optional(status.executed_path(run_folder, run)).get("cells", [])
    (title, question), (source, alt) = opening(cells), picture(cells)
    return {
        "run": run,
        "title": results.get("title") or title or run,
        "question": question,
        "answer": answer(cells),
        "results": results,
        # Without a state it was run by hand, or not reached.
        "status": status.DONE if results.get("run") else "",
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


def answer(cells: list[dict]) -> str:
    """The first sentence that a notebook shows; "" without one."""
    shown = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    text = next(("".join(data["text/markdown"]) for data in shown if "text/markdown" in data), "")
    for pattern in (r"[*`]", r"(?<=\.)\s+[A-Z0-9].*"):
        text = re.sub(pattern, "", " ".join(text.split()))
    return text


def picture(cells: list[dict]) -> tuple[str, str]:
    """A page's picture as a data address and its alternative text; ("", "") where it has none.

    It is the first PNG of the cell tagged `picture`, else the first of the page.
    """
    for cell in sorted(cells, key=lambda one: "picture" not in one["metadata"].get("tags", [])):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                facts = output.get("metadata", {}).get("image/png", {})
                encoded = "".join(output["data"]["image/png"])
                image = Image.open(io.BytesIO(base64.b64decode(encoded)))
                return shrink(image.convert("RGB")), facts.get("alt", "")
    return "", ""


def shrink(image: Image.Image) -> str:
    """A picture as a data address, made small enough for a card."""
    image.thumbnail((PICTURE_WIDTH, image.height), reducing_gap=2)
    buffer = io.BytesIO()
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
