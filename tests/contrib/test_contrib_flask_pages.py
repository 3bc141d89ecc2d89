"""The Flask extension's blueprint: who sees what, and who may do what."""

from __future__ import annotations

import io
import json
import re
import threading
from typing import Any

import pytest

pytest.importorskip("flask")

from flask import Flask, Response, abort, redirect, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from llmpool import Custom, Deployment, ProviderPool
from llmpool.contrib.flask import LLMPool
from llmpool.testing import LocalServer, Refuse, ScriptedProvider

KEY = "sk-of-the-deployment-0123456789"
GUARDED = ("", "status", "status?history=1", "metrics", "static/app.js", "static/none.js")


def make(pool: ProviderPool, name: str = "shop", **options: Any) -> Flask:
    """Make an application with the blueprint."""
    app = Flask(name)
    llm = LLMPool(app, pool=pool)
    app.register_blueprint(llm.blueprint(**options))
    return app


def is_admin() -> bool:
    """Tell whether the request comes from the one who may do everything."""
    return request.headers.get("X-User") == "admin"


ADMIN = {"X-User": "admin"}


def test_who_is_told_nothing(pool: ProviderPool) -> None:
    """Without a permission there is the health page only, and nobody controls."""
    client = make(pool).test_client()
    for path in GUARDED:
        response = client.get(f"/llmpool/{path}")
        assert response.status_code == 403
        assert pool.name not in response.text
    assert client.post("/llmpool/control", json={}).status_code == 403
    assert client.get("/llmpool/healthz").status_code == 200


def test_who_is_told_everything(pool: ProviderPool) -> None:
    """A permission lets in those it lets in; True lets in everybody."""
    client = make(pool, may_view=is_admin).test_client()
    for path, wanted in zip(GUARDED, (200, 200, 200, 404, 200, 404), strict=True):
        assert client.get(f"/llmpool/{path}").status_code == 403
        assert client.get(f"/llmpool/{path}", headers=ADMIN).status_code == wanted
    everybody = make(pool, may_view=True).test_client()
    assert everybody.get("/llmpool/status").json["pools"][0]["name"] == "main"


@pytest.mark.parametrize(
    ("may_view", "wanted"),
    [
        (lambda: False, 403),
        (lambda: None, 403),
        (lambda: "yes", 403),
        (lambda: 1, 403),
        (lambda: redirect("/login"), 302),
        (lambda: abort(401), 401),
        (lambda: 1 / 0, 500),
    ],
)
def test_what_is_no_yes(may_view: Any, wanted: int, pool: ProviderPool) -> None:
    """Only True itself is one; a response, such as the way to a login, is the answer."""
    client = make(pool, may_view=may_view, may_control=may_view).test_client()
    response = client.get("/llmpool/status")
    assert response.status_code == wanted
    assert client.post("/llmpool/control", json={}).status_code == wanted
    if wanted == 302:
        assert response.headers["Location"] == "/login"


@pytest.mark.parametrize("field", ["may_view", "may_control"])
def test_what_is_no_permission(field: str, pool: ProviderPool) -> None:
    """A coroutine function would say yes to whoever does not await it."""

    async def allowed() -> bool:
        raise AssertionError("nobody asks")

    for given, told in (("admin", "'admin'"), (allowed, "a function")):
        options: dict[str, Any] = {field: given}
        with pytest.raises(TypeError, match=f"^{field}: wanted a plain function .*, got {told}$"):
            LLMPool(pool=pool).blueprint(**options)


def test_a_hook_of_the_blueprint(pool: ProviderPool) -> None:
    """It works as on any blueprint, and sees the names of the pages."""
    app = Flask("shop")
    blueprint = LLMPool(app, pool=pool).blueprint(may_view=True, name="pool", url_prefix="/p")

    @blueprint.before_request
    def demand_a_login() -> Response | None:
        if request.endpoint == "pool.healthz" or is_admin():
            return None
        return Response("log in", 401)

    app.register_blueprint(blueprint)
    client = app.test_client()
    assert client.get("/p/healthz").status_code == 200
    assert client.get("/p/").status_code == 401
    assert client.get("/p/", headers=ADMIN).status_code == 200


