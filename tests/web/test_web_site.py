"""The status site: what is where, by which methods, and with which headers."""

from __future__ import annotations

import importlib.resources
import json

import pytest
from viewer import Viewer, header, pool_of

from llmpool import Deployment, ProviderPool
from llmpool.testing import ScriptedProvider
from llmpool.web import StatusSite

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STATIC = importlib.resources.files("llmpool.web").joinpath("static")
NAMES = sorted(file.name for file in STATIC.iterdir())


@pytest.fixture
def viewer() -> Viewer:
    """Give somebody in front of a site of one pool that nobody may control."""
    return Viewer(StatusSite(pool_of("eu", "us")))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("/", "text/html; charset=utf-8"),
        ("/?dark", "text/html; charset=utf-8"),
        ("/status", "application/json"),
        ("/status?history=1", "application/json"),
        ("/healthz", "application/json"),
    ],
)
def test_what_is_shown(viewer: Viewer, path: str, kind: str) -> None:
    """It comes whole, is kept by nobody, and may do nothing but what the page needs."""
    reply = viewer.get(path)
    assert reply.status == 200
    assert header(reply, "Content-Type") == kind
    assert header(reply, "Content-Length") == str(len(reply.body))
    assert header(reply, "Cache-Control") == "no-store"
    assert header(reply, "Content-Security-Policy") == POLICY
    assert header(reply, "X-Content-Type-Options") == "nosniff"
    assert header(reply, "X-Frame-Options") == "DENY"
    assert header(reply, "Referrer-Policy") == "same-origin"
    assert header(reply, "Set-Cookie") is None, "without controls there is nothing to protect"


@pytest.mark.parametrize("path", ["/", "/status", "/healthz", "/metrics", "/static/app.js", "/no"])
def test_head(viewer: Viewer, path: str) -> None:
    """It is GET without the body; the length is that of the body."""
    got, head = viewer.get(path), viewer.get(path, "HEAD")
    assert head.body == b""
    if path == "/status":  # it tells the time
        assert head.status == got.status
    else:
        assert (head.status, head.headers) == (got.status, got.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
@pytest.mark.parametrize("path", ["", "/", "/status", "/healthz", "/metrics", "/static/app.js"])
def test_another_method(viewer: Viewer, method: str, path: str) -> None:
    """405, and what there is instead."""
    reply = viewer.get(path, method)
    assert reply.status == 405
    assert header(reply, "Allow") == "GET, HEAD"
    assert json.loads(reply.body) == {"error": "only GET, HEAD"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_another_method_of_the_controls(viewer: Viewer, method: str) -> None:
    """405: nothing is done by a link, an image, or a prefetch."""
    reply = viewer.get("/control", method)
    assert reply.status == 405
    assert header(reply, "Allow") == "POST"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_page(viewer: Viewer, name: str) -> None:
    """It comes as it is, with its type and a tag; known to the viewer already, it is not sent again."""
    reply = viewer.get(f"/static/{name}")
    assert reply.status == 200
    assert reply.body == STATIC.joinpath(name).read_bytes()
    assert header(reply, "X-Content-Type-Options") == "nosniff"
    assert header(reply, "Cache-Control") == "no-cache"
    kinds = {"js": "text/javascript", "css": "text/css", "html": "text/html", "txt": "text/plain"}
    assert header(reply, "Content-Type") == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
    tag = header(reply, "ETag")
    assert tag is not None
    for seen in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = viewer.get(f"/static/{name}", If_None_Match=seen)
        assert (again.status, again.body, header(again, "ETag")) == (304, b"", tag)
        assert header(again, "Content-Length") is None
    assert viewer.get(f"/static/{name}", If_None_Match='"other"').status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static",
        "/static/",
        "/static/.",
        "/static/..",
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/static/%2e%2e/site.py",
        "/static//app.js",
        "/static/./app.js",
        "/static/app.js/",
        "/static/APP.JS",
        "/static/..\\site.py",
        "/static/app.js\0",
        "/static//etc/passwd",
        "/static/C:\\boot.ini",
        "//static/app.js",
        "static/app.js",
        "/status/",
        "/healthz/x",
        "/controls",
        "/index.html",
        "/llmpool.toml",
        "/é",
    ],
)
def test_a_path_that_is_not_there(viewer: Viewer, path: str) -> None:
    """404, whatever it tries to mean: a file is found by its whole name among those of the page."""
    assert viewer.get(path).status == 404
    assert viewer.get(path, "POST").status == 404


