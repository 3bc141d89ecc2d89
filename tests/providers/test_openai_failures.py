"""From what goes wrong on the wire to the error that says what its reader can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import (
    CompletionRequest,
    ConnectionFailed,
    DeadlineExceeded,
    MalformedResponse,
    OpenAIProvider,
    ProviderError,
    RateLimited,
    ServerFault,
)
from llmpool.providers import _translate
from llmpool.providers._failure import WireFailure
from llmpool.providers._http import Reply
from llmpool.providers._private import Private, keys_in, texts_in
from llmpool.testing import Exchange, Html, Huge, LocalServer, Redirect, Refuse, WrongBody

OPEN = Private(tuple, tuple)
"""Nothing to hide."""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Start a server."""
    with LocalServer("eu") as server:
        yield server


def provider(server: LocalServer) -> OpenAIProvider:
    """Give a provider for it."""
    return OpenAIProvider(server.url, api_key="sk-failures-1")


@pytest.mark.parametrize(
    ("failure", "kind", "code", "status"),
    [
        (WireFailure("refused", "no", "m"), ConnectionFailed, None, None),
        (WireFailure("dns", "no", "m"), ConnectionFailed, "dns", None),
        (WireFailure("dns", "no", "m", True, True), DeadlineExceeded, "dns", None),
        (WireFailure("tls", "no", "the server's certificate: no"), ConnectionFailed, "tls", None),
        (WireFailure("tls", "no", "the TLS handshake failed"), ConnectionFailed, None, None),
        (WireFailure("connect-timeout", "no", "m"), ConnectionFailed, None, None),
        (WireFailure("connect-timeout", "no", "m", expired=True), DeadlineExceeded, None, None),
        (WireFailure("timeout", "maybe", "m", expired=True), DeadlineExceeded, None, None),
        (WireFailure("timeout", "maybe", "m"), DeadlineExceeded, None, None),
        (WireFailure("reset", "maybe", "m"), ConnectionFailed, None, None),
        (WireFailure("cut", "answered", "m"), ConnectionFailed, None, None),
        (WireFailure("local", "no", "No route to host"), ConnectionFailed, "network", None),
        (WireFailure("local", "no", "Too many open files"), ConnectionFailed, "descriptors", None),
        (WireFailure("proxy", "answered", "m", status=407), ConnectionFailed, None, 407),
        (WireFailure("proxy", "no", "m", expired=True), DeadlineExceeded, None, None),
        (WireFailure("redirect", "answered", "m", status=302), ServerFault, None, 302),
        (WireFailure("too-large", "answered", "m"), MalformedResponse, None, None),
        (WireFailure("bad-protocol", "answered", "m"), MalformedResponse, None, None),
    ],
    ids=repr,
)
def test_failure_of_the_wire(
    failure: WireFailure, kind: type[ProviderError], code: str | None, status: int | None
) -> None:
    """Its class, its code and whether the request was sent; nothing is chained to it."""

    def fail() -> None:
        raise failure

    with pytest.raises(ProviderError) as caught:
        _translate.plainly(fail)
    error = caught.value
    assert (type(error), error.code, error.status) == (kind, code, status)
    assert error.sent == failure.sent
    assert failure.message in error.message
    assert error.__cause__ is error.__context__ is None


def test_no_failure() -> None:
    """What comes is given on; what is none of the wire's passes through."""
    assert _translate.plainly(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        _translate.plainly(lambda: 1 // 0)


# -- through a provider -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (Refuse(), ConnectionFailed, "connection refused"),
        (Redirect(), ServerFault, "unexpected redirect"),
        (Html(), MalformedResponse, "HTML under HTTP 200"),
    ],
)
@pytest.mark.parametrize("method", ["complete", "stream", "embed", "ping"])
def test_failure_of_each_method(
    server: LocalServer, behaviour: Any, kind: type[ProviderError], words: str, method: str
) -> None:
    """All four tell it alike; a ping is content with any page."""
    server.behave(behaviour)
    made = provider(server)

    def act() -> None:
        if method == "ping":
            made.ping(5.0)
        elif method == "embed":
            made.embed(["hello"], None, 5.0)
        else:
            list(getattr(made, method)(CompletionRequest("hello"), 5.0).choices)

    def act_streamed() -> None:
        list(made.stream(CompletionRequest("hello"), 5.0))

    if method == "ping" and kind is MalformedResponse:
        act()
        return
    with pytest.raises(kind, match=words):
        (act_streamed if method == "stream" else act)()


