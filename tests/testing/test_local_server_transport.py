"""Faults of the connection, each seen from the client's end of a real one."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asking import CHAT, ask, chat, connect, drain, hears_nothing, read_all, read_until, send, texts

from llmpool.testing import (
    BlackHole,
    CloseAfterReply,
    Cut,
    Drip,
    Hang,
    LocalServer,
    Ok,
    Redirect,
    Refuse,
    Reset,
    Slow,
)

SILENCE = 0.05
"""How long nothing must come before a client is sure that the server hangs."""


def test_refused_and_restored(server: LocalServer) -> None:
    """The port is closed on return, open connections end, and the same port opens again."""
    kept = connect(server)
    ask(kept)
    port = server.port
    server.behave(Refuse())
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    assert kept.sock.recv(1) == b""
    kept.close()
    server.behave(Refuse())
    assert server.port == port
    server.restore()
    assert ask(server).status == 200


def test_killed_in_mid_request(server: LocalServer) -> None:
    """What hung when the server was killed ends at once."""
    server.behave(Hang())
    with send(server) as sock:
        assert server.wait_for(1)
        server.behave(Refuse())
        assert sock.recv(1) == b""


def test_attempts_to_connect_that_vanish(server: LocalServer) -> None:
    """Connecting takes for ever; what was connected is not read from; it can be restored."""
    kept = connect(server, SILENCE)
    ask(kept)
    server.behave(BlackHole())
    with pytest.raises(TimeoutError):
        ask(server, timeout=SILENCE)
    assert hears_nothing(kept)
    kept.close()
    server.restore()
    assert ask(server).status == 200
    assert server.hits() == 2


@pytest.mark.parametrize(
    ("behaviour", "stream", "sent"),
    [
        (Hang("accept"), False, None),
        (Hang(), False, None),
        (Hang("mid-headers"), False, b"HTTP/1.1 200"),
        (Hang("headers"), False, b"\r\n\r\n"),
        (Hang("body"), False, b'"object"'),
        (Hang(2), False, b'"object"'),
        (Hang("body"), True, b"data: "),
        (Hang(1), True, b"echo:"),
    ],
    ids=str,
)
def test_a_hang_after(
    server: LocalServer, behaviour: Hang, stream: bool, sent: bytes | None
) -> None:
    """What lies before the point comes, then nothing, until the behaviour changes."""
    server.behave(behaviour)
    with send(server, chat(stream=stream)) as sock:
        said = read_until(sock, sent) if sent else b""
        sock.settimeout(SILENCE)
        more, error = read_all(sock)
        assert isinstance(error, TimeoutError)
        said += more
        sock.settimeout(10.0)
        if behaviour.after == "mid-headers":
            assert b"\r\n\r\n" not in said
        if behaviour.after == "headers":
            assert said.endswith(b"\r\n\r\n")
        server.restore()
        assert ends(sock)
    assert b"[DONE]" not in said
    assert server.hits() == (0 if behaviour.after == "accept" else 1)
    assert ask(server).status == 200


def ends(sock: socket.socket) -> bool:
    """Tell whether the connection is over: in order, or reset since a request was not read."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_hang_whose_client_goes(server: LocalServer) -> None:
    """The server lets go of the connection too, so that none piles up."""
    server.behave(Hang())
    send(server).close()
    assert server.wait_for(1)
    assert server.wait_until_idle()


def test_a_hang_set_while_the_request_is_on_its_way(server: LocalServer) -> None:
    """One that begins after it was released ends at once."""
    met = threading.Event()
    go_on = threading.Event()

    def hang_late(exchange: Any) -> None:
        met.set()
        assert go_on.wait(10)
        exchange.hang()

    server.behave(hang_late)
    with send(server) as sock:
        assert met.wait(10)
        server.restore()
        go_on.set()
        assert sock.recv(1) == b""


def test_a_hang_on_a_connection_that_is_kept(server: LocalServer) -> None:
    """``accept`` meets the next request on an open connection too, unread."""
    kept = connect(server, SILENCE)
    ask(kept)
    server.behave(Hang("accept"))
    assert hears_nothing(kept)
    kept.close()
    assert server.hits() == 1


@pytest.mark.parametrize(
    ("behaviour", "stream", "sent"),
    [
        (Reset("accept"), False, None),
        (Reset(), False, None),
        (Reset("mid-headers"), False, b"HTTP/1.1 200"),
        (Reset("headers"), False, b"\r\n\r\n"),
        (Reset("body"), False, b'"object"'),
        (Reset(2), True, b"hello"),
    ],
    ids=str,
)
def test_a_reset_after(
    server: LocalServer, behaviour: Reset, stream: bool, sent: bytes | None
) -> None:
    """What lies before the point comes, then a real reset."""
    server.behave(behaviour)
    try:
        with send(server, chat(stream=stream)) as sock:
            said, error = read_all(sock)
    except ConnectionResetError as reset:  # it came while the client still connected or sent
        said, error = b"", reset
    assert isinstance(error, ConnectionResetError)
    assert (sent or b"") in said
    assert (said == b"") is (sent is None)


