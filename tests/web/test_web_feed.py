"""The feed: what it tells, what it never tells, and that nothing can hold it up or break out of it."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest
from viewer import Viewer, header, order, pool_of

import llmpool
from llmpool import (
    AnthropicProvider,
    AzureOpenAIProvider,
    ClientProvider,
    Custom,
    Deployment,
    GeminiProvider,
    HealthCheckConfig,
    HealthCheckResult,
    OpenAIProvider,
    ProviderPool,
    RateLimited,
    ServerFault,
)
from llmpool.testing import LocalServer, ManualClock, ScriptedProvider, Status
from llmpool.web import StatusSite

WALL = 20.0
KEY = "sk-web-h3Qz81LmWv0PxT7d"
PROMPT = "the name of the patient is Ragnhild Osterbo"


def test_what_is_told() -> None:
    """Each pool and deployment with all that its status has, and what decides who is asked."""
    clock = ManualClock()
    pool = ProviderPool(
        [
            Deployment("eu", ScriptedProvider(RateLimited("slow", status=429, retry_after=7.0))),
            Deployment("us", ScriptedProvider("hi", repeat=True), weight=2, region="us-east"),
            Deployment("spare", ScriptedProvider("hi", repeat=True), priority=1),
        ],
        name="main",
        strategy="primary",
        health_check=None,
        clock=clock,
    )
    viewer = Viewer(StatusSite(pool, quorum=3, refresh=5))
    viewer.pools()
    pool.complete("hello")
    told = viewer.json("/status")
    assert told["pid"] == os.getpid()
    assert told["refresh"] == 5.0
    assert told["version"] == llmpool.__version__
    assert told["controls"] is False
    assert told["problem"] is None
    (shown,) = told["pools"]
    assert {name: shown[name] for name in ("name", "problem", "ready", "checker_alive")} == {
        "name": "main",
        "problem": None,
        "ready": True,
        "checker_alive": False,
    }
    status = pool.health_status().to_dict()
    assert {name: shown[name] for name in status.keys() - {"deployments"}} == {
        name: value for name, value in status.items() if name != "deployments"
    }
    eu, us, spare = shown["deployments"]
    assert {name: eu[name] for name in status["deployments"][0]} == status["deployments"][0]
    added = ("priority", "weight", "region", "share", "eligible", "why", "until")
    assert [eu[name] for name in added] == [0, 1, None, 0.5, False, "cooling: slow", 7.0]
    assert [us[name] for name in added] == [0, 2, "us-east", 0.5, True, "healthy", None]
    assert [spare[name] for name in added] == [1, 1, None, 0.0, True, "healthy", None]


def test_looking_starts_the_checker_of_this_process() -> None:
    """What is shown is true from then on; a checker that its user has stopped stays stopped."""
    for path in ("/status", "/healthz"):
        checked = threading.Event()

        def check(_: object, checked: threading.Event = checked) -> bool:
            checked.set()
            return False

        deployment = Deployment("eu", ScriptedProvider())
        pool = ProviderPool([deployment], check=Custom(check), name="main")
        viewer = Viewer(StatusSite(pool))
        assert not pool.health_status().checker_alive
        viewer.get(path)
        assert checked.wait(WALL)
        assert viewer.pools()["main"]["checker_alive"]
        handle = pool.start()
        handle.stop()
        assert handle.join(WALL)
        viewer.get(path)
        assert not viewer.pools()["main"]["checker_alive"]


def test_a_deployment_that_hangs() -> None:
    """It holds up no reply, neither in a check nor in a call."""
    gate = threading.Event()
    asked, checking = threading.Event(), threading.Event()

    def check(_: object) -> bool:
        checking.set()
        return gate.wait(WALL)

    def answer(request: object, timeout: float) -> str:
        asked.set()
        assert gate.wait(WALL)
        return "late"

    hung = ScriptedProvider(answer)
    config = HealthCheckConfig(interval=0.05, timeout=WALL)
    pool = ProviderPool([Deployment("eu", hung)], check=Custom(check), health_check=config)
    site = StatusSite(pool, may_control=lambda _: True)
    viewer = Viewer(site)
    caller = threading.Thread(target=pool.complete, args=("hello",))
    caller.start()
    try:
        assert asked.wait(WALL)
        viewer.get("/healthz")
        assert checking.wait(WALL)
        replies: list[int] = []

        def look() -> None:
            for path in ("/", "/status?history=1", "/healthz", "/metrics"):
                replies.append(viewer.get(path).status)
            replies.append(viewer.post(order("drain", "eu", pool.name)).status)

        looker = threading.Thread(target=look)
        looker.start()
        looker.join(WALL / 2)
        assert replies == [200, 200, 200, 404, 200]
        assert not gate.is_set()
    finally:
        gate.set()
        caller.join(WALL)
    assert not caller.is_alive()


def test_deployments_that_come_and_go_while_one_looks() -> None:
    """Every reply is whole, and tells of those that were there throughout."""
    pool = pool_of("stays", "other", clock=None)
    viewer = Viewer(StatusSite(pool, may_control=lambda _: True))
    viewer.get("/")
    ended = threading.Event()
    broken: list[BaseException] = []

    def come_and_go(name: str) -> None:
        try:
            while not ended.is_set():
                pool.add(Deployment(name, ScriptedProvider("hi", repeat=True)))
                pool.complete("hello")
                pool.remove(name, timeout=WALL)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=come_and_go, args=(f"d{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(40):
            shown = viewer.pools(f"/status?history={turn % 2}")["main"]
            assert shown["problem"] is None
            assert {"stays", "other"} <= {each["name"] for each in shown["deployments"]}
            assert shown["total_deployments"] == len(shown["deployments"])
            assert viewer.get("/healthz").status == 200
            assert viewer.post(order("drain", "d1")).status in (200, 404)
    finally:
        ended.set()
        for thread in threads:
            thread.join(WALL)
    assert not broken


def test_a_deployment_that_was_removed_meanwhile() -> None:
    """It is told as what it was, and as nobody to ask."""

    class Fickle(ProviderPool):
        def health_status(self) -> Any:
            status = super().health_status()
            self.remove("eu", timeout=0.0)
            return status

    pool = Fickle(pool_of("eu", "us").deployments, name="main", health_check=None)
    eu = Viewer(StatusSite(pool)).deployments()["eu"]
    assert [eu[name] for name in ("priority", "weight", "region")] == [0, 0, None]
    assert (eu["eligible"], eu["why"], eu["until"]) == (False, "removed", None)


# -- what is never told -------------------------------------------------------------------------


def test_script_in_names_and_errors() -> None:
    """It is data: JSON that says it is JSON, which no browser takes for a page."""
    script = "<script>alert(1)</script>"
    provider = ScriptedProvider(ServerFault(f"broke {script}\u2028\x00", status=500), repeat=True)
    pool = ProviderPool([Deployment(script, provider, region=script)], name="x", health_check=None)
    viewer = Viewer(StatusSite({script: pool}, may_control=lambda _: True))
    with pytest.raises(ServerFault):
        pool.complete("hello", retry=False)
    for path in ("/status?history=1", "/healthz"):
        reply = viewer.get(path)
        assert header(reply, "Content-Type") == "application/json"
        assert header(reply, "X-Content-Type-Options") == "nosniff"
        assert reply.body.isascii()
    assert viewer.deployments(script)[script]["last_error"] == f"broke {script}"
    reply = viewer.post(order("drain", f"{script}?", script))
    assert script.encode() not in reply.body
    reply = viewer.get(f"/{script}")
    assert (reply.status, reply.body) == (404, b"not found\n")
    assert b"script>alert" not in viewer.get("/").body


PROVIDERS = {
    "openai": lambda url: OpenAIProvider(f"{url}", api_key=KEY, model="m", proxies={}),
    "openai-headers": lambda url: OpenAIProvider(
        url, api_key=None, headers={"X-Token": KEY}, model="m", proxies={}
    ),
    "anthropic": lambda url: AnthropicProvider(base_url=url, api_key=KEY, model="m", proxies={}),
    "azure": lambda url: AzureOpenAIProvider(url, deployment="m", api_key=KEY, proxies={}),
    "gemini": lambda url: GeminiProvider(base_url=url, api_key=KEY, model="m", proxies={}),
}


@pytest.mark.parametrize("kind", PROVIDERS)
def test_keys_of_providers(kind: str) -> None:
    """A server that sends back all it is told gets neither key nor prompt into the feed."""
    said = f"Incorrect key {KEY} at https://user:{KEY}@host/v1?key={KEY}"
    with LocalServer("eu") as server:
        for status in (401, 500, 429):
            server.behave(Status(status, {"error": {"message": f"{said} in {PROMPT!r}"}}))
            provider: Any = PROVIDERS[kind](
                server.url.removesuffix("/v1") if kind == "azure" else server.url
            )
            pool = ProviderPool([Deployment("eu", provider)], name="main", health_check=None)
            viewer = Viewer(StatusSite(pool, may_control=lambda _: True))
            with pytest.raises(llmpool.ProviderError):
                pool.complete(PROMPT, retry=False, timeout=WALL)
            server.behave(Status(status, {"error": {"message": said}}))
            pool.check_now()
            shown = viewer.get("/status?history=1").body.decode()
            assert json.loads(shown)["pools"][0]["deployments"][0]["last_error"]
            seen = shown + viewer.get("/healthz").body.decode() + str(viewer.get("/").headers)
            assert KEY not in seen
            assert "h3Qz81LmWv" not in seen
            assert "Ragnhild" not in seen
            assert server.url not in seen
            pool.close()


def test_keys_in_what_a_users_own_code_says() -> None:
    """What looks like a key and what stands before an address's host are taken out there too."""
    key = "gsk_h3Qz81LmWv0PxT7d"
    said = f"POST https://me:hunter2@host/v1?key=hunter3 with Bearer {key} was refused"

    def check(deployment: str) -> HealthCheckResult:
        if deployment == "eu":
            return HealthCheckResult("eu", False, error=said)
        raise ConnectionError(said)

    provider = ScriptedProvider(RateLimited(said, status=429, retry_after=9.0))
    pool = ProviderPool(
        [Deployment("eu", provider), Deployment("client", ClientProvider(object()))],
        name="main",
        check=Custom(check),
        health_check=HealthCheckConfig(enabled=False),
        strategy="primary",
    )
    viewer = Viewer(StatusSite(pool))
    with pytest.raises(llmpool.LLMPoolError):
        pool.complete("hello", retry=False)
    pool.check_now()
    shown = viewer.get("/status?history=1").body.decode()
    eu, client = viewer.deployments().values()
    for text in (eu["reason"], eu["last_error"], eu["why"], eu["last_check"]["error"]):
        assert "https://host/v1?key=[key]" in text
    assert "https://host/v1?key=[key]" in client["last_check"]["error"]
    for secret in (key, "hunter2", "hunter3"):
        assert secret not in shown
