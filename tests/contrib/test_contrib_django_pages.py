"""The status page in a Django project: who may see it, who may control, and what passes between the two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("django")

import django_site
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings
from django.urls import resolve, reverse
from django_site import Stranger, Visitor, described

from llmpool import OpenAIProvider
from llmpool.contrib.django import pools
from llmpool.testing import LocalServer, Refuse, Status

KEY = "sk-of-the-deployment-0123456789"
EVERYBODY = "llmpool.contrib.django.permissions.everybody"
SUPERUSER = "llmpool.contrib.django.permissions.superuser"


@pytest.fixture(autouse=True)
def setting() -> Iterator[None]:
    """A pool, and nobody known who asks."""
    with override_settings(LLMPOOL={"default": described()}):
        yield
    django_site.visitor.clear()


def client(visitor: Any = None, **options: Any) -> Client:
    """Make a client of somebody."""
    django_site.visitor[:] = [] if visitor is None else [visitor]
    return Client(**options)


def test_the_health_url() -> None:
    """It is there for everybody, and answers 503 below the quorum."""
    with override_settings(LLMPOOL_STATUS={"QUORUM": 1}):
        answer = client().get("/llmpool/healthz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        pools["default"].close()
        assert client().get("/llmpool/healthz").status_code == 503
    assert client().post("/llmpool/healthz").status_code == 405
    head = client().head("/llmpool/healthz")
    assert (head.status_code, head.content) == (503, b"")


def test_settings_that_make_no_pool() -> None:
    """The health URL says 503, and no more than the kind of the error."""
    with override_settings(LLMPOOL={"default": {"DEPLOYMENTS": [{"api_key": KEY}]}}):
        answer = client().get("/llmpool/healthz")
    assert answer.status_code == 503
    assert "ImproperlyConfigured" in answer.json()["problem"]


def test_settings_that_make_no_page() -> None:
    """They are refused in Django's words."""
    for setting, said in (({"QUORUM": 0}, "QUORUM: wanted"), ({"X": 1, "Y": 1}, "X: .*\n.*Y: ")):
        refused = pytest.raises(ImproperlyConfigured, match=said)
        with override_settings(LLMPOOL_STATUS=setting), refused:
            client().get("/llmpool/healthz")


@pytest.mark.parametrize("page", ["", "status", "metrics", "static/app.js", "control"])
def test_who_may_see_it(page: str) -> None:
    """The staff; others get 403, and strangers on the page itself the way to the login."""
    path = f"/llmpool/{page}"
    assert client(Visitor(staff=True)).get(path).status_code not in (302, 403)
    for visitor in (None, Visitor(), Visitor(superuser=True), Visitor(staff=True, active=False)):
        assert client(visitor).get(path).status_code == 403
    answer = client(Stranger()).get(path)
    if page:
        assert answer.status_code == 403
    else:
        assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/llmpool/")


def test_a_project_without_users() -> None:
    """The staff is nobody then."""
    with override_settings(INSTALLED_APPS=["llmpool.contrib.django"]):
        assert client(Stranger()).get("/llmpool/").status_code == 403


def test_a_permission_of_ones_own() -> None:
    """It alone decides; only True itself is a yes, and strangers are not sent to a login."""
    with override_settings(LLMPOOL_STATUS={"MAY_VIEW": EVERYBODY}):
        page = client().get("/llmpool/")
        assert page.status_code == 200
        assert b"<title>" in page.content
        assert "script-src 'self'" in page["Content-Security-Policy"]
        assert page.cookies == {}
        feed = client().get("/llmpool/status?history=1").json()
        assert [pool["name"] for pool in feed["pools"]] == ["default"]
        assert "history" in feed["pools"][0]
        assert feed["controls"] is False
        script = client().get("/llmpool/static/app.js")
        assert script["Content-Type"].startswith("text/javascript")
        again = client().get("/llmpool/static/app.js", HTTP_IF_NONE_MATCH=script["ETag"])
        assert again.status_code == 304
        assert client().get("/llmpool/static/nothing.js").status_code == 404
    for refusing in ("django_site.nobody", lambda request: "yes"):
        with override_settings(LLMPOOL_STATUS={"MAY_VIEW": refusing}):
            assert client(Stranger()).get("/llmpool/").status_code == 403


def test_without_the_slash() -> None:
    """Django itself leads to the page, whose links need it."""
    answer = client().get("/llmpool")
    assert (answer.status_code, answer["Location"]) == (301, "/llmpool/")


