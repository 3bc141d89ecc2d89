"""Draining and resuming on the status page: who may, how it is asked, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from chromium import PATIENCE, Viewer
from conftest import House, Serve
from served import Served

pytestmark = [pytest.mark.needs("selenium", "chromium", "chromedriver"), pytest.mark.timeout(180)]

POST = """
    const [body, headers, done] = arguments;
    const order = { method: "POST", headers: JSON.parse(headers), body };
    fetch("control", order).then((answer) => done(answer.status));
"""
ORDER = '{"pool": "main", "deployment": "eu", "action": "drain"}'
BUTTON = ".deployments tbody tr:first-child button"


def has_control(viewer: Viewer) -> bool:
    """Tell whether the first row has a button that can be seen."""
    return bool(viewer.texts(".deployments button"))


@pytest.mark.parametrize("may_control", [None, lambda request: False], ids=["off", "refused"])
def test_viewer_without_permission(
    may_control: Any, house: House, serve: Serve, viewer: Viewer
) -> None:
    """There are no controls, and an order made by hand is refused."""
    served = serve(house.pool, may_control=may_control)
    viewer.open(served.url)
    viewer.forgive("403")
    assert not has_control(viewer)
    assert "Controls" not in viewer.texts(".deployments thead th")
    token = viewer.run("return document.cookie.split('=')[1] ?? ''")
    headers = f'{{"Content-Type": "application/json", "X-LLMPool-CSRF": "{token}"}}'
    assert viewer.chrome.execute_async_script(POST, ORDER, headers) == 403
    assert house.state("eu") == "healthy"


def test_draining_and_resuming(house: House, serve: Serve, viewer: Viewer) -> None:
    """Draining is confirmed first; resuming is not."""
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    viewer.click(BUTTON)
    assert "Drain \u2068eu\u2069?" in viewer.text("dialog")
    assert "New calls go to the one other deployment that takes calls now." in viewer.text("dialog")
    viewer.click("#ask-no")
    viewer.wait(lambda: not viewer.text("dialog"))
    assert house.state("eu") == "healthy"
    viewer.click(BUTTON)
    viewer.click("#ask-yes")
    viewer.wait(lambda: "Draining drained by the user" in viewer.row("eu"))
    assert house.state("eu") == "draining"
    viewer.wait(lambda: viewer.text(BUTTON).startswith("Resume"))
    viewer.click(BUTTON)
    viewer.wait(lambda: "Healthy" in viewer.row("eu"))
    assert house.state("eu") == "healthy"


def test_keyboard_alone(house: House, serve: Serve, viewer: Viewer) -> None:
    """Everything is reached by Tab and done by Enter, and the focus is where it was before the question."""
    from selenium.webdriver.common.keys import Keys

    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    viewer.press(Keys.TAB)
    assert viewer.focused() == "Drain eu"
    viewer.press(Keys.ENTER)
    viewer.wait(lambda: viewer.focused() == "Cancel")
    viewer.press(Keys.ESCAPE)
    viewer.wait(lambda: viewer.focused() == "Drain eu")
    assert house.state("eu") == "healthy"
    viewer.press(Keys.ENTER)
    viewer.wait(lambda: viewer.focused() == "Cancel")
    viewer.press(Keys.TAB, Keys.ENTER)
    viewer.wait(lambda: viewer.focused() == "Resume eu")
    assert house.state("eu") == "draining"
    viewer.press(Keys.TAB)
    assert viewer.focused() == "Drain us"


def test_last_one_is_drained(house: House, serve: Serve, viewer: Viewer) -> None:
    """The question warns that nobody is left."""
    house.pool.drain("us", 0)
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    viewer.click(BUTTON)
    assert "calls to this pool will fail" in viewer.text("dialog")
    viewer.click("#ask-no")


def test_permission_ends_meanwhile(house: House, serve: Serve, viewer: Viewer) -> None:
    """The refusal is told in words beside the button, which keeps the focus."""
    allowed = [True]
    served = serve(house.pool, may_control=lambda _: allowed[0], refresh=30.0)
    viewer.open(served.url)
    viewer.forgive("403")
    allowed[0] = False
    viewer.click(BUTTON)
    viewer.click("#ask-yes")
    viewer.wait(lambda: "Not drained: you may not control the pools." in viewer.row("eu"))
    assert viewer.focused() == "Drain eu"
    assert house.state("eu") == "healthy"


def test_server_gone_meanwhile(house: House, serve: Serve, viewer: Viewer) -> None:
    """That is told too, and the button works again when the server does."""
    served = serve(house.pool, may_control=lambda _: True, refresh=30.0)
    viewer.open(served.url)
    viewer.forgive("net::ERR")
    served.stop()
    viewer.click(BUTTON)
    viewer.click("#ask-yes")
    viewer.wait(lambda: "Not drained: the server cannot be reached." in viewer.row("eu"))
    served.start()
    viewer.click(BUTTON)
    viewer.click("#ask-yes")
    viewer.wait(lambda: "Draining" in viewer.row("eu"))
    assert "Not drained" not in viewer.row("eu")


@pytest.mark.parametrize(
    "headers",
    [
        '{"Content-Type": "application/json"}',
        '{"Content-Type": "application/json", "X-LLMPool-CSRF": "guessed"}',
        '{"Content-Type": "text/plain"}',
    ],
    ids=["no token", "wrong token", "no JSON"],
)
def test_order_without_the_token(headers: str, house: House, serve: Serve, viewer: Viewer) -> None:
    """It is refused, though the cookie came with it."""
    viewer.open(serve(house.pool, may_control=lambda _: True).url)
    viewer.forgive("403")
    assert viewer.run("return document.cookie").startswith("llmpool_csrf=")
    assert viewer.chrome.execute_async_script(POST, ORDER, headers) == 403
    assert house.state("eu") == "healthy"


def elsewhere(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A page without any rules of its own, on another port of the same host."""
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "5")])
    return [b"<p>x\n"]


