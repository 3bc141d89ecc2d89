"""``llmpool doctor``: what on this machine decides how a pool works, and what of it is amiss."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import platform
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TextIO

import attrs

import llmpool
from llmpool import ProviderPool
from llmpool.clock import SystemClock
from llmpool.commands import _tables
from llmpool.commands._arguments import Unusable
from llmpool.commands._configured import blueprint
from llmpool.commands._tables import printable
from llmpool.commands._terminal import Line, Span
from llmpool.providers._route import find_route
from llmpool.settings import Blueprint, ConfigError

WELL, DOUBTFUL, BROKEN = 0, 1, 2

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
_TONES = {OK: "good", NOTE: "dim", WARNING: "warn", PROBLEM: "bad"}

_NEEDED = ("attrs", "requests", "tenacity", "urllib3")
_OPTIONAL = {
    "rich": "tables with frames",
    "tqdm": "a bar for pool.map()",
    "PyYAML": "import-litellm",
    "tomli": "llmpool.toml before Python 3.11",
}
_HOSTS = {
    "gevent": "call gevent.monkey.patch_all() before importing llmpool",
    "uwsgi": "give it --enable-threads, or its workers have no checker",
}
_BUILT = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
_FEW_FILES = 256
_COARSE = 0.1


@attrs.frozen
class Finding:
    """One thing that was looked at; *level* is ok, note, warning or problem."""

    level: str
    subject: str
    said: str


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Look, and tell; give the exit status."""
    found = list(findings(options.config))
    levels = {each.level for each in found}
    status = BROKEN if PROBLEM in levels else DOUBTFUL if WARNING in levels else WELL
    if options.json:
        told = {"ok": status == WELL, "findings": [attrs.asdict(each) for each in found]}
        out.write(json.dumps(told, indent=2) + "\n")
        return status
    width = max(len(each.subject) for each in found)
    lines: list[Line] = [
        [
            Span(f"{each.level:8}", _TONES[each.level]),
            Span(f"  {each.subject:{width}}  {printable(each.said)}"),
        ]
        for each in found
    ]
    lines.append([Span(_sum(found), "bold")])
    _tables.write_whole(out, lines, _tables.environment())
    return status


def _sum(found: list[Finding]) -> str:
    problems = sum(each.level == PROBLEM for each in found)
    warnings = sum(each.level == WARNING for each in found)
    return f"{problems} problems, {warnings} warnings" if problems or warnings else "all is well"


def findings(config: str | None) -> Iterator[Finding]:
    """Look at everything, without asking any server."""
    yield from libraries()
    yield from clock()
    yield from process()
    yield from files_limit()
    environ = os.environ
    yield from netrc(environ)
    yield from authorities(environ)
    plan = None
    try:
        plan = blueprint(config)
        pool = plan.build(ProviderPool)
        pool.close()
    except ConfigError as error:
        plan = None
        yield Finding(PROBLEM, "configuration", str(error))
    except Unusable as error:
        level = NOTE if config is None and str(error).startswith("there is no") else PROBLEM
        for line in str(error).splitlines():
            yield Finding(level, "configuration", line)
    else:
        names = ", ".join(each.name for each in plan.deployments)
        yield Finding(OK, "configuration", f"{plan.source}: {names}")
    yield from proxies(environ, plan)


