"""The application as a Django project of one file, which the tests copy and touch; run it to manage it."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    DEBUG=True,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="none is needed here",
    USE_TZ=True,
)

import house  # noqa: E402 - as an application's own modules, once Django is set up


def page(request: HttpRequest) -> JsonResponse:
    """Answer as the application does."""
    return JsonResponse(house.respond(request.path, request.META["QUERY_STRING"]))


urlpatterns = [path("", page), path("ask", page)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