def test_a_file_of_a_kind_that_is_not_served(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """What is neither page, script, style nor text stays where it is, and so do folders."""
    folder = tmp_path / "static"
    (folder / "deep.js").mkdir(parents=True)
    (folder / "secret.py").write_text("x")
    (folder / "README").write_text("x")
    (folder / "ours.js").write_text("x")
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    viewer = Viewer(StatusSite(pool_of("eu")))
    assert viewer.get("/static/ours.js").status == 200
    for name in ("deep.js", "secret.py", "README"):
        assert viewer.get(f"/static/{name}").status == 404


def test_pools_by_name() -> None:
    """Each is shown under the name that it was given by, in that order."""
    viewer = Viewer(StatusSite({"chat": pool_of("eu"), "batch": pool_of("us")}))
    assert list(viewer.pools()) == ["chat", "batch"]


def test_pools_by_a_function() -> None:
    """It is asked at each request, not before, and may give a pool alone."""
    asked = []

    def pools() -> object:
        asked.append(1)
        return pool

    site = StatusSite(pools)  # type: ignore[arg-type]
    assert not asked
    pool = pool_of("eu")
    assert list(Viewer(site).pools()) == ["main"]
    pool = {"other": pool_of("us")}
    assert list(Viewer(site).pools()) == ["other"]


def raises() -> None:
    """Raise what may hold anything."""
    raise RuntimeError("sk-secret")


@pytest.mark.parametrize(
    ("pools", "problem"),
    [
        ({}, "there are no pools"),
        (dict, "there are no pools"),
        (raises, "asking for the pools raised RuntimeError"),
        (lambda: None, "asking for the pools raised AttributeError"),
        (lambda: {"main": None}, "asking for the pools raised TypeError"),
    ],
)
def test_no_pools(pools: object, problem: str) -> None:
    """The feed tells why, and the health URL says 503."""
    viewer = Viewer(StatusSite(pools))  # type: ignore[arg-type]
    assert viewer.get("/").status == 200
    told = viewer.json("/status")
    assert (told["problem"], told["pools"]) == (problem, [])
    reply = viewer.get("/healthz")
    assert reply.status == 503
    assert json.loads(reply.body) == {"ready": False, "problem": problem, "pools": {}}


def test_a_closed_pool() -> None:
    """It is shown as it was, it is not ready, and looking at it starts nothing."""
    pool = pool_of("eu")
    viewer = Viewer(StatusSite(pool))
    pool.close()
    told = viewer.pools()["main"]
    assert (told["problem"], told["ready"]) == ("the pool is closed", False)
    assert [each["name"] for each in told["deployments"]] == ["eu"]
    reply = viewer.get("/healthz")
    assert reply.status == 503
    assert json.loads(reply.body)["pools"]["main"]["problem"] == "the pool is closed"


def test_a_pool_that_is_drained() -> None:
    """It is not ready, as healthy as it may be: there is nobody to ask."""
    pool = pool_of("eu", "us")
    viewer = Viewer(StatusSite(pool))
    pool.drain("eu", timeout=0.0)
    assert viewer.get("/healthz").status == 200
    pool.drain("us", timeout=0.0)
    assert viewer.get("/healthz").status == 503
    assert viewer.pools()["main"]["ready"] is False


class Broken(ProviderPool):
    """A pool that cannot tell how it is."""

    def health_status(self) -> object:  # type: ignore[override]
        """Raise what may hold anything."""
        raise RuntimeError("sk-secret")


def test_a_pool_that_raises() -> None:
    """It is shown as one that does, beside those that do not; of the error only its type is."""
    broken = Broken([Deployment("eu", ScriptedProvider())], health_check=None)
    viewer = Viewer(StatusSite({"broken": broken, "main": pool_of("us")}))
    told = viewer.pools("/status?history=1")
    assert told["broken"]["problem"] == "looking at it raised RuntimeError"
    assert (told["broken"]["deployments"], told["broken"]["ready"]) == ([], False)
    assert "history" not in told["broken"]
    assert told["main"]["problem"] is None
    reply = viewer.get("/healthz")
    assert reply.status == 503
    pools = json.loads(reply.body)["pools"]
    assert pools["broken"]["problem"] == "looking at it raised RuntimeError"
    assert pools["main"]["ready"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"pools": None},
            "pools: wanted a ProviderPool, a mapping of names to them, or a function",
        ),
        ({"pools": {"main": None}}, "pools: wanted a ProviderPool"),
        ({"quorum": 0}, "quorum: wanted a whole number >= 1, or a share above 0 and up to 1.0"),
        ({"quorum": True}, "quorum: wanted"),
        ({"refresh": 0}, "refresh: wanted seconds > 0"),
        ({"history": 1}, "history: wanted"),
        ({"may_control": True}, "may_control: wanted a plain function of one request, or None"),
    ],
)
def test_a_wrong_argument(wrong: dict[str, object], said: str) -> None:
    """It is refused, by the name of its field."""
    given = {"pools": pool_of("eu"), **wrong}
    with pytest.raises((TypeError, ValueError)) as caught:
        StatusSite(given.pop("pools"), **given)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)
