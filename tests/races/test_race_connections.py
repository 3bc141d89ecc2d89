"""The connections behind an HTTP client under many threads."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from crowd import PATIENCE, caught, crowd, give_way

from llmpool.providers._connections import Connections
from llmpool.providers._http import Deadline, HttpClient
from llmpool.testing import LocalServer

ASKED = 4


def ask(client: HttpClient, said: str, within: float = PATIENCE) -> str:
    """Ask the echo."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": said}]}
    reply = client.send("POST", "/chat/completions", json=body, deadline=Deadline.after(within))
    return str(json.loads(reply.body)["choices"][0]["message"]["content"])


def connections_of(client: HttpClient) -> Connections:
    """Give what the client keeps its connections in."""
    return client._adapter._connections


class TwoSections(queue.LifoQueue[Any]):
    """The broken twin of where the idle ones are: it looks, and then takes, in two sections."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Give a connection that somebody else may get as well."""
        if not self.queue:
            raise queue.Empty
        found = self.queue[-1]
        give_way()
        if found in self.queue:
            self.queue.remove(found)
        return found

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Keep a connection."""
        if item is not None:
            self.queue.append(item)


def hammer(server: LocalServer, broken: bool) -> list[str]:
    """Have 64 threads ask; give what is wrong with the answers."""
    client = HttpClient(server.url, proxies={})
    if broken:
        connections_of(client).pool = TwoSections(256)
    wrong: list[str] = []
    # Two who read from one connection may both wait for what one of them has.
    within = 2.0 if broken else PATIENCE

    def call(number: int) -> None:
        for turn in range(ASKED):
            said = f"{number} asks {turn}"
            if not wrong and ask(client, said, within) != f"echo: {said}":
                wrong.append(f"{said!r} was answered with another's")

    try:
        return crowd(call) + wrong
    finally:
        client.close()


def test_a_crowd_asks() -> None:
    """Everybody gets the answer to the own question; where two may take one connection it shows."""
    with LocalServer("echo") as server:
        assert hammer(server, broken=False) == []
        assert server.connections <= 64
        assert caught(lambda: hammer(server, broken=True))


class Meeting(queue.LifoQueue[Any]):
    """Two who look for an idle connection at once."""

    def __init__(self, idle: Any, together: threading.Barrier) -> None:
        super().__init__()
        self.queue = [idle]
        self._looks = 0
        self._together = together

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Look, the first two together, and neither goes on before the other has looked."""
        self._looks += 1
        if self._looks > 2:
            return super().get(block=False)
        self._together.wait(PATIENCE)
        try:
            return super().get(block=False)
        finally:
            self._together.wait(PATIENCE)


def test_two_threads_look_for_one_idle_connection() -> None:
    """One gets it, the other opens another."""
    with LocalServer("echo") as server:
        client = HttpClient(server.url, proxies={})
        assert ask(client, "first") == "echo: first"
        connections = connections_of(client)
        assert connections.pool is not None
        idle = connections.pool.get(block=False)
        connections.pool = Meeting(idle, threading.Barrier(2))
        said: list[str] = []
        threads = [
            threading.Thread(target=lambda word=word: said.append(ask(client, word)))
            for word in ("left", "right")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert sorted(said) == ["echo: left", "echo: right"]
        assert server.connections == 2
        client.close()


def meanwhile(act: Callable[[], object]) -> None:
    """Have another thread do something, and wait for it."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_client_is_closed_as_a_connection_comes_back(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, nothing stays open."""
    with LocalServer("echo") as server:
        client = HttpClient(server.url, proxies={})
        connections = connections_of(client)
        assert connections.pool is not None
        stack = type(connections.pool)
        keep = stack.put
        given: list[Any] = []

        def put(self: Any, item: Any, *args: Any, **options: Any) -> None:
            if item is not None:
                given.append(item)
            if moment == "before":
                meanwhile(client.close)
            keep(self, item, *args, **options)
            if moment == "after":
                meanwhile(client.close)

        monkeypatch.setattr(stack, "put", put)
        assert ask(client, "hello") == "echo: hello"
        assert [connection.sock for connection in given] == [None]
