"""Gevent that comes after llmpool, played by a module of its name; the real one is among the hosts."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from llmpool import Deployment, LLMPoolError, ProviderPool
from llmpool.testing import ScriptedProvider

REFUSAL = r"call gevent\.monkey\.patch_all\(\) before importing llmpool"


def gevent(monkeypatch: pytest.MonkeyPatch, *, patched: bool) -> None:
    """Import a gevent which says whether it has patched threads."""
    monkey = types.ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: patched and name == "threading"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody have replaced what gevent replaces."""
    monkeypatch.setattr(threading, "get_ident", lambda real=threading.get_ident: real())


@pytest.fixture
def pool() -> ProviderPool:
    """A pool without a checker, used once."""
    pool = ProviderPool([Deployment("a", ScriptedProvider("fine", repeat=True))], health_check=None)
    pool.complete("hello")
    return pool


@pytest.mark.parametrize(
    "act",
    [
        lambda pool: pool.complete("hello"),
        lambda pool: pool.stream("hello"),
        lambda pool: pool.embed("hello"),
        lambda pool: pool.call(lambda lease: None),
        lambda pool: pool.lease().__enter__(),
        lambda pool: pool.start(),
        lambda pool: pool.check_now(),
    ],
    ids=["complete", "stream", "embed", "call", "lease", "start", "check_now"],
)
@pytest.mark.usefixtures("replaced")
def test_threads_patched_after_the_import(
    act: Callable[[ProviderPool], Any], pool: ProviderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call is refused in one sentence that says what to do; looking is not."""
    gevent(monkeypatch, patched=True)
    with pytest.raises(LLMPoolError, match=REFUSAL) as refused:
        act(pool)
    assert "\n" not in str(refused.value)
    assert pool.health("a").requests_in_flight == 0
    assert pool.health("a").total_requests == 1


def test_gevent_that_patched_before_the_import(
    pool: ProviderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is of one kind, and works."""
    gevent(monkeypatch, patched=True)
    assert pool.complete("hello").text == "fine"


@pytest.mark.usefixtures("replaced")
def test_gevent_without_its_patches(pool: ProviderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported alone, or where somebody else has replaced things, it is no reason to refuse."""
    assert pool.complete("hello").text == "fine"
    gevent(monkeypatch, patched=False)
    assert pool.complete("hello").text == "fine"
