"""How the status page behaves towards those who look at it: safe, legible, without barriers."""

from __future__ import annotations

import re

import pytest
from chromium import Viewer
from conftest import Furnish, House, Serve

from llmpool.testing import BadKey, RateLimited, Refuse

pytestmark = [pytest.mark.needs("selenium", "chromium", "chromedriver"), pytest.mark.timeout(180)]

SCHEMES = ["light", "dark"]


NAMES = (
    "good",
    "x" * 120,
    "a name of many words that goes on and on",
    "خادم",
    "drained",
    *"abcdefgh",
)


@pytest.fixture
def troubled(furnish: Furnish) -> House:
    """A house with deployments in as many states as last, and names of every kind."""
    house = furnish(*NAMES)
    house.ask(26)
    servers = list(house.servers.values())
    servers[1].behave(Refuse())
    servers[2].behave(BadKey())
    house.ask(26)
    servers[3].behave(RateLimited(retry_after=600))
    house.ask(26)
    house.pool.drain("drained", 0)
    return house


def states(house: House) -> set[str]:
    """Give the states that there are."""
    return {status.state for status in house.pool.all_health().values()}


def open_troubled(house: House, serve: Serve, viewer: Viewer) -> None:
    """Open everything that the page can open."""
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    house.ask(26)
    viewer.wait(
        lambda: states(house) >= {"healthy", "unhealthy", "cooling", "disabled", "draining"}
    )
    viewer.wait(lambda: viewer.texts(".chart canvas"))
    viewer.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
    viewer.run(
        "for (const folded of document.querySelectorAll('[aria-expanded=false]')) folded.click()"
    )


def test_no_other_host_is_asked(house: House, serve: Serve, viewer: Viewer) -> None:
    """All that the page needs comes from where it came from."""
    served = serve(house.pool, may_control=lambda _: True)
    viewer.open(served.url)
    asked = {url for url in viewer.asked() if url != "about:blank"}
    assert f"{served.url}static/app.js" in asked
    assert {url for url in asked if not url.startswith((served.url, "data:,"))} == set()


def test_script_slipped_into_the_page(house: House, serve: Serve, viewer: Viewer) -> None:
    """It does not run, nor does a style of its own or a picture from elsewhere."""
    viewer.open(serve(house.pool).url)
    viewer.forgive("Content Security Policy")
    script = """
        const done = arguments[0];
        const refused = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          refused.push(event.effectiveDirective);
          if (refused.length === 3) done(refused.sort());
        });
        const add = (tag, text) => document.body.append(Object.assign(document.createElement(tag), text));
        add("script", { textContent: "window.ran = true" });
        add("style", { textContent: "body { display: none }" });
        add("img", { src: "http://elsewhere.invalid/x.png", alt: "" });"""
    refused = viewer.chrome.execute_async_script(script)
    assert refused == ["img-src", "script-src-elem", "style-src-elem"]
    assert viewer.run("return window.ran === undefined")


STICKING_OUT = """
    return [...document.querySelectorAll("body *")]
      .filter((node) => node.checkVisibility() && !node.closest(".scroll, thead, .unseen"))
      .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
      .map((node) => `${node.tagName} ${node.textContent.slice(0, 40)}`)"""


LARGE_FIGURES = """
    const real = window.fetch;
    window.fetch = async (...all) => {
      const feed = await (await real(...all)).json();
      for (const { deployments } of feed.pools) {
        for (const each of deployments) {
          Object.assign(each, { total_requests: 12345678, total_errors: 1234567, error_rate: 0.0996,
            cost: 1234.5, requests_in_flight: 888, input_tokens: 888800000, output_tokens: 888800000,
            share: 0.0888, latency_p50_ms: 88800, latency_p99_ms: 88800, cooldown_remaining: 88888 });
        }
      }
      return new Response(JSON.stringify(feed));
    };"""


def test_widths(troubled: House, serve: Serve, viewer: Viewer) -> None:
    """Nothing has to be scrolled sideways, whatever the names; a table of figures scrolls by itself."""
    viewer.use(width=1280, height=700)
    open_troubled(troubled, serve, viewer)
    viewer.run(LARGE_FIGURES)
    viewer.wait(lambda: "1.2M of 12.3M" in viewer.row("good"))
    for width in (1280, 1152, 1151, 800, 641, 640, 360, 320):
        viewer.use(width=width, height=700)
        viewer.wait(lambda width=width: viewer.run("return innerWidth") == width)  # type: ignore[misc]
        assert viewer.run(STICKING_OUT) == [], width
        assert viewer.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.needs("axe_playwright_python")
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_barriers(
    width: int, scheme: str, axe: str, troubled: House, serve: Serve, viewer: Viewer
) -> None:
    """axe-core finds none, contrast included, with everything open."""
    viewer.use(width=width, color_scheme=scheme)
    open_troubled(troubled, serve, viewer)
    viewer.run(axe)
    found = viewer.chrome.execute_async_script(
        "const done = arguments[0]; axe.run(document).then((found) => done(found.violations))"
    )
    told = [
        f"{each['id']}: {node['html']}: {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]
    assert told == []


@pytest.mark.needs("axe_playwright_python")
def test_barriers_of_the_question(axe: str, house: House, serve: Serve, viewer: Viewer) -> None:
    """Nor does it find one in the question that comes before draining."""
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    viewer.click(".deployments button")
    viewer.run(axe)
    found = viewer.chrome.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document.querySelector('dialog')).then((found) => done(found.violations))"
    )
    assert found == []
    viewer.click("#ask-no")


