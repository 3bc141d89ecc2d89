"""Look-ups of names under many threads."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from crowd import PATIENCE, WINDOW, Inside, NoLock, caught, crowd, give_way

from llmpool.providers._deadline import Deadline
from llmpool.providers._dns import Resolver

NAMES = ("eu.example", "us.example", "ap.example")
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


class Yielding(dict[Any, Any]):
    """The look-ups under way; whoever looks dawdles before it does anything about it."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up, and dawdle."""
        found = super().get(key, default)
        give_way()
        return found


def ask(resolver: Resolver, name: str) -> object:
    """Look a name up."""
    return resolver.resolve(name, 443, Deadline.after(PATIENCE), PATIENCE)


def hammer(broken: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have 64 threads look up three names; give what is wrong with what they are told."""
    inside = Inside(dict.fromkeys(NAMES, 1))

    def look_up(host: str, *_: Any, **__: Any) -> Any:
        with inside(host):
            return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolver = Resolver()
    resolver._running = Yielding()
    if broken:
        resolver._lock = NoLock()  # type: ignore[assignment]

    def call(number: int) -> None:
        for turn in range(4):
            if not inside.problems:
                told = ask(resolver, NAMES[(number + turn) % len(NAMES)])
                assert told == [(socket.AF_INET, ("127.0.0.1", 443))]

    problems = crowd(call) + inside.problems
    if resolver._running:
        problems.append(f"{list(resolver._running)} are still looked up")
    return problems


def test_a_crowd_looks_up_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up twice at once, and all are told; without the lock it shows."""
    assert hammer(False, monkeypatch) == []
    assert caught(lambda: hammer(True, monkeypatch))


class Door(dict[Any, Any]):
    """Holds the first who looks until another has looked as well, or was kept out."""

    def __init__(self) -> None:
        super().__init__()
        self.looking = threading.Event()
        self.came = threading.Event()
        self.kept_out: bool | None = None

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up, the first one slowly."""
        found = super().get(key, default)
        if not self.looking.is_set():
            self.looking.set()
            self.kept_out = not self.came.wait(WINDOW)
        else:
            self.came.set()
        return found


@pytest.mark.parametrize("broken", [False, True])
def test_two_threads_look_up_one_name(broken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second joins the look-up of the first; without the lock there would be two."""
    asked: list[str] = []
    go_on = threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        assert go_on.wait(PATIENCE)
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolver = Resolver()
    door = resolver._running = Door()
    if broken:
        resolver._lock = NoLock()  # type: ignore[assignment]
    jobs: list[Any] = []
    threads = [threading.Thread(target=lambda: jobs.append(resolver._join("x"))) for _ in range(2)]
    threads[0].start()
    assert door.looking.wait(PATIENCE)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    go_on.set()
    for job in jobs:
        assert job.done.wait(PATIENCE)
    assert (door.kept_out, len(asked)) == ((False, 2) if broken else (True, 1))
