"""TLS: who is trusted, who is not, and how a failure names the certificate."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import ssl
import threading

import pytest
from loopback import CA, OK, TLS, WAIT, Peer, Server, answering, once

from llmpool.providers._dial import TRUST, Trust
from llmpool.providers._http import Deadline, HttpClient, WireFailure


def soon() -> Deadline:
    return Deadline.after(10)


def fails(url: str, verify: str | bool = str(CA)) -> WireFailure:
    with pytest.raises(WireFailure) as caught:
        HttpClient(url, proxies={}, verify=verify).send("GET", "/", deadline=soon())
    assert caught.value.sent == "no"
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_server_that_proves_its_name(host: str) -> None:
    """It is spoken to, again over the same connection."""
    with Server(
        answering(OK), tls="loopback", host=host.replace("localhost", "127.0.0.1")
    ) as server:
        url = server.url.replace("127.0.0.1", host) if host == "localhost" else server.url
        client = HttpClient(url, proxies={}, verify=CA)
        for _ in range(3):
            assert client.send("POST", "/", json={}, deadline=soon()).body == b"ok"
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ("selfsigned", "self-signed certificate|self signed certificate"),
        ("expired", "certificate has expired"),
        ("elsewhere", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
)
def test_a_server_that_does_not(certificate: str, said: str) -> None:
    """The failure names what is wrong with its certificate."""
    with Server(answering(OK), tls=certificate) as server:
        failure = fails(server.url)
        assert failure.kind == "tls"
        assert re.search(f"the server's certificate: ({said})", str(failure))


def test_a_server_of_another_name() -> None:
    """A certificate for elsewhere is none for here."""
    with Server(answering(OK), tls="elsewhere") as server:
        failure = fails(server.url.replace("127.0.0.1", "localhost"))
    assert "Hostname mismatch" in str(failure)


def test_an_authority_that_is_not_trusted() -> None:
    """Without the option that names it, the usual authorities are trusted and no other."""
    with Server(answering(OK), tls="loopback") as server:
        assert fails(server.url, verify=True).kind == "tls"


def test_an_authority_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up when the client is made."""
    with Server(answering(OK), tls="loopback") as server:
        variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        for variable in variables:
            monkeypatch.delenv(variable, raising=False)
        for variable in variables:
            with monkeypatch.context() as patched:
                patched.setenv(variable, str(CA))
                client = HttpClient(server.url, proxies={})
            assert client.send("GET", "/", deadline=soon()).body == b"ok"


def test_a_server_without_tls() -> None:
    """It is said in the library's own words."""
    with Server(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        failure = fails(server.url.replace("http", "https"))
    assert failure.kind == "tls"
    assert "the TLS handshake failed: " in str(failure)


def test_a_handshake_broken_off() -> None:
    """A close and a reset are both failures to connect."""
    with Server(lambda peer: peer.reset()) as server:
        assert fails(server.url.replace("http", "https")).kind in ("reset", "tls")

    def close_politely(peer: Peer) -> None:
        peer.sock.recv(65536)

    with Server(close_politely) as server:
        assert fails(server.url.replace("http", "https")).kind in ("reset", "tls")


def test_an_interrupt_in_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through, and the connection is closed."""
    gone = threading.Event()

    def serve(peer: Peer) -> None:
        if peer.wait_for_end():
            gone.set()

    def interrupt(_: ssl.SSLSocket) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", interrupt)
    with Server(serve) as server:
        client = HttpClient(server.url.replace("http", "https"), proxies={}, verify=CA)
        with pytest.raises(KeyboardInterrupt):
            client.send("GET", "/", deadline=soon())
        assert gone.wait(WAIT)


def test_an_interrupt_before_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, where there is no TLS socket yet."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", interrupt)
    with Server(answering(OK)) as server:
        client = HttpClient(server.url.replace("http", "https"), proxies={}, verify=CA)
        with pytest.raises(KeyboardInterrupt):
            client.send("GET", "/", deadline=soon())


def test_a_connection_gone_before_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a reset."""

    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", gone)
    with Server(answering(OK)) as server:
        assert fails(server.url.replace("http", "https")).kind == "reset"


def test_time_over_before_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a connection not made in time."""
    deadline = soon()
    original = TRUST.context(str(CA))

    def slow(_: str) -> ssl.SSLContext:
        deadline.move(-1)
        return original

    monkeypatch.setattr(TRUST, "context", slow)
    with Server(answering(OK)) as server:
        client = HttpClient(server.url.replace("http", "https"), proxies={}, verify=CA)
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=deadline)
    assert (caught.value.kind, caught.value.expired) == ("connect-timeout", True)


def test_a_stale_connection_under_tls() -> None:
    """It is replaced unseen, as one without is."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        if peer.number == 1:
            peer.request()

    with Server(serve, tls="loopback") as server:
        client = HttpClient(server.url, proxies={}, verify=CA)
        for _ in range(2):
            assert client.send("POST", "/", json={}, deadline=soon()).body == b"ok"
        assert server.accepted == 2


def test_a_cut_under_tls() -> None:
    """It is a cut."""
    with Server(once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe"), tls="loopback") as server:
        client = HttpClient(server.url, proxies={}, verify=CA)
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=soon())
    assert (caught.value.kind, caught.value.sent) == ("cut", "answered")


def test_a_bundle_without_certificates(tmp_path: pathlib.Path) -> None:
    """It is a failure to connect, which names the file."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    with Server(answering(OK), tls="loopback") as server:
        failure = fails(server.url, str(empty))
    assert failure.kind == "tls"
    assert f"the CA bundle {str(empty)!r} cannot be read" in str(failure)


def test_a_directory_of_certificates(tmp_path: pathlib.Path) -> None:
    """It is read as one; an empty one trusts nobody."""
    with Server(answering(OK), tls="loopback") as server:
        assert fails(server.url, str(tmp_path)).kind == "tls"


def test_one_context_for_all() -> None:
    """Reading a bundle is slow, so it is read once, after a fork too."""
    trust = Trust()
    assert trust.context(str(CA)) is trust.context(str(CA))
    assert trust.context(str(CA)) is not trust.context(str(TLS / "selfsigned.pem"))


def test_the_contexts_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that a thread of the parent held is not waited for."""
    trust = Trust()
    context = trust.context(str(CA))
    held = threading.Thread(target=trust._lock.acquire)
    held.start()
    held.join(WAIT)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert trust.context(str(CA)) is context


def test_old_protocols_are_not_spoken() -> None:
    """TLS 1.2 is the least, and names are always checked."""
    context = TRUST.context(str(CA))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
