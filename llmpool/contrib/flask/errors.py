"""What a visitor is told when no deployment answers."""

from __future__ import annotations

import math

from flask import current_app
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import GatewayTimeout, HTTPException, ServiceUnavailable

from llmpool.errors import DeadlineExceeded, InvalidRequest, LLMPoolError, one_line

_MOST_LOGGED = 1000


def unavailable(error: LLMPoolError) -> ResponseReturnValue:
    """
    Answer 503 with ``Retry-After``, or 504 when the time ran out; an error handler for ``LLMPoolError``.

    It is the application's own page for that status where there is one, and says nothing of deployments;
    the log says more. A rate limit is a 503 too, for it is not the visitor's. A request that every
    deployment would refuse is the application's fault and stays an error: a 500.

    Raises:
        InvalidRequest: *error* is one.
    """
    if isinstance(error, InvalidRequest):
        raise error
    told = one_line(str(error), _MOST_LOGGED)
    current_app.logger.warning("llmpool: %s: %s", type(error).__name__, told)
    stands_for: HTTPException
    if isinstance(error, DeadlineExceeded):
        stands_for = GatewayTimeout()
    else:
        delay = getattr(error, "retry_after", None)
        stands_for = ServiceUnavailable(retry_after=None if delay is None else math.ceil(delay))
    return current_app.handle_http_exception(stands_for)
