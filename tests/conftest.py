"""
What holds in every test, asked for or not.

No socket to anything but loopback; no ``llmpool-`` thread left over; nothing in flight in any
pool that the test made; no key in what was logged or written. Warnings are errors (setup.cfg),
so that an exception in a thread fails the test it happened in.
"""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import logging
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import pytest

try:
    from llmpool.pool import ProviderPool
except ModuleNotFoundError:  # the package grows from its leaves, and these have tests of their own
    ProviderPool = None

pytest_plugins = ["pytester"]

JOIN_SECONDS = 30.0
"""How long a thread that was told to end may take before it counts as left over."""

KEY = re.compile(r"\bsk-[A-Za-z0-9_-]+")
"""Keys in tests start so, and nothing else does."""

_NETWORK_EVENTS = {
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
}
_strayed: list[str] = []


def pytest_configure() -> None:
    """Cut the tests off from the network, and from this machine's proxies and passwords."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.endswith("_API_KEY"):
            del os.environ[name]
    os.environ["NETRC"] = os.devnull
    os.environ.pop("LLMPOOL_LOG", None)
    # All else is logged from DEBUG on. A line for each attempt would put an observer on every pool, and
    # the way of a call without one would be tested nowhere.
    logging.getLogger("llmpool.calls").setLevel(logging.INFO)
    # A shell starts what runs in its background deaf to Ctrl-C, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _unlock_coverage()
    if importlib.util.find_spec("hypothesis") is not None:
        from hypothesis import HealthCheck, settings

        # That a machine is busy is no finding.
        slow = [HealthCheck.too_slow]
        settings.register_profile("unhurried", deadline=None, suppress_health_check=slow)
        settings.load_profile("unhurried")
    # An audit hook sees what a patched method would miss: C code, subclasses, other threads. But before
    # 3.12 two threads that start at once under a tracer, one of them in the hook, fail with "Cannot install
    # a trace function while another trace function is being installed".
    if sys.gettrace() is None or sys.version_info >= (3, 12):
        sys.addaudithook(_refuse_network)


def _unlock_coverage() -> None:
    """
    Take away the lock that coverage.py holds now and then in each traced thread.

    It knows nothing of forks and signal handlers: a child forked while another thread holds it, or a
    handler that breaks in upon its holder, hangs in the first traced line. The GIL guards what it guards.
    """
    module = sys.modules.get("coverage")
    running = module.Coverage.current() if module is not None else None
    if running is not None:
        running._collector.data_lock = None


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    if event not in _NETWORK_EVENTS:
        return
    if event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}:
        host = args[0]
        if str(host).endswith(".invalid"):
            # No such name, as every resolver must say; said here so that none is asked.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if _is_number(host):
            return
    else:
        address = args[1]
        if not isinstance(address, tuple):  # a Unix socket's path, or an address given before
            return
        host = address[0]
    if not _is_loopback(host):
        _strayed.append(f"{event} {host!r} in thread {threading.current_thread().name}")
        raise PermissionError(f"a test may talk to loopback only, this was {event} {host!r}")


def _is_number(host: object) -> bool:
    try:
        ipaddress.ip_address(_text(host))
    except ValueError:
        return False
    return True


def _is_loopback(host: object) -> bool:
    name = _text(host)
    if _is_number(name):
        return ipaddress.ip_address(name).is_loopback
    return name in {"", "localhost"}


def _text(host: object) -> str:
    """Give a host as text: None asks for loopback, a scope id is no part of the address."""
    if host is None:
        return ""
    return (host.decode() if isinstance(host, bytes) else str(host)).partition("%")[0]


@pytest.fixture(autouse=True)
def leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold every test to what this module promises."""
    _strayed.clear()
    earlier = set(threading.enumerate())
    pools = _watch_pools(monkeypatch)
    yield
    problems = [problem for pool in pools() for problem in _in_flight(pool)]
    for pool in pools():
        pool.close()
    problems += [f"thread left: {name}" for name in _threads_left(earlier)]
    problems += [f"left loopback: {what}" for what in _strayed]
    assert not problems, "\n".join(problems)


def _watch_pools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that lists the pools made from now on and still alive."""
    made: list[weakref.ref[Any]] = []
    if ProviderPool is not None:
        original = ProviderPool.__init__

        @functools.wraps(original)
        def noted(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            made.append(weakref.ref(self))

        monkeypatch.setattr(ProviderPool, "__init__", noted)
    return lambda: [pool for pool in (ref() for ref in made) if pool is not None]


def _in_flight(pool: Any) -> list[str]:
    return [
        f"in flight on {name}: {status.requests_in_flight}"
        for name, status in pool.all_health().items()
        if status.requests_in_flight
    ]


def _threads_left(earlier: set[threading.Thread]) -> list[str]:
    deadline = time.monotonic() + JOIN_SECONDS
    left = []
    for thread in threading.enumerate():
        if thread.name.startswith("llmpool-") and thread not in earlier:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                left.append(thread.name)
    return left


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose log, output or error output holds a key."""
    report = yield
    # At the end, when the sections of all phases are there.
    leaked = {key for _, text in report.sections for key in KEY.findall(text)}
    if leaked and call.when == "teardown" and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: logged or written: {', '.join(sorted(leaked))}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Under CI=true fail a file that is skipped as a whole, for want of its library."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else (report.longrepr,)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason}, and CI=true allows no skip"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part is missing, and name the part; under CI=true fail it."""
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            if importlib.util.find_spec(part) is None and shutil.which(part) is None:
                reason = f"{part} is not installed"
                if os.environ.get("CI") == "true":
                    pytest.fail(f"{reason}, and CI=true allows no skip")
                pytest.skip(reason)