def test_order_from_another_site(house: House, serve: Serve, viewer: Viewer) -> None:
    """A page elsewhere can send an order with this viewer's cookie, and it is refused."""
    served = serve(house.pool, may_control=lambda _: True)
    viewer.open(served.url)
    viewer.forgive("NotSameOrigin", "favicon")
    with Served(elsewhere, "") as other:
        viewer.chrome.get(other.url)
        script = """
            const [url, body, done] = arguments;
            const post = { method: "POST", mode: "no-cors", credentials: "include", body };
            fetch(url, post).finally(done).catch(() => {});"""
        viewer.chrome.execute_async_script(script, f"{served.url}control", ORDER)
        assert served.answers("POST", "control") == [403]
        viewer.leave()
    assert house.state("eu") == "healthy"


def test_orders_wait_for_their_answer(house: House, serve: Serve, viewer: Viewer) -> None:
    """While one is under way the button is marked as such and another press does nothing."""
    served = serve(house.pool, may_control=lambda _: True)
    viewer.open(served.url)
    # The answer waits until it is let through.
    viewer.run(
        "const real = window.fetch; window.held = new Promise((go) => { window.release = go; });"
        "window.fetch = async (...all) => { if (all[0] === 'control') await held; return real(...all); }"
    )
    house.pool.drain("eu", 0)
    viewer.wait(lambda: viewer.text(BUTTON).startswith("Resume"))
    viewer.click(BUTTON)
    viewer.wait(lambda: viewer.text(BUTTON).startswith("Resuming…"))
    marked = f"return document.querySelector('{BUTTON}').getAttribute('aria-disabled')"
    assert viewer.run(marked) == "true"
    viewer.click(BUTTON)
    assert served.wait_for_more(2, PATIENCE)
    assert viewer.run(marked) == "true"
    viewer.run("release()")
    viewer.wait(lambda: viewer.text(BUTTON).startswith("Drain"))
    assert served.answers("POST", "control") == [200]
