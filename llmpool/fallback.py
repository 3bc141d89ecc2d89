"""Errors of the request's own that another deployment may yet answer: which they are, and who is able."""

from __future__ import annotations

from collections.abc import Iterable

from llmpool import _validators as valid
from llmpool import errors
from llmpool.codes import class_of_code
from llmpool.config import Deployment
from llmpool.outcomes import Outcome, Verdict

CONTEXT_LENGTH = "context_length"
CONTENT_FILTER = "content_filter"

_MEANINGS: dict[type[errors.ProviderError], str] = {
    errors.ContextLengthExceeded: CONTEXT_LENGTH,
    errors.ContentFiltered: CONTENT_FILTER,
}


def meanings(given: object) -> frozenset[str]:
    """
    Take the names of errors that are to be sent on.

    Raises:
        ValueError: there is no such name.
        TypeError: it is no iterable of texts.
    """
    names = frozenset(valid.names("fallback_on", given))
    for name in names:
        if name not in _MEANINGS.values():
            valid.refuse("fallback_on", f"names among {', '.join(_MEANINGS.values())}", name)
    return names


def meaning(outcome: Outcome) -> str | None:
    """Give the name of the error that *outcome* is; None for every other."""
    if outcome.verdict is not Verdict.CALLER:
        return None
    error = outcome.error
    assert error is not None  # no verdict of the caller's without one
    kind = class_of_code((error.code or "").lower(), error.status) or type(error)
    for base, name in _MEANINGS.items():
        if issubclass(kind, base):
            return name
    return None


def unable(name: str, refused: Deployment, deployments: Iterable[Deployment]) -> frozenset[str]:
    """
    Give the names of those that cannot be thought able to answer what *refused* did not.

    Who is able is marked so: by a larger ``max_context``, by another ``vendor``. One that has no mark is
    not able; one that refused and has none counts as smaller, or other, than any that has.
    """
    able = _is_larger if name == CONTEXT_LENGTH else _is_of_another
    return frozenset(other.name for other in deployments if not able(other, refused))


def _is_larger(other: Deployment, refused: Deployment) -> bool:
    return other.max_context is not None and other.max_context > (refused.max_context or 0)


def _is_of_another(other: Deployment, refused: Deployment) -> bool:
    return other.vendor is not None and other.vendor != refused.vendor
