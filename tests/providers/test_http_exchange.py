"""One request and its answer, as they stand on the wire."""

from __future__ import annotations

import pathlib

import pytest
from loopback import OK, Request, Server, answering, once, reply

from llmpool.providers._http import Deadline, HttpClient, Reply, WireFailure


def soon() -> Deadline:
    return Deadline.after(10)


def ask(answer: bytes) -> Reply:
    with Server(once(answer)) as server:
        return HttpClient(server.url, proxies={}).send("GET", "/", deadline=soon())


def test_json_goes_out_and_the_answer_comes_back() -> None:
    """Path, query, headers and body are what was asked for; nothing is added but what must be."""
    seen: list[Request] = []
    with Server(answering(reply(b'{"a":1}', "X-Request-Id: r1"), requests=seen)) as server:
        client = HttpClient(
            f"{server.url}/v1/?api-version=3",
            auth=lambda: {"Authorization": "Bearer sk-test"},
            headers={"X-Team": "blue"},
            proxies={},
        )
        answer = client.send(
            "POST", "/chat?x=y z", json={"ä": [1, None]}, headers={"X-One": "1"}, deadline=soon()
        )
        client.close()
    (request,) = seen
    assert request.method == "POST"
    assert request.target == "/v1/chat?api-version=3&x=y%20z"
    assert request.version == "HTTP/1.1"
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "llmpool",
        "accept": "*/*",
        "x-team": "blue",
        "accept-encoding": "gzip, deflate",
        "x-one": "1",
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "authorization": "Bearer sk-test",
    }
    assert request.body == b'{"\\u00e4":[1,null]}'
    assert (answer.status, answer.body) == (200, b'{"a":1}')
    assert answer.headers["x-request-ID"] == "r1"


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("GET", None, None), ("POST", None, "0"), ("POST", b"", "0"), ("GET", b"ab", "2")],
)
def test_a_body_of_bytes_or_none(method: str, body: bytes | None, length: str | None) -> None:
    """The length is named wherever a body could be expected."""
    seen: list[Request] = []
    with Server(answering(OK, requests=seen)) as server:
        client = HttpClient(server.url, proxies={})
        client.send(method, "/", body=body, deadline=soon())
        client.close()
    assert seen[0].headers.get("content-length") == length
    assert seen[0].body == (body or b"")


def test_identification_is_asked_for_each_time_and_cannot_be_replaced(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ~/.netrc nor a header of the same name takes the key's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[Request] = []
    keys = iter(("sk-first", "sk-second"))
    with Server(answering(OK, requests=seen)) as server:
        client = HttpClient(
            server.url,
            auth=lambda: {"Authorization": f"Bearer {next(keys)}"},
            headers={"AUTHORIZATION": "Basic abc"},
            proxies={},
        )
        for _ in range(2):
            client.send("GET", "/", headers={"authorization": "x"}, deadline=soon())
        client.close()
    assert [request.headers["authorization"] for request in seen] == [
        "Bearer sk-first",
        "Bearer sk-second",
    ]
    assert all(request.names.count("Authorization") == 1 for request in seen)


def test_no_cookie_is_kept() -> None:
    """What a server sets is not sent back."""
    seen: list[Request] = []
    with Server(answering(reply(b"", "Set-Cookie: a=b"), requests=seen)) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            client.send("GET", "/", deadline=soon())
        client.close()
    assert "cookie" not in seen[1].headers


@pytest.mark.parametrize("status", ["200 OK", "201", "404 Not Found", "429 \x1b[31m", "503 a b"])
def test_an_answer_of_any_status_is_an_answer(status: str) -> None:
    """What it means is for others to say."""
    assert ask(reply(b"text", status=status)) == Reply(
        int(status[:3]), ask(reply(b"text")).headers, b"text"
    )


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "304 Not Modified", "307 \x1b[2J"])
def test_a_redirect_is_a_failure(status: str) -> None:
    """It is not followed, and where it leads is not told: a query may hold anything."""
    with pytest.raises(WireFailure) as caught:
        ask(reply(b"", "Location: http://127.0.0.1:1/?key=sk-leak", status=status))
    assert (caught.value.kind, caught.value.sent) == ("redirect", "answered")
    assert caught.value.status == int(status[:3])
    assert str(caught.value).endswith(f"a redirect ({status[:3]}), which is not followed")


