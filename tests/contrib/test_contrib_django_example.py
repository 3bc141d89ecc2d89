"""The example project for Django, by its test client."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("django")

import django_site  # noqa: F401 - it sets Django up
from django.core.management import call_command
from django.test import Client, override_settings

from llmpool import settings
from llmpool.contrib.django import pools
from llmpool.pool import ProviderPool
from llmpool.testing import EndEarly, LocalServer, Refuse

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "django_app"
KEY = "sk-of-the-deployment-0123456789"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The project's settings, in force; its modules are forgotten in the end."""
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("chat.settings")
    own = {name: getattr(module, name) for name in dir(module) if name.isupper()}
    with override_settings(**{**own, "ALLOWED_HOSTS": ["testserver"]}):
        yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "chat"]:
        del sys.modules[name]


@pytest.fixture
def client(project: Any, server: LocalServer) -> Iterator[Client]:
    """A visitor, and a pool over a local server that asks once and has no checker."""
    described = {"name": "eu", "provider": "openai", "base_url": server.url, "api_key": KEY}
    setting = {
        "DEPLOYMENTS": [{**described, "model": "tiny"}],
        "HEALTH_CHECK": {"enabled": False},
        "RETRY": {"max_attempts": 1, "max_wait": 0},
    }
    with override_settings(LLMPOOL={"default": setting}):
        yield Client()
        assert pools["default"].health("eu").requests_in_flight == 0


def events(content: bytes) -> list[Any]:
    """Read server-sent events: names as they are, data as JSON."""
    found: list[Any] = []
    for event in content.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        found.append(fields.get("event") or json.loads(fields["data"]))
    return found


def test_a_question(client: Client) -> None:
    """It is answered whole, or in pieces."""
    assert client.post("/ask", {"q": "hello"}).json()["text"] == "echo: hello"
    response = client.post("/stream", {"q": "hello"})
    assert response["Content-Type"] == "text/event-stream"
    *pieces, end = events(response.getvalue())
    response.close()
    assert ("".join(pieces), end) == ("echo: hello", "end")


def test_nobody_answers(client: Client, server: LocalServer) -> None:
    """Both ways are a 503."""
    server.behave(Refuse())
    for path in ("/ask", "/stream"):
        response = client.post(path, {"q": "hello"})
        assert (response.status_code, response.content) == (503, b"Service Unavailable\n")


def test_a_stream_breaks_off(client: Client, server: LocalServer) -> None:
    """Its last event tells so."""
    server.behave(EndEarly())
    response = client.post("/stream", {"q": "one two three four"})
    assert events(response.getvalue())[-1] == "broken"
    response.close()


@pytest.mark.parametrize("begun", [True, False])
def test_who_leaves_early(client: Client, begun: bool) -> None:
    """The place is given back, which the fixture sees to, also before the first words were read."""
    response = client.post("/stream", {"q": "one two three four"})
    assert pools["default"].health("eu").requests_in_flight == 1
    if begun:
        assert next(iter(response))
    response.close()


def test_what_is_shown(client: Client) -> None:
    """The page, with what Django's protection wants, and the pool's while the project is worked on."""
    page = client.get("/")
    assert b"<title>Chat</title>" in page.content
    assert "csrftoken" in page.cookies
    assert client.get("/llmpool/healthz").status_code == 200
    assert client.get("/llmpool/").status_code == 200
    with override_settings(DEBUG=False):
        assert client.get("/llmpool/").status_code == 403


def test_nothing_configured(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local servers stand in, which are started when they are first needed, and the checks say nothing."""
    stand_ins = importlib.import_module("chat.stand_ins")
    started: list[LocalServer] = []

    class Noted(LocalServer):
        def start(self) -> LocalServer:
            started.append(self)
            return super().start()

    monkeypatch.setattr(stand_ins, "LocalServer", Noted)
    call_command("check", tags=["llmpool"], fail_level="WARNING")
    assert started == []
    try:
        assert Client().post("/ask", {"q": "hello"}).json()["text"] == "echo: hello"
    finally:
        for server in started:
            server.close()
    assert len(started) == 2


@pytest.mark.needs(*([] if importlib.util.find_spec("tomllib") else ["tomli"]))
def test_its_configuration_for_models(project: Any) -> None:
    """It is valid; of the secrets that are missing here the checks warn."""
    plan = settings.read_file(FOLDER / "llmpool.toml", ProviderPool, reveal=False)
    assert [each.name for each in plan.deployments] == ["openai", "anthropic"]
    with override_settings(LLMPOOL={"default": {"CONFIG": FOLDER / "llmpool.toml"}}):
        call_command("check", tags=["llmpool"], fail_level="ERROR")
