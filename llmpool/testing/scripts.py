"""Behaviours that choose another behaviour for each request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from llmpool._validators import refuse
from llmpool.testing.exchange import Exchange
from llmpool.testing.transport import Behaviour, Ok, check_behaviour


def check_each(instance: Any, attribute: Any, value: Any) -> None:
    """Refuse an empty script and one with steps that cannot answer a request."""
    if not value:
        refuse(attribute.name, "at least one behaviour", None)
    for step in value:
        check_behaviour(instance, attribute, step)


def to_steps(steps: Iterable[Behaviour]) -> tuple[Behaviour, ...]:
    """Return the steps as a tuple."""
    return tuple(steps)


@attrs.frozen
class Sequence:
    """Meet successive requests with successive behaviours; all further ones with *then*."""

    steps: tuple[Behaviour, ...] = attrs.field(converter=to_steps, validator=check_each)
    then: Behaviour = attrs.field(factory=Ok, validator=check_behaviour)

    def __call__(self, exchange: Exchange) -> None:
        turn = exchange.turn(self)
        step = self.steps[turn] if turn < len(self.steps) else self.then
        step(exchange)


@attrs.frozen
class FailFirst:
    """Meet the first *n* requests with one behaviour, all further ones with another."""

    n: int
    behaviour: Behaviour = attrs.field(validator=check_behaviour)
    then: Behaviour = attrs.field(factory=Ok, validator=check_behaviour)

    def __call__(self, exchange: Exchange) -> None:
        step = self.behaviour if exchange.turn(self) < self.n else self.then
        step(exchange)


@attrs.frozen
class FailWhen:
    """Meet the requests whose body holds *marker* with one behaviour, the rest with another."""

    marker: str
    behaviour: Behaviour = attrs.field(validator=check_behaviour)
    then: Behaviour = attrs.field(factory=Ok, validator=check_behaviour)

    def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        found = self.marker in request.prompt or self.marker.encode() in request.body
        (self.behaviour if found else self.then)(exchange)
