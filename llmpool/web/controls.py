"""Who may drain and resume, and whether the page itself asks for it."""

from __future__ import annotations

import hmac
import inspect
import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from llmpool import _validators as valid

COOKIE = "llmpool_csrf"
HEADER = "x-llmpool-csrf"
MOST_BYTES = 4096
"""So long may the body of a POST be."""
ACTIONS = ("drain", "resume")

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_log = logging.getLogger("llmpool.web")


class Permission:
    """
    Who may control: whoever *given* says, a function of the framework's request; None lets nobody.

    Raises:
        TypeError: it cannot be asked here and now.
    """

    def __init__(self, given: object) -> None:
        asynchronous = inspect.iscoroutinefunction(given) or inspect.isasyncgenfunction(given)
        if asynchronous or not (given is None or callable(given)):
            wanted = "a plain function of one request, or None"
            valid.refuse("may_control", wanted, given, kind=TypeError)
        self._ask = given if callable(given) else None
        self._complained = False

    @property
    def possible(self) -> bool:
        """Whether there is anybody to ask."""
        return self._ask is not None

    def has(self, request: Any) -> bool:
        """Tell whether *request* may control; where the function raises it may not."""
        if self._ask is None:
            return False
        try:
            # True itself and nothing else: what a decorator returns in its place, a redirect to a
            # login page for one, is true as well.
            return self._ask(request) is True
        except Exception as error:  # noqa: BLE001 - the user's own function
            # An error once only, for every page that is left open asks every few seconds.
            level = logging.DEBUG if self._complained else logging.ERROR
            self._complained = True
            _log.log(level, "may_control raised %s: nobody may control", type(error).__name__)
            return False


@attrs.frozen
class Order:
    """What a POST asks for."""

    pool: str
    deployment: str
    action: str


def read(body: bytes) -> Order | None:
    """Read the body of a POST; None if it is no order."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or given.keys() != {"pool", "deployment", "action"}:
        return None
    if not all(isinstance(value, str) for value in given.values()):
        return None
    return Order(**given) if given["action"] in ACTIONS else None


def new_cookie(headers: Mapping[str, str], *, secure: bool) -> tuple[tuple[str, str], ...]:
    """
    Give the header that hands a viewer its token, unless it has one.

    Without a path a browser takes that of the mount, where the page and the feed are.
    """
    if any(_tokens(headers.get("cookie", ""))):
        return ()
    value = f"{COOKIE}={secrets.token_urlsafe(32)}; SameSite=Strict"
    return (("Set-Cookie", f"{value}; Secure" if secure else value),)


def forged(headers: Mapping[str, str], *, secure: bool) -> str | None:
    """Tell why a POST may have been sent by another site's page; None if it was not."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "the body has to be application/json"
    if headers.get("sec-fetch-site", "same-origin").strip().lower() != "same-origin":
        return "sent by another site"
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, headers.get("host", ""), secure=secure):
        return "sent by another origin"
    said = headers.get(HEADER, "").encode()
    # Each one is compared, so that the time tells nothing of which it was.
    same = [
        hmac.compare_digest(said, token.encode()) for token in _tokens(headers.get("cookie", ""))
    ]
    return None if any(same) else f"the header X-LLMPool-CSRF has to repeat the cookie {COOKIE}"


def _tokens(cookies: str) -> Iterator[str]:
    # There may be several of that name, of mounts above this one.
    for cookie in cookies.split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE and _TOKEN.fullmatch(value):
            yield value


def _is_own(origin: str, host: str, *, secure: bool) -> bool:
    try:
        sent_by, own = urlsplit(origin), urlsplit(f"//{host}")
        standard = {"https": 443, "http": None if secure else 80}.get(sent_by.scheme)
        return (
            standard is not None
            and sent_by.hostname is not None
            and sent_by.hostname == own.hostname
            and (sent_by.port or standard) == (own.port or standard)
        )
    except ValueError:  # no port, or no address in brackets
        return False
