"""How long a server asks to wait."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from llmpool import errors

_LONGEST = 64
"""Signs of a number or a date: a header may have 65,536, each of which costs time."""
_NUMBER = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d*)?)s", re.ASCII)


def retry_after(
    headers: Mapping[str, str],
    details: Iterable[Mapping[str, Any]] = (),
    wall_time: float | None = None,
) -> float | None:
    """
    Give the seconds a server asks to wait, unclamped; None when it names none that makes sense.

    Only finite, positive, ASCII numbers count. A date is taken relative to the answer's own ``Date``
    (RFC 9110 §10.2.3), since the clock here may be wrong.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        delay = _positive(headers.get(name))
        if delay is not None:
            return delay / 1000
    named = headers.get("retry-after")
    delay = _positive(named)
    if delay is None:
        delay = _until(named, headers.get("date"), wall_time)
    if delay is not None:
        return delay
    for detail in details:
        asked = detail.get("retryDelay")
        match = _DURATION.fullmatch(asked) if isinstance(asked, str) else None
        if match:
            return _positive(match[1])
    return None


def _positive(text: str | None) -> float | None:
    if text is None or len(text) > _LONGEST or not _NUMBER.fullmatch(text.strip()):
        return None
    return errors.real_delay(float(text))


def _until(date: str | None, base: str | None, wall_time: float | None) -> float | None:
    start = _posix(base)
    start = wall_time if start is None else start
    end = _posix(date)
    return None if start is None or end is None else errors.real_delay(end - start)


def _posix(date: str | None) -> float | None:
    if date is None or len(date) > _LONGEST or not date.isascii():
        return None
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:  # HTTP knows no other zone
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()
