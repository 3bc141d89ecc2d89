"""Faults that arrive over a healthy connection: wrong bodies, broken streams, statuses, scripts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asking import CHAT, ask, chat, connect, drain, read_events, read_until, send, texts

from llmpool.testing import (
    BadKey,
    ContentFilter,
    ContextTooLong,
    Cut,
    EmptyChoices,
    EndEarly,
    ErrorBody,
    ErrorInStream,
    FailFirst,
    FailWhen,
    Hang,
    Html,
    Huge,
    Loading,
    LocalServer,
    Ok,
    Overloaded,
    PingsOnly,
    QueueFull,
    QuotaExhausted,
    RateLimited,
    Refuse,
    Reset,
    Sequence,
    Stall,
    Status,
    WrongBody,
)

STREAM = chat("one two three", stream=True)


def test_a_page_instead_of_an_answer(server: LocalServer) -> None:
    """It is HTML under a status of success, or of a failing gateway."""
    server.behave(Html())
    answer = ask(server)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!doctype html>")
    server.behave(Html(502, "<p>Bad gateway"))
    assert (ask(server).status, ask(server).body) == (502, b"<p>Bad gateway")


def test_a_body_that_belies_its_type(server: LocalServer) -> None:
    """Any bytes come under any type; nothing under JSON by default."""
    server.behave(WrongBody())
    answer = ask(server)
    assert (answer.headers["content-type"], answer.body) == ("application/json", b"")
    server.behave(WrongBody(b"\xff\xfe", "text/plain", 500, {"Content-Encoding": "gzip"}))
    answer = ask(server)
    assert (answer.status, answer.body) == (500, b"\xff\xfe")
    assert answer.headers["content-encoding"] == "gzip"


def test_an_answer_with_nothing_in_it(server: LocalServer) -> None:
    """No choices, no vectors, a stream without content; errors and other pages stay."""
    server.behave(EmptyChoices())
    assert ask(server).json["choices"] == []
    assert ask(server, {"input": "a"}, "/v1/embeddings").json["data"] == []
    assert [event for event in ask(server, STREAM).events if event == "[DONE]"]
    assert texts(ask(server, STREAM).events) == []
    assert ask(server, path="/v1/models", method="GET").json["data"]
    assert ask(server, {}).status == 400


def test_an_error_under_success(server: LocalServer) -> None:
    """The status is 200 and the body an error."""
    server.behave(ErrorBody())
    assert (ask(server).status, ask(server).json["error"]["code"]) == (200, 502)
    server.behave(ErrorBody({"code": 402}))
    assert ask(server).json == {"error": {"code": 402}}


def test_a_filtered_answer(server: LocalServer) -> None:
    """It has no text and says why, whole and streamed; a filtered prompt is a 400."""
    server.behave(ContentFilter())
    choice = ask(server).json["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "content_filter"
    events = ask(server, STREAM).events
    assert texts(events) == []
    assert events[-2]["choices"][0]["finish_reason"] == "content_filter"
    server.behave(ContentFilter(prompt=True))
    answer = ask(server)
    assert (answer.status, answer.json["error"]["code"]) == (400, "content_filter")


def test_a_huge_answer(server: LocalServer) -> None:
    """It has so many bytes, as a text or as the body of an error."""
    server.behave(Huge(1_000_000))
    assert len(ask(server).text) == 1_000_000
    server.behave(Huge(1_000_000, 500))
    answer = ask(server)
    assert (answer.status, len(answer.body)) == (500, 1_000_000)


@pytest.mark.parametrize("after", [0, 2])
def test_an_error_in_a_stream(server: LocalServer, after: int) -> None:
    """It comes as an event after the pieces before it, and the stream ends in order."""
    server.behave(ErrorInStream(after, {"type": "overloaded_error"}))
    events = ask(server, STREAM).events
    assert texts(events) == ["echo:", " one", " two"][:after]
    assert len(events) == after + 2
    assert events[-1] == {"error": {"type": "overloaded_error"}}


def test_an_error_after_metadata(server: LocalServer) -> None:
    """An event without choices comes first, as from Azure; the role can be left out."""
    server.behave(ErrorInStream(role=False, metadata=True, event_name="error"))
    answer = ask(server, STREAM)
    assert answer.events[0]["choices"] == []
    assert answer.events[1]["error"]["type"] == "server_error"
    assert len(answer.events) == 2
    assert b"event: error\ndata: " in answer.body


@pytest.mark.parametrize("by", ["chunked", "close"])
def test_a_stream_that_ends_early(server: LocalServer, by: Any) -> None:
    """HTTP sees a whole body; there is no finish reason and no end mark."""
    server.behave(EndEarly(2, by))
    answer = ask(server, STREAM)
    assert texts(answer.events) == ["echo:", " one"]
    assert answer.events[-1]["choices"][0]["finish_reason"] is None
    assert ("transfer-encoding" in answer.headers) is (by == "chunked")


def test_a_stream_without_the_end_mark(server: LocalServer) -> None:
    """Content and finish reason are there."""
    server.behave(EndEarly(99, finish_reason=True))
    events = ask(server, STREAM).events
    assert texts(events) == ["echo:", " one", " two", " three"]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_stalls(server: LocalServer, after: int) -> None:
    """The pieces before it come, then silence until it is released."""
    server.behave(Stall(after))
    with send(server, STREAM) as sock:
        said = read_until(sock, b" one" if after else b"assistant")
        server.restore()
        events = read_events(b"\n".join((said + drain(sock)).split(b"\r\n")))
    assert len(texts(events)) == after
    assert "[DONE]" not in events


@pytest.mark.parametrize("after", [None, 1])
def test_a_stream_of_pings(server: LocalServer, after: int | None) -> None:
    """Comment lines go on coming, and never an event, until it is released."""
    server.behave(PingsOnly(0.001, after))
    with send(server, STREAM) as sock:
        read_until(sock, b": ping\n\n")
        said = read_until(sock, b": ping\n\n")
        server.restore()
        said += drain(sock)
    assert b"data:" not in said


@pytest.mark.parametrize("behaviour", [ErrorInStream(), EndEarly(), Stall(), PingsOnly()])
def test_a_fault_of_streams_leaves_other_answers(server: LocalServer, behaviour: Any) -> None:
    """A request that wants no stream is answered normally."""
    server.behave(behaviour)
    assert ask(server).text == "echo: hello you"


@pytest.mark.parametrize(
    ("behaviour", "status", "kind", "code"),
    [
        (Status(500), 500, "server_error", None),
        (Status(401), 401, "authentication_error", None),
        (Status(422), 422, "invalid_request_error", None),
        (RateLimited(), 429, "rate_limit_error", "rate_limit_exceeded"),
        (RateLimited(code="slow_down"), 429, "rate_limit_error", "slow_down"),
        (QuotaExhausted(), 429, "insufficient_quota", "credit_balance_exhausted"),
        (Overloaded(), 503, "service_unavailable_error", "server_is_overloaded"),
        (Overloaded(status=529), 529, "overloaded_error", None),
        (Loading(), 503, "unavailable_error", 503),
        (BadKey(), 401, "invalid_request_error", "invalid_api_key"),
        (ContextTooLong(), 400, "invalid_request_error", "context_length_exceeded"),
    ],
    ids=str,
)
def test_a_status(server: LocalServer, behaviour: Any, status: int, kind: str, code: Any) -> None:
    """It comes with the body of the API it is from, on every route."""
    server.behave(behaviour)
    answer = ask(server)
    assert answer.status == status
    assert answer.json["error"]["type"] == kind
    assert answer.json["error"].get("code") == code
    assert ask(server, path="/v1/models", method="GET").status == status


def test_a_full_queue(server: LocalServer) -> None:
    """Ollama's error is a text."""
    server.behave(QueueFull())
    assert "maximum pending requests" in ask(server).json["error"]


