"""Names that are not found, or not soon; routes that are gone; and when that is our own network."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crowds import until
from scene import PATIENCE, PROMPT, Stage, deployment, states, verdicts

from llmpool import ConnectionFailed, DeadlineExceeded, HealthCheckConfig, Verdict
from llmpool.providers import _dial
from llmpool.testing import Ok, Refuse


class Names:
    """
    A resolver under the test's hand, in the place of the system's.

    A name hangs while it is in *hanging*, until *released*; is unknown while it is in *unknown*; and is
    this machine otherwise.
    """

    def __init__(self) -> None:
        self.hanging: set[str] = set()
        self.unknown: set[str] = set()
        self.asked: list[str] = []
        self.released = threading.Event()
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return self._real(host, port, *args, **options)
        self.asked.append(host)
        if host in self.hanging:
            assert self.released.wait(60.0)
        if host in self.unknown:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """Put names under the test's hand; what hangs is released at its end."""
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    yield names
    names.released.set()


def test_name_that_does_not_exist(stage: Stage) -> None:
    """It is a fault of that deployment and of no other."""
    us = stage.server("us")
    pool = stage.timed(deployment("http://eu.invalid/v1"), us)
    for expected in ("healthy", "healthy", "unhealthy"):
        answer = pool.complete(PROMPT)
        assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
        assert states(pool) == {"eu": expected, "us": "healthy"}
    failed = answer.attempts[0]
    assert (failed.code, failed.sent) == ("dns", "no")
    assert "eu.invalid:80: the name cannot be resolved" in (failed.error or "")


def test_name_whose_lookup_hangs(stage: Stage, names: Names) -> None:
    """The call ends at its own deadline, and the look-up's thread is the only one that waits on."""
    names.hanging.add("eu.example")
    pool = stage.pool(deployment("http://eu.example/v1"))
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="the name look-up took too long"):
        pool.complete(PROMPT, timeout=0.2)
    assert time.monotonic() - began < PATIENCE
    assert [t.name for t in threading.enumerate() if "dns" in t.name] == ["llmpool-dns-eu.example"]
    with pytest.raises(DeadlineExceeded):
        pool.complete(PROMPT, timeout=0.1)
    assert names.asked == ["eu.example"]


def test_name_whose_lookup_hangs_and_another_deployment(stage: Stage, names: Names) -> None:
    """A look-up has the time for connecting, so the call goes elsewhere with most of its time left."""
    names.hanging.add("eu.example")
    us = stage.server("us")
    pool = stage.pool(deployment("http://eu.example/v1", connect_timeout=0.1), us)
    answer = pool.complete(PROMPT, timeout=PATIENCE)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert (answer.attempts[0].code, answer.attempts[0].sent) == ("dns", "no")


def test_name_whose_lookup_hangs_in_a_check(stage: Stage, names: Names) -> None:
    """That check fails at its deadline; the others are on time, and find their deployments well."""
    names.hanging.add("eu.example")
    config = HealthCheckConfig(enabled=False, timeout=0.3)
    pool = stage.pool(
        deployment("http://eu.example/v1"),
        stage.server("us"),
        stage.server("sa"),
        health_check=config,
    )

    def found() -> list[bool]:
        return [result.healthy for result in pool.check_now()]

    until(lambda: found() == [False, True, True])  # on a busy machine not the first time
    until(lambda: found() and states(pool) == {"eu": "unhealthy", "us": "healthy", "sa": "healthy"})


@pytest.fixture
def no_route(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Give a function that takes the route to some ports away, and gives back that to all others."""
    cut: set[int] = set()
    connect = _dial.TimedSocket.connect

    def connect_or_not(self: socket.socket, address: Any) -> None:
        if address[1] in cut:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(_dial.TimedSocket, "connect", connect_or_not)

    def choose(ports: set[int]) -> None:
        cut.clear()
        cut.update(ports)

    return choose


def test_names_that_fail_for_everybody_at_once(stage: Stage, names: Names) -> None:
    """That is our own network: nobody is sentenced, and the first success ends it."""
    eu, us = stage.server("eu", Ok(framing="close")), stage.server("us")
    pool = stage.timed(
        deployment(f"http://eu.example:{eu.port}/v1", "eu"),
        deployment(f"http://us.example:{us.port}/v1", "us"),
    )
    names.unknown = {"eu.example", "us.example"}
    for _ in range(5):
        with pytest.raises(ConnectionFailed) as caught:
            pool.complete(PROMPT)
        assert {attempt.code for attempt in caught.value.attempts} == {"dns"}
        assert states(pool) == {"eu": "healthy", "us": "healthy"}
    names.unknown = set()
    answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "ok")]
    # Now that both are reached, whoever is not is to blame again.
    assert all(result.healthy for result in pool.check_now())
    names.unknown = {"eu.example"}
    for _ in range(3):
        assert pool.complete(PROMPT).deployment == "us"
    assert states(pool) == {"eu": "unhealthy", "us": "healthy"}


def test_routes_that_fail_for_everybody_at_once(
    stage: Stage, no_route: Callable[[set[int]], None]
) -> None:
    """No route anywhere is our own network too."""
    eu, us = stage.server("eu"), stage.server("us")
    pool = stage.timed(eu, us)
    no_route({eu.port, us.port})
    for _ in range(5):
        with pytest.raises(ConnectionFailed, match="cannot connect from this machine") as caught:
            pool.complete(PROMPT)
        assert {attempt.sent for attempt in caught.value.attempts} == {"no"}
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    no_route(set())
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]


def test_refused_connections_everywhere_at_once(stage: Stage) -> None:
    """Whoever refuses is there to refuse: that is no failure of our network, and both are out."""
    pool = stage.timed(stage.server("eu", Refuse()), stage.server("us", Refuse()))
    for _ in range(3):
        with pytest.raises(ConnectionFailed):
            pool.complete(PROMPT, retry=False)
        pool.check_now()
    assert states(pool) == {"eu": "unhealthy", "us": "unhealthy"}


def test_one_route_that_fails(stage: Stage, no_route: Callable[[set[int]], None]) -> None:
    """With others in reach it is the deployment that is out of it."""
    eu, us = stage.server("eu"), stage.server("us")
    pool = stage.timed(eu, us)
    no_route({eu.port})
    for _ in range(3):
        answer = pool.complete(PROMPT)
        assert verdicts(answer) == [("eu", Verdict.FAULT), ("us", Verdict.OK)]
    assert states(pool) == {"eu": "unhealthy", "us": "healthy"}
