"""Draining and resuming by the page: who may, and that nobody else's page can ask for it."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from viewer import HOST, Viewer, header, order, pool_of

from llmpool import ProviderPool
from llmpool.web import StatusSite


@pytest.fixture
def pool() -> ProviderPool:
    """Give a pool of two."""
    return pool_of("eu", "us")


@pytest.fixture
def viewer(pool: ProviderPool) -> Viewer:
    """Give somebody who may control it."""
    return Viewer(StatusSite(pool, may_control=lambda request: bool(request == "somebody")))


def state(pool: ProviderPool) -> str:
    """Give the state of the deployment that the orders are about."""
    return pool.health("eu").state


def test_draining_and_resuming(pool: ProviderPool, viewer: Viewer) -> None:
    """Each is done at once, and the answer is the new state; nobody waits for what is in flight."""
    with pool.lease() as lease:
        reply = viewer.post(order("drain", lease.deployment.name))
        assert (reply.status, json.loads(reply.body)) == (200, {"state": "draining"})
        assert header(reply, "Content-Type") == "application/json"
        assert viewer.deployments()[lease.deployment.name]["state"] == "draining"
        reply = viewer.post(order("resume", lease.deployment.name))
    assert (reply.status, json.loads(reply.body)) == (200, {"state": "healthy"})
    assert viewer.deployments()["eu"]["eligible"]


def test_what_is_logged(
    pool: ProviderPool, viewer: Viewer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each order that was obeyed, and no other."""
    with caplog.at_level(logging.INFO, logger="llmpool.web"):
        viewer.post(order("drain"))
        viewer.post(order("drain", "asia"))
        viewer.post(order("resume"), Origin="http://evil.example")
    told = [record.getMessage() for record in caplog.records if record.name == "llmpool.web"]
    assert told == ["pool main: drain was ordered for eu on the status page"]


def test_an_order_that_is_given_twice(pool: ProviderPool, viewer: Viewer) -> None:
    """The second changes nothing."""
    for action, told in (("drain", "draining"), ("resume", "healthy")):
        for _ in range(2):
            reply = viewer.post(order(action))
            assert (reply.status, json.loads(reply.body)) == (200, {"state": told})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (order(pool="other"), "there is no such pool"),
        (order(deployment="asia"), "there is no such deployment"),
        (order("resume", deployment="asia"), "there is no such deployment"),
        (order(deployment=""), "there is no such deployment"),
    ],
)
def test_what_is_not_there(viewer: Viewer, given: Any, said: str) -> None:
    """404, and the answer repeats nothing of what was sent."""
    reply = viewer.post(given)
    assert (reply.status, json.loads(reply.body)) == (404, {"error": said})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 4096,
        b'{"a":' * 800,
        b"1" * 4096,
        b"null",
        b"[]",
        b'"drain"',
        {},
        {"pool": "main", "deployment": "eu"},
        {**order(), "timeout": 3},
        order("remove"),
        order("__class__"),
        {**order(), "deployment": None},
        {**order(), "deployment": ["eu"]},
        {**order(), "pool": {"main": 1}},
        {**order(), "action": 1},
    ],
    ids=lambda body: repr(body)[:24],
)
def test_a_body_that_is_no_order(pool: ProviderPool, viewer: Viewer, body: Any) -> None:
    """400, and nothing is done."""
    reply = viewer.post(body)
    assert reply.status == 400
    assert json.loads(reply.body) == {
        "error": "wanted pool, deployment and action (drain or resume)"
    }
    assert state(pool) == "healthy"


def test_a_long_body(pool: ProviderPool, viewer: Viewer) -> None:
    """413 beyond 4 KiB."""
    body = json.dumps(order()).encode()
    assert viewer.post(body.ljust(4097)).status == 413
    assert state(pool) == "healthy"
    assert viewer.post(body.ljust(4096)).status == 200


