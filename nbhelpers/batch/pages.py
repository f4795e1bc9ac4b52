"""Pages: executed notebooks as self-contained HTML that works offline, on a phone and in print.

What a notebook printed is shown as it is, its log lines quiet and folded, errors with a folded
trace. Folders of this machine are called by their last name.
"""

import html
import itertools
import json
import re
import sys
from functools import cache
from pathlib import Path

from nbhelpers.batch import profiles, status
from nbhelpers.data.splits import SPLITS
from nbhelpers.workspace import atomic_path

# jsonschema would build the grammar of international addresses when nbformat and papermill import
# it: more than a second in every run, and no notebook holds one.
sys.modules.setdefault("rfc3987_syntax", None)

TEMPLATES = Path(__file__).parent / "templates"
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d ")
SHORT_LOG = 4  # lines; a longer log is folded
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shorten(content: object, places: dict[str, str]) -> object:
    """A copy of a notebook or of other JSON in which folders are called as `places` says.

    `places` are tried in their order, so a folder stands before those that it lies in.
    """
    if isinstance(content, str):
        for place, name in places.items():
            content = content.replace(place, name)
        return content
    if isinstance(content, list):
        return [shorten(item, places) for item in content]
    if isinstance(content, dict):
        return {
            key: item if key.startswith("image/") else shorten(item, places)
            for key, item in content.items()
        }
    return content


def prepare_outputs(outputs: list) -> list:
    """Outputs as the template shows them: streams, their pieces joined, and errors become HTML."""
    from nbformat.v4 import new_output

    shown = []
    by_stream = itertools.groupby(outputs, lambda output: (output.output_type, output.get("name")))
    for (kind, name), same in by_stream:
        if kind == "stream":
            pieces = stream_html(name, plain("".join(output.text for output in same)))
        elif kind == "error":
            pieces = map(error_html, same)
        else:
            shown += same
            continue
        shown += [new_output("display_data", {"text/html": piece}) for piece in pieces]
    return shown


def stream_html(name: str, text: str) -> list[str]:
    """A stream's text: prints as they are, runs of log lines quiet and folded when long."""
    if not text.strip():
        return []
    if name == "stderr":
        return [folded("Messages", text)]
    lines = text.strip("\n").split("\n")
    return [
        folded("Log", "\n".join(run)) if is_log else f"<pre>{html.escape(chr(10).join(run))}</pre>"
        for is_log, run in itertools.groupby(lines, lambda line: bool(LOG_LINE.match(line)))
    ]


def folded(label: str, text: str) -> str:
    lines = text.strip("\n").split("\n")
    body = f'<pre class="quiet">{html.escape(chr(10).join(lines))}</pre>'
    if label == "Log" and len(lines) <= SHORT_LOG:
        return body
    last = html.escape(lines[-1][:160])
    count = f"{len(lines)} line{'s' if len(lines) > 1 else ''}"
    return (
        f'<details class="log"><summary>{label}, {count}<span class="last">{last}</span></summary>'
        f"{body}</details>"
    )


def error_html(output: dict) -> str:
    trace = plain("\n".join(output.get("traceback", [])))
    return (
        f'<div class="error"><p><strong>{html.escape(output.ename)}</strong> '
        f"{html.escape(plain(output.evalue))}</p>"
        f"<details><summary>Stack trace</summary><pre>{html.escape(trace)}</pre></details></div>"
    )


def plain(text: str) -> str:
    """Text without colour codes, and of a line that was overwritten only its last state."""
    lines = ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


HIDDEN = "papermill-error-cell-tag"  # of the cell that papermill puts above a failed one
LABELS = {
    "parameters": "Parameters and their defaults",
    "injected-parameters": "Parameters of this run",
}
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
    return write(status.page_path(run_folder, run), render(nbformat.from_dict(notebook), facts))


