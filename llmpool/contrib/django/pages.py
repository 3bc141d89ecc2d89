"""What ``settings.LLMPOOL_STATUS`` says of the status page."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from llmpool._validators import describe
from llmpool.contrib.django import permissions, pools
from llmpool.contrib.django.reading import Problem, imported
from llmpool.settings.problems import unknown
from llmpool.web import StatusSite

PLACE = "settings.LLMPOOL_STATUS"
MAY_VIEW, MAY_CONTROL = "MAY_VIEW", "MAY_CONTROL"
_ASKED = (MAY_VIEW, MAY_CONTROL)
_GIVEN_ON = ("QUORUM", "REFRESH", "HISTORY", "REGISTRY")

Permission = Callable[[Any], object]
"""Asked with the request; only True itself is a yes."""


@attrs.frozen
class Pages:
    """The site, and who may see more of it than ``healthz``."""

    site: StatusSite
    may_view: Permission


@functools.lru_cache(maxsize=1)
def current() -> Pages:
    """
    Give the pages that the setting describes.

    Raises:
        ImproperlyConfigured: it describes none.
    """
    found = read()
    if isinstance(found, Pages):
        return found
    raise ImproperlyConfigured("\n".join(map(str, found)))


def _follow_settings(*, setting: str, **_: Any) -> None:
    """Begin anew when a test overrides the setting, and when it ends."""
    if setting == "LLMPOOL_STATUS":
        current.cache_clear()


setting_changed.connect(_follow_settings)


def read() -> Pages | list[Problem]:
    """Read the setting, which may be missing."""
    given = getattr(settings, "LLMPOOL_STATUS", {})
    if not isinstance(given, Mapping):
        return [Problem(PLACE, f"wanted a dict, got {describe(given)}")]
    known = [*_ASKED, *_GIVEN_ON]
    problems = [Problem(PLACE, unknown(key, known)) for key in given if key not in known]
    found: dict[str, Any] = {MAY_VIEW: permissions.staff, MAY_CONTROL: None}
    for key in known:
        if key in given:
            try:
                found[key] = _resolve(key, given[key])
            except ValueError as error:
                problems.append(Problem(PLACE, str(error)))
    if problems:
        return problems
    options = {key.lower(): found[key] for key in (MAY_CONTROL, *_GIVEN_ON) if key in found}
    try:
        # All pools, each time: a test may have changed them.
        return Pages(StatusSite(lambda: pools, **options), found[MAY_VIEW])
    except (TypeError, ValueError) as error:  # they name the argument first
        key, colon, rest = str(error).partition(":")
        return [Problem(PLACE, f"{key.upper()}{colon}{rest}")]


def _resolve(key: str, given: Any) -> Any:
    """
    Give what the value of *key* stands for.

    Raises:
        ValueError: it cannot be imported, or cannot be asked.
    """
    if key not in (*_ASKED, "REGISTRY"):
        return given
    try:
        target = imported(given)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    asked = key in _ASKED and not (key == MAY_CONTROL and target is None)
    if asked and (not callable(target) or inspect.iscoroutinefunction(target)):
        wanted = "a plain function of the request, or its dotted path"
        raise ValueError(f"{key}: wanted {wanted}, got {describe(target)}")
    return target