# -- another site's page ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Cookie": None}, "has to repeat the cookie"),
        ({"Cookie": "llmpool_csrf="}, "has to repeat the cookie"),
        ({"Cookie": "llmpool_csrf=" + "A" * 43}, "has to repeat the cookie"),
        ({"Cookie": "xllmpool_csrf={cookie}"}, "has to repeat the cookie"),
        ({"X_LLMPool_CSRF": None}, "has to repeat the cookie"),
        ({"X_LLMPool_CSRF": ""}, "has to repeat the cookie"),
        ({"X_LLMPool_CSRF": "A" * 43}, "has to repeat the cookie"),
        ({"X_LLMPool_CSRF": "é"}, "has to repeat the cookie"),
        ({"Cookie": "llmpool_csrf=", "X_LLMPool_CSRF": ""}, "has to repeat the cookie"),
        ({"Cookie": "llmpool_csrf=x", "X_LLMPool_CSRF": "x"}, "has to repeat the cookie"),
        ({"Cookie": None, "X_LLMPool_CSRF": None}, "has to repeat the cookie"),
        ({"Content_Type": None}, "has to be application/json"),
        ({"Content_Type": "text/plain"}, "has to be application/json"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, "has to be application/json"),
        ({"Content_Type": "multipart/form-data; application/json"}, "has to be application/json"),
        ({"Content_Type": "text/plain; application/json"}, "has to be application/json"),
        ({"Sec_Fetch_Site": "cross-site"}, "another site"),
        ({"Sec_Fetch_Site": "same-site"}, "another site"),
        ({"Sec_Fetch_Site": "none"}, "another site"),
        ({"Sec_Fetch_Site": ""}, "another site"),
        ({"Origin": "http://evil.example"}, "another origin"),
        ({"Origin": f"http://sub.{HOST}"}, "another origin"),
        ({"Origin": f"http://{HOST}.evil.example"}, "another origin"),
        ({"Origin": f"http://{HOST}@evil.example"}, "another origin"),
        ({"Origin": f"http://{HOST}:8080"}, "another origin"),
        ({"Origin": f"http://{HOST}:x"}, "another origin"),
        ({"Origin": f"ftp://{HOST}"}, "another origin"),
        ({"Origin": f"//{HOST}"}, "another origin"),
        ({"Origin": HOST}, "another origin"),
        ({"Origin": "http://["}, "another origin"),
        ({"Origin": "http://"}, "another origin"),
        ({"Origin": "null"}, "another origin"),
        ({"Origin": ""}, "another origin"),
        ({"Host": None}, "another origin"),
        ({"Host": ""}, "another origin"),
        ({"Host": "evil.example"}, "another origin"),
        ({"Host": f"{HOST}:99999"}, "another origin"),
    ],
    ids=lambda given: (
        "-".join(f"{k}={v}" for k, v in given.items()) if isinstance(given, dict) else ""
    ),
)
def test_a_request_that_may_be_forged(
    pool: ProviderPool, viewer: Viewer, changed: dict[str, str | None], said: str
) -> None:
    """403 with the reason, whoever may control: what one header lacks no other makes good."""
    viewer.get("/")
    filled = {name: value and value.format(cookie=viewer.cookie) for name, value in changed.items()}
    reply = viewer.post(order(), **filled)
    assert reply.status == 403
    assert said in json.loads(reply.body)["error"]
    assert state(pool) == "healthy"


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": None},
        {"Sec_Fetch_Site": None},
        {"Origin": None, "Sec_Fetch_Site": None, "Host": None},
        {"Origin": f"http://{HOST}:80"},
        {"Origin": f"http://{HOST.upper()}"},
        {"Host": f"{HOST}:80"},
        {"Host": f"{HOST}:8321", "Origin": f"http://{HOST}:8321"},
        {"Host": "[::1]:8321", "Origin": "http://[::1]:8321"},
        {"Origin": f"https://{HOST}"},
        {"Content_Type": "application/json; charset=utf-8"},
        {"Content_Type": "Application/JSON"},
    ],
    ids=lambda given: "-".join(f"{k}={v}" for k, v in given.items()),
)
def test_a_request_of_the_page_itself(
    pool: ProviderPool, viewer: Viewer, changed: dict[str, str | None]
) -> None:
    """It is done, also by a browser that does not tell where a request comes from."""
    assert viewer.post(order(), **changed).status == 200
    assert state(pool) == "draining"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"https://{HOST}", 200),
        (f"https://{HOST}:443", 200),
        (f"http://{HOST}", 403),
        (f"https://{HOST}:80", 403),
    ],
)
def test_an_origin_without_tls(viewer: Viewer, origin: str, status: int) -> None:
    """It is another one where the site has TLS: whoever sits on the line may be its author."""
    assert viewer.post(order(), secure=True, Origin=origin).status == status


def test_cookies_of_several_mounts(viewer: Viewer) -> None:
    """The header may repeat any of them; a browser sends those of the mounts above too."""
    viewer.get("/")
    both = f"llmpool_csrf={'A' * 43}; x=1; llmpool_csrf={viewer.cookie}"
    assert viewer.post(order(), Cookie=both).status == 200


def test_the_cookie(viewer: Viewer) -> None:
    """The page and the feed hand it out, new each time, to who has none; it crosses to no other site."""
    pattern = r"llmpool_csrf=[\w-]{43}; SameSite=Strict"
    for path in ("/", "/status"):
        first = header(viewer.site.respond("GET", path, {}), "Set-Cookie")
        second = header(
            viewer.site.respond("GET", path, {"Cookie": "llmpool_csrf=x"}), "Set-Cookie"
        )
        assert first is not None
        assert second is not None
        assert re.fullmatch(pattern, first)
        assert first != second
        cookie = first.partition(";")[0]
        assert header(viewer.site.respond("GET", path, {"cookie": cookie}), "Set-Cookie") is None
        secure = header(viewer.site.respond("GET", path, {}, secure=True), "Set-Cookie")
        assert secure is not None
        assert re.fullmatch(f"{pattern}; Secure", secure)
    for path in ("/healthz", "/metrics", "/static/app.js"):
        assert header(viewer.site.respond("GET", path, {}), "Set-Cookie") is None


