"""Values that are made at every call, and not by their ``__init__``."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

from llmpool import CompletionRequest, CompletionResponse, Deployment, Message, ProviderPool
from llmpool.outcomes import Attempt, Verdict


class Asked:
    """A provider that notes what it is asked, and answers."""

    model = "tiny"

    def __init__(self, answer: CompletionResponse) -> None:
        self.answer = answer
        self.requests: list[CompletionRequest] = []

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """Answer."""
        self.requests.append(request)
        return self.answer


def asked(given: Any, answer: CompletionResponse | None = None, **named: Any) -> tuple[Any, Any]:
    """Ask a pool of one; give what its provider was asked, and the answer."""
    provider = Asked(CompletionResponse("fine") if answer is None else answer)
    pool = ProviderPool([Deployment("eu", provider)], health_check=None)
    answered = pool.complete(given, **named)
    return provider.requests[0], answered


@pytest.mark.parametrize(
    "named", [{}, {"max_tokens": 5}, {"temperature": 0.5, "seed": 1}, {"model": "big"}]
)
def test_they_are_what_their_class_makes(named: dict[str, Any]) -> None:
    """Equal to those that were converted and checked, and as frozen."""
    request, answer = asked("hello", **named)

    extra = {"seed": 1} if "seed" in named else {}
    known = {"model": "tiny", **{name: named[name] for name in named if name not in extra}}
    assert request == CompletionRequest([Message("user", "hello")], extra=extra, **known)
    attempt = Attempt("eu", Verdict.OK, latency=answer.latency)
    assert answer.attempts == (attempt,)
    assert answer == CompletionResponse(
        "fine", deployment="eu", latency=answer.latency, attempts=(attempt,)
    )
    for value in (request, request.messages[0], answer, answer.attempts[0]):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            value.text = "other"
        assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
        assert repr(value).startswith(type(value).__name__)


@attrs.frozen
class Graded(CompletionResponse):
    """Somebody's own answer, with a slot."""

    grade: int = attrs.field(default=0, kw_only=True)


@attrs.frozen
class Labelled(CompletionRequest):
    """Somebody's own request, with a slot."""

    label: str = attrs.field(default="", kw_only=True)


def test_values_of_somebodys_own_classes() -> None:
    """They keep their class and all that is theirs."""
    request, answer = asked(Labelled("hello", label="a"), Graded("fine", grade=3))

    assert request == Labelled("hello", label="a", model="tiny")
    assert isinstance(answer, Graded)
    assert (answer.grade, answer.text, answer.deployment) == (3, "fine", "eu")
