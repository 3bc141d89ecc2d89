"""Error bodies that are no JSON, giant, broken off, or repeat the key and the prompt."""

from __future__ import annotations

from typing import Any

import pytest
from scene import BARE_KEY, ECHOES, KEY, PROMPT, Echo, Stage, deployment, found_in, hits, verdicts

from llmpool import ProviderError, StreamInterrupted
from llmpool.providers import _translate
from llmpool.testing import Drip, ErrorInStream, Exchange, Huge, Reply, Status, WrongBody

STATUSES = {
    400: ("caller", "InvalidRequest"),
    401: ("config", "AuthenticationFailed"),
    402: ("config", "QuotaExhausted"),
    408: ("fault", "ServerFault"),
    409: ("fault", "ServerFault"),
    429: ("rate_limited", "RateLimited"),
    500: ("fault", "ServerFault"),
    503: ("fault", "ServerFault"),
    529: ("busy", "ServerFault"),
}

BODIES = {
    "nothing": b"",
    "a word": b"Busy",
    "no text": bytes(range(256)),
    "half of a JSON": b'{"error": {"mess',
    "a number": b"42",
    "nested without end": b'{"error":' * 20_000,
    "an error that is a list": b'{"error": [[["x"]]]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("status", STATUSES)
def test_body_that_says_nothing(stage: Stage, status: int, body: bytes) -> None:
    """The status decides."""
    verdict, kind = STATUSES[status]
    pool = stage.timed(stage.server("eu", WrongBody(body, status=status)))
    with pytest.raises(ProviderError) as caught:
        pool.complete(PROMPT, retry=False)
    assert verdicts(caught.value) == [("eu", verdict)]
    assert type(caught.value).__name__ == kind
    assert caught.value.status == status
    assert str(caught.value).startswith(f"eu: HTTP {status}")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [401, 429, 500])
def test_body_that_is_giant(stage: Stage, status: int, streamed: bool) -> None:
    """The status decides, and next to nothing of it is kept or shown."""
    eu = stage.server("eu", Huge(4 << 20, status))
    pool = stage.timed(eu)
    ask = pool.stream if streamed else pool.complete
    with pytest.raises(ProviderError) as caught:
        ask(PROMPT, retry=False)
    assert verdicts(caught.value) == [("eu", STATUSES[status][0])]
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [401, 429, 500])
def test_body_that_breaks_off(stage: Stage, status: int, streamed: bool) -> None:
    """The status and the headers were there: they decide, and the delay they name is kept."""

    def cut(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status} No\r\nRetry-After: 7\r\nContent-Length: 999\r\n\r\n"
        exchange.send_bytes(head.encode() + b'{"error": {"mess')

    pool = stage.timed(stage.server("eu", cut))
    ask = pool.stream if streamed else pool.complete
    with pytest.raises(ProviderError) as caught:
        ask(PROMPT, retry=False)
    verdict = "busy" if status == 500 else STATUSES[status][0]
    assert verdicts(caught.value) == [("eu", verdict)]
    assert (caught.value.status, caught.value.retry_after) == (status, 7.0)


@pytest.mark.parametrize("streamed", [False, True])
def test_body_that_drips(stage: Stage, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is not waited for to its last byte: the status decides while the call has time left."""
    monkeypatch.setattr(_translate, "ERROR_PATIENCE", 0.1)
    eu, us = stage.server("eu"), stage.server("us")
    eu.behave(lambda exchange: Drip(0.05)(_Refused(exchange)))
    pool = stage.pool(eu, us)
    if streamed:
        with pool.stream(PROMPT) as stream:
            list(stream)
        answer: Any = stream.response
    else:
        answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "rate_limited"), ("us", "ok")]


class _Refused:
    """An exchange whose normal answer is a giant 429."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def answer(self) -> Any:
        """Give that answer."""
        return Reply(429, (("Content-Type", "application/json"),), (b" " * 10_000,))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)


# -- echoes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [400, 401, 429, 500, 200])
def test_echo_in_an_error(stage: Stage, status: int, write: Any) -> None:
    """Neither key nor prompt comes back out: not in the error, the log, the health, or a pickle."""
    eu = stage.server("eu", Echo(write, status))
    pool = stage.timed(eu)
    with pytest.raises(ProviderError) as caught:
        pool.complete(PROMPT, retry=False)
    assert found_in(repr(vars(caught.value))) is None
    assert hits(eu) == [1]
    assert found_in(eu.requests[0].headers["authorization"])
    pool.check_now()


@pytest.mark.parametrize("write", ECHOES.values(), ids=ECHOES)
def test_echo_of_a_key_like_no_vendors(stage: Stage, write: Any) -> None:
    """A key is known by what it is, and not by how it begins."""
    pool = stage.timed(deployment(stage.server("eu", Echo(write)), key=BARE_KEY))
    with pytest.raises(ProviderError):
        pool.complete(PROMPT, retry=False)