# -- permission --------------------------------------------------------------------------------


def test_no_permission_given(pool: ProviderPool) -> None:
    """Without a permission nobody controls, and the page is told so."""
    viewer = Viewer(StatusSite(pool))
    assert viewer.json("/status")["controls"] is False
    reply = viewer.post(order(), Cookie="llmpool_csrf=" + "A" * 43, X_LLMPool_CSRF="A" * 43)
    assert reply.status == 403
    assert json.loads(reply.body) == {"error": "you may not control the pools"}
    assert state(pool) == "healthy"


def test_permission_for_some(pool: ProviderPool, viewer: Viewer) -> None:
    """Each is told of his own permission, and the request itself is what is asked about."""
    other = Viewer(viewer.site, request="somebody else")
    assert viewer.json("/status")["controls"] is True
    assert other.json("/status")["controls"] is False
    assert other.post(order()).status == 403
    assert state(pool) == "healthy"
    assert viewer.post(order()).status == 200


@pytest.mark.parametrize("answer", [1, "yes", object(), [True], {"status": 302}, None, False, 0])
def test_a_permission_that_is_not_true(pool: ProviderPool, answer: object) -> None:
    """Only True itself is one: a redirect to a login page is something true as well."""
    viewer = Viewer(StatusSite(pool, may_control=lambda _: answer))  # type: ignore[arg-type,return-value]
    assert viewer.json("/status")["controls"] is False
    assert viewer.post(order()).status == 403
    assert state(pool) == "healthy"


def test_a_permission_that_raises(pool: ProviderPool, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused; logged by the type alone, as an error once, for the page asks again and again."""

    def raises(request: object) -> bool:
        raise PermissionError("sk-secret")

    viewer = Viewer(StatusSite(pool, may_control=raises))
    with caplog.at_level(logging.INFO, logger="llmpool.web"):
        for _ in range(3):
            assert viewer.json("/status")["controls"] is False
        assert viewer.post(order()).status == 403
    assert state(pool) == "healthy"
    assert [record.getMessage() for record in caplog.records] == [
        "may_control raised PermissionError: nobody may control"
    ]


def test_a_permission_that_cannot_be_asked_at_once(pool: ProviderPool) -> None:
    """A coroutine function is refused: what it returns is true, whoever asks."""

    async def later(request: object) -> bool:
        raise AssertionError("never asked")

    async def many(request: object) -> Any:
        yield True

    for wrong in (later, many):
        with pytest.raises(TypeError, match="may_control: wanted a plain function"):
            StatusSite(pool, may_control=wrong)  # type: ignore[arg-type]


def test_permission_is_asked_last(pool: ProviderPool) -> None:
    """A forged request does not get as far: what the function does, nobody else's page sets off."""
    asked: list[object] = []

    def permission(request: object) -> bool:
        asked.append(request)
        return True

    viewer = Viewer(StatusSite(pool, may_control=permission))
    viewer.get("/")
    assert viewer.post(order(), Origin="http://evil.example").status == 403
    assert not asked
    assert viewer.post(order()).status == 200
    assert asked == ["somebody"]


# -- the pool -----------------------------------------------------------------------------------


def test_a_deployment_that_goes_meanwhile(pool: ProviderPool, viewer: Viewer) -> None:
    """404, as if it had not been there."""

    class Fickle(ProviderPool):
        def resume(self, name: str) -> None:
            self.remove(name, timeout=0.0)

    fickle = Fickle(pool.deployments, name="main", health_check=None)
    viewer = Viewer(StatusSite(fickle, may_control=lambda _: True))
    assert viewer.post(order("resume")).status == 404


def test_a_pool_that_refuses(pool: ProviderPool) -> None:
    """503 with its own words."""
    from llmpool import PoolClosed

    class Refusing(ProviderPool):
        def drain(self, name: str, timeout: float | None = 30.0) -> bool:
            raise PoolClosed("the pool is closed")

    refusing = Refusing(pool.deployments, name="main", health_check=None)
    reply = Viewer(StatusSite(refusing, may_control=lambda _: True)).post(order())
    assert (reply.status, json.loads(reply.body)) == (503, {"error": "the pool is closed"})


def test_an_order_is_seen_at_once(pool: ProviderPool, viewer: Viewer, monkeypatch: Any) -> None:
    """The next look shows it, also where the feed is so costly that it is kept for a while."""
    from llmpool.web import sparing

    monkeypatch.setattr(sparing, "CHEAP", -1.0)
    monkeypatch.setattr(sparing, "REST", 1e9)
    assert viewer.deployments()["eu"]["state"] == "healthy"
    assert viewer.get("/healthz").status == 200
    for name in ("eu", "us"):
        viewer.post(order(deployment=name))
    assert viewer.deployments()["eu"]["state"] == "draining"
