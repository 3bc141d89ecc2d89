"""
A Django project of one module, which the tests of this folder share: Django can be configured once a process.

It has no database and no logging of its own, and stands in no other test's way.
"""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings

INSTALLED = ["django.contrib.contenttypes", "django.contrib.auth", "llmpool.contrib.django"]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=INSTALLED,
        LOGGING_CONFIG=None,
        LOGIN_URL="/login/",
        MIDDLEWARE=[
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django_site.visiting",
        ],
        ROOT_URLCONF="django_site",
        SECRET_KEY="none is needed here",
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
        ],
        USE_TZ=True,
    )
    import django

    django.setup()

from django.http import HttpRequest, HttpResponse  # noqa: E402 - Django has to be set up first
from django.urls import include, path  # noqa: E402

from llmpool import Deployment, ProviderPool  # noqa: E402
from llmpool.contrib.django import pools  # noqa: E402
from llmpool.testing import ScriptedProvider  # noqa: E402

THREADS_AFTER_SETUP = [thread.name for thread in threading.enumerate()]
visitor: list[Any] = []
"""Whoever asks, if anybody known: set by a test."""


class Visitor:
    """As much of a user as permissions look at."""

    is_authenticated = True

    def __init__(
        self, *, staff: bool = False, superuser: bool = False, active: bool = True
    ) -> None:
        self.is_staff, self.is_superuser, self.is_active = staff, superuser, active


class Stranger:
    """As ``AnonymousUser``."""

    is_authenticated = is_staff = is_superuser = is_active = False


def visiting(get_response: Any) -> Any:
    """Say who asks, as Django's own middleware would."""

    def respond(request: HttpRequest) -> Any:
        if visitor:
            request.user = visitor[0]
        return get_response(request)

    return respond


def ask(request: HttpRequest) -> HttpResponse:
    """Ask the pool, and let what goes wrong through."""
    pool = pools["default"]
    return HttpResponse(pool.complete(request.GET["q"]).text)


urlpatterns = [
    path("ask", ask),
    path("llmpool/", include("llmpool.contrib.django.urls")),
]


def described(**more: Any) -> dict[str, Any]:
    """Describe a pool with an own provider, which starts nothing."""
    return {
        "DEPLOYMENTS": [{"name": "own", "provider": ScriptedProvider("hi", repeat=True)}],
        "HEALTH_CHECK": {"enabled": False},
        **more,
    }


made: list[ProviderPool] = []


def make_pool() -> ProviderPool:
    """Be what a dotted path leads to."""
    pool = ProviderPool(
        [Deployment("own", ScriptedProvider("hi", repeat=True))], name="made", health_check=None
    )
    made.append(pool)
    return pool


handed: list[ProviderPool] = []


def note(pool: ProviderPool) -> None:
    """Be one to whom pools are handed."""
    handed.append(pool)


def make_none() -> None:
    """Make no pool."""


def make_of_itself() -> ProviderPool:
    """Ask for what is being made."""
    return pools["default"]


def make_of_another() -> ProviderPool:
    """Ask for another pool, which is one way to give two names to one."""
    return pools["other"]


def nobody(request: HttpRequest) -> bool:
    """Let in nobody."""
    return False


async def later(request: HttpRequest) -> bool:
    """Be what cannot be asked."""
    return True


not_a_function = 7
