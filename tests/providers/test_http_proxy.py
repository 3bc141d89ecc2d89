"""Requests that go through an HTTP proxy."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from loopback import CA, OK, WAIT, Peer, Request, Server, answering, reply

from llmpool.providers._http import Deadline, HttpClient, WireFailure

LOGIN = "Basic dXNlcjpwQHNz"  # user:p@ss
REFUSED = reply(b"<html>", status="407 Proxy Authentication Required")


def soon() -> Deadline:
    return Deadline.after(10)


class Tunnel:
    """A proxy that connects to whatever it is asked for."""

    def __init__(self, greeting: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.requests: list[Request] = []
        self._greeting = greeting

    def __call__(self, peer: Peer) -> None:
        request = peer.request()
        assert request is not None
        self.requests.append(request)
        host, _, port = request.target.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=WAIT) as server:
            peer.send(self._greeting)
            back = threading.Thread(target=_pump, args=(server, peer.sock), daemon=True)
            back.start()
            _pump(peer.sock, server)
            back.join(WAIT)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def with_login(server: Server) -> str:
    return server.url.replace("http://", "http://user:p%40ss@")


def test_a_server_in_clear() -> None:
    """The proxy is told the whole URL, and who asks; the connection to it is kept."""
    seen: list[Request] = []
    with Server(answering(OK, requests=seen)) as proxy:
        client = HttpClient(
            "http://llm.example/v1?k=1",
            auth=lambda: {"Authorization": "Bearer sk-1"},
            proxies={"http": with_login(proxy)},
        )
        for _ in range(2):
            assert client.send("POST", "/chat", json={}, deadline=soon()).body == b"ok"
        assert proxy.accepted == 1
    assert seen[0].target == "http://llm.example/v1/chat?k=1"
    assert seen[0].headers["host"] == "llm.example"
    assert seen[0].headers["proxy-authorization"] == LOGIN
    assert seen[0].headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_under_tls(host: str) -> None:
    """The proxy connects, and sees neither the key nor the request."""
    seen: list[Request] = []
    tunnel = Tunnel()
    with (
        Server(answering(OK, requests=seen), tls="loopback", host=host) as server,
        Server(tunnel) as proxy,
    ):
        client = HttpClient(
            server.url,
            auth=lambda: {"Authorization": "Bearer sk-1"},
            proxies={"https": with_login(proxy)},
            verify=CA,
        )
        for _ in range(2):
            assert client.send("POST", "/chat", json={}, deadline=soon()).body == b"ok"
        assert (server.accepted, proxy.accepted) == (1, 1)
        client.close()
    (asked,) = tunnel.requests
    assert (asked.method, asked.target) == ("CONNECT", f"{server.host}:{server.port}")
    assert asked.headers == {
        "host": f"{server.host}:{server.port}",
        "proxy-authorization": LOGIN,
    }
    assert "proxy-authorization" not in seen[0].headers
    assert seen[0].target == "/chat"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (REFUSED, 407),
        (reply(b"<html>", status="502 Bad Gateway"), 502),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", 200),
        (b"rubbish\r\n\r\n", None),
        (b"", None),
    ],
)
def test_a_proxy_that_does_not_connect(answer: bytes, status: int | None) -> None:
    """It is the proxy's failure; nothing reached the server."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(answer)

    with Server(serve) as proxy:
        client = HttpClient("https://127.0.0.2:9", proxies={"https": with_login(proxy)})
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=soon())
    failure = caught.value
    assert (failure.kind, failure.sent, failure.status) == ("proxy", "no", status)
    assert str(failure).startswith(f"proxy 127.0.0.1:{proxy.port}: ")
    assert "p@ss" not in repr(failure)


def test_a_proxy_that_demands_to_know_who_asks() -> None:
    """In clear its answer stands in the place of the server's, and is told from it."""
    with Server(answering(REFUSED)) as proxy:
        client = HttpClient("http://llm.example", proxies={"all": proxy.url})
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=soon())
    assert (caught.value.kind, caught.value.sent, caught.value.status) == ("proxy", "answered", 407)


def test_a_proxy_that_says_nothing() -> None:
    """The deadline covers it, and so does the time for connecting."""
    with Server(lambda peer: peer.closing.wait(WAIT) and None) as proxy:
        for seconds, limit, expired in ((0.3, 5.0, True), (10.0, 0.3, False)):
            client = HttpClient(
                "https://127.0.0.2:9", proxies={"https": proxy.url}, connect_timeout=limit
            )
            with pytest.raises(WireFailure) as caught:
                client.send("GET", "/", deadline=Deadline.after(seconds))
            assert (caught.value.kind, caught.value.expired) == ("proxy", expired)


def test_a_proxy_that_is_not_there() -> None:
    """It is named; an unknown name stays a matter of names."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    for url, kind, said in (
        (f"http://127.0.0.1:{port}", "proxy", f"proxy 127.0.0.1:{port}: connection refused"),
        ("http://proxy.invalid:3128", "dns", "proxy proxy.invalid:3128: the name cannot"),
    ):
        client = HttpClient("http://llm.example", proxies={"http": url})
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=soon())
        assert (caught.value.kind, caught.value.sent) == (kind, "no")
        assert str(caught.value).startswith(said)


def test_the_environment_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client keeps to the proxy that was named when it was made."""
    seen: list[Request] = []
    with Server(answering(OK, requests=seen)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        client = HttpClient("http://llm.example")
        monkeypatch.delenv("http_proxy")
        client.send("GET", "/", deadline=soon())
        client.close()
    assert seen[0].target == "http://llm.example/"


@pytest.mark.parametrize("how", ["no_proxy", "another scheme", "none wanted", "none for this host"])
def test_no_proxy_for_this_server(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is connected to directly."""
    proxies: dict[str, str] | None = None
    if how == "no_proxy":
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    elif how == "another scheme":
        proxies = {"https": "http://127.0.0.1:9"}
    elif how == "none wanted":
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        proxies = {}
    else:
        proxies = {"http": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    seen: list[Request] = []
    with Server(answering(OK, requests=seen)) as server:
        client = HttpClient(server.url, proxies=proxies)
        assert client.send("GET", "/", deadline=soon()).body == b"ok"
    assert seen[0].target == "/"


def test_a_no_proxy_that_names_others() -> None:
    """It changes nothing."""
    with Server(answering(OK)) as proxy:
        client = HttpClient(
            "http://llm.example", proxies={"http": proxy.url, "no_proxy": "other.example"}
        )
        assert client.send("GET", "/", deadline=soon()).body == b"ok"