def test_health() -> None:
    """The health page is 200 while a quorum is healthy, else 503, for each application by itself."""
    llm = LLMPool()
    blueprint = llm.blueprint(quorum=2)
    clients = {}
    for name in ("shop", "desk"):
        app = Flask(name)
        deployments = [Deployment(letter, ScriptedProvider("hi")) for letter in "ab"]
        check = Custom(lambda deployment, app=name: f"{app} {deployment.name}" != "shop a")
        pool = ProviderPool(deployments, name=name, health_check=None, check=check)
        llm.init_app(app, pool)
        pool.check_now()
        app.register_blueprint(blueprint, url_prefix="/health")
        clients[name] = app.test_client()
    response = clients["shop"].get("/health/healthz")
    assert response.status_code == 503
    assert response.json["ready"] is False
    assert response.json["pools"]["shop"]["healthy_deployments"] == 1
    assert clients["desk"].get("/health/healthz").json["pools"].keys() == {"desk"}
    assert clients["desk"].get("/health/healthz").status_code == 200


@pytest.mark.parametrize("quorum", [0, 1.5, -1])
def test_what_is_no_quorum(quorum: float, pool: ProviderPool) -> None:
    """It is refused when the blueprint is made."""
    with pytest.raises(ValueError, match=r"^quorum: wanted"):
        LLMPool(pool=pool).blueprint(quorum=quorum)


def test_a_health_page_starts_the_checker(server: LocalServer) -> None:
    """A process that is asked how it is serves, and finds out before its first call."""
    app = Flask("shop")
    described = {"name": "a", "provider": "openai", "base_url": server.url, "api_key": KEY}
    app.config["LLMPOOL_DEPLOYMENTS"] = [described]
    llm = LLMPool(app)
    app.register_blueprint(llm.blueprint())
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("llmpool-checker-")]
    server.behave(Refuse())
    assert app.test_client().get("/llmpool/healthz").json["pools"]["shop"]["total_deployments"] == 1
    assert app.extensions["llmpool"].health_status().checker_alive


def test_an_application_without_a_pool() -> None:
    """The error tells what is missing."""
    app = Flask("shop")
    app.register_blueprint(LLMPool().blueprint())
    app.testing = True
    with pytest.raises(RuntimeError, match="'shop' has no pool"):
        app.test_client().get("/llmpool/healthz")


def test_the_page_without_its_slash(pool: ProviderPool) -> None:
    """It is sent to where its links are right."""
    response = make(pool, may_view=True).test_client().get("/llmpool")
    assert (response.status_code, response.headers["Location"]) == (
        308,
        "http://localhost/llmpool/",
    )


def test_what_a_reply_carries(pool: ProviderPool) -> None:
    """The site's headers go out as they are, its kind of content among them, and HEAD has no body."""
    client = make(pool, may_view=True).test_client()
    page = client.get("/llmpool/")
    assert page.content_type == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert len(page.headers.getlist("Content-Type")) == 1
    head = client.head("/llmpool/")
    assert (head.data, head.headers["Content-Length"]) == (b"", page.headers["Content-Length"])
    assert client.put("/llmpool/status").status_code == 405


def test_no_key_in_any_reply(pool: ProviderPool, server: LocalServer) -> None:
    """Neither the deployment's key nor the question stands in what is shown, after errors too."""
    client = make(pool, may_view=True).test_client()
    server.behave(Refuse())
    with pytest.raises(Exception, match="refused"):
        pool.complete("a secret question")
    for path in ("", "status?history=1", "healthz"):
        text = client.get(f"/llmpool/{path}").text
        assert KEY not in text
        assert "secret question" not in text


def test_metrics(pool: ProviderPool) -> None:
    """They are those of the registry."""
    prometheus = pytest.importorskip("prometheus_client")
    registry = prometheus.CollectorRegistry()
    prometheus.Counter("greetings", "How many.", registry=registry).inc()
    client = make(pool, may_view=True, registry=registry).test_client()
    assert "greetings_total 1.0" in client.get("/llmpool/metrics").text