def luminance(colour: str) -> float:
    """Give the relative luminance of a colour, as WCAG 2.2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Give the contrast ratio of two colours, as WCAG 2.2 defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours(scheme: str, house: House, serve: Serve, viewer: Viewer) -> None:
    """Every colour of text has a contrast of 4.5 on what it stands on, every line and mark one of 3."""
    viewer.use(color_scheme=scheme)
    viewer.open(serve(house.pool).url)
    names = re.findall(r"--[a-z0-9-]+(?=:)", served_style(viewer))
    style = "const style = getComputedStyle(document.documentElement);"
    script = f"{style} return arguments[0].map((name) => style.getPropertyValue(name).trim())"
    colours: dict[str, str] = dict(zip(names, viewer.run(script, names), strict=True))
    assert (luminance(colours["--page"]) < 0.1) == (scheme == "dark")
    texts = {"--text", "--muted", "--accent"} | {f"--{state}" for state in STATES}
    lines = {"--edge"} | {name for name in colours if name.startswith("--line-")}
    assert len(lines) == 7
    for ground in ("--card", "--page", "--hover"):
        for name in texts:
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for name in lines:
        assert contrast(colours[name], colours["--card"]) >= 3, name


STATES = ("healthy", "cooling", "recovering", "unhealthy", "disabled", "draining", "unknown")


def served_style(viewer: Viewer) -> str:
    """Give the page's style sheet as it was served."""
    script = "const done = arguments[0]; fetch('static/app.css').then((sheet) => sheet.text()).then(done)"
    text = str(viewer.chrome.execute_async_script(script))
    return text[: text.index("@media")]


def test_focus_can_be_seen(house: House, serve: Serve, viewer: Viewer) -> None:
    """Whatever Tab reaches is in view and has an outline."""
    from selenium.webdriver.common.keys import Keys

    viewer.use(height=400)
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    house.ask()
    viewer.wait(lambda: viewer.texts(".chart canvas"))
    look = """
        const node = document.activeElement;
        const box = node.getBoundingClientRect();
        const style = getComputedStyle(node);
        return [node.tagName, box.top >= 0 && box.bottom <= innerHeight + 1 && box.width > 0,
          style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];"""
    reached = []
    for _ in range(6):
        viewer.press(Keys.TAB)
        viewer.wait(lambda: viewer.run(look)[1])  # it may have to be scrolled to
        tag, _, outlined = viewer.run(look)
        reached.append(tag)
        assert outlined, reached
    # Two rows, two lines of the charts, two tables that unfold.
    assert reached == ["BUTTON", "BUTTON", "INPUT", "INPUT", "SUMMARY", "SUMMARY"]


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_motion(motion: str, house: House, serve: Serve, viewer: Viewer) -> None:
    """Who wants less motion has none."""
    viewer.use(reduced_motion=motion)
    viewer.open(serve(house.pool).url)
    moving = """
        return [...document.querySelectorAll("body *")].map((node) => getComputedStyle(node))
          .some((style) => parseFloat(style.transitionDuration) > 0 || style.animationName !== "none")"""
    assert viewer.run(moving) == (motion != "reduce")


def test_scheme_changes_while_it_is_open(house: House, serve: Serve, viewer: Viewer) -> None:
    """The charts, which are painted, follow."""
    viewer.open(serve(house.pool).url)
    house.ask()
    viewer.wait(lambda: viewer.texts(".chart canvas"))
    viewer.forgive("Canvas2D")
    # Whether any pixel is of the colour of the grid.
    script = """
        const wanted = getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim();
        const canvas = document.querySelector(".chart canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const hex = (at) => "#" + [0, 1, 2].map((n) => data[at + n].toString(16).padStart(2, "0")).join("");
        for (let at = 0; at < data.length; at += 4) if (hex(at) === wanted) return wanted;
        return null;"""
    light = viewer.wait(lambda: viewer.run(script, "--grid"))
    viewer.use(color_scheme="dark")
    dark = viewer.wait(lambda: viewer.run(script, "--grid"))
    assert dark != light
