"""A program that serves the application of ``house.py``, seen and used from outside."""

from __future__ import annotations

import http.client
import json
import random
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hosted import PATIENCE, START_SECONDS, Program, until

from llmpool.testing import Hang, LocalServer, Refuse

State = dict[str, Any]


def free_port() -> int:
    """Find a port for a program that cannot be told to take any."""
    # Below those that the system gives to connections: one of these may be taken at any moment.
    for port in random.sample(range(20_000, 30_000), 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class Site:
    """
    What a program serves.

    Each state that it gives is that of whichever of its processes answered.
    """

    def __init__(self, program: Program, port: int | str) -> None:
        self.program = program
        self._url = f"http://127.0.0.1:{port}"
        self._asked = 0

    def get(self, path: str = "/", **query: str) -> State:
        """Get one page."""
        address = f"{self._url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            page: State = json.load(answer)
            return page

    def look(self) -> State | None:
        """Get the state, or None if it does not serve."""
        try:
            return self.get()
        except (OSError, http.client.HTTPException):
            return None

    def up(self) -> State:
        """Wait until it serves; give its state."""
        until(lambda: self.look() or not self.program.runs, START_SECONDS)
        state = self.look()
        assert state is not None, f"it does not serve:\n{self.program.log}"
        return state

    def load(self, number: int = 120, threads: int = 8) -> set[int]:
        """
        Ask questions from several threads, and demand for each its own answer.

        Returns:
            The ids of the processes that answered.
        """
        prompts = [
            f"question {n}{' streamed' if n % 3 == 0 else ''}"
            for n in range(self._asked, self._asked + number)
        ]
        self._asked += number
        with ThreadPoolExecutor(threads) as crowd:
            answers = list(crowd.map(lambda prompt: self.get("/ask", q=prompt), prompts))
        texts = [answer["text"] for answer in answers]
        assert texts == [f"echo: {prompt}" for prompt in prompts]
        return {answer["pid"] for answer in answers}

    def load_all(self, workers: int) -> set[int]:
        """Ask until so many processes have answered; give their ids."""
        seen: set[int] = set()

        def complete() -> bool:
            seen.update(self.load())
            return len(seen) >= workers

        assert until(complete)
        assert len(seen) == workers
        return seen

    def each(self, pids: set[int], wanted: Callable[[State], object]) -> bool:
        """Wait until every process has given a state that is *wanted*; tell whether it came to that."""
        left = set(pids)

        def heard() -> bool:
            state = self.get()
            if wanted(state):
                left.discard(state["pid"])
            return not left

        return until(heard)

    def ticks(self, pids: set[int]) -> bool:
        """Tell whether in every process the checks of every deployment go on."""
        first: dict[int, State] = {}

        def moved(state: State) -> bool:
            before = first.setdefault(state["pid"], state["checked"])
            now = state["checked"]
            return state["checker"] and all(now[name] not in (None, before[name]) for name in now)

        return self.each(pids, moved)


def exercise(site: Site, workers: int, eu: LocalServer, us: LocalServer) -> None:
    """
    Use a site as its users do, through an outage of one server, and stop it while a check hangs.

    Every question gets its own answer, in every process the checks go on and bring the server back, and
    nothing stays in flight.
    """
    pids = site.load_all(workers)
    assert site.ticks(pids), site.program.log
    eu.behave(Refuse())
    assert site.load() <= pids
    assert site.each(pids, lambda state: state["healthy"] == ["us"]), site.program.log
    eu.restore()
    assert site.each(pids, lambda state: state["healthy"] == ["eu", "us"]), site.program.log
    assert site.load() <= pids
    assert site.each(pids, lambda state: state["in_flight"] == 0)
    assert site.each(pids, lambda state: state["checkers"] == 1)
    hang_checks(us, workers)


def hang_checks(us: LocalServer, workers: int = 1) -> None:
    """Let the next check of every process hang, and the ends of these processes with it, if at all."""
    before = us.hits("models")
    us.behave(Hang(), on="models")
    assert us.wait_for(before + workers, PATIENCE, "models")
