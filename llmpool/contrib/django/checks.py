"""
System checks of the settings, which ask no server and read no secret out.

====================  ==============================================================================
Id                    What is wrong
====================  ==============================================================================
``llmpool.E001``      ``LLMPOOL`` is no dict of pools
``llmpool.E002``      what stands for a pool is neither a dict, a function nor the dotted path of one
``llmpool.E003``      a key or value in a pool's dict, or in the file that it names
``llmpool.E004``      a key or value of ``LLMPOOL_STATUS``
``llmpool.W001``      there is no ``LLMPOOL``, or no pool ``"default"`` in it
``llmpool.W002``      a secret that is referred to is not there
``llmpool.W003``      ``CONFIG`` is a relative path
``llmpool.W004``      the status page is for the staff, and ``django.contrib.auth`` is not installed
====================  ==============================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.urls import NoReverseMatch, reverse

from llmpool._validators import describe
from llmpool.contrib.django import pages, permissions, reading
from llmpool.contrib.django.reading import Description, Problem, Refused
from llmpool.pool import ProviderPool
from llmpool.settings import Blueprint, ConfigError

_PLACE = "settings.LLMPOOL"
_HINT = re.compile(r"; (did you mean .*\?|there are .*)$")
_KEYS = (
    'The tables and keys are those of llmpool.toml: see "Configuration" in llmpool\'s reference.'
)
_NO_STAFF = "the status page is for the staff, and there is none without django.contrib.auth"
_MAY_VIEW = "'MAY_VIEW': 'llmpool.contrib.django.permissions.everybody', or a function of yours"
_SHAPE = "LLMPOOL = {'default': {'DEPLOYMENTS': [{'name': ..., 'provider': ..., ...}]}}"


def check_pools(app_configs: Any = None, **_: Any) -> list[Any]:
    """Check ``settings.LLMPOOL``."""
    # As in reading: where modules of the project's are imported, no local variable holds the setting.
    if getattr(settings, "LLMPOOL", None) is None:
        return [checks.Warning("there is no such setting", _SHAPE, _PLACE, "llmpool.W001")]
    problem = reading.setting_problem()
    if problem is None and {reading.CONFIG, reading.DEPLOYMENTS} & settings.LLMPOOL.keys():
        problem = Problem(_PLACE, "wanted pools by name, got the keys of one")
    if problem is not None:
        return [_error(problem, "llmpool.E001", _SHAPE)]
    found = [each for name in list(settings.LLMPOOL) for each in _check_pool(name)]
    if "default" not in settings.LLMPOOL:
        hint = "Commands and the plug-in for django-health-check take it unless told otherwise."
        found.append(checks.Warning("there is no pool 'default'", hint, _PLACE, "llmpool.W001"))
    return found


def _check_pool(name: Any) -> Iterator[Any]:
    if not isinstance(name, str):
        problem = Problem(_PLACE, f"wanted names of pools, got {describe(name)}")
        yield _error(problem, "llmpool.E001", _SHAPE)
        return
    found = reading.look_up(name, reveal=False)
    if isinstance(found, Description):
        problems = reading.instruments(name, found)[1] + _contradictions(name, found.plan)
        yield from (_error(each, "llmpool.E003", _KEYS) for each in problems)
        yield from _check_secrets(name)
    elif isinstance(found, Refused):
        yield from (_error(each, "llmpool.E003", _KEYS) for each in found.problems)
    else:
        target = reading.resolve(name, found)
        if isinstance(target, list):
            yield from (_error(each, "llmpool.E002", _SHAPE) for each in target)
    yield from _check_path(name)


def _check_secrets(name: str) -> Iterator[Any]:
    # Not errors: a migration, say, runs where the keys are not.
    revealed = reading.look_up(name)
    hint = "Set it where this runs; without it the pool is refused when it is first asked for."
    for each in revealed.problems if isinstance(revealed, Refused) else ():
        yield checks.Warning(each.message, hint, each.place, "llmpool.W002")


def _check_path(name: str) -> Iterator[Any]:
    described = settings.LLMPOOL[name]
    path = described.get(reading.CONFIG) if isinstance(described, Mapping) else None
    if isinstance(path, (str, os.PathLike)) and not os.path.isabs(path):
        yield checks.Warning(
            "CONFIG is a relative path, which counts from wherever a process is started",
            "'CONFIG': BASE_DIR / 'llmpool.toml'",
            reading.place(name),
            "llmpool.W003",
        )


def _contradictions(name: str, plan: Blueprint) -> list[Problem]:
    """Find what only the pool itself refuses; making one starts nothing, and it is forgotten."""
    try:
        plan.build(ProviderPool)
    except ConfigError as error:
        return reading.refused(name, plan, error)
    return []


def check_status(app_configs: Any = None, **_: Any) -> list[Any]:
    """Check ``settings.LLMPOOL_STATUS``."""
    found = pages.read()
    if isinstance(found, list):
        return [
            _error(each, "llmpool.E004", 'See "Django" in llmpool\'s how-to.') for each in found
        ]
    is_closed = found.may_view is permissions.staff and not apps.is_installed("django.contrib.auth")
    if is_closed and _is_mounted():
        return [checks.Warning(_NO_STAFF, _MAY_VIEW, pages.PLACE, "llmpool.W004")]
    return []


def _is_mounted() -> bool:
    if not getattr(settings, "ROOT_URLCONF", None):
        return False
    try:
        reverse("llmpool:page")
    except NoReverseMatch:
        return False
    return True


def _error(problem: Problem, number: str, otherwise: str) -> Any:
    """Make an error with what may be meant, if anything, as its hint."""
    hint = _HINT.search(problem.message)
    if hint is None:
        return checks.Error(problem.message, otherwise, problem.place, number)
    said = hint[1][0].upper() + hint[1][1:]
    return checks.Error(problem.message[: hint.start()], said, problem.place, number)
