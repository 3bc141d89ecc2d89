"""What a visitor is told when no deployment answers."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse
from django.template import TemplateDoesNotExist, loader
from django.utils.deprecation import MiddlewareMixin

from llmpool.errors import DeadlineExceeded, InvalidRequest, LLMPoolError, one_line

_log = logging.getLogger("llmpool.django")
_MOST_LOGGED = 1000


class UnavailableMiddleware(MiddlewareMixin):  # type: ignore[misc]
    """
    Answers 503 with ``Retry-After``, or 504 when time ran out, where a view raises an ``LLMPoolError``.

    The page is the project's template ``503.html`` or ``504.html`` where there is one, and says nothing of
    deployments; the log says more. A rate limit is a 503 too, for it is not the visitor's. A request that
    every deployment would refuse is the project's own fault and stays a 500.
    """

    def process_exception(self, request: Any, exception: Exception) -> Any:
        """Give the answer, or None where Django is to go on as ever."""
        if not isinstance(exception, LLMPoolError) or isinstance(exception, InvalidRequest):
            return None
        told = one_line(str(exception), _MOST_LOGGED)
        _log.warning("%s: %s: %s", request.path, type(exception).__name__, told)
        late = isinstance(exception, DeadlineExceeded)
        status = HTTPStatus.GATEWAY_TIMEOUT if late else HTTPStatus.SERVICE_UNAVAILABLE
        response = _page(request, status)
        delay = getattr(exception, "retry_after", None)
        if delay is not None and not late:
            response["Retry-After"] = str(math.ceil(delay))
        return response


def _page(request: Any, status: HTTPStatus) -> Any:
    try:
        content = loader.render_to_string(f"{status.value}.html", request=request)
    except TemplateDoesNotExist:
        return HttpResponse(f"{status.phrase}\n", status=status, content_type="text/plain")
    return HttpResponse(content, status=status)
