"""The picture and the pages in a real Chromium: what is there is drawn, and what a person does in it works.

Where no Chromium is installed this file is one skipped test; `.ci/run` installs Debian's.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taskbound.app.graph import picture
from taskbound.posture import page as pages
from taskbound.posture import picture as pictures
from taskbound.posture.graph import build
from taskbound.posture.picture import MOST
from taskbound.posture.sighting import Sighting
from tests import browser
from tests.browser import DESKTOP, PHONE, Browser, Page
from tests.posture.standin import standing_in
from tests.posture.test_graph import AGENT, DAY, held, world
from tests.posture.test_report import shared

PROGRAM = browser.found()
if PROGRAM is None:
    pytest.skip("no Chromium: apt install chromium-headless-shell", allow_module_level=True)

CHOSEN = "cy.$('node:selected').map((one) => nodes.get(one.id()).label)"
HEADING = "document.querySelector('aside h2').textContent"
SHARED = "cy.nodes('[shared > 1]')[0]"
# Of names that have no room on one line: long ones, one without any place to break it, one in two alphabets.
LONG = ("everything in the cloud account of the shop", "db.prod.northlake.example:5432/payments", "x" * 60, "агент" * 9)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(str(PROGRAM), tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator["Open"]:
    yield Open(chromium, tmp_path)
    for page in [*chromium.pages.values()]:
        page.close()


class Open:
    """Opens pages; each has to be silent, unless the test says otherwise."""

    def __init__(self, chromium: Browser, folder: Path) -> None:
        self.chromium, self.folder = chromium, folder

    def text(self, html: str, size: tuple[int, int] = DESKTOP, theme: str = "light", fragment: str = "") -> Page:
        file = self.folder / "page.html"
        file.write_text(html)
        return self.chromium.open(file, size, theme, fragment)

    def graph(self, sightings: list[Sighting] | None = None, *how: object) -> Page:
        drawn = self.text(picture(build(world() if sightings is None else sightings, DAY), "All"), *how)  # type: ignore[arg-type]
        assert drawn.complaints == [] and drawn.requests == []
        return drawn


def named(*names: str) -> list[Sighting]:
    return [*world(), *(held(f"m-{n:04}", replace(AGENT, name=name), "f") for n, name in enumerate(names))]


def ink(page: Page) -> int:
    """Return how many pixels of the drawing are not empty."""
    page.settled()
    count = """[...document.querySelectorAll("#drawing canvas")].reduce((sum, one) => {
        const all = one.getContext("2d").getImageData(0, 0, one.width, one.height).data;
        return sum + all.filter((_, n) => n % 4 === 3 && all[n]).length; }, 0)"""
    return int(page.run(count))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_that_is_there_is_drawn_and_nothing_is_asked_of_the_network(opened, size, theme):
    page = opened.graph(None, size, theme)
    assert page.run("[cy.nodes(':visible').length, cy.edges(':visible').length]") == page.run(
        "[data.things.length, data.edges.length]"
    )
    assert ink(page) > 2000
    assert page.run("document.documentElement.scrollWidth") == size[0] and page.run("innerWidth") == size[0]
    assert page.run("document.getElementById('drawing').clientHeight") > 200
    dark = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    assert dark == (theme == "dark")
    assert page.run("cy.nodes()[0].style('color')") == ("rgb(230,237,243)" if dark else "rgb(27,31,36)")
    # Where not everything has room, it begins at what most hold.
    seen = page.run(f"{SHARED}.renderedBoundingBox()")
    assert 0 <= seen["x1"] < seen["x2"] <= page.run("cy.width()")
    assert 0 <= seen["y1"] < seen["y2"] <= page.run("cy.height()")


PLANTED = '<img src="http://127.0.0.1:9/x.png"><main>'
BROKEN = {  # what stands before the script, and what is changed in the page
    "throws": ("throw new Error('planted');", ()),
    "complains": ("console.error('planted');", ()),
    "is another than its policy names": ("", [('"use strict";', '"use strict"; ')]),
    "asks for a picture elsewhere": (
        "",
        [("<main>", PLANTED), ("default-src 'none'", "default-src 'none'; img-src *")],
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_script_that_breaks_is_noticed(opened, monkeypatch, how):
    """The control of everything here: a page is not silent by itself."""
    before, changes = BROKEN[how]
    monkeypatch.setattr(pictures, "SCRIPT", before + pictures.SCRIPT)
    html = picture(build(world(), DAY), "All")
    for old, new in changes:
        assert old in html
        html = html.replace(old, new)
    page = opened.text(html)
    assert page.complaints or page.requests
    assert ("elsewhere" in how) == (page.requests == ["http://127.0.0.1:9/x.png"])
    if how in ("throws", "is another than its policy names"):
        assert ink(page) == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_name_that_is_typed_is_found_and_told(opened, size):
    page = opened.graph(None, size)
    page.run("document.getElementById('find').focus()")
    page.type("…0001")
    assert page.run(CHOSEN) == ["aws-access-token …0001"] == [page.run(HEADING)]
    said = page.run("document.querySelector('aside').innerText")
    assert "mcp:orders@shop holds it" in said and "shop/release.yml:9" in said
    assert page.run("cy.nodes('.far').length") > 0 and page.run("cy.$('node:selected.far').length") == 0
    assert ink(page) > 2000
    page.type("nobody is called so")
    assert page.run("document.getElementById('find').getAttribute('aria-invalid')") == "true"
    page.run("document.getElementById('find').select()")
    page.press("Backspace")
    assert page.run(CHOSEN) == [] and page.run("cy.nodes('.far').length") == 0
    assert page.run(HEADING).startswith("Choose a thing") and page.complaints == []


def test_enter_goes_on_to_the_next_thing_of_that_name(opened):
    page = opened.graph()
    page.run("document.getElementById('find').focus()")
    page.type("@shop")
    seen = []
    for _ in range(5):
        seen += page.run(CHOSEN)
        page.press("Enter")
    assert len(set(seen)) == 4 and seen[0] == seen[4] and all("@shop" in one for one in seen)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_is_clicked_is_told_and_a_click_beside_it_ends_that(opened, size):
    page = opened.graph(None, size)
    drawing, at = page.box("#drawing"), page.run(f"{SHARED}.renderedPosition()")
    page.click(drawing["x"] + at["x"] + 3, drawing["y"] + at["y"])  # Cytoscape misses the very middle of a diamond
    assert page.run(CHOSEN) == ["aws-access-token …0001"] == [page.run(HEADING)]
    link, name = page.box("aside li button"), page.run("document.querySelector('aside li button').textContent")
    page.click(link["x"] + 5, link["y"] + 5)
    assert page.run(CHOSEN) == [name] == [page.run(HEADING)]
    page.settled()
    page.click(drawing["x"] + 3, drawing["y"] + drawing["height"] - 3)
    assert page.run(CHOSEN) == [] and page.run(HEADING).startswith("Choose a thing") and page.complaints == []


def test_a_kind_is_hidden_and_all_of_it_comes_back(opened):
    page = opened.graph()

    def push(button: str) -> tuple[int, int]:
        page.run(f"document.querySelector('{button}').click()")
        page.settled()
        return tuple(page.run("[cy.nodes('.credential:visible').length, cy.nodes('.holder:visible').length]"))

    assert push("[data-kind=credential]") == (0, 3)
    assert page.run("cy.edges(':visible').filter((e) => !e.source().visible() || !e.target().visible()).length") == 0
    assert push("[data-kind=holder]") == (0, 0)
    assert push("[data-kind=credential]") == (2, 0)
    assert push("#fit") == (2, 3) and page.run("cy.nodes(':visible').length === data.things.length")
    assert page.run("document.querySelectorAll('[aria-pressed=false]').length") == 0
    assert page.complaints == []


def test_a_link_to_a_name_opens_there(opened):
    page = opened.graph(None, DESKTOP, "light", "#mcp:orders@shop")
    assert page.run(CHOSEN) == ["mcp:orders@shop"] == [page.run(HEADING)]


def overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    """Whether one box runs into another, by more than the air around each."""
    return all(one[f"{axis}1"] < other[f"{axis}2"] - 2 for axis in "xy" for one, other in ((a, b), (b, a)))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_name_runs_into_another_or_is_broken_within_a_word(opened, size):
    page = opened.graph(named(*LONG), size)
    wide = page.run("wide()")
    lines = page.run("cy.nodes().map((one) => one.data('short').split('\\n'))")
    assert max(map(len, lines)) == 2
    assert page.run("Math.max(...cy.nodes().map((one) => one.boundingBox({includeOverlays: false}).w))") <= wide
    boxes = page.run("cy.nodes().map((one) => one.boundingBox({includeOverlays: false}))")
    assert not [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if overlap(a, b)]
    told = {"".join(one) for one in lines}
    assert {"x" * 60, "агент" * 9}.isdisjoint(told) and any(one.startswith("агент") for one in told)
    assert LONG[0] in {" ".join(one) for one in lines} or size == PHONE


def test_when_the_light_changes_so_do_the_colours(opened):
    page = opened.graph()
    page.theme("dark")
    page.settled()
    assert page.run("cy.nodes()[0].style('color')") == "rgb(230,237,243)"


def test_a_name_of_a_file_is_shown_and_not_run(opened):
    evil = "</script><img src=x onerror=\"throw new Error('ran')\">"
    page = opened.graph(named(evil))
    page.run("go(data.things.find((one) => one.label.includes('<img')).id)")
    assert page.run(HEADING) == evil and page.run("document.images.length") == 0 and page.complaints == []


def test_as_many_as_are_drawn_at_most_are_drawn_on_a_phone(opened):
    page = opened.graph(named(*(f"mcp:server-{n}@shop-{n % 9}" for n in range(2 * MOST))), PHONE)
    assert page.run("cy.nodes(':visible').length") == MOST and ink(page) > 2000
    assert re.match(rf"{MOST} of [\d,]+ things", page.run("document.querySelector('header p').textContent"))


def test_a_page_without_a_graph_says_so(opened):
    page = opened.graph([])
    assert page.run(HEADING) == "Nothing was seen"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_report_fits_its_window(opened, size, theme):
    with standing_in():
        page = opened.text(pages.as_html(shared()), size, theme)
    assert page.complaints == [] and page.requests == []
    assert page.run("document.documentElement.scrollWidth") == size[0]
    assert page.run("document.querySelectorAll('article').length") > 0
    dark = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    assert dark == (theme == "dark")
