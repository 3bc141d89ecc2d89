"""What is read of a client's request, and what goes along of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmpool import Deployment
from llmpool.forwarding.asked import Asked
from llmpool.testing import ScriptedProvider

JSON = ("Content-Type", "application/json")


def ask(
    target: str = "/v1/chat/completions",
    body: Any = None,
    *headers: tuple[str, str],
    method: str = "post",
) -> Asked:
    """Read a request."""
    written = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return Asked.read(method, target, headers or [JSON], written)


@pytest.mark.parametrize(
    ("target", "page"),
    [
        ("/v1/chat/completions", "/chat/completions"),
        ("/v1/models/a/v1/b", "/models/a/v1/b"),
        ("/v1beta/models?a=1&b=2", "/models?a=1&b=2"),
        ("/api/openai/v1/files/f?limit=1", "/files/f?limit=1"),
        ("/openai/deployments/d/embeddings?api-version=1", "/embeddings"),
        ("/openai/deployments/d/x?a=1&api-version=1&b=2", "/x?a=1&b=2"),
        ("/v1beta/openai/chat/completions", "/chat/completions"),
        ("/v1beta/openai/models", "/models"),
        ("/client/v4/accounts/a/ai/v1/embeddings", "/embeddings"),
        ("/v1/threads/t/messages", "/threads/t/messages"),
        ("/gateway/chat/completions", "/chat/completions"),
        ("/gateway/models?x=1", "/models?x=1"),
        ("/gateway/other", "/gateway/other"),
        ("/chat/completions", "/chat/completions"),
        ("/v1", "/v1"),
        ("/", "/"),
        ("", "/"),
    ],
)
def test_the_page(target: str, page: str) -> None:
    """It is what follows the base URL, whatever the client has for one."""
    assert ask(target).page == page


@pytest.mark.parametrize(
    ("target", "headers", "wire_format"),
    [
        ("/v1/chat/completions", [], "openai"),
        ("/v1/threads/t/messages", [], "openai"),
        ("/v1/messages", [], "anthropic"),
        ("/v1/messages/count_tokens", [], "anthropic"),
        ("/v1/models", [("Anthropic-Version", "2023-06-01")], "anthropic"),
    ],
)
def test_the_format(target: str, headers: list[tuple[str, str]], wire_format: str) -> None:
    """It is told by the page, or by a header that only one API has."""
    assert ask(target, None, JSON, *headers).wire_format == wire_format


def test_what_goes_along() -> None:
    """Nothing of the client's connection and of its key does, all else does."""
    asked = ask(
        "/v1/files",
        b"abc",
        ("Authorization", "Bearer own"),
        ("X-Api-Key", "own"),
        ("Cookie", "own"),
        ("OpenAI-Organization", "own"),
        ("Host", "api.example"),
        ("Content-Length", "3"),
        ("Accept-Encoding", "br"),
        ("OpenAI-Beta", "assistants=v2"),
        ("Content-Type", "application/octet-stream"),
    )
    assert asked.headers == {
        "openai-beta": "assistants=v2",
        "content-type": "application/octet-stream",
    }
    assert (asked.method, asked.body, asked.fields) == ("POST", b"abc", None)
    assert asked.model is None


@pytest.mark.parametrize(
    ("target", "body", "headers", "streamed"),
    [
        ("/v1/x", {"stream": True}, [], True),
        ("/v1/x", {"stream": False}, [], False),
        ("/v1/x", {"stream": "false"}, [], False),
        ("/v1/x", {}, [], False),
        ("/v1/x?stream=true", None, [], True),
        ("/v1/x?stream=false", None, [], False),
        ("/v1/x", None, [("Accept", "text/event-stream")], True),
    ],
)
def test_whether_a_stream_is_wanted(
    target: str, body: Any, headers: list[tuple[str, str]], streamed: bool
) -> None:
    """The body says so, the query or a header."""
    assert ask(target, body, JSON, *headers).streamed is streamed


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (None, 0),
        (b"x" * 40, 10),
        ({"max_tokens": 100}, 104),
        ({"max_completion_tokens": 5, "max_tokens": 100}, 5 + 11),
        ({"max_tokens": -5}, 4),
        ({"max_tokens": "5"}, 4),
    ],
)
def test_the_tokens_it_may_take(body: Any, tokens: int) -> None:
    """All that it says, and all that it lets be answered."""
    assert ask("/v1/x", body).tokens == tokens


class Named:
    """A provider with a model of its own."""

    model = "own"

    def complete(self, request: Any, timeout: float) -> Any:
        """Refuse to be asked."""
        raise AssertionError("unscripted call")


@pytest.mark.parametrize(
    ("asked_for", "models", "sent"),
    [
        ("a", {}, "a"),
        ("a", {"a": "mine"}, "mine"),
        ("", {}, "own"),
        (None, {}, "own"),
    ],
)
def test_the_name_of_the_model(asked_for: str | None, models: dict[str, str], sent: str) -> None:
    """It is the deployment's own for the client's, or the one for a call that names none."""
    body = {"n": 1} if asked_for is None else {"model": asked_for, "n": 1}
    forwarded = ask(body=body).for_deployment(
        Deployment("d", Named(), models=models), names_model=True
    )
    assert forwarded.model == sent
    assert json.loads(forwarded.body or b"") == {"model": sent, "n": 1}


def test_the_name_of_the_model_in_a_form() -> None:
    """It is replaced in there as well."""
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--b--\r\n'
    kind = "multipart/form-data; boundary=b"
    asked = Asked.read("POST", "/v1/audio/transcriptions", [("Content-Type", kind)], body)
    forwarded = asked.for_deployment(
        Deployment("d", Named(), models={"a": "mine"}), names_model=False
    )
    assert (forwarded.model, forwarded.body) == (
        "mine",
        body.replace(b"\r\na\r\n", b"\r\nmine\r\n"),
    )
    assert not forwarded.streamed


def test_a_request_that_needs_no_model() -> None:
    """None is put into it, where the page does not ask for one."""
    asked = ask("/v1/threads", {"n": 1})
    forwarded = asked.for_deployment(Deployment("d", Named()), names_model=False)
    assert (forwarded.model, forwarded.body) == (None, asked.body)


def test_what_a_repr_shows() -> None:
    """Neither headers nor body nor page."""
    asked = ask("/v1/x?key=sekret", {"model": "a", "said": "sekret"}, JSON, ("x-team", "sekret"))
    forwarded = asked.for_deployment(Deployment("d", ScriptedProvider()), names_model=True)
    assert "sekret" not in f"{asked!r} {forwarded!r}"
