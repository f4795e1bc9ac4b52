"""Pages: offline, the answer first, code folded, figures and tables with numbered captions."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nbhelpers.batch import pages, status
from nbhelpers.plots import style
from nbhelpers.results import BANNER
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


def markdown(text: str) -> object:
    return new_output("display_data", {"text/markdown": text, "text/plain": "<Markdown>"})


def table(*rows: int) -> object:
    """A table as a notebook shows it, with a name of its columns."""
    frame = pd.DataFrame({"wide": rows}).rename_axis(columns="test split, n = 3")
    return new_output("execute_result", {"text/html": frame._repr_html_()})


def executed() -> object:
    """What papermill leaves behind, with everything that a page has to make readable."""
    printed = (
        stream("stdout", f"{LOG}\n"),
        stream("stdout", "\x1b[31mprinted\x1b[0m <as it is>\n[100]\ttrain_loss-mae:3.1\n"),
        stream("stderr", "10%\r50%\r100% done\n"),
    )
    return new_notebook(
        cells=[
            new_markdown_cell("# A title & more\n\nHow close does it come?\n\n*Kaggle*: attach."),
            cell("answer = 1", markdown("Within *two* months.")),
            cell("alpha = 1", tags=("parameters",)),
            cell("alpha = 2", tags=("injected-parameters",)),
            new_markdown_cell("## The data\n\n### In one *look*\n\n| a |\n|---|\n| 1 |"),
            cell("helper = 1"),
            cell("print(1)", markdown(BANNER), *printed),
            new_markdown_cell("## What this shows"),
            cell("draw()", picture('Points along a line & a "quote"')),
            cell("table", table(1, 2, 3), table()),
            new_markdown_cell("## Results"),
            cell("results.save()"),
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
        "title": "Networks & ages",
        "marks": marks,
    }
    write_json(status.results_path(folder, RUN), results)
    if not (folder / "data.json").exists():
        write_json(folder / "data.json", {"fingerprint": {"data_folder": "synthetic-40-1-v4"}})
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
    assert links.code == 3 and links.open_code == 0, "code without an output joins the next"
    (image,) = links.images
    assert image["width"] == "640" and "Figure 1" in image["alt"]
    named = ("Figure 1. Points", "Table 1. Test split, n = 3", "Table 2. Test split, n = 3: none.")
    assert all(name in re.sub(r"<[^>]+>", "", page) for name in named)
    assert '<table class="dataframe"' in page and "<style scoped" not in page


def test_the_answer_stands_first_and_how_it_was_run_last(page: str):
    assert all(f"<{tag}>02 · Networks &amp; ages</{tag}>" in page for tag in ("title", "h1"))
    body = page[page.index("<main>") :]
    order = ["<h1>", "Within <em>two</em>", "drawn by the suite", "How close", "The data"]
    order += ["What this shows", 'id="how-it-was-run"', "Not a medical device"]
    assert [body.index(part) for part in order] == sorted(body.index(part) for part in order)
    assert body.count("Within <em>two</em>") == 1 and "What follows shows" not in body
    story, fold = body.split('id="how-it-was-run"')
    for part in ("demo", "0123456789abcdef", "1,400", "1 h 2", "3.15.1", "A fast", "alpha"):
        assert part in fold and part not in story
    assert re.findall("<dt>(.*?)</dt>", fold)[2:6] == ["train", "tuning", "calibration", "test"]
    assert f'href="results/{RUN}.json"' in fold and f'href="executed/{RUN}.ipynb"' in fold
    entries = re.findall(r'<li class="level(\d)"><a href="#([^"]+)">([^<]+)</a>', page)
    told = [f"{level} {text}" for level, _, text in entries]  # no heading without a thing below it
    assert told[:4] == ["2 The data", "3 In one look", "2 What this shows", "2 How it was run"]
    assert all(f'id="{anchor}"' in page for _, anchor, _ in entries)


def test_messages_are_one_fold_prints_stay_and_colours_are_gone(page: str):
    assert "\x1b" not in page and "[31m" not in page
    story, fold = page[page.index("<main>") :].split("<h3>Messages</h3>")
    assert all(part in fold for part in ("epoch 19", "[100]", "100% done")) and "50%" not in fold
    assert "epoch" not in story and "<pre>printed &lt;as it is&gt;</pre>" in story


def test_each_page_leads_to_the_one_before_and_the_one_after(tmp_path: Path):
    write_run(tmp_path, executed())
    page, last = (status.page_path(tmp_path, run) for run in (RUN, "03_last"))
    last.write_text("<!--before-->\n<!--after-->")
    pages.link_pages(tmp_path, ["01_not_run", RUN, "03_last"])
    link = f'<a href="{page.name}">02 · Networks &amp; ages</a>'
    assert last.read_text() == f"<!--before-->{link}\n<!--after-->"
    assert '<!--after--><a href="03_last.html' in page.read_text()


def test_a_mark_stands_under_the_title_of_a_complete_run(tmp_path: Path):
    """A failed attempt has not the results that lie there."""
    mark = '<em class="mark">random &lt;weights&gt;</em>'
    done = write_run(tmp_path, executed(), marks=["random <weights>"])
    assert mark in done[done.index("<h1>") : done.index("Within")]
    failed = status.write_state(tmp_path, RUN, status.FAILED)
    assert 'class="mark"' not in pages.write_page(tmp_path, RUN, "demo", failed).read_text()


def test_folders_of_this_machine_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    monkeypatch.setenv("HOME", "/")  # as in a container
    assert pages.shorten("https://a.b//c", pages.places_of(folder)) == "https://a.b//c"
    assert pages.shorten("a/data/b.py /data/c", {"/data": "data"}) == "a/data/b.py data/c"


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
    assert "How close" in page.read_text()
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