def test_any_status_with_any_body(server: LocalServer) -> None:
    """A mapping is JSON, text is text, bytes are themselves; headers may come twice."""
    server.behave(Status(403, {"error": {"code": 403}}))
    assert ask(server).json == {"error": {"code": 403}}
    server.behave(Status(502, "bad gateway", [("Retry-After", "1"), ("Retry-After", "2")]))
    answer = ask(server)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body == b"bad gateway"
    with send(server) as sock:
        said = read_until(sock, b"bad gateway")
    assert said.count(b"Retry-After: ") == 2
    server.behave(Status(299, b"\x00", {"Date": "Thu, 01 Jan 2099 00:00:00 GMT"}))
    answer = ask(server)
    assert (answer.status, answer.body) == (299, b"\x00")
    assert answer.headers["date"].endswith("2099 00:00:00 GMT")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    ("given", "sent"), [(5, "5"), (2.0, "2"), (0.5, "0.5"), (86400, "86400"), ("nan", "nan")]
)
def test_a_delay(server: LocalServer, given: Any, sent: str) -> None:
    """Numbers are written short, text goes as it is."""
    server.behave(RateLimited(given, {"x-ratelimit-reset-requests": "6m0s"}))
    answer = ask(server)
    assert answer.headers["retry-after"] == sent
    assert answer.headers["x-ratelimit-reset-requests"] == "6m0s"
    server.behave(Overloaded(given))
    assert ask(server).headers["retry-after"] == sent


