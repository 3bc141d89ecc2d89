"""What belongs to the caller's thread stays with it: every attempt runs there."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from crowds import crowd
from scene import ANSWER, PROMPT, Stage, verdicts

from llmpool import Deployment, EmbeddingResponse, Lease, ProviderPool, ServerFault, StreamChunk

SPAN: contextvars.ContextVar[str] = contextvars.ContextVar("SPAN", default="none")
LOCAL = threading.local()


class Traced:
    """A provider that notes in which thread and context it is asked; it fails if that is wanted."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.seen: list[tuple[int, str, str]] = []

    def _note(self) -> None:
        request = getattr(LOCAL, "request", "none")
        self.seen.append((threading.get_ident(), SPAN.get(), request))
        if self.fails:
            raise ServerFault("broke", status=500)

    def complete(self, request: Any, timeout: float) -> str:
        """Answer."""
        self._note()
        return ANSWER

    def stream(self, request: Any, timeout: float) -> Any:
        """Answer in two pieces, the second as late as it is read."""
        self._note()
        yield StreamChunk(ANSWER)
        self._note()
        yield StreamChunk(finish_reason="stop")

    def embed(self, texts: Any, model: str | None, timeout: float) -> EmbeddingResponse:
        """Answer."""
        self._note()
        return EmbeddingResponse([[1.0]] * len(texts))


def read(pool: ProviderPool) -> None:
    """Read a whole stream."""
    assert "".join(chunk.text for chunk in pool.stream(PROMPT)) == ANSWER


def lend(pool: ProviderPool) -> None:
    """Call with a client of one's own."""

    def ask(lease: Lease) -> Any:
        return lease.client.complete(PROMPT, lease.remaining)

    assert pool.call(ask) == ANSWER


WAYS = {
    "complete": lambda pool: pool.complete(PROMPT),
    "stream": read,
    "embed": lambda pool: pool.embed([PROMPT]),
    "call": lend,
}


@pytest.mark.parametrize("way", WAYS)
def test_context_of_a_call_that_fails_over(stage: Stage, way: str) -> None:
    """The first attempt and the ones after it see the caller's span, its locals and its thread."""
    broken, sound = Traced(fails=True), Traced()
    pool = stage.timed(Deployment("eu", broken), Deployment("us", sound))

    def act() -> None:
        me = str(threading.get_ident())
        SPAN.set(me)
        LOCAL.request = me
        WAYS[way](pool)  # type: ignore[no-untyped-call]
        assert SPAN.get() == me

    for caller in crowd(2, act):
        caller.result()
    assert len(broken.seen) >= 1
    assert len(sound.seen) >= 2
    for thread, span, local in broken.seen + sound.seen:
        assert span == local == str(thread)


def test_context_that_a_call_changes(stage: Stage) -> None:
    """What the caller's own function sets is there after the call, as after any other function."""
    pool = stage.timed(Deployment("eu", Traced()))

    def mark(lease: Lease) -> str:
        SPAN.set("inner")
        return lease.deployment.name

    def act() -> str:
        assert pool.call(mark) == "eu"
        return SPAN.get()

    assert contextvars.copy_context().run(act) == "inner"


def test_call_in_a_running_loop(stage: Stage) -> None:
    """It works, and blocks the loop for as long as it lasts; the loop's task and context are seen."""
    seen: list[Any] = []
    pool = stage.timed(stage.server("eu"))

    async def cell() -> str:
        SPAN.set("cell")
        task = asyncio.current_task()
        pool.call(lambda lease: seen.append((asyncio.current_task() is task, SPAN.get())))
        assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
        return str(pool.complete(PROMPT).text)

    assert asyncio.run(cell()) == ANSWER
    assert seen == [(True, "cell")]
