"""The plug-in for django-health-check: it fails below the quorum, and says no more than it should."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("django")

import django
import django_site  # noqa: F401 - it sets Django up
from django.test import AsyncRequestFactory, override_settings
from django_site import described

from llmpool.contrib.django import pools
from llmpool.testing import LocalServer, Refuse, ScriptedProvider

MODULE = "llmpool.contrib.django.health"
KEY = "sk-of-the-deployment-0123456789"

pytestmark = [
    pytest.mark.skipif(django.VERSION < (5, 2), reason="django-health-check 4 wants Django 5.2"),
    pytest.mark.needs("health_check"),
]


def test_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of an older kind, or none, is told of."""
    monkeypatch.setitem(sys.modules, "health_check.base", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ImportError, match=r"needs django-health-check 4\.0 or newer"):
        importlib.import_module(MODULE)


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """A server that can be switched off."""
    with LocalServer("eu", api_keys=[KEY]) as server:
        yield server


@pytest.fixture(autouse=True)
def setting(eu: LocalServer) -> Iterator[None]:
    """A pool of the server and of two that are well."""
    first = {"name": "eu", "provider": "openai", "base_url": eu.url, "api_key": KEY, "model": "m"}
    well = [
        {"name": name, "provider": ScriptedProvider("hi", repeat=True)} for name in ("us", "asia")
    ]
    with override_settings(LLMPOOL={"default": described(DEPLOYMENTS=[first, *well])}):
        yield


async def view(**options: Any) -> tuple[int, dict[str, str]]:
    """Ask django-health-check's view as a probe does; give its status and what it tells."""
    from health_check.views import HealthCheckView

    asked = HealthCheckView.as_view(checks=[(f"{MODULE}.PoolHealth", options)])
    answer = await asked(AsyncRequestFactory().get("/", {"format": "json"}))
    told: dict[str, str] = json.loads(answer.content)
    return answer.status_code, told


def look(**options: Any) -> tuple[int, dict[str, str]]:
    """Ask from code that is not asynchronous."""
    from asgiref.sync import async_to_sync

    answer: tuple[int, dict[str, str]] = async_to_sync(view)(**options)
    return answer


def test_a_pool_that_is_well() -> None:
    """It is listed by its name and its quorum."""
    assert look() == (200, {"PoolHealth(pool='default', quorum=1)": "OK"})
    assert look(quorum=1.0) == (200, {"PoolHealth(pool='default', quorum=1.0)": "OK"})


def test_a_pool_that_is_short_of_one(eu: LocalServer) -> None:
    """It fails only where the quorum wants more than there are."""
    eu.behave(Refuse())
    pools["default"].check_now()
    assert look(quorum=2)[0] == 200
    assert look(quorum=0.6)[0] == 200
    for quorum in (3, 1.0):
        status, told = look(quorum=quorum)
        assert status == 500
        assert list(told.values()) == ["Unavailable: 2 of 3 deployments healthy"]


def test_a_pool_that_is_closed() -> None:
    """It fails."""
    pools["default"].close()
    assert look()[0] == 500
    assert list(look()[1].values()) == ["Unavailable: the pool is closed"]


def test_a_pool_that_there_is_not() -> None:
    """It fails with an error that says no more."""
    status, told = look(pool="other")
    assert status == 500
    assert KEY not in str(told)


def test_a_quorum_that_is_none() -> None:
    """It is refused where it is given."""
    from llmpool.contrib.django.health import PoolHealth

    with pytest.raises(ValueError, match="quorum: wanted"):
        PoolHealth(quorum=0)
