"""How many healthy deployments are enough."""

from __future__ import annotations

from llmpool import PoolHealthStatus
from llmpool import _validators as valid

_ROUNDING = 1e-9
_WANTED = "a whole number >= 1, or a share above 0 and up to 1.0"


def as_quorum(name: str, value: object) -> int | float:
    """
    Give *value* if it is a quorum: a number of deployments, or as a float a share of all.

    Args:
        name: what the field is called where it was given.

    Raises:
        ValueError: it is out of range.
        TypeError: it is no number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        valid.refuse(name, _WANTED, value, kind=TypeError)
    if value < 1 if isinstance(value, int) else not 0.0 < value <= 1.0:
        valid.refuse(name, _WANTED, value)
    return value


def is_ready(status: PoolHealthStatus, quorum: float) -> bool:
    """
    Tell whether enough can be asked and are healthy, at least one in any case.

    A number larger than the pool asks for all of it. One that is drained counts in the total alone: it
    may be as healthy as it likes.
    """
    total = status.total_deployments
    healthy = sum(each.in_service for each in status.deployments)
    needed = min(quorum, total) if isinstance(quorum, int) else quorum * total
    return healthy >= max(1.0, needed - _ROUNDING)