def write(path: Path, page: str) -> Path:
    """Write a page in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def places_of(run_folder: Path) -> dict[str, str]:
    """Folders of this machine, and what a page that is passed on calls them."""
    data = read_optional(run_folder / "data.json").get("fingerprint", {})
    named = [
        run_folder,
        *(Path(data[key]) for key in ("data_folder", "external_folder") if data.get(key)),
    ]
    hidden = [Path(__file__).parents[2], Path(sys.prefix), Path.home()]
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


def render(notebook: object, facts: dict[str, object]) -> str:
    """The page of an executed notebook, with `facts` (see `page_facts`) in its head."""
    from nbconvert import HTMLExporter

    title, cells = take_title(notebook.cells)
    notebook.cells = [cell for cell in cells if HIDDEN not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            cell.metadata["label"] = next((LABELS[tag] for tag in tags if tag in LABELS), "Code")
            cell.outputs = prepare_outputs(cell.outputs)
    exporter = HTMLExporter(
        extra_template_basedirs=[str(TEMPLATES.parent)],
        template_name=TEMPLATES.name,
        template_file="page.html.j2",
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    facts = {**facts, "title": title or facts["run"], "css": style_sheet(), "script": script}
    body, _ = exporter.from_notebook_node(notebook, {"page": facts})
    return with_contents(body)


def page_facts(
    run_folder: Path, run: str, profile: str, state: dict[str, object]
) -> dict[str, object]:
    """What stands in the head of a page: data, splits, versions, hardware, time."""
    results = read_optional(status.results_path(run_folder, run))
    data = read_optional(run_folder / "data.json")
    fingerprint = results.get("fingerprint") or data.get("fingerprint", {}).get("hash", "")
    splits = results.get("splits") or data.get("manifest", {}).get("counts", {})
    failed = state.get("status") in (status.FAILED, status.STOPPED)
    return {
        "run": run,
        "profile": profile,
        "state": state,
        "failed": failed,
        # Results beside a failed attempt are of an earlier one, with weights of its own.
        "marks": [] if failed else results.get("marks", []),
        "question": results.get("question", ""),
        "fingerprint": fingerprint,
        "splits": {name: splits[name] for name in SPLITS if name in splits},
        "run_time": duration(state.get("seconds") or results.get("seconds") or 0),
        "finished": str(state.get("time", "")).replace("T", " ").replace("Z", " UTC"),
        "hardware": results.get("hardware", {}),
        "versions": results.get("versions", {}),
        "parameters": results.get("parameters", {}),
        "disclaimer": DISCLAIMER,
        "unfit": unfit(run_folder, profile),
    }


def unfit(run_folder: Path, profile: str) -> str:
    """That the profile is not meant for real radiographs, where it is run on them; else ""."""
    if profile not in profiles.FOR_SYNTHETIC or not profiles.is_of_real_radiographs(run_folder):
        return ""
    return (
        f"Profile {profile} is sized for the synthetic radiographs that it draws. On these real "
        "ones its models fall short of what they can do: take profile rsna_cpu without a GPU, or "
        "kaggle with one."
    )


def read_optional(path: Path) -> dict:
    """A JSON object, or {} where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def take_title(cells: list) -> tuple[str, list]:
    """The first heading of level 1, and the cells without it."""
    for position, cell in enumerate(cells):
        match = re.search(r"^# +(.+?)\s*$", cell.source, re.MULTILINE)
        if cell.cell_type == "markdown" and match:
            cell.source = (cell.source[: match.start()] + cell.source[match.end() :]).strip()
            rest = cells if cell.source else cells[:position] + cells[position + 1 :]
            return match[1], rest
    return "", cells


def with_contents(body: str) -> str:
    """Fill the contents list from the page's headings."""
    headings = re.findall(r'<h([23]) id="([^"]*)">(.*?)</h\1>', body, re.DOTALL)
    entries = []
    for level, anchor, content in headings:
        text = re.sub(r"<a class=\"anchor-link\".*?</a>", "", content, flags=re.DOTALL)
        text = re.sub(r"<[^>]+>", "", text).strip()
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

    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    code = f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    return code + (TEMPLATES / "style.css").read_text(encoding="utf-8")