def test_metrics() -> None:
    """They are those of the registry that the setting names; without one it is told what is wanted."""
    library = pytest.importorskip("prometheus_client")
    with override_settings(LLMPOOL_STATUS={"MAY_VIEW": EVERYBODY}):
        assert client().get("/llmpool/metrics").status_code == 404
    for registry in ("prometheus_client.REGISTRY", library.REGISTRY):
        with override_settings(LLMPOOL_STATUS={"MAY_VIEW": EVERYBODY, "REGISTRY": registry}):
            answer = client().get("/llmpool/metrics")
            assert (answer.status_code, b"# HELP" in answer.content) == (200, True)


def order(
    asker: Client, *, action: str = "drain", path: str = "/llmpool/control", **more: str
) -> Any:
    """Give an order as the page does."""
    token = asker.cookies["llmpool_csrf"].value if "llmpool_csrf" in asker.cookies else ""
    return asker.post(
        path,
        json.dumps({"pool": "default", "deployment": "own", "action": action}),
        content_type="application/json",
        **{"HTTP_X_LLMPOOL_CSRF": token, **more},
    )


def test_controls_that_are_off() -> None:
    """Nobody drains anything."""
    asker = client(Visitor(staff=True, superuser=True))
    assert asker.get("/llmpool/").cookies == {}
    assert order(asker).status_code == 403
    assert pools["default"].health("own").state == "healthy"


def test_controls_that_are_on() -> None:
    """Who may, drains and resumes, with Django's own protection on; who may not, does not."""
    with override_settings(LLMPOOL_STATUS={"MAY_CONTROL": SUPERUSER}):
        asker = client(Visitor(staff=True, superuser=True), enforce_csrf_checks=True)
        cookie = asker.get("/llmpool/", secure=True).cookies["llmpool_csrf"]
        assert (cookie["samesite"], cookie["secure"]) == ("Strict", True)
        assert asker.get("/llmpool/status").json()["controls"] is True
        assert order(asker).json() == {"state": "draining"}
        assert order(asker, action="resume").json() == {"state": "healthy"}
        assert order(asker, HTTP_X_LLMPOOL_CSRF="").status_code == 403
        assert order(asker, HTTP_ORIGIN="https://elsewhere.example").status_code == 403
        assert order(asker, action="x" * 5000).status_code == 413
        django_site.visitor[:] = [Visitor(staff=True)]
        assert order(asker).status_code == 403
        django_site.visitor[:] = [Visitor(superuser=True)]
        assert order(asker).status_code == 403
        assert pools["default"].health("own").state == "healthy"


@pytest.mark.parametrize("name", ["page", "status", "metrics", "healthz", "control"])
def test_the_views(name: str) -> None:
    """They can be reversed, are exempt from what they do themselves, and need no database."""
    view = resolve(reverse(f"llmpool:{name}")).func
    assert view.csrf_exempt
    assert view.login_required is False
    assert view._non_atomic_requests == {"default"}
    assert reverse("llmpool:static", args=["app.js"]) == "/llmpool/static/app.js"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server that wants a key."""
    with LocalServer("eu", api_keys=[KEY]) as server:
        yield server


@pytest.mark.parametrize("trouble", [Refuse(), Status(400), Status(401), Status(500)])
def test_the_page_for_developers(server: LocalServer, trouble: Any) -> None:
    """Of a view that fails over a pool it shows settings and local variables, and no key."""
    listed = [
        {"name": "eu", "provider": "openai", "base_url": server.url, "api_key": KEY, "model": "m"},
        {
            "name": "own",
            "provider": OpenAIProvider(server.url, api_key=KEY, model="m"),
        },
    ]
    described = {"DEPLOYMENTS": listed, "HEALTH_CHECK": {"enabled": False}}
    described["RETRY"] = {"timeout": 30.0, "max_wait": 0.001}
    with override_settings(LLMPOOL={"default": described}, DEBUG=True):
        asker = client(raise_request_exception=False)
        assert asker.get("/ask?q=hello").content == b"echo: hello"
        server.behave(trouble)
        answer = asker.get("/ask?q=hello")
    assert answer.status_code == 500
    page = answer.content.decode()
    assert "LLMPOOL" in page
    assert "ProviderPool" in page
    assert KEY not in page


@pytest.mark.parametrize("debug", [True, False])
def test_the_page_for_developers_of_settings(debug: bool) -> None:
    """Where the settings make no pool, it shows no key either."""
    listed = [{"name": "eu", "provider": "openai", "api_key": KEY, "wieght": 2}]
    with override_settings(LLMPOOL={"default": {"DEPLOYMENTS": listed}}, DEBUG=debug):
        answer = client(raise_request_exception=False).get("/ask?q=hello")
    assert answer.status_code == 500
    page = answer.content.decode()
    assert ("wieght: unknown key" in page) is debug
    assert KEY not in page
