"""Streams that one thread reads while another closes them, and streams that are forgotten."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from crowd import PATIENCE, caught, crowd, give_way

from llmpool import CompletionStream, Deployment, ProviderPool, StreamChunk, StreamInterrupted
from llmpool.claims import Claim
from llmpool.ledger import HealthLedger
from llmpool.outcomes import Outcome

STREAMS, TURNS = 32, 4


class Source:
    """What a provider streams: two words and an end mark, given with some hesitation."""

    def __init__(self) -> None:
        self._pieces = iter(
            (StreamChunk("fine"), StreamChunk(" and fine"), StreamChunk(finish_reason="stop"))
        )
        self.closed = 0

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> StreamChunk:
        give_way()
        return next(self._pieces)

    def close(self) -> None:
        """Close it."""
        self.closed += 1


class Streaming:
    """A provider of streams; *sources* are what it gave."""

    def __init__(self) -> None:
        self.sources: list[Source] = []

    def complete(self, request: Any, timeout: float) -> str:
        """Answer."""
        return "fine"

    def stream(self, request: Any, timeout: float) -> Iterator[StreamChunk]:
        """Stream."""
        self.sources.append(Source())
        return self.sources[-1]


class SettledTwice(HealthLedger):
    """The broken twin: an end counts again where the claim has ended already."""

    def settle(self, claim: Claim, outcome: Outcome, now: float, latency: float) -> None:
        """Book it, come what may."""
        assert claim.entry is not None
        claim.entry.open.setdefault(claim.token, (claim.generation, now))
        super().settle(claim, outcome, now, latency)


class Dawdling(CompletionStream):
    """A stream that gives way between the look whether it has ended and the end."""

    @property
    def _ended(self) -> bool:  # type: ignore[override]
        found = bool(self.__dict__["ended"])
        give_way()
        return found

    @_ended.setter
    def _ended(self, ended: bool) -> None:
        self.__dict__["ended"] = ended


def make_pool(provider: Streaming, kind: type[HealthLedger] = HealthLedger) -> ProviderPool:
    """Make a pool of one deployment."""
    pool = ProviderPool([Deployment("eu", provider)], health_check=None)
    pool._ledger.__class__ = kind
    return pool


def dawdling(stream: CompletionStream) -> Dawdling:
    """Make a stream dawdle."""
    stream.__dict__["ended"] = stream.__dict__.pop("_ended")
    stream.__class__ = Dawdling
    assert isinstance(stream, Dawdling)
    return stream


def hammer(kind: type[HealthLedger]) -> list[str]:
    """Have 32 threads read streams, and 32 close them; give what is wrong then."""
    provider = Streaming()
    pool = make_pool(provider, kind)
    streams = [[dawdling(pool.stream("hello")) for _ in range(TURNS)] for _ in range(STREAMS)]
    wrong: list[str] = []

    def act(number: int) -> None:
        for stream in streams[number % STREAMS]:
            if number < STREAMS:
                text = "".join(chunk.text for chunk in stream)
                if not "fine and fine".startswith(text):
                    wrong.append(f"read {text!r}")
            stream.close()

    problems = crowd(act, threads=2 * STREAMS) + wrong
    status = pool.health("eu")
    if (status.total_requests, status.requests_in_flight) != (STREAMS * TURNS, 0):
        problems.append(f"{status.total_requests} ends, {status.requests_in_flight} in flight")
    if status.total_errors:
        problems.append("somebody was blamed")
    if not all(source.closed for source in provider.sources):
        problems.append("a source was left open")
    return problems


def test_a_crowd_reads_and_closes() -> None:
    """Each stream ends once, whoever ends it, and blames nobody; where an end counts twice it shows."""
    assert hammer(HealthLedger) == []
    assert caught(lambda: hammer(SettledTwice))


class Cut(Source):
    """A source that is broken off by being closed while it is read."""

    def __init__(self, reading: threading.Event) -> None:
        super().__init__()
        self._reading = reading
        self._shut = threading.Event()
        self._first = True

    def __next__(self) -> StreamChunk:
        if self._first:
            self._first = False
            return StreamChunk("fine")
        self._reading.set()
        assert self._shut.wait(PATIENCE)
        raise StreamInterrupted("closed under the reader")

    def close(self) -> None:
        """Close it, and end the read."""
        super().close()
        self._shut.set()


def test_a_stream_closed_while_it_is_read() -> None:
    """The reader's iteration ends as if the stream had, and nobody is blamed."""
    reading = threading.Event()
    provider = Streaming()
    source = Cut(reading)
    provider.stream = lambda request, timeout: source  # type: ignore[method-assign,assignment]
    pool = make_pool(provider)
    stream = pool.stream("hello")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(chunk.text for chunk in stream))
    reader.start()
    assert reading.wait(PATIENCE)
    stream.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    assert said == ["fine"]
    status = pool.health("eu")
    assert (status.total_requests, status.total_errors, status.requests_in_flight) == (1, 0, 0)
    assert source.closed


class Lossy:
    """The broken twin of where forgotten places are noted: it reads, and then writes."""

    def __init__(self) -> None:
        self._notes: list[Any] = []

    def put(self, note: Any) -> None:
        """Add to what was read before, whatever has been written since."""
        known = self._notes
        give_way()
        self._notes = [*known, note]

    def empty(self) -> bool:
        """Tell whether there is none."""
        return not self._notes

    def get_nowait(self) -> Any:
        """Give the first."""
        first, *rest = self._notes
        give_way()
        self._notes = rest
        return first


def hammer_forgotten(broken: bool) -> list[str]:
    """Have 64 threads forget their streams; give what is wrong then."""
    pool = make_pool(Streaming())
    if broken:
        pool._ledger.lost = Lossy()  # type: ignore[assignment]

    def forget(number: int) -> None:
        for _ in range(TURNS):
            with contextlib.suppress(StopIteration):
                next(pool.stream("hello"))

    problems = crowd(forget)
    pool._ledger.tick()
    left = pool.health("eu").requests_in_flight
    if left:
        problems.append(f"{left} places were lost")
        pool._ledger._roster.entries["eu"].open.clear()
        pool._ledger._mend()
    return problems


def test_a_crowd_forgets_its_streams() -> None:
    """Each place comes back, though a finaliser may not lock; where a note can get lost it shows."""
    assert hammer_forgotten(False) == []
    assert caught(lambda: hammer_forgotten(True))
