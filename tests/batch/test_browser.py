"""Pages in a browser: what their script does, and what must hold for every page.

`test_smoke` holds every page of its run to `examine`. Skipped where there is no Chromium.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_pages import RUN, cell, executed, table, write_run

from nbhelpers.batch import status

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDE, PHONE = 1280, 390  # pixels
FOLDS = "summary, button"  # what opens something


@contextmanager
def chromium() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("There is no Chromium: on Debian, apt-get install chromium.")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def opened(browser: Browser, path: Path, width: int, scheme: str = "light") -> Page:
    """A page with its folds open: it asks for itself alone, says nothing, scrolls not sideways."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert said == [path.as_uri()], path
    assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    return page


def complaints(page: Page) -> list[dict]:
    """What axe-core finds serious or critical."""
    found = Axe().run(page).response["violations"]
    return [one for one in found if one["impact"] in ("serious", "critical")]


def examine(browser: Browser, path: Path) -> None:
    """Hold a page to what a reader needs: light, wide and on a phone, with a keyboard alone."""
    assert path.stat().st_size < (1_500_000 if path.name.startswith("06") else 1_000_000), path
    opened(browser, path, WIDE).close()
    phone = opened(browser, path, PHONE)
    assert not complaints(phone), path
    folds = phone.locator(f":is({FOLDS}):visible").count()
    phone.evaluate(f"""window.reached = new Set(); addEventListener("focusin",
        ({{ target }}) => target.matches("{FOLDS}") && reached.add(target));""")
    for _ in range(phone.locator("a, summary, button, [tabindex]").count()):
        phone.keyboard.press("Tab")
    assert phone.evaluate("reached.size") == folds, f"{path}: not all are reached with Tab"
    phone.close()


def test_a_page_is_fit_to_read_and_its_tables_words_and_figures_open(tmp_path: Path):
    notebook = executed()
    notebook.cells.insert(-2, cell("long", table(*range(3, 12), 1, 2)))
    notebook.cells[4].source += "\n\nThe *kappa* of stages."
    write_run(tmp_path, notebook)
    with chromium() as browser:
        examine(browser, path := status.page_path(tmp_path, RUN))
        assert not complaints(opened(browser, path, WIDE, "dark"))
        page = opened(browser, path, PHONE)
        long = page.locator("figure.table").nth(1)
        rows = long.locator("tbody tr:visible")
        expect(rows).to_have_count(8)
        long.locator(".more").press("Enter")
        expect(rows).to_have_count(11)
        for first in ("1", "11", "3"):  # ascending, descending, as it came
            long.locator(".sort").press("Enter")
            expect(rows.first.locator("td")).to_have_text(first)
        page.locator(".term").press("Enter")
        expect(page.locator(".meaning:popover-open")).to_contain_text("beyond chance")
        page.keyboard.press("Escape")
        page.locator(".zoom").press("Enter")
        expect(page.locator("dialog[open]")).to_contain_text("Points along a line")
