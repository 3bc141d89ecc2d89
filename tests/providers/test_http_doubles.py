"""The responses library in the server's place, as users have it in their tests."""

from __future__ import annotations

import gzip

import pytest
import requests
import responses
from loopback import OK, Server, answering
from responses import matchers

from llmpool.providers._connections import Connections
from llmpool.providers._http import Deadline, HttpClient, WireFailure

URL = "http://llm.example/v1/chat"


def soon() -> Deadline:
    return Deadline.after(10)


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(
        "http://llm.example/v1", auth=lambda: {"Authorization": "Bearer sk-1"}, proxies={}
    )


@responses.activate
def test_a_whole_answer(client: HttpClient) -> None:
    """The double sees the request as requests would show it."""
    responses.post(
        URL,
        json={"a": 1},
        status=201,
        headers={"X-Request-Id": "r1"},
        match=[
            matchers.header_matcher({"Authorization": "Bearer sk-1"}),
            matchers.json_params_matcher({"q": "ü"}),
        ],
    )
    answer = client.send("POST", "/chat", json={"q": "ü"}, deadline=soon())
    assert (answer.status, answer.body) == (201, b'{"a": 1}')
    assert answer.headers["x-request-id"] == "r1"
    request = responses.calls[0].request
    assert request.headers["content-type"] == "application/json"
    assert "sk-1" not in repr(request)


@responses.activate
def test_a_stream(client: HttpClient) -> None:
    """It is read as one from a server is."""
    responses.post(URL, body=b"data: 1\n\ndata: 2\n\n")
    with client.open("POST", "/chat", json={}, deadline=soon()) as stream:
        assert b"".join(iter(stream.read1, b"")) == b"data: 1\n\ndata: 2\n\n"
    stream.close()


@responses.activate
def test_a_stream_that_is_closed_early(client: HttpClient) -> None:
    """Nothing waits in it."""
    responses.post(URL, body=b"data: 1\n\n")
    stream = client.open("POST", "/chat", json={}, deadline=soon())
    assert stream._owned.acquire(blocking=False)
    stream.close()


@responses.activate
def test_a_packed_answer(client: HttpClient) -> None:
    """It is unpacked."""
    packed = gzip.compress(b"text")
    responses.get(URL, body=packed, headers={"Content-Encoding": "gzip"})
    assert client.send("GET", "/chat", deadline=soon()).body == b"text"


@responses.activate
def test_a_redirect(client: HttpClient) -> None:
    """It is not followed here either."""
    responses.get(URL, status=307, headers={"Location": "http://other.example"})
    with pytest.raises(WireFailure, match="redirect"):
        client.send("GET", "/chat", deadline=soon())
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    ("raised", "kind", "sent"),
    [
        (requests.exceptions.SSLError("x"), "tls", "no"),
        (requests.exceptions.ProxyError("x"), "proxy", "no"),
        (requests.exceptions.ConnectTimeout("x"), "connect-timeout", "no"),
        (requests.exceptions.ReadTimeout("x"), "timeout", "maybe"),
        (requests.exceptions.Timeout("x"), "timeout", "maybe"),
        (requests.exceptions.ChunkedEncodingError("x"), "cut", "answered"),
        (requests.exceptions.ContentDecodingError("x"), "bad-protocol", "answered"),
        (requests.exceptions.ConnectionError("x"), "reset", "maybe"),
        (ConnectionResetError("x"), "reset", "maybe"),
    ],
)
@responses.activate
def test_an_error_that_the_double_raises(
    client: HttpClient, raised: Exception, kind: str, sent: str
) -> None:
    """It is put into our words, and left behind: it holds the request, and that the key."""
    responses.get(URL, body=raised)
    with pytest.raises(WireFailure) as caught:
        client.send("GET", "/chat", deadline=soon())
    assert (caught.value.kind, caught.value.sent) == (kind, sent)
    assert caught.value.__context__ is None
    assert str(caught.value) == f"llm.example:80: {type(raised).__name__}"


@responses.activate
def test_a_request_that_the_double_does_not_know(client: HttpClient) -> None:
    """It goes nowhere."""
    with pytest.raises(WireFailure, match=r"llm\.example:80: ConnectionError"):
        client.send("GET", "/chat", deadline=soon())


def test_a_request_that_the_double_lets_pass() -> None:
    """It goes to the server."""
    with Server(answering(OK)) as server, responses.RequestsMock() as double:
        double.add_passthru(server.url)
        assert HttpClient(server.url, proxies={}).send("GET", "/", deadline=soon()).body == b"ok"


def test_the_hooks_of_older_requests() -> None:
    """Before version 2.32 requests asked for connections by another name."""
    adapter = HttpClient("http://h", proxies={})._adapter
    assert isinstance(adapter.get_connection(), Connections)
    assert adapter.get_connection() is adapter.get_connection_with_tls_context()
