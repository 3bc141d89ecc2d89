"""What became of a batch: a list like any other, that can count itself and show itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from llmpool import _html
from llmpool.messages import CompletionResponse


class BatchResults(list[Any]):
    """
    The results of ``ProviderPool.map``, in the order of the requests.

    In each place stands a :class:`CompletionResponse`, an exception (with ``return_errors=True``), or None
    where an interrupt came first. It is a list; a notebook shows it as a table.
    """

    @property
    def errors(self) -> dict[int, BaseException]:
        """The exceptions, by their place."""
        return {at: each for at, each in enumerate(self) if isinstance(each, BaseException)}

    @property
    def missing(self) -> list[int]:
        """The places where nothing stands yet."""
        return [at for at, each in enumerate(self) if each is None]

    def fill(self, places: Iterable[int], results: Iterable[Any]) -> None:
        """
        Put *results* into *places*, as many as there are.

        Raises:
            ValueError: there are more of the one than of the other.
        """
        for at, result in zip(list(places), list(results), strict=True):
            self[at] = result

    def to_dicts(self) -> list[dict[str, Any]]:
        """Give a flat record for each place, fit for ``pandas.DataFrame`` and for JSON."""
        return [_record(at, each) for at, each in enumerate(self)]

    def _repr_html_(self) -> str:
        errors = Counter(type(error).__name__ for error in self.errors.values())
        answers = [each for each in self if isinstance(each, CompletionResponse)]
        facts = _html.line(
            _html.counted(len(answers), "answer", "answers"),
            *(f"{_html.figure(number)} {name}" for name, number in errors.most_common()),
            f"{_html.figure(len(self.missing))} not done" if self.missing else None,
        )
        rows = [(at, *_row(each)) for at, each in enumerate(self[: _html.ROWS])]
        more = len(self) - len(rows)
        rest = _html.line(f"… {_html.figure(more)} more") if more else ""
        return _html.frame(facts, _html.table(_columns(rows)) if rows else "", rest)


_COLUMNS = ("n", "answer", "deployment", "latency (s)", "tokens out", "attempts")


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    return dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))


def _said(error: BaseException) -> str:
    """Tell what is wrong; of an error that is not ours the name alone, for its words may hold a prompt."""
    name = type(error).__name__
    ours = any(kind.__module__ == "llmpool.errors" for kind in type(error).__mro__)
    message = getattr(error, "message", "") if ours else ""
    return f"{name}: {message}" if message else name


def _row(each: Any) -> tuple[Any, ...]:
    if each is None:
        return (_html.Mark("not done"), None, None, None, None)
    if isinstance(each, BaseException):
        failed = _html.Mark(_said(each), _html.BAD)
        return (failed, getattr(each, "deployment", None), None, None, _tries(each))
    if not isinstance(each, CompletionResponse):
        return (type(each).__name__, None, None, None, None)
    tokens = None if each.usage is None else each.usage.output_tokens
    return (_summary(each), each.deployment, each.latency, tokens, _tries(each))


def _tries(each: Any) -> int | None:
    return len(getattr(each, "attempts", ())) or None


def _summary(answer: CompletionResponse) -> str:
    if answer.text:
        return " ".join(answer.text[: 4 * _html.LONGEST_CELL].split())
    calls = ", ".join(f"{call.name}({call.arguments})" for call in answer.tool_calls)
    return calls or answer.refusal or "no text"


def _record(at: int, each: Any) -> dict[str, Any]:
    answer = each if isinstance(each, CompletionResponse) else CompletionResponse()
    error = each if isinstance(each, BaseException) else None
    usage = answer.usage
    return {
        "n": at,
        "text": None if answer is not each else answer.text,
        "finish_reason": answer.finish_reason,
        "model": answer.model,
        "deployment": answer.deployment or getattr(error, "deployment", None),
        "latency": answer.latency,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cost": answer.cost,
        "attempts": len(getattr(each, "attempts", ())),
        "error": None if error is None else _said(error),
    }
