"""A provider in memory that answers by a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from llmpool.messages import CompletionResponse, EmbeddingResponse, StreamChunk

_UNSET = object()


@attrs.frozen
class Call:
    """
    One call of a :class:`ScriptedProvider`: the method's name and what it was given.

    ``request`` is a :class:`CompletionRequest`, or the texts to embed, and ``model`` the one
    that these are to be embedded with.
    """

    method: str
    request: Any = attrs.field(repr=False)
    timeout: float | None
    model: str | None = None


class ScriptedProvider:
    """
    A provider without a network whose answers are laid down, one step for each call.

    A step is an answer (a str, a :class:`CompletionResponse`, an :class:`EmbeddingResponse`),
    an exception to raise (an instance or a class), a list of pieces for a stream (str,
    :class:`StreamChunk`, or an exception that breaks it off there), or a function of
    request (or texts) and timeout that returns or raises any of these. A call beyond the
    last step is an ``AssertionError``, unless *repeat* has the last step meet all further
    calls.

    Pings have a script of their own; without one they succeed. *gate* holds every call but
    a ping until it is set, whatever the call's timeout says, as a hung server would; one
    that is not set within *patience* seconds is an ``AssertionError``.

    Threads: every method may be called from any; the lock guards the fields below it.
    """

    def __init__(
        self,
        *steps: Any,
        name: str = "scripted",
        model: str | None = None,
        repeat: bool = False,
        ping_steps: Iterable[Any] | None = None,
        gate: threading.Event | None = None,
        patience: float = 10.0,
    ) -> None:
        self.name = name
        self.model = model
        self._repeat = repeat
        self._gate = gate
        self._patience = patience
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._steps = list(steps)
        self._pings = None if ping_steps is None else list(ping_steps)
        self._calls: list[Call] = []
        self._held = 0
        self._peak = 0
        self._closed = 0

    def __repr__(self) -> str:
        return f"<ScriptedProvider {self.name!r}>"

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls so far, pings apart, oldest first."""
        with self._lock:
            return tuple(call for call in self._calls if call.method != "ping")

    @property
    def pings(self) -> tuple[Call, ...]:
        """The pings so far, oldest first."""
        with self._lock:
            return tuple(call for call in self._calls if call.method == "ping")

    @property
    def peak(self) -> int:
        """The most calls that were inside it at once, pings apart."""
        with self._lock:
            return self._peak

    @property
    def closed(self) -> int:
        """How often it was closed."""
        with self._lock:
            return self._closed

    def wait_for(self, calls: int, timeout: float = 5.0) -> bool:
        """Wait until so many calls have come, pings apart; tell whether they have."""

        def enough() -> bool:
            return sum(call.method != "ping" for call in self._calls) >= calls

        with self._lock:
            return self._changed.wait_for(enough, timeout)

    def complete(self, request: Any, timeout: float | None = None) -> CompletionResponse:
        """Play the next step."""
        answer = self._play("complete", request, timeout)
        return CompletionResponse(answer) if isinstance(answer, str) else answer

    def stream(self, request: Any, timeout: float | None = None) -> Iterator[StreamChunk]:
        """Play the next step at once, and give its answer word by word."""
        return _pieces(self._play("stream", request, timeout))

    def embed(
        self, texts: Sequence[str], model: str | None = None, timeout: float | None = None
    ) -> EmbeddingResponse:
        """Play the next step; a list of vectors is an answer too."""
        answer = self._play("embed", texts, timeout, model)
        return EmbeddingResponse(answer) if isinstance(answer, (list, tuple)) else answer

    def ping(self, timeout: float | None = None) -> Any:
        """Play the next step of the pings."""
        with self._lock:
            self._calls.append(Call("ping", None, timeout))
            step = None if self._pings is None else self._next(self._pings)
        return self._act(step, None, timeout)

    def close(self) -> None:
        """Count that it was closed."""
        with self._lock:
            self._closed += 1

    def _play(
        self, method: str, request: Any, timeout: float | None, model: str | None = None
    ) -> Any:
        with self._lock:
            self._calls.append(Call(method, request, timeout, model))
            step = self._next(self._steps)
            self._held += 1
            self._peak = max(self._peak, self._held)
            self._changed.notify_all()
        try:
            if self._gate is not None and not self._gate.wait(self._patience):
                raise AssertionError(f"{self.name}: the gate was not opened")
            return self._act(step, request, timeout)
        finally:
            with self._lock:
                self._held -= 1

    def _next(self, steps: list[Any]) -> Any:
        """Called under the lock."""
        if not steps:
            return _UNSET
        return steps[0] if self._repeat and len(steps) == 1 else steps.pop(0)

    def _act(self, step: Any, request: Any, timeout: float | None) -> Any:
        if step is _UNSET:
            raise AssertionError(f"{self.name}: unscripted call")
        if _is_error(step):
            raise step
        if not isinstance(step, type) and callable(step):
            act: Callable[[Any, float | None], Any] = step
            answer = act(request, timeout)
            if _is_error(answer):
                raise answer
            return answer
        return step


def _is_error(step: object) -> bool:
    return isinstance(step, BaseException) or (
        isinstance(step, type) and issubclass(step, BaseException)
    )


def _pieces(answer: Any) -> Iterator[StreamChunk]:
    """Give an answer as the pieces of a stream, the finish reason last."""
    if isinstance(answer, str):
        answer = CompletionResponse(answer, finish_reason="stop")
    if isinstance(answer, CompletionResponse):
        words = answer.text.split(" ")
        for number, word in enumerate(words):
            yield StreamChunk(word if number == 0 else f" {word}")
        yield StreamChunk(
            finish_reason=answer.finish_reason,
            tool_calls=answer.tool_calls,
            usage=answer.usage,
        )
        return
    for piece in answer:
        if _is_error(piece):
            raise piece
        yield StreamChunk(piece) if isinstance(piece, str) else piece
