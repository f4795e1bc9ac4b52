"""Pages: executed notebooks as self-contained HTML that works offline, on a phone and in print.

The answer stands first, then the story; how it was run, with all that was logged, is one fold at
the end. Errors stand where they occurred, with a folded trace. Folders of this machine are called
by their last name.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path

from nbhelpers.batch import profiles, status
from nbhelpers.data.splits import SPLITS
from nbhelpers.results import BANNER, EMPTY, FOLDER
from nbhelpers.workspace import is_synthetic, write_text

# jsonschema would build the grammar of international addresses when nbformat and papermill import
# it: more than a second in every run, and no notebook holds one.
sys.modules.setdefault("rfc3987_syntax", None)

TEMPLATES = Path(__file__).parent / "templates"
OVERWRITTEN = re.compile(r".*\r(?=[^\n])")
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d |\[\d+\]\t")  # of the suite, of XGBoost's rounds


def shorten(content: object, places: dict[str, str]) -> object:
    """A copy of a notebook or of other JSON in which folders are called as `places` says.

    `places` are tried in their order, so a folder stands before those that it lies in.
    """
    if isinstance(content, str):
        for place, name in places.items():
            # Not in the middle of a longer path: of a folder /data, of nbhelpers/data, say.
            content = name.join(re.split(rf"(?<![\w.]){re.escape(place)}", content))
        return content
    if isinstance(content, list):
        return [shorten(item, places) for item in content]
    if isinstance(content, dict):
        return {k: v if k.startswith("image/") else shorten(v, places) for k, v in content.items()}
    return content


def join_streams(outputs: list) -> list:
    """Outputs with the pieces of a stream joined, and of an overwritten line its last state."""
    joined = []
    for output in outputs:
        if joined and "name" in output and output.name == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if "text" in output:
            output.text = OVERWRITTEN.sub("", output.text)
    return joined


HIDDEN = "papermill-error-cell-tag"  # of the cell that papermill puts above a failed one
DISCLAIMER = "Research and teaching only. Not a medical device."


def write_page(run_folder: Path, run: str, profile: str, state: dict[str, object]) -> Path:
    """Render `executed/<run>.ipynb` into `<run>.html`; `state` says how the run went."""
    import nbformat

    executed = status.executed_path(run_folder, run)
    if executed.exists():
        notebook = nbformat.v4.reads(executed.read_text(encoding="utf-8"))
    else:  # it failed before its first cell
        notebook = nbformat.v4.new_notebook()
    facts = page_facts(run_folder, run, profile, state)
    notebook, facts = shorten([notebook, facts], places_of(run_folder))
    page = render(nbformat.from_dict(notebook), facts)
    return write_text(status.page_path(run_folder, run), page)


def places_of(run_folder: Path) -> dict[str, str]:
    """Folders of this machine, and what a page that is passed on calls them."""
    data = read_optional(run_folder / "data.json").get("fingerprint", {})
    read = filter(None, (data.get(key) for key in ("data_folder", "external_folder")))
    named = [run_folder, *map(Path, read)]
    hidden = [Path(__file__).parents[2], Path(sys.prefix), Path.home()]
    hidden = [path for path in hidden if path != path.parent]  # a container's home may be /
    places = {**{f"{path}/": "" for path in hidden}, **{str(path): path.name for path in named}}
    return {place: places[place] for place in sorted(places, key=len, reverse=True)}


def refresh_pages(run_folder: Path, profile: str, runs: list[str]) -> None:
    """Render again the pages that are older than the code and the style which make them."""
    newest = max(path.stat().st_mtime for path in (Path(__file__), *TEMPLATES.iterdir()))
    for run in runs:
        page, state = status.page_path(run_folder, run), status.read_state(run_folder, run)
        stale = not page.exists() or page.stat().st_mtime < newest
        if state and (stale or state.get("status") == status.STOPPED):
            write_page(run_folder, run, profile, state)


def link_pages(run_folder: Path, runs: list[str]) -> None:
    """Put into each page its links to the one before and the one after, once all are there."""
    paths = [path for run in runs if (path := status.page_path(run_folder, run)).exists()]
    pages = [path.read_text(encoding="utf-8") for path in paths]
    links = [""]
    for path, page in zip(paths, pages, strict=True):
        title = re.findall("<title>(.*?)</title>", page) or [path.stem]
        links.append(f'<a href="{path.name}">{title[0]}</a>')
    for at, page in enumerate(pages):
        for mark, link in (("before", links[at]), ("after", [*links, ""][at + 2])):
            page = re.sub(f"(<!--{mark}-->).*", rf"\1{link}", page)
        write_text(paths[at], page)


def render(notebook: object, facts: dict[str, object]) -> str:
    """The page of an executed notebook, with `facts` (see `page_facts`) in its head."""
    from nbconvert import HTMLExporter

    notebook.cells = [one for one in notebook.cells if HIDDEN not in one.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.outputs = join_streams(cell.get("outputs", []))
    exporter = HTMLExporter(
        extra_template_basedirs=[str(TEMPLATES.parent)],
        template_name=TEMPLATES.name,
        template_file="page.html.j2",
        filters={"is_log": LOG_LINE.match},
    )
    body, _ = exporter.from_notebook_node(notebook, {"page": {**facts, "css": style_sheet()}})
    return with_contents(body)


def page_facts(
    run_folder: Path, run: str, profile: str, state: dict[str, object]
) -> dict[str, object]:
    """What stands in the head of a page: data, splits, versions, hardware, time."""
    results = EMPTY | read_optional(status.results_path(run_folder, run))
    data = read_optional(run_folder / "data.json")
    fingerprint = results.get("fingerprint") or data.get("fingerprint", {}).get("hash", "")
    splits = results.get("splits") or data.get("manifest", {}).get("counts", {})
    failed = state.get("status") in (status.FAILED, status.STOPPED)
    # Copies for a reader of the page, which reads none of them.
    copies = {Path("predictions", f"{one['model']}.{one['task']}.csv") for one in results["scores"]}
    copies.add(Path(FOLDER, str(results["figures"].get("folder")), "predictions.csv"))
    files = [f"executed/{run}.ipynb", f"results/{run}.json", *map(str, sorted(copies))]
    return {
        "run": run,
        "title": results.get("title", ""),
        "files": [name for name in files if (run_folder / name).exists()],
        "profile": profile,
        "state": state,
        "failed": failed,
        # Results alongside a failed attempt are of an earlier one, with weights of its own.
        "marks": [] if failed else results["marks"],
        "fingerprint": fingerprint,
        "splits": {name: splits[name] for name in SPLITS if name in splits},
        "run_time": duration(state.get("seconds") or results.get("seconds") or 0),
        "finished": str(state.get("time", "")).replace("T", " ").replace("Z", " UTC"),
        **{key: results.get(key, {}) for key in ("hardware", "versions", "parameters")},
        "disclaimer": DISCLAIMER,
        "unfit": unfit(run_folder, profile),
        "drawn": BANNER if is_synthetic(data.get("fingerprint", {}).get("data_folder", "")) else "",
    }


def unfit(run_folder: Path, profile: str) -> str:
    """That the profile is not meant for real radiographs, where it is run on them; else ""."""
    if profile not in profiles.FOR_SYNTHETIC or not profiles.is_of_real_radiographs(run_folder):
        return ""
    return (
        f"Profile {profile} is sized for the synthetic radiographs that it draws. On these real "
        "ones its models fall short of what they can do: use profile rsna_cpu without a GPU, or "
        "kaggle with one."
    )


def read_optional(path: Path) -> dict:
    """A JSON object, or {} where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def with_contents(body: str) -> str:
    """Fill the contents list from the page's headings, which lose their own links."""
    body = re.sub(r'<a class="anchor-link".*?</a>', "", body)
    headings = re.findall(r'<h([23]) id="([^"]*)">(.*?)</h\1>', body, re.DOTALL)
    entries = []
    for level, anchor, content in headings:
        text = re.sub(r"<[^>]+>", "", content)
        entries.append(f'<li class="level{level}"><a href="#{anchor}">{text}</a></li>')
    return body.replace("<!--contents-->", "\n".join(entries))


def duration(seconds: float) -> str:
    """Seconds as a person says them: 41 s, 3 min 20 s, 2 h 5 min."""
    whole = round(float(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@cache
def style_sheet() -> str:
    """The suite's style and, for code, one light and one dark style of Pygments."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="zenburn").get_style_defs(".highlight")
    code = f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    return code + (TEMPLATES / "style.css").read_text(encoding="utf-8")