@pytest.mark.parametrize("write", ECHOES.values(), ids=ECHOES)
def test_echo_in_an_error_of_a_stream(stage: Stage, write: Any) -> None:
    """Nor from a stream's error."""
    pool = stage.timed(stage.server("eu", Echo(write)))
    with pytest.raises(ProviderError):
        pool.stream(PROMPT, retry=False)


@pytest.mark.parametrize("write", ECHOES.values(), ids=ECHOES)
def test_echo_in_an_error_of_an_embedding(stage: Stage, write: Any) -> None:
    """Nor the texts that were to be embedded."""

    def answer(exchange: Exchange) -> None:
        body, kind, headers = write(KEY, exchange.request.json["input"][0])
        WrongBody(body.encode(), kind, 500, headers)(exchange)

    pool = stage.timed(stage.server("eu", answer))
    with pytest.raises(ProviderError):
        pool.embed([PROMPT], retry=False)


@pytest.mark.parametrize("after", [0, 1])
def test_echo_in_an_event_of_a_stream(stage: Stage, after: int) -> None:
    """Nor from an error event, before or after the first content."""

    def answer(exchange: Exchange) -> None:
        said = {"message": f"{KEY}: {exchange.request.prompt}", "code": KEY, "type": PROMPT[:60]}
        ErrorInStream(after_chunks=after, error=said)(exchange)

    pool = stage.timed(stage.server("eu", answer))
    with pytest.raises(ProviderError) as caught:
        list(pool.stream(PROMPT, retry=False))
    assert isinstance(caught.value, StreamInterrupted) is bool(after)


@pytest.mark.parametrize(
    "asked",
    [
        [{"role": "system", "content": PROMPT}, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
        [{"role": "user", "content": "hi", "name": "x"}, {"role": "assistant", "content": PROMPT}],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": PROMPT}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": PROMPT},
        ],
        [{"role": "assistant", "content": "hi", "reasoning_content": PROMPT}],
    ],
    ids=["system", "part", "assistant", "tool", "further field"],
)
def test_echo_of_any_message(stage: Stage, asked: Any) -> None:
    """Whatever the conversation holds is private, not only the last question."""

    def answer(exchange: Exchange) -> None:
        Status(500, {"error": {"message": f"I was asked: {PROMPT}"}})(exchange)

    pool = stage.timed(stage.server("eu", answer))
    with pytest.raises(ProviderError):
        pool.complete(asked, retry=False)


@pytest.mark.parametrize(
    "options",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": PROMPT}}]},
        {"prediction": {"type": "content", "content": PROMPT}},
        {"metadata": {"note": PROMPT}},
    ],
    ids=["tools", "prediction", "metadata"],
)
def test_echo_of_what_goes_along(stage: Stage, options: Any) -> None:
    """Texts beside the conversation are private too."""

    def answer(exchange: Exchange) -> None:
        Status(400, {"error": {"message": f"not understood: {PROMPT}"}})(exchange)

    pool = stage.timed(stage.server("eu", answer))
    with pytest.raises(ProviderError):
        pool.complete("hi", retry=False, **options)


def test_echo_of_a_key_in_a_header_of_ones_own(stage: Stage) -> None:
    """A key that goes in a header of the user's is kept out as well."""

    def answer(exchange: Exchange) -> None:
        said = exchange.request.headers["api-key"]
        Status(401, {"error": {"message": f"wrong key {said}", "code": said}})(exchange)

    eu = stage.server("eu", answer)
    pool = stage.timed(deployment(eu, key=None, headers={"Api-Key": BARE_KEY}))
    with pytest.raises(ProviderError):
        pool.complete(PROMPT, retry=False)


def test_echo_of_a_key_that_was_renewed(stage: Stage) -> None:
    """The key before the present one is still a secret."""
    keys = iter([KEY, "sk-fresh-one-of-today"])

    def answer(exchange: Exchange) -> None:
        Status(401, {"error": {"message": f"{KEY} has expired"}})(exchange)

    pool = stage.timed(deployment(stage.server("eu", answer), key=lambda: next(keys)))
    with pytest.raises(ProviderError):
        pool.complete(PROMPT, retry=False)


def test_controls_in_an_error(stage: Stage) -> None:
    """What a server says is one line of printable signs, whatever it would do to a terminal or a log."""
    said = "broken\r\n2030-01-01 CRITICAL all is lost\x1b[2J\x00\u202egone\u2028\x85end"
    pool = stage.timed(stage.server("eu", Status(500, {"error": {"message": said, "code": said}})))
    with pytest.raises(ProviderError) as caught:
        pool.complete(PROMPT, retry=False)
    shown = f"{caught.value} {caught.value.code} {pool.health('eu').last_error}"
    assert shown.isprintable()
    assert len(str(caught.value).splitlines()) == 1