def test_no_delay(server: LocalServer) -> None:
    """Without one the header is not there; digits of another script go over the wire."""
    server.behave(RateLimited())
    assert "retry-after" not in ask(server).headers
    server.behave(RateLimited("\u0665"))
    assert ask(server).headers["retry-after"].encode("latin-1").decode() == "\u0665"


def test_a_sequence(server: LocalServer) -> None:
    """Successive requests meet successive steps, all others the last word."""
    server.behave(Sequence([RateLimited(), Status(500)]))
    assert [ask(server).status for _ in range(4)] == [429, 500, 200, 200]
    server.behave(Sequence([Ok(text="first")], then=Status(404)))
    assert [ask(server).status for _ in range(2)] == [200, 404]


def test_the_first_few(server: LocalServer) -> None:
    """They fail and the rest do not; setting it again counts anew."""
    behaviour = FailFirst(2, Loading(), then=Ok(text="ready"))
    for _ in range(2):
        server.behave(behaviour)
        assert [ask(server).status for _ in range(4)] == [503, 503, 200, 200]


def test_turns_count_across_routes(server: LocalServer) -> None:
    """One script set for all routes is one script; one for a route is that route's."""
    server.behave(FailFirst(1, Status(500)))
    assert ask(server, path="/v1/models", method="GET").status == 500
    assert ask(server).status == 200
    server.behave(FailFirst(1, Status(500)), on="chat")
    assert ask(server, path="/v1/models", method="GET").status == 200
    assert ask(server).status == 500


def test_a_poisonous_prompt(server: LocalServer) -> None:
    """Only requests that hold the marker fail, in whatever way JSON writes it."""
    server.behave(FailWhen("gift ü", FailFirst(1, Status(500)), then=Ok(text="fine")))
    assert ask(server, chat("no")).text == "fine"
    assert ask(server, chat("a gift ü")).status == 500
    assert ask(server, chat("a gift ü")).status == 200
    server.behave(FailWhen("marker", Cut("request")))
    assert ask(server, {"input": "a"}, "/v1/embeddings").status == 200


@pytest.mark.parametrize("step", [Refuse(), Hang("accept"), Reset("accept")])
def test_a_script_of_connections(step: Any) -> None:
    """It is refused: a request that was read cannot meet what comes before it."""
    with pytest.raises(ValueError, match="concerns connections"):
        FailFirst(1, step)
    with pytest.raises(ValueError, match="concerns connections"):
        Sequence([Ok(), step])


def test_a_script_that_is_none() -> None:
    """It is refused."""
    with pytest.raises(ValueError, match="steps: wanted at least one"):
        Sequence([])
    with pytest.raises(TypeError, match="behaviour: wanted a behaviour such as"):
        FailWhen("x", 5)  # type: ignore[arg-type]


def test_the_pace_of_a_call(server: LocalServer) -> None:
    """A thousand calls are a matter of a second or so, not of waits hidden somewhere."""
    line = connect(server)
    begun = time.monotonic()
    for _ in range(1000):
        ask(line)
    assert time.monotonic() - begun < 20.0  # 40 ms each would be the sign of Nagle's algorithm
    line.close()
    assert server.hits("chat") == 1000
    assert server.requests[-1].path == CHAT
