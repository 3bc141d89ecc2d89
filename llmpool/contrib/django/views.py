"""The views of the status page."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.db.transaction import non_atomic_requests
from django.http import HttpResponse

from llmpool.contrib.django import pages, permissions

_MOST_BYTES = 4096
"""So much of a body is read; the site refuses what is longer."""


def answer(request: Any, page: str, file: str = "") -> Any:
    """
    Answer those who may see the page; others by 403, or by the way to the login.

    Raises:
        PermissionDenied: they may not.
    """
    may_view = pages.current().may_view
    # True itself and nothing else: what a decorator gives instead, such as a redirect, is true as well.
    if may_view(request) is True:
        return answer_all(request, page, file)
    if page == "/" and may_view is permissions.staff and _is_stranger(request):
        from django.contrib.auth.views import redirect_to_login

        return redirect_to_login(request.get_full_path())
    raise PermissionDenied


def answer_all(request: Any, page: str, file: str = "") -> Any:
    """Answer whoever asks."""
    query = request.META.get("QUERY_STRING", "")
    reply = pages.current().site.respond(
        request.method,
        f"{page}{file}?{query}",
        request.headers,
        request.read(_MOST_BYTES + 1) if request.method == "POST" else b"",
        request,
        secure=request.is_secure(),
    )
    response = HttpResponse(reply.body, status=reply.status)
    for name, value in reply.headers:
        if name == "Set-Cookie":
            response.cookies.load(value)
        else:
            response[name] = value
    return response


def _is_stranger(request: Any) -> bool:
    """Tell whether a login could make a difference."""
    user = getattr(request, "user", None)
    return apps.is_installed("django.contrib.auth") and not getattr(user, "is_authenticated", True)


for _view in (answer, answer_all):
    # The site has a protection of its own, the same in every framework, which Django's would only double:
    # a cookie that a header has to repeat, JSON alone, and no request of another site's page.
    _view.csrf_exempt = True  # type: ignore[attr-defined]
    # As django.contrib.auth.decorators.login_not_required: who may see it is decided here.
    _view.login_required = False  # type: ignore[attr-defined]
    # What needs no database must not fail with it.
    non_atomic_requests(_view)