def libraries() -> Iterator[Finding]:
    """Tell the versions of what the package stands on, and of what it can use."""
    about = f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}"
    yield Finding(OK, "python", about)
    known = [f"llmpool {llmpool.__version__}"]
    known += [f"{name} {_version(name)}" for name in _NEEDED]
    yield Finding(OK, "libraries", ", ".join(known))
    for name, use in _OPTIONAL.items():
        version = _version(name)
        if version is not None:
            yield Finding(OK, name, f"{version}, for {use}")
        elif name != "tomli" or sys.version_info < (3, 11):
            yield Finding(NOTE, name, f"not installed; it is for {use}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def clock(now: datetime.datetime | None = None) -> Iterator[Finding]:
    """Judge the two clocks: certificates need the one, every time-out the other."""
    utc = now or SystemClock().utc()
    if utc < _BUILT:
        said = f"says {utc:%Y-%m-%d %H:%M} UTC, which is past: certificates will be refused"
        yield Finding(PROBLEM, "clock", said)
    else:
        yield Finding(OK, "clock", f"{utc:%Y-%m-%d %H:%M:%S} UTC")
    steps = time.get_clock_info("monotonic")
    level = WARNING if steps.resolution > _COARSE or not steps.monotonic else OK
    yield Finding(level, "monotonic clock", f"steps of {steps.resolution:g} s")


def process() -> Iterator[Finding]:
    """Tell how processes come about here, and what their hosts want."""
    method = (
        multiprocessing.get_start_method(allow_none=True)
        or multiprocessing.get_all_start_methods()[0]
    )
    said = (
        "a pool is made anew in each process"
        if method == "spawn"
        else "a pool begins anew in a child"
    )
    yield Finding(OK, "processes", f"multiprocessing starts by {method}: {said}")
    for name, advice in _HOSTS.items():
        version = _version(name)
        if version is not None:
            yield Finding(NOTE, name, f"{version} is installed: {advice}")


def files_limit() -> Iterator[Finding]:
    """Tell how many sockets a process may have."""
    try:
        import resource
    except ImportError:  # pragma: no cover - missing on Windows alone
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = 0 <= limit < _FEW_FILES
    level = WARNING if few else OK
    said = f"{limit} open files a process" + (
        ": few for many threads, see ulimit -n" if few else ""
    )
    yield Finding(level, "limits", said)


def netrc(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell of a file of passwords that other libraries read."""
    named = environ.get("NETRC")
    home = pathlib.Path(environ.get("HOME") or pathlib.Path.home())
    for path in [pathlib.Path(named)] if named else [home / ".netrc", home / "_netrc"]:
        if path.is_file():
            said = f"{path} is not read by llmpool; requests, used directly, takes it for a key"
            yield Finding(NOTE, "netrc", said)
            return
    yield Finding(OK, "netrc", "none")


def authorities(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the certificates to trust."""
    if environ.get("SSL_CERT_FILE") or environ.get("SSL_CERT_DIR"):
        said = (
            "SSL_CERT_FILE and SSL_CERT_DIR are not read: REQUESTS_CA_BUNDLE is, or verify = PATH"
        )
        yield Finding(NOTE, "authorities", said)
    try:
        path = find_route("https://example.invalid", {}, True).ca or ""
    except ValueError as error:
        yield Finding(PROBLEM, "authorities", str(error))
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        yield Finding(PROBLEM, "authorities", f"{path}: {error.strerror or type(error).__name__}")
        return
    count = context.cert_store_stats()["x509_ca"]
    counted = f"{count} in " if not os.path.isdir(path) else ""
    yield Finding(OK, "authorities", f"{counted}{path}; {ssl.OPENSSL_VERSION}")


def proxies(environ: Mapping[str, str], plan: Blueprint | None) -> Iterator[Finding]:
    """Tell which deployments are reached by way of a proxy of the environment."""
    named = sorted(name for name in environ if name.lower().endswith("_proxy") and environ[name])
    if not named:
        yield Finding(OK, "proxies", "none in the environment")
        return
    yield Finding(NOTE, "proxies", f"{', '.join(named)}: read once, when a provider is made")
    for deployment in plan.deployments if plan is not None else ():
        url = getattr(deployment.provider, "base_url", None)
        if isinstance(url, str):
            proxy = find_route(url, None, True).proxy
            way = "directly" if proxy is None else f"by the {proxy.where}"
            yield Finding(
                OK, "proxies", f"{deployment.name} is asked {way}, unless its own proxies say else"
            )