# -- controls -----------------------------------------------------------------------------------

DRAIN = {"pool": "main", "deployment": "a", "action": "drain"}


def post(client: FlaskClient, order: Any, **headers: str) -> TestResponse:
    """Send an order as the page does."""
    page = client.get("/llmpool/", headers=ADMIN)
    found = re.search("llmpool_csrf=([^;]+)", page.headers.get("Set-Cookie", ""))
    cookie = client.get_cookie("llmpool_csrf", path="/llmpool")
    token = found[1] if found else cookie.value if cookie else ""
    own = {"X-LLMPool-CSRF": token, "Origin": "http://localhost", **headers}
    return client.post("/llmpool/control", json=order, headers=own)


def test_an_order_of_one_who_may(pool: ProviderPool) -> None:
    """It is done, and its state told."""
    client = make(pool, may_view=True, may_control=is_admin).test_client()
    response = post(client, DRAIN, **ADMIN)
    assert (response.status_code, response.json) == (200, {"state": "draining"})
    assert post(client, {**DRAIN, "action": "resume"}, **ADMIN).status_code == 200
    assert pool.health("a").state != "draining"
    assert client.get("/llmpool/status", headers=ADMIN).json["pools"]


def test_an_order_that_is_not_done(pool: ProviderPool) -> None:
    """Without permission, from elsewhere, or without the page's token, nothing happens."""
    client = make(pool, may_view=True, may_control=is_admin).test_client()
    assert post(client, DRAIN).status_code == 403
    assert post(client, DRAIN, **ADMIN, Origin="http://elsewhere").status_code == 403
    assert client.post("/llmpool/control", json=DRAIN, headers=ADMIN).status_code == 403
    nobody = make(pool, may_view=True).test_client()
    assert nobody.post("/llmpool/control", json=DRAIN).status_code == 403
    assert client.get("/llmpool/control").status_code == 405
    assert pool.health("a").state == "healthy"


def test_one_who_may_control_and_not_view(pool: ProviderPool) -> None:
    """Nobody controls what he may not see."""
    client = make(pool, may_control=lambda: True).test_client()
    assert post(client, DRAIN).status_code == 403
    assert pool.health("a").state == "healthy"


def test_a_permission_that_says_maybe(pool: ProviderPool) -> None:
    """What a decorator gives in the place of the function's own word is no yes."""
    client = make(pool, may_view=True, may_control=lambda: redirect("/login")).test_client()
    assert post(client, DRAIN).status_code == 403


def test_an_order_without_an_end(pool: ProviderPool) -> None:
    """Nothing longer than an order is read, nor anything whose length is not told."""
    client = make(pool, may_view=True, may_control=is_admin).test_client()
    long = json.dumps({**DRAIN, "pool": "x" * 5000})
    headers = {**ADMIN, "Content-Type": "application/json"}
    assert client.post("/llmpool/control", data=long, headers=headers).status_code == 413
    response = client.post(
        "/llmpool/control",
        headers=headers,
        environ_overrides={"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    )
    assert response.status_code == 411


class Unread(io.RawIOBase):
    """What nobody may read."""

    def readable(self) -> bool:
        """Say that there is something."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fail."""
        raise AssertionError("the body was read")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_body_from_anybody(method: str, pool: ProviderPool) -> None:
    """It is not read, however long it says it is; nor is that of an order before it may be given."""
    client = make(pool).test_client()
    for path in ("healthz", "status", "control"):
        body = {"wsgi.input": Unread(), "CONTENT_LENGTH": "4000"}
        response = client.open(f"/llmpool/{path}", method=method, environ_overrides=body)
        assert response.status_code in (200, 403, 405)


def test_over_https(pool: ProviderPool) -> None:
    """The page's cookie stays there."""
    client = make(pool, may_view=True, may_control=is_admin).test_client()
    for base, wanted in (("http://localhost", False), ("https://localhost", True)):
        cookie = client.get("/llmpool/", base_url=base).headers["Set-Cookie"]
        assert ("Secure" in cookie) == wanted
        client.delete_cookie("llmpool_csrf", path="/llmpool")
