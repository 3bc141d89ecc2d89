"""Azure's addresses: of deployments, of the newer API, and what people copy from its portal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import AzureOpenAIProvider, CompletionRequest
from llmpool.testing import LocalServer

KEY = "azure-key-7Hd2"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Start a server."""
    with LocalServer("eu") as server:
        yield server


def targets(server: LocalServer, root: str = "", **options: Any) -> list[str]:
    """Ask for all that there is, and give the addresses that were asked."""
    server.forget()
    given = AzureOpenAIProvider(server.root + root, **{"api_key": KEY, **options})
    given.complete(CompletionRequest("hello"), 20.0)
    list(given.stream(CompletionRequest("hello", model="other one/2"), 20.0))
    given.embed(["a"], "vectors", 20.0)
    given.ping(20.0)
    given.close()
    return [request.target for request in server.requests]


def test_dated_addresses(server: LocalServer) -> None:
    """The deployment stands in the URL, the version in its query."""
    assert targets(server, deployment="gpt-4o", api_version="2024-10-21") == [
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/openai/deployments/other%20one%2F2/chat/completions?api-version=2024-10-21",
        "/openai/deployments/vectors/embeddings?api-version=2024-10-21",
        "/openai/models?api-version=2024-10-21",
    ]


@pytest.mark.parametrize(
    ("version", "query"),
    [(None, ""), ("preview", "?api-version=preview"), ("v1", "?api-version=v1")],
)
def test_addresses_of_the_newer_api(server: LocalServer, version: str | None, query: str) -> None:
    """The deployment is the model of the request; a version may be named, and need not."""
    asked = targets(server, model="gpt-4o", api_version=version)
    assert asked == [
        f"/openai/v1/chat/completions{query}",
        f"/openai/v1/chat/completions{query}",
        f"/openai/v1/embeddings{query}",
        f"/openai/v1/models{query}",
    ]
    bodies = [request.json["model"] for request in server.requests[:3]]
    assert bodies == ["gpt-4o", "other one/2", "vectors"]


@pytest.mark.parametrize("root", ["/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
def test_an_endpoint_as_the_portal_shows_it(server: LocalServer, root: str) -> None:
    """A path that every address has is not doubled."""
    assert targets(server, root, model="m")[0] == "/openai/v1/chat/completions"


@pytest.mark.parametrize(
    "page", ["/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", "?key=1"]
)
def test_the_address_of_a_page(page: str) -> None:
    """It says at once that something else is wanted; the whole of it is shown to nobody."""
    with pytest.raises(ValueError, match="endpoint: wanted a resource's URL") as caught:
        AzureOpenAIProvider(f"https://my-resource.openai.azure.com{page}", api_key=KEY)
    assert "my-resource" not in str(caught.value)


def test_a_gateway_before_it(server: LocalServer) -> None:
    """Another path is kept."""
    assert targets(server, "/gate", model="m")[0] == "/gate/openai/v1/chat/completions"


def test_a_call_that_names_no_deployment(server: LocalServer) -> None:
    """Where the URL needs one, it is the caller's mistake; elsewhere it is the server's to say."""
    request = CompletionRequest("hello")
    dated = AzureOpenAIProvider(server.root, api_key=KEY, api_version="2024-10-21")
    for act in (dated.complete, dated.stream):
        with pytest.raises(ValueError, match="model: wanted the name of a deployment"):
            act(request, 20.0)
    with pytest.raises(ValueError, match="model: wanted the name of a deployment"):
        dated.embed(["a"], None, 20.0)
    assert server.hits() == 0
    newer = AzureOpenAIProvider(server.root, token=KEY)
    assert newer.complete(request, 20.0).text == "echo: hello"
    assert len(newer.embed(["a"], None, 20.0).vectors) == 1
    assert "model" not in server.requests[-1].json
    newer.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "api_key, token: wanted one of them, got neither"),
        ({"api_key": "a", "token": "b"}, "api_key, token: wanted one of them, got both"),
        (
            {"api_key": "a", "model": "m", "deployment": "d"},
            "deployment, model: wanted one of them, got both",
        ),
        ({"api_key": "a", "deployment": ""}, "deployment: wanted a text"),
        ({"api_key": "a", "api_version": " "}, "api_version: wanted a text"),
        ({"api_key": "a", "ping_path": "models"}, "ping_path: wanted a path"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], words: str) -> None:
    """They are told by their names."""
    with pytest.raises(ValueError, match=words):
        AzureOpenAIProvider("https://my.openai.azure.com", **options)


def test_what_it_shows() -> None:
    """Its place and its deployment."""
    given = AzureOpenAIProvider("https://my.openai.azure.com/", api_key=KEY, deployment="gpt-4o")
    assert given.base_url == "https://my.openai.azure.com/openai/v1"
    assert given.model == "gpt-4o"
    assert repr(given) == (
        "AzureOpenAIProvider(<HttpClient https://my.openai.azure.com>, deployment='gpt-4o')"
    )