@pytest.mark.parametrize("after", ["accept", "request"])
def test_a_cut_before_any_byte(server: LocalServer, after: Any) -> None:
    """The connection ends without an answer."""
    server.behave(Cut(after))
    with pytest.raises(ConnectionError):
        ask(server)


def test_a_cut_in_the_body(server: LocalServer) -> None:
    """The body is shorter than it was announced."""
    server.behave(Cut())
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server)
    assert caught.value.partial.startswith(b'{"id"')


@pytest.mark.parametrize("after", [0, 2, 99, "body"])
def test_a_cut_stream(server: LocalServer, after: Any) -> None:
    """The pieces before it come, and neither the rest nor the last chunk."""
    server.behave(Cut(after))
    with send(server, chat("a b c d", stream=True)) as sock:
        said = drain(sock)
    assert not said.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in said
    if after == 2:
        assert said.count(b'"content": "') == 3  # with the empty one of the role


@pytest.mark.parametrize("what", ["headers", "body"])
def test_a_drip(server: LocalServer, what: Any) -> None:
    """It comes byte by byte, each alone; what is left comes at once when it is released."""
    server.behave(Drip(0.001, what))
    assert ask(server).text == "echo: hello you"
    server.behave(Drip(3600.0, what, size=5))
    with send(server) as sock:
        said = read_until(sock, b'{"id"' if what == "body" else b"HTTP/")
        assert said.endswith(b'{"id"' if what == "body" else b"HTTP/")
        server.restore()
        assert b"echo: hello you" in drain(sock)


def test_a_dripped_stream(server: LocalServer) -> None:
    """Its chunks are dripped, and it is whole in the end."""
    server.behave(Drip(0.0, size=7))
    assert texts(ask(server, chat(stream=True)).events) == ["echo:", " hello", " you"]


def test_a_slow_answer(server: LocalServer) -> None:
    """It comes after the delay, or at once when the behaviour changes."""
    server.behave(Slow(0.001))
    assert ask(server).status == 200
    server.behave(Slow(3600.0, then=Ok(text="late")))
    with ThreadPoolExecutor(1) as client:
        pending = client.submit(ask, server)
        assert server.wait_for(2)
        server.behave(Refuse(), on=None)
        assert isinstance(pending.exception(10), OSError)
        server.behave(Slow(3600.0, then=Ok(text="late")))
        pending = client.submit(ask, server)
        assert server.wait_for(3)
        server.restore()
        assert pending.result(10).text == "late"


def test_a_connection_closed_after_the_reply(server: LocalServer) -> None:
    """It was promised to be kept, and is not."""
    server.behave(CloseAfterReply())
    line = connect(server)
    assert ask(line).headers["connection"] == "keep-alive"
    assert line.sock.recv(1) == b""
    line.close()


def test_a_connection_closed_at_the_next_request(server: LocalServer) -> None:
    """Nothing shows beforehand; the next request on it gets no byte, a fresh one is served."""
    server.behave(CloseAfterReply("next request"))
    line = connect(server)
    assert ask(line).status == 200
    with pytest.raises(http.client.RemoteDisconnected):
        ask(line)
    line.close()
    assert ask(server).status == 200
    assert [request.nth for request in server.requests] == [1, 2, 1]


def test_a_redirect(server: LocalServer) -> None:
    """It names the place, with the status asked for."""
    server.behave(Redirect("https://login.example/"))
    answer = ask(server)
    assert (answer.status, answer.headers["location"]) == (302, "https://login.example/")
    server.behave(Redirect(CHAT, 307, headers={"Retry-After": "1"}))
    assert ask(server).headers["retry-after"] == "1"


def test_a_body_ended_by_the_connection(server: LocalServer) -> None:
    """As in HTTP/1.0: no length, no chunks, whole and streamed."""
    server.behave(Ok(framing="close"))
    with send(server) as sock:
        said = drain(sock)
    assert said.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Length" not in said
    answer = ask(server, chat(stream=True))
    assert "transfer-encoding" not in answer.headers
    assert answer.events[-1] == "[DONE]"


def test_a_plain_body_in_chunks(server: LocalServer) -> None:
    """It is the same answer."""
    server.behave(Ok(framing="chunked"))
    answer = ask(server)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text == "echo: hello you"


