"""The example application for Flask, by its test client."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("flask")

from flask import Flask

from llmpool import settings
from llmpool.pool import ProviderPool
from llmpool.testing import EndEarly, LocalServer, Refuse

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "flask_app"
KEY = "sk-of-the-deployment-0123456789"


@pytest.fixture(scope="module")
def example() -> Iterator[types.ModuleType]:
    """The module, as ``flask --app`` imports it."""
    spec = importlib.util.spec_from_file_location("flask_example", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, spec.name, module)  # Flask looks there for its folder
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def app(example: types.ModuleType, server: LocalServer) -> Iterator[Flask]:
    """The application over a local server, which asks once and has no checker."""
    described = {"name": "eu", "provider": "openai", "base_url": server.url, "api_key": KEY}
    app: Flask = example.create_app(
        {
            "LLMPOOL_DEPLOYMENTS": [{**described, "model": "tiny"}],
            "LLMPOOL_HEALTH_CHECK": {"enabled": False},
            "LLMPOOL_RETRY": {"max_attempts": 1, "max_wait": 0},
        }
    )
    yield app
    assert app.extensions["llmpool"].health("eu").requests_in_flight == 0


def events(text: str) -> list[Any]:
    """Read server-sent events: names as they are, data as JSON."""
    found: list[Any] = []
    for event in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        found.append(fields.get("event") or json.loads(fields["data"]))
    return found


def test_a_question(app: Flask) -> None:
    """It is answered whole, or in pieces."""
    client = app.test_client()
    assert client.post("/ask", data={"q": "hello"}).json["text"] == "echo: hello"
    response = client.post("/stream", data={"q": "hello"})
    assert response.mimetype == "text/event-stream"
    *pieces, end = events(response.text)
    assert ("".join(pieces), end) == ("echo: hello", "end")


def test_nobody_answers(app: Flask, server: LocalServer) -> None:
    """Both ways are a 503 which tells when to come again."""
    server.behave(Refuse())
    client = app.test_client()
    for path in ("/ask", "/stream"):
        response = client.post(path, data={"q": "hello"})
        assert response.status_code == 503
        assert server.url not in response.text


def test_a_stream_breaks_off(app: Flask, server: LocalServer) -> None:
    """Its last event tells so."""
    server.behave(EndEarly())
    response = app.test_client().post("/stream", data={"q": "one two three four"})
    assert events(response.text)[-1] == "broken"


def test_who_leaves_early(app: Flask) -> None:
    """The place is given back, which the fixture sees to, and pages are shown."""
    client = app.test_client()
    response = client.post("/stream", data={"q": "one two three four"})
    assert next(iter(response.response))
    response.close()
    client.post("/stream", data={"q": "one two three four"}).close()
    with client.get("/") as page:
        assert "<title>Chat</title>" in page.text


def test_who_sees_the_pool(app: Flask) -> None:
    """Anybody in debug mode, nobody else but for the health page."""
    client = app.test_client()
    assert client.get("/llmpool/healthz").status_code == 200
    assert client.get("/llmpool/status").status_code == 403
    app.debug = True
    assert client.get("/llmpool/status").status_code == 200


def test_nothing_configured(example: types.ModuleType) -> None:
    """Local servers stand in."""
    described = example.stand_ins()
    app = example.create_app({"LLMPOOL_HEALTH_CHECK": {"enabled": False}})
    assert [each["name"] for each in described] == ["eu", "us"]
    assert app.test_client().post("/ask", data={"q": "hello"}).json["text"] == "echo: hello"
    for server in example.servers():
        server.close()


@pytest.mark.needs(*([] if importlib.util.find_spec("tomllib") else ["tomli"]))
def test_its_configuration_for_models() -> None:
    """It is valid."""
    plan = settings.read_file(FOLDER / "llmpool.toml", ProviderPool, reveal=False)
    assert [each.name for each in plan.deployments] == ["openai", "anthropic"]
