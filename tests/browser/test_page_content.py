"""What the status page shows, and that it keeps up with the pool."""

from __future__ import annotations

import pytest
from chromium import PATIENCE, Viewer
from conftest import REFRESH, Furnish, House, Serve

from llmpool.testing import Refuse

pytestmark = [pytest.mark.needs("selenium", "chromium", "chromedriver"), pytest.mark.timeout(180)]


def test_two_healthy_deployments(house: House, serve: Serve, viewer: Viewer) -> None:
    """Their states, reasons and figures are there in words, and the page's title tells how the pool is."""
    viewer.open(serve(house.pool).url)  # from here on the shares are counted
    house.ask()
    assert viewer.text("h2") == "main"
    assert viewer.text("h2 + .badge") == "Healthy"
    assert viewer.text(".sentence") == "All 2 healthy."
    viewer.wait(lambda: "0 of 4" in viewer.row("eu") and "0 of 4" in viewer.row("us"))
    # Columns: state, share, p50, p99, errors, in flight, tokens in and out, cost
    for name, region in (("eu", "us-east"), ("us", "eu-west")):
        row = viewer.row(name)
        assert row.startswith(f"{name} {region} Healthy 50 % "), row
        assert " ms 0 % 0 of 4 0 8 12 0.00" in row, row
    assert viewer.chrome.title == "● main: Healthy: All 2 healthy."


def test_last_hour(house: House, serve: Serve, viewer: Viewer) -> None:
    """Of what there is of it charts and strips of health are drawn, and each has its figures as a table."""
    served = serve(house.pool)
    viewer.open(served.url)  # from here on there is a history
    house.ask()
    viewer.wait(lambda: len(viewer.texts(".chart canvas")) == 2)
    assert viewer.texts(".strip-name") == ["eu", "us"]
    minutes = "over the last 10 minutes"
    assert viewer.texts("h3") == [f"Latency {minutes}", f"Health {minutes}"]
    assert viewer.run(
        "return [...document.querySelectorAll('.chart, .strip')].every((box) => "
        "box.getAttribute('role') === 'img' && box.getAttribute('aria-label').length > 20)"
    )
    for figure in ("first", "last"):
        viewer.click(f".figure:{figure}-child summary")
    viewer.wait(lambda: " ms" in viewer.texts(".figures table")[0])
    viewer.wait(lambda: "eu\tHealthy" in viewer.texts(".figures table")[1])
    assert "p50\tp99" in viewer.texts(".figures table")[0]


def test_server_dies_and_comes_back(house: House, serve: Serve, viewer: Viewer) -> None:
    """The page follows by itself, in place, and says each change aloud once."""
    viewer.open(serve(house.pool).url)
    viewer.run("window.before = document.querySelector('.deployments tbody tr')")
    house.servers["eu"].behave(Refuse())
    viewer.wait(lambda: "Unhealthy" in viewer.row("eu"))
    viewer.wait(lambda: "1 of 2 healthy (1 unhealthy)" in viewer.text(".sentence"))
    assert viewer.text("h2 + .badge") == "Degraded"
    assert "Healthy" in viewer.row("us")
    assert "eu\u2069 is now unhealthy" in viewer.run("return announcer.textContent")
    viewer.wait(lambda: viewer.run("return !!document.querySelector('.strip .span.unhealthy')"))
    assert viewer.chrome.title.startswith("◐ main: Degraded")
    house.servers["eu"].restore()

    def recovered() -> bool:
        house.ask()  # only what answers its users is wholly well again
        return viewer.text(".sentence") == "All 2 healthy."

    viewer.wait(recovered)
    assert "eu\u2069 is now healthy" in viewer.run("return announcer.textContent")
    assert viewer.run("return before.isConnected && before.textContent.startsWith('eu')")


def test_nobody_left(house: House, serve: Serve, viewer: Viewer) -> None:
    """A pool without a healthy deployment is down, and one that cools counts down until it may be asked."""
    viewer.open(serve(house.pool).url)
    for server in house.servers.values():
        server.behave(Refuse())
    viewer.wait(lambda: viewer.text("h2 + .badge") == "Down")
    assert viewer.text(".sentence") == "None of 2 healthy: 2 unhealthy."
    viewer.wait(lambda: "takes calls again in" in viewer.row("eu"))


def test_site_that_cannot_be_reached(house: House, serve: Serve, viewer: Viewer) -> None:
    """The page says so plainly, how old its figures are and when it tries again; or at once, if told to."""
    served = serve(house.pool, refresh=30.0)
    viewer.open(served.url)
    viewer.forgive("net::ERR")
    served.stop()
    viewer.run("dispatchEvent(new Event('online'))")  # lets it ask now
    viewer.wait(lambda: "The server cannot be reached. What is shown is" in viewer.text("#trouble"))
    assert "Trying again in" in viewer.text("#trouble")
    assert viewer.text("#connection").startswith("Figures of ")
    assert viewer.chrome.title.startswith("? main")
    assert "All 2 healthy." in viewer.text(".sentence")
    served.start()
    viewer.click("#retry")
    viewer.wait(lambda: viewer.text("#connection").startswith("Live"))
    assert viewer.text("#trouble") == ""
    assert viewer.run("return announcer.textContent") == "The server answers again."
    assert viewer.run("return document.activeElement.id") == "pools"  # not lost with the button
    assert viewer.chrome.title.startswith("● main")


