"""A page, an answer as a whole, and an answer as it comes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST

from llmpool import CompletionStream, LLMPoolError
from llmpool.contrib.django import pools

log = logging.getLogger(__name__)


@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return render(request, "index.html")


@require_POST
def ask(request: HttpRequest) -> JsonResponse:
    """Answer a question with all of the answer."""
    answer = pools["default"].complete(request.POST["q"])
    return JsonResponse({"text": answer.text, "deployment": answer.deployment, "pid": os.getpid()})


@require_POST
def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer a question as the answer comes, in server-sent events."""
    answer = pools["default"].stream(request.POST["q"])  # an error before the first words is a 503
    response = StreamingHttpResponse(Events(answer), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return response


class Events:
    """An answer as events; Django closes it at the end, and when the visitor leaves early."""

    def __init__(self, answer: CompletionStream) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        try:
            for chunk in self._answer:
                if chunk.text:
                    yield f"data: {json.dumps(chunk.text)}\n\n"
            yield "event: end\ndata: {}\n\n"
        except LLMPoolError as error:  # it breaks off, and the status went out long ago
            log.warning("a stream broke off: %s", error)
            yield "event: broken\ndata: {}\n\n"

    def close(self) -> None:
        """Give the place back."""
        self._answer.close()


def may_view(request: HttpRequest) -> bool:
    """Show the pool while the project is worked on."""
    return settings.DEBUG is True