def test_a_redirect_is_not_followed_on_any_connection() -> None:
    """The server that answered it gets no second request."""
    with Server(answering(reply(b"", "Location: /again", status="307 Temporary"))) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            with pytest.raises(WireFailure, match="redirect"):
                client.send("POST", "/", json={}, deadline=soon())
        assert server.accepted <= 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_host_that_needs_no_resolver(host: str) -> None:
    """Literal addresses and localhost are connected to without a thread."""
    with Server(once(OK), host="127.0.0.1" if host == "localhost" else host) as server:
        url = server.url.replace(server.host, "localhost") if host == "localhost" else server.url
        client = HttpClient(url, proxies={})
        assert client.send("GET", "/", deadline=soon()).body == b"ok"
        assert str(server.port) in repr(client)


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_interim_answers(interim: str) -> None:
    """They are passed over, several of them too."""
    early = f"HTTP/1.1 {interim}\r\nLink: </x>\r\n\r\n".encode()
    assert ask(early + early + OK).body == b"ok"


@pytest.mark.parametrize("coming", ["\r\n", "\n"])
def test_header_lines_of_all_kinds(coming: str) -> None:
    """Folded, repeated, empty, non-ASCII: each is found; control characters become spaces."""
    text = coming.join(
        [
            "HTTP/1.1 200 OK",
            "X-Folded: one",
            "   two",
            "X-Twice: 1",
            "x-twice: 2",
            "X-Empty:",
            "X-Text: caf\xe9\tau\x1b[0mlait\x85",
            "Content-Length: 2",
            "",
            "ok",
        ]
    )
    answer = ask(text.encode("latin-1"))
    assert answer.body == b"ok"
    assert answer.headers["x-folded"] == "one two"
    assert answer.headers["X-Twice"] == "1, 2"
    assert answer.headers["x-empty"] == ""
    assert answer.headers["x-text"] == "caf\xe9\tau [0mlait"
    assert "x-absent" not in answer.headers
    assert next(iter(answer.headers)) == "X-Folded"
    assert len(answer.headers) == 5


def test_what_is_shown_of_an_answer() -> None:
    """The names of its headers, and no value or body."""
    shown = repr(ask(reply(b"body text", "X-Key: sk-in-header")))
    assert "X-Key" in shown
    assert "sk-in-header" not in shown
    assert "body text" not in shown


def test_many_paths() -> None:
    """The request targets that are remembered do not grow without bound."""
    seen: list[Request] = []
    with Server(answering(OK, requests=seen)) as server:
        client = HttpClient(server.url, proxies={})
        for number in range(300):
            client.send("GET", f"/{number}", deadline=soon())
        client.close()
    assert seen[-1].target == "/299"


def test_unfit_json() -> None:
    """It is the caller's error, and nothing is sent."""
    client = HttpClient("http://127.0.0.1:1", proxies={})
    with pytest.raises(ValueError, match="JSON"):
        client.send("POST", "/", json={"a": float("nan")}, deadline=soon())
    with pytest.raises(TypeError):
        client.send("POST", "/", json={"a": object()}, deadline=soon())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"X-A": "sk-secret\n"}, "the value for X-A has a character"),
        ({"X-A": "sk-\u2028"}, "the value for X-A has a character"),
        ({"X-A": b"sk-bytes"}, "wanted text for X-A, got bytes"),
        ({"X A": "x"}, "wanted a name"),
        ({7: "x"}, "wanted a name"),
        ({"": "x"}, "wanted a name"),
        ({"content-length": "5"}, "content-length is set by the client itself"),
        ({"Transfer-Encoding": "chunked"}, "Transfer-Encoding is set by the client itself"),
    ],
)
def test_an_unfit_header(fields: dict[str, str], said: str) -> None:
    """It is refused wherever it comes from, and its value is not shown."""
    with pytest.raises(ValueError, match=said) as at_first:
        HttpClient("http://127.0.0.1:1", headers=fields, proxies={})
    client = HttpClient("http://127.0.0.1:1", auth=lambda: fields, proxies={})
    with pytest.raises(ValueError, match=said) as at_once:
        client.send("GET", "/", deadline=soon())
    for caught in (at_first, at_once):
        assert "sk-" not in str(caught.value)