def test_site_that_fails_for_long(house: House, serve: Serve, viewer: Viewer) -> None:
    """The pauses grow, and it comes back without anybody's doing."""
    served = serve(house.pool)
    viewer.open(served.url)
    viewer.forgive("net::ERR")
    viewer.run(
        "window.pauses = []; const set = window.setTimeout;"
        "window.setTimeout = (run, ms) => { pauses.push(ms); return set(run, ms); }"
    )
    served.stop()
    viewer.run("pauses.length = 0")

    def grown() -> bool:
        # Beside the pauses there is the limit of each question.
        pauses = [ms for ms in viewer.run("return pauses") if ms != 10_000]
        return len(pauses) >= 3 and max(pauses) > 4 * REFRESH * 1000

    viewer.wait(grown)
    served.start()
    viewer.wait(lambda: viewer.text("#connection").startswith("Live"))


def test_tab_that_nobody_looks_at(house: House, serve: Serve, viewer: Viewer) -> None:
    """It asks seldom, and at once when it is looked at again."""
    served = serve(house.pool)
    viewer.open(served.url)
    viewer.run(
        "window.pauses = []; const set = window.setTimeout;"
        "window.setTimeout = (run, ms) => { pauses.push(ms); return set(run, ms); };"
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true })"
    )
    viewer.wait(lambda: 30_000 in viewer.run("return pauses"))
    before = len(served.answers())
    viewer.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    viewer.wait(lambda: len(served.answers()) > before)


def test_names_that_would_be_markup(furnish: Furnish, serve: Serve, viewer: Viewer) -> None:
    """Whatever the names hold is text, wherever it is shown."""
    names = (
        "<img src=x onerror=alert(1)>",
        "</script><b>x",
        "__proto__",
        "خادم الرياض",
        "🚀",
        "x" * 200,
    )
    house = furnish(*names, pool='<i>pool</i> & "quotes"')
    house.ask(12)
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    assert viewer.text("h2") == '<i>pool</i> & "quotes"'
    assert viewer.texts(".deployments .name bdi") == list(names)
    assert viewer.texts(".strip-name") == list(names)
    house.ask(12)
    viewer.wait(lambda: viewer.texts(".choice bdi") == list(names))
    assert (
        viewer.run(
            "return document.querySelectorAll('main img, main b, main i, main script').length"
        )
        == 0
    )


def test_several_pools(furnish: Furnish, serve: Serve, viewer: Viewer) -> None:
    """Each has a section, and above them a list that leads there tells how each is."""
    chat, vision = furnish("eu", "us", pool="a"), furnish("eye", pool="b")
    viewer.open(serve({"chat": chat.pool, "vision": vision.pool}).url)
    assert viewer.texts("h2") == ["chat", "vision"]
    assert [link.split() for link in viewer.texts("#overview a")] == [
        ["chat", "Healthy"],
        ["vision", "Healthy"],
    ]
    vision.servers["eye"].behave(Refuse())
    viewer.wait(lambda: viewer.text("#overall") == "1 of 2 pools need attention.")
    viewer.click("#overview a:nth-child(2)")
    viewer.wait(
        lambda: (
            viewer.run("return document.activeElement.querySelector('h2').textContent") == "vision"
        )
    )


def test_updates_without_news(house: House, serve: Serve, viewer: Viewer) -> None:
    """They neither take the focus away nor say anything aloud."""
    served = serve(house.pool)
    viewer.open(served.url)
    viewer.run(
        "window.kept = document.querySelector('.strips + * ~ details summary'); kept.focus();"
        "window.said = 0;"
        "new MutationObserver(() => { said += 1; })"
        ".observe(announcer, { childList: true, characterData: true, subtree: true })"
    )
    assert served.wait_for_more(5, PATIENCE)
    assert viewer.focused() == "Changes of state as a table"
    assert viewer.run("return document.activeElement === kept")
    assert viewer.run("return said") == 0


def test_finding_and_ordering(furnish: Furnish, serve: Serve, viewer: Viewer) -> None:
    """With many deployments the table can be searched and ordered, and the order is kept."""
    names = [f"d{number}" for number in range(9)]
    house = furnish(*names)
    house.pool.drain("d7", 0)
    served = serve(house.pool)
    viewer.open(served.url)
    assert viewer.texts(".deployments .name bdi") == names
    viewer.run(
        "const order = document.querySelector('.tools select'); order.value = 'Worst state first';"
        "order.dispatchEvent(new Event('change'))"
    )
    worst_first = ["d7", *(name for name in names if name != "d7")]
    assert viewer.texts(".deployments .name bdi") == worst_first
    viewer.chrome.find_element("css selector", ".tools input").send_keys("draining")
    assert viewer.texts(".deployments .name bdi") == ["d7"]
    assert served.wait_for_more(3, PATIENCE)
    assert viewer.texts(".deployments .name bdi") == ["d7"]
    assert viewer.run("return document.activeElement.type") == "search"


def test_site_without_history(house: House, serve: Serve, viewer: Viewer) -> None:
    """There is then no last hour to be shown."""
    viewer.open(serve(house.pool, history=False).url)
    assert viewer.texts("h3") == []
    assert "Healthy" in viewer.row("eu")


def test_pool_that_was_closed(house: House, serve: Serve, viewer: Viewer) -> None:
    """Its section says so."""
    house.pool.close()
    viewer.open(serve(house.pool).url)
    assert viewer.text("h2 + .badge") == "Unknown"
    assert viewer.text(".sentence") == "The pool is closed."


def test_no_pools(serve: Serve, viewer: Viewer) -> None:
    """The page says why it is empty."""
    viewer.open(serve(dict).url)
    assert viewer.text("#overall") == "There are no pools."