def test_answer_that_is_too_large(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read to its bound and no further."""
    monkeypatch.setattr(_translate, "MOST_BYTES", 100_000)
    server.behave(Huge(200_000))
    with pytest.raises(MalformedResponse, match="larger than 100000 bytes"):
        provider(server).complete(CompletionRequest("hello"), 5.0)


def test_good_answer_that_breaks_off(server: LocalServer) -> None:
    """What is missing makes it none."""

    def cut(exchange: Exchange) -> None:
        exchange.send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}")

    server.behave(cut)
    with pytest.raises(ConnectionFailed, match="cut off"):
        provider(server).complete(CompletionRequest("hello"), 5.0)


def test_error_that_breaks_off_with_a_key_to_renew(server: LocalServer) -> None:
    """A 401 without its body is one all the same, and the key is asked for again."""
    keys = iter(["sk-old", "sk-new"])

    def cut_then_answer(exchange: Exchange) -> None:
        if "sk-old" in exchange.request.headers["authorization"]:
            exchange.send_bytes(b"HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\n{}")
            exchange.close()
        exchange.send(exchange.answer())

    server.behave(cut_then_answer)
    made = OpenAIProvider(server.url, api_key=lambda: next(keys))
    assert made.complete(CompletionRequest("hello"), 5.0).text == "echo: hello"
    assert server.hits() == 2


def test_retry_after_of_an_error(server: LocalServer) -> None:
    """Headers are found whatever the spelling of their names."""
    headers = (("RETRY-AFTER", "7"), ("X-Request-ID", "req-1"))
    server.behave(WrongBody(b"{}", status=429, headers=headers))
    with pytest.raises(RateLimited) as caught:
        provider(server).complete(CompletionRequest("hello"), 5.0)
    assert (caught.value.retry_after, caught.value.request_id) == (7.0, "req-1")


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"a": 1', b"[" * 100_000, b""])
def test_body_that_is_no_json(body: bytes) -> None:
    """Whatever is wrong with it, it is no answer and no bug."""
    with pytest.raises(MalformedResponse):
        _translate.read_object(Reply(200, {}, body), OPEN)


# -- what is private --------------------------------------------------------------------------


def test_texts_of_a_request() -> None:
    """What was said, however short; of the rest the longer texts; of names nothing."""
    body = {
        "model": "a-model-with-a-long-name",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "user", "content": [{"type": "text", "text": "in parts"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call-1", "function": {"name": "f", "arguments": "{}"}}],
            },
        ],
        "input": ("a", "b"),
        "tools": [{"type": "function", "function": {"name": "f", "description": "long enough"}}],
        "metadata": {"note": "a note of the caller's", "short": "note"},
        "temperature": 0.5,
    }
    assert texts_in(body) == ("hi", "in parts", "{}", "a", "b", "a note of the caller's")


def test_data_in_a_request() -> None:
    """Of an image its start is enough; prose is private to its end, in any script."""
    image, prose, script = "data:" + "A" * 9000, "a word " * 1000, "界" * 9000
    parts = [{"image_url": {"url": image}}, {"text": prose}, {"text": script}]
    assert texts_in({"messages": [{"content": parts}]}) == (image[:4096], prose, script)


def test_keys_beside_the_key() -> None:
    """Headers and parameters whose names sound of secrets, and whose values are long enough."""
    headers = {
        "Authorization": "Bearer sk-long-enough",
        "api-key": "0123456789",
        "X-Auth-Token": "short",
        "X-Title": "not a secret",
    }
    url = "https://eu.example/v1?code=abcdefgh&sig=hgfedcba&api-version=2030-01-01"
    assert keys_in(headers, url) == ("sk-long-enough", "0123456789", "abcdefgh", "hgfedcba")
    assert keys_in(None, "https://eu.example/v1") == ()


def test_private_things_are_not_shown() -> None:
    """Nor by what holds them."""
    held = Private(lambda: ("sk-held-1",), lambda: ("a prompt",))
    assert repr(held) == "Private()"
