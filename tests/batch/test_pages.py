"""Pages: offline, readable on a phone, code folded, every figure with its alternative text."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nbhelpers.batch import pages, status
from nbhelpers.plots import style
from nbhelpers.workspace import write_json

# A PNG of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
PIXEL += "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
RUN = "02_cnn_tuning.age"
LOG = "\n".join(f"12:00:{second:02d} epoch {second} of 20" for second in range(20))


def cell(source: str, *outputs: object, tags: tuple[str, ...] = ()) -> object:
    made = new_code_cell(source, outputs=list(outputs))
    made.metadata["tags"] = list(tags)
    return made


def stream(name: str, text: str) -> object:
    return new_output("stream", name=name, text=text)


def picture(alt: str) -> object:
    facts = {"image/png": {"alt": alt, "width": 640}}
    return new_output(
        "display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}, metadata=facts
    )


def executed() -> object:
    """What papermill leaves behind, with everything that a page has to make readable."""
    table = {"text/html": "<table><tr><td>wide</td></tr></table>"}
    printed = (
        stream("stdout", f"{LOG}\n"),
        stream("stdout", "\x1b[31mprinted\x1b[0m <as it is>\n"),
        stream("stderr", "10%\r50%\r100% done\nI0000 00:00:17.3 22 port.cc:153] oneDNN is on.\n"),
    )
    return new_notebook(
        cells=[
            new_markdown_cell("# A title & more\n\nHow close does it come?"),
            cell("alpha = 1", tags=("parameters",)),
            cell("alpha = 2", tags=("injected-parameters",)),
            new_markdown_cell(
                "## The data\n\n### In one *look*\n\n| a | b |\n|---|---|\n| 1 | 2 |"
            ),
            cell("print(1)", *printed),
            new_markdown_cell("## What this shows"),
            cell("draw()", picture('Points along a line & a "quote"')),
            cell("table", new_output("execute_result", table)),
        ]
    )


def write_run(folder: Path, notebook: object, marks: tuple = (), **state: object) -> str:
    """The page of the notebook in a run folder that also has results and data."""
    path = status.executed_path(folder, RUN)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    results = {
        "fingerprint": "0123456789abcdef",
        "splits": {"calibration": 75, "test": 150, "train": 1400, "tuning": 75},
        "versions": {"keras": "3.15.1"},
        "hardware": {"processor": "A fast one", "gpu": None},
        "parameters": {"alpha": 2},
        "marks": marks,
    }
    write_json(status.results_path(folder, RUN), results)
    now = status.write_state(folder, RUN, **{"status": status.DONE, "seconds": 3725.0, **state})
    return pages.write_page(folder, RUN, "demo", now).read_text()


class Links(HTMLParser):
    """Every address that a page would load or point to, and what stands open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.images: list[dict] = []
        self.open_code = 0
        self.code = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        facts = dict(attrs)
        if tag in ("script", "img", "iframe", "link", "source", "object"):
            self.loaded += [facts[name] for name in ("src", "href", "data") if name in facts]
        if tag == "img":
            self.images.append(facts)
        if tag == "details" and facts.get("class") == "code":
            self.code += 1
            self.open_code += "open" in facts


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"), executed())


def test_a_page_loads_nothing_and_folds_its_code_and_keeps_alternative_texts(page: str):
    links = Links(page)
    assert all(address.startswith("data:") for address in links.loaded)
    assert not re.findall(r"@import|url\(\s*['\"]?(?!data:)|https?://[^\s\"'<]*\.(?:js|css)", page)
    assert links.code == 5 and links.open_code == 0
    assert "Parameters and their defaults</summary>" in page
    assert '<div class="scroll"><table><tr><td>wide' in page
    (image,) = links.images
    assert (image["alt"], image["width"]) == ('Points along a line & a "quote"', "640")


def test_the_head_says_what_the_page_was_made_from_and_contents_lead_to_the_headings(page: str):
    assert re.findall(r"<h1.*?</h1>", page) == ["<h1>A title &amp; more</h1>"]
    assert "<title>A title &amp; more</title>" in page
    head = page[page.index("<h1>") : page.index("How close does it come?")]
    for part in ("demo", "0123456789abcdef", "1,400", "1 h 2 min", "3.15.1", "A fast one", "alpha"):
        assert part in head
    places = [head.index(split) for split in ("train", "tuning", "calibration", "test")]
    assert places == sorted(places)
    assert "Not a medical device" in page and 'href="index.html"' in page
    entries = re.findall(r'<li class="level(\d)"><a href="#([^"]+)">([^<]+)</a>', page)
    told = [(level, text) for level, _, text in entries]
    assert told == [("2", "The data"), ("3", "In one look"), ("2", "What this shows")]
    assert all(f'id="{anchor}"' in page for _, anchor, _ in entries)


