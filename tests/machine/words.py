"""The ways in which an attempt or a check can end, by name, and what the counters must show of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from llmpool import errors


@attrs.frozen
class Word:
    """
    One way to end, in terms of the reference and not of the code under test.

    ``verdict`` is the reference's, ``refused`` whether it is certain that no work was done. ``delay`` is
    what the server asks for, in seconds.
    """

    verdict: str
    make: Callable[[], BaseException] | None = None
    refused: bool = False
    delay: float | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """What it adds to the requests and to the errors."""
        if self.verdict in ("foreign", "broken off"):
            return 0, 0
        return 1, int(self.verdict in ("rate_limited", "config", "busy", "fault"))


def _raising(kind: type[errors.ProviderError], **facts: Any) -> Callable[[], BaseException]:
    return lambda: kind(f"{kind.__name__} {facts}", **facts)


def _limited(delay: float | None) -> Word:
    make = _raising(errors.RateLimited, status=429, retry_after=delay)
    return Word("rate_limited", make, refused=True, delay=delay)


def _busy(delay: float | None) -> Word:
    make = _raising(errors.ServerFault, status=529, retry_after=delay)
    return Word("busy", make, refused=True, delay=delay)


WORDS: dict[str, Word] = {
    "ok": Word("ok"),
    "500": Word("fault", _raising(errors.ServerFault, status=500)),
    "html": Word("fault", _raising(errors.MalformedResponse, status=200)),
    "hang": Word("fault", _raising(errors.DeadlineExceeded)),
    "refused": Word("fault", _raising(errors.ConnectionFailed, sent="no"), refused=True),
    "dns": Word("fault", _raising(errors.ConnectionFailed, code="dns", sent="no"), refused=True),
    "fds": Word(
        "fault", _raising(errors.ConnectionFailed, code="descriptors", sent="no"), refused=True
    ),
    "429": _limited(None),
    "429:0.01": _limited(0.01),
    "429:20": _limited(20.0),
    "529": _busy(None),
    "529:8": _busy(8.0),
    "loading": Word(
        "busy", _raising(errors.ServerFault, status=503, code="loading_model"), refused=True
    ),
    "401": Word("config", _raising(errors.AuthenticationFailed, status=401), refused=True),
    "quota": Word("config", _raising(errors.QuotaExhausted, status=429), refused=True),
    "404": Word(
        "config",
        _raising(errors.InvalidRequest, status=404, code="model_not_found"),
        refused=True,
    ),
    "400": Word("caller", _raising(errors.InvalidRequest, status=400)),
    "501": Word("unsupported", _raising(errors.ServerFault, status=501), refused=True),
    "bug": Word("foreign", lambda: TypeError("the caller's own")),
    "ctrl-c": Word("broken off", KeyboardInterrupt),
}

IGNORED = Word("ignored")
UNKNOWN_MODEL = Word("unknown_model", WORDS["404"].make, refused=True)

CHECKED = tuple(word for word in WORDS if word not in ("400", "501", "bug", "ctrl-c"))
"""What may come of a check once it has been judged."""

IN_STREAM = tuple(word for word in WORDS if word != "ok")
"""What may break off a stream."""
