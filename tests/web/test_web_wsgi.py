"""The site as a WSGI application."""

from __future__ import annotations

import io
import json
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from viewer import Viewer, order, pool_of

from llmpool.web import StatusSite


class Never(io.BytesIO):
    """A body that nobody is to read."""

    def read(self, size: int | None = -1) -> bytes:
        """Refuse to be read."""
        raise AssertionError("read")


def ask(
    site: StatusSite, path: str, mount: str = "", body: io.BytesIO | bytes = b"", **environ: str
) -> tuple[str, dict[str, str], bytes]:
    """Ask *site* as a server would that holds itself to the standard; give status, headers, body."""
    query = path.partition("?")
    given: dict[str, Any] = {"PATH_INFO": query[0], "SCRIPT_NAME": mount, "QUERY_STRING": query[2]}
    given["wsgi.input"] = io.BytesIO(body) if isinstance(body, bytes) else body
    given.update(environ)
    setup_testing_defaults(given)
    told: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        told.extend((status, dict(headers)))
        return lambda data: None

    # The validator reads a request's length itself, and so cannot have a wrong one.
    application = site.wsgi if isinstance(body, Never) else validator(site.wsgi)
    chunks = application(given, start_response)
    whole = b"".join(chunks)
    getattr(chunks, "close", lambda: None)()
    return told[0], told[1], whole


@pytest.fixture
def site() -> StatusSite:
    """Give a site of one pool that may be controlled."""
    return StatusSite(pool_of("eu"), may_control=lambda environ: environ["REMOTE_USER"] == "admin")


@pytest.mark.parametrize("mount", ["", "/llmpool", "/a/b"])
def test_a_mount(site: StatusSite, mount: str) -> None:
    """It works anywhere, and says nowhere where it is."""
    status, headers, body = ask(site, "/", mount)
    assert status == "200 OK"
    assert headers["Content-Type"].startswith("text/html")
    assert b"<!doctype html>" in body.lower()
    status, _, body = ask(site, "/status?history=1", mount)
    assert status == "200 OK"
    assert "history" in json.loads(body)["pools"][0]
    assert ask(site, "/nothing", mount)[0] == "404 Not Found"
    status, headers, body = ask(site, "/healthz", mount, REQUEST_METHOD="HEAD")
    assert (status, body) == ("200 OK", b"")


@pytest.mark.parametrize(
    ("mount", "location"),
    [
        ("/llmpool", "./llmpool/"),
        ("/a/b", "./b/"),
        ("//evil.example", "./evil.example/"),
        ("/a b\r\nX: y", "./a%20b%0D%0AX%3A%20y/"),
        ("/caf\xc3\xa9", "./caf%C3%A9/"),
    ],
)
def test_a_mount_without_its_slash(site: StatusSite, mount: str, location: str) -> None:
    """It is sent on to the page, to a place below the one asked for, whatever the mount is called."""
    status, headers, _ = ask(site, "", mount)
    assert (status, headers["Location"]) == ("308 Permanent Redirect", location)


def test_no_mount_and_no_path(site: StatusSite) -> None:
    """It is the page."""
    assert ask(site, "")[0] == "200 OK"


def test_an_order(site: StatusSite) -> None:
    """It goes the whole way; the permission is asked with the environment."""
    headers = ask(site, "/", HTTP_HOST="h")[1]
    token = headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    body = json.dumps(order()).encode()
    sent = {
        "REQUEST_METHOD": "POST",
        "HTTP_HOST": "h",
        "HTTP_COOKIE": f"llmpool_csrf={token}",
        "HTTP_X_LLMPOOL_CSRF": token,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
    }
    assert ask(site, "/control", body=body, REMOTE_USER="guest", **sent)[0] == "403 Forbidden"
    status, _, told = ask(site, "/control", body=body, REMOTE_USER="admin", **sent)
    assert (status, json.loads(told)) == ("200 OK", {"state": "draining"})


def test_https(site: StatusSite) -> None:
    """The cookie is for HTTPS alone where it was handed out by it."""
    cookie = ask(site, "/", **{"wsgi.url_scheme": "https"})[1]["Set-Cookie"]
    assert cookie.endswith("; Secure")


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("4097", "413 Request Entity Too Large"),
        ("999999999999999999999999", "413 Request Entity Too Large"),
        ("", "403 Forbidden"),
        ("0", "403 Forbidden"),
        ("-1", "403 Forbidden"),
        ("1e9", "403 Forbidden"),
        ("²", "403 Forbidden"),
    ],
)
def test_a_body_that_is_not_read(site: StatusSite, length: str, status: str) -> None:
    """One that is too long, or of no length: nothing of it is read, so that nothing waits for it."""
    told = ask(site, "/control", body=Never(), REQUEST_METHOD="POST", CONTENT_LENGTH=length)
    assert told[0].partition(" ")[0] == status.partition(" ")[0]


def test_a_body_that_nobody_wants(site: StatusSite) -> None:
    """A page is shown without reading what came along with the request."""
    assert ask(site, "/status", body=Never(), CONTENT_LENGTH="17")[0] == "200 OK"


def test_what_the_application_knows_of_the_request(site: StatusSite) -> None:
    """A viewer by WSGI gets what one by the function gets."""
    told = json.loads(ask(site, "/status", REMOTE_USER="admin")[2])
    assert told["controls"] is True
    assert told["pools"][0]["name"] == Viewer(site).json("/status")["pools"][0]["name"]