def test_logs_are_folded_prints_are_not_and_colours_are_gone(page: str):
    assert "\x1b" not in page and "[31m" not in page
    log = re.search(r'<details class="log"><summary>Log, 20 lines.*?</details>', page, re.DOTALL)
    assert log and "epoch 19" in log[0] and "printed" not in log[0]
    assert "<pre>printed &lt;as it is&gt;</pre>" in page
    body = page[page.index("<main>") :]
    assert "100% done" in body and "50%" not in body and "oneDNN" not in body


def test_a_mark_stands_under_the_title_of_a_complete_run(tmp_path: Path):
    """A failed attempt has not the results that lie there."""
    mark = '<em class="mark">random &lt;weights&gt;</em>'
    done = write_run(tmp_path, executed(), marks=["random <weights>"])
    assert mark in done[done.index("<h1>") : done.index('<dl class="facts">')]
    failed = status.write_state(tmp_path, RUN, status.FAILED)
    assert 'class="mark"' not in pages.write_page(tmp_path, RUN, "demo", failed).read_text()


def test_folders_of_this_machine_are_not_told(tmp_path: Path):
    notebook = executed()
    folder = tmp_path / "reports" / "demo"
    data = tmp_path / "private" / "hands"
    write_json(folder / "data.json", {"fingerprint": {"data_folder": str(data)}})
    text = f"{folder}/cases.parquet {data}/1377.png {Path.home()}/x {pages.__file__}"
    html = {"text/html": f"<td>{data}/1378.png</td>"}
    notebook.cells.append(cell("p()", stream("stdout", text), new_output("display_data", html)))
    message = f"{data}/boneage.csv, line 17"
    page = write_run(folder, notebook, status=status.FAILED, error="InputError", message=message)
    assert "demo/cases.parquet hands/1377.png x nbhelpers/batch/pages.py" in page
    assert "<td>hands/1378.png</td>" in page and "hands/boneage.csv, line 17" in page
    assert str(tmp_path) not in page and PIXEL in page


def test_a_failure_stands_on_top_with_its_trace_folded(tmp_path: Path):
    notebook = executed()
    trace = ["\x1b[31mTraceback\x1b[0m", "  File <cell>", "InputError: row 17"]
    failed = new_output("error", ename="InputError", evalue="row 17 <here>", traceback=trace)
    notebook.cells.append(cell("read()", failed))
    message = {"error": "InputError", "message": "row 17 <here>", "cell": 9}
    page = write_run(tmp_path, notebook, status=status.FAILED, **message)
    body = page[page.index("<main>") :]
    assert body.index("This run did not finish") < body.index("The data")
    assert "row 17 &lt;here&gt;" in page and "<here>" not in page
    trace = re.search(r"<details><summary>Stack trace</summary>.*?</details>", page, re.DOTALL)
    assert trace and "File &lt;cell&gt;" in trace[0]


def test_a_run_that_never_started_has_a_page_too(tmp_path: Path):
    state = status.write_state(tmp_path, RUN, status.FAILED, error="E", message="disk full")
    page = pages.write_page(tmp_path, RUN, "demo", state).read_text()
    assert "disk full" in page and f"<h1>{RUN}</h1>" in page


def test_pages_are_rendered_again_when_their_style_is_newer(tmp_path: Path):
    write_run(tmp_path, executed())
    page = status.page_path(tmp_path, RUN)
    page.write_text("kept")
    pages.refresh_pages(tmp_path, "demo", [RUN])
    assert page.read_text() == "kept"
    os.utime(page, (0, 0))
    pages.refresh_pages(tmp_path, "demo", [RUN, "03_not_run"])
    assert "A title" in page.read_text()
    assert not status.page_path(tmp_path, "03_not_run").exists()


def test_a_shown_figure_carries_text_and_twice_the_pixels(monkeypatch: pytest.MonkeyPatch):
    shown = []
    monkeypatch.setattr(style, "display", shown.append)
    figure = Figure(figsize=(4, 3))
    style.show(figure, alt="A line\n that rises.")
    data, facts = shown[0]._repr_mimebundle_()
    pixels = int.from_bytes(style.png(figure)[16:20], "big")
    assert facts["image/png"] == {
        "alt": "A line that rises.",
        "width": round(pixels / style.SHARPNESS),
    }
    assert "image/png" in data
    with pytest.raises(ValueError, match="alt"):
        style.show(figure, alt=" ")


def test_the_batch_loads_no_plots_and_no_networks():
    heavy = "{'matplotlib', 'seaborn', 'keras', 'tensorflow', 'scipy.stats'}"
    code = f"import sys, nbhelpers.batch.__main__; sys.exit(repr({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stderr.strip() == "set()"