def test_a_compressed_answer(server: LocalServer) -> None:
    """Plain bodies and streams are real gzip; each event of a stream can be read as it comes."""
    server.behave(Ok(gzip=True))
    answer = ask(server)
    assert answer.headers["content-encoding"] == "gzip"
    assert b"echo: hello you" in gzip.decompress(answer.body)
    assert ask(server, path="/v1/models", method="HEAD").body == b""
    line = connect(server)
    line.request("POST", CHAT, json.dumps(chat(stream=True)))
    with line.getresponse() as response:
        first = zlib.decompressobj(wbits=31).decompress(response.read1())
    line.close()
    assert first.startswith(b"data: {")


def test_an_answer_changed(server: LocalServer) -> None:
    """Text, model, finish reason and headers can be others."""
    server.behave(Ok("other", "big", "length", headers={"X-Request-Id": "mine"}))
    answer = ask(server)
    assert (answer.text, answer.json["model"]) == ("other", "big")
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.headers["x-request-id"] == "mine"


def test_a_behaviour_of_the_users_own(server: LocalServer) -> None:
    """A function has every byte in its hands."""

    def bytes_by_hand(exchange: Any) -> None:
        exchange.send_bytes(b"HTTP/1.1 299 Mine\r\nContent-Length: 2\r\n\r\nhi")
        exchange.close()

    server.behave(bytes_by_hand)
    assert (ask(server).status, ask(server).body) == (299, b"hi")


@pytest.mark.parametrize("behaviour", [Refuse(), BlackHole()])
def test_a_request_that_was_read_before_the_port_was_closed(
    server: LocalServer, behaviour: Any
) -> None:
    """It is not answered."""
    server.behave(lambda exchange: behaviour(exchange))
    with send(server) as sock:
        assert server.wait_for(1)
        server.behave(Refuse())
        assert sock.recv(1) == b""


def test_pieces_sent_by_hand(server: LocalServer) -> None:
    """A function can send up to a point, the earliest being nothing at all."""

    def by_hand(exchange: Any) -> None:
        reply = exchange.answer(text="mine")
        exchange.send_until(reply, "request")
        exchange.send(reply, keep_alive=False)

    server.behave(by_hand)
    answer = ask(server)
    assert (answer.text, answer.headers["connection"]) == ("mine", "close")


def test_a_behaviour_that_answers_nothing(server: LocalServer) -> None:
    """The connection is closed."""
    server.behave(lambda exchange: None)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server)


def test_a_client_that_goes_while_it_is_answered(server: LocalServer) -> None:
    """The server drops the rest."""
    gone = threading.Event()

    def send_for_ever(exchange: Any) -> None:
        assert gone.wait(10)
        while True:
            exchange.send_bytes(b"x" * 65536)

    server.behave(send_for_ever)
    send(server).close()
    gone.set()
    assert server.wait_until_idle()


def test_a_behaviour_by_route(server: LocalServer) -> None:
    """It meets that route alone; one set for all takes its place."""
    server.behave(Cut("request"), on="chat")
    assert ask(server, path="/v1/models", method="GET").status == 200
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server)
    assert (server.hits(), server.hits("chat"), server.hits("models")) == (2, 1, 1)
    server.behave(Ok(text="all"))
    assert ask(server).text == "all"


def test_a_route_released_alone(server: LocalServer) -> None:
    """What hangs on another route goes on hanging."""
    server.behave(Hang())
    chatting = send(server)
    asking = socket.create_connection(("127.0.0.1", server.port), 10)
    asking.sendall(b"GET /v1/models HTTP/1.1\r\n\r\n")
    with chatting, asking:
        assert server.wait_for(2)
        server.behave(Ok(), on="chat")
        assert chatting.recv(1) == b""
        asking.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            asking.recv(1)
    assert ask(server).status == 200


@pytest.mark.parametrize("behaviour", [Refuse(), BlackHole(), Hang("accept"), Reset("accept")])
def test_what_concerns_connections_has_no_route(server: LocalServer, behaviour: Any) -> None:
    """It is refused for one route."""
    with pytest.raises(ValueError, match="concerns connections"):
        server.behave(behaviour, on="chat")


@pytest.mark.parametrize("behaviour", [None, Hang, "hang"])
def test_what_is_no_behaviour(server: LocalServer, behaviour: Any) -> None:
    """It is refused, the class of one too."""
    with pytest.raises(TypeError, match="behaviour: wanted a behaviour such as"):
        server.behave(behaviour)


def test_a_route_that_is_none(server: LocalServer) -> None:
    """It is refused with the names there are."""
    with pytest.raises(ValueError, match="on: wanted one of chat, embeddings"):
        server.behave(Ok(), on="caht")


@pytest.mark.parametrize("after", ["start", -1, True, None, 1.5])
def test_a_point_that_is_none(after: Any) -> None:
    """It is refused with those there are."""
    with pytest.raises(ValueError, match="after: wanted 'accept', 'request'"):
        Hang(after)
