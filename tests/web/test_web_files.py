"""The files of the status page, as they lie in the package: safe by themselves, and complete."""

from __future__ import annotations

import hashlib
import html.parser
import pathlib
import re

import pytest

import llmpool.web

FOLDER = pathlib.Path(llmpool.web.__file__).with_name("static")
OWN = sorted(path.name for path in FOLDER.glob("*.js") if path.name != "uplot.js")


def read(name: str) -> str:
    """Read one of the files."""
    return (FOLDER / name).read_text(encoding="utf-8")


class Page(html.parser.HTMLParser):
    """The page's elements and the texts within scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is not None:  # within a script or a style
            self.inline.append(data)


@pytest.fixture(scope="module")
def page() -> Page:
    """The page, taken apart."""
    page = Page()
    page.feed(read("index.html"))
    page.close()
    return page


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("uplot.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        ("uplot.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ("uplot-LICENSE.txt", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
    ],
)
def test_what_others_wrote(name: str, digest: str) -> None:
    """uPlot 1.6.32 lies here as it was published: uPlot.iife.min.js, uPlot.min.css and LICENSE."""
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_page_without_anything_inline(page: Page) -> None:
    """No script, style or handler stands in the page itself: the policy would refuse it."""
    assert "".join(page.inline).strip() == ""
    for tag, attributes in page.elements:
        assert tag != "style"
        assert [name for name in attributes if name == "style" or name.startswith("on")] == []


def test_page_names_files_of_this_folder(page: Page) -> None:
    """Every script and sheet is named relatively, so that the page works wherever it is mounted."""
    links = [
        attributes.get("src") or attributes.get("href") or ""
        for tag, attributes in page.elements
        if tag in {"script", "link", "img", "a"}
    ]
    files = [link for link in links if link not in {"data:,", "status"}]
    assert sorted(files) == [
        "static/app.css",
        "static/app.js",
        "static/uplot.css",
        "static/uplot.js",
    ]


def test_scripts_import_files_of_this_folder() -> None:
    """From the page's script every other is reached, and none is missing."""
    reached, left = set(), ["app.js"]
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += re.findall(r' from "\./([a-z]+\.js)";', read(name))
    assert sorted(reached) == OWN


@pytest.mark.parametrize("name", [*OWN, "app.css", "index.html"])
def test_no_other_host_is_named(name: str) -> None:
    """The only address is the name of a format."""
    text = read(name).replace('"http://www.w3.org/2000/svg"', "")
    assert re.findall(r"(?:https?:)?//[a-z0-9]\S*", re.sub(r"^\s*//.*", "", text, flags=re.M)) == []


@pytest.mark.parametrize("name", OWN)
def test_what_is_told_never_becomes_markup(name: str) -> None:
    """What could make markup or code of a text does not occur."""
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    assert re.findall(risky, read(name)) == []
