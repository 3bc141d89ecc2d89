"""
Doubles for tests: a local LLM server with faults to switch, a provider in memory, a clock.

None of it needs a network or a key. ::

    with LocalServer("eu") as server:
        provider = OpenAIProvider(server.url, api_key=None, model="tiny")
        server.behave(RateLimited(retry_after=2))
        ...
        server.restore()
"""

from __future__ import annotations

from llmpool.testing.bodies import (
    ContentFilter,
    EmptyChoices,
    ErrorBody,
    Html,
    Huge,
    WrongBody,
)
from llmpool.testing.exchange import Exchange
from llmpool.testing.manual_clock import ManualClock
from llmpool.testing.received import Received
from llmpool.testing.reply import Reply
from llmpool.testing.scripted import Call, ScriptedProvider
from llmpool.testing.scripts import FailFirst, FailWhen, Sequence
from llmpool.testing.server import LocalServer
from llmpool.testing.statuses import (
    BadKey,
    ContextTooLong,
    Loading,
    Overloaded,
    QueueFull,
    QuotaExhausted,
    RateLimited,
    Status,
)
from llmpool.testing.streaming import EndEarly, ErrorInStream, PingsOnly, Stall
from llmpool.testing.transport import (
    Behaviour,
    BlackHole,
    CloseAfterReply,
    Cut,
    Drip,
    Hang,
    Ok,
    Redirect,
    Refuse,
    Reset,
    Slow,
)

__all__ = [
    "LocalServer",
    "Behaviour",
    "Exchange",
    "Received",
    "Reply",
    "ScriptedProvider",
    "Call",
    "ManualClock",
    "Ok",
    "Refuse",
    "BlackHole",
    "Hang",
    "Reset",
    "Cut",
    "Drip",
    "Slow",
    "CloseAfterReply",
    "Redirect",
    "Status",
    "RateLimited",
    "QuotaExhausted",
    "Overloaded",
    "Loading",
    "QueueFull",
    "BadKey",
    "ContextTooLong",
    "ErrorInStream",
    "EndEarly",
    "Stall",
    "PingsOnly",
    "Html",
    "WrongBody",
    "EmptyChoices",
    "ErrorBody",
    "ContentFilter",
    "Huge",
    "FailFirst",
    "FailWhen",
    "Sequence",
]
