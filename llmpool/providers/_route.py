"""Where a client connects: read once from its URL, its settings and the environment."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
import requests
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_environ_proxies,
    select_proxy,
    should_bypass_proxies,
)

from llmpool._validators import refuse

_PORTS = {"http": 80, "https": 443}
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@attrs.frozen
class Proxy:
    """An HTTP proxy, with the header that it wants to see."""

    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    @property
    def where(self) -> str:
        """Name it in a message."""
        return f"proxy {join_host(self.host, self.port)}"


@attrs.frozen
class Route:
    """
    The way to one server.

    Attributes:
        ca: File or directory with the certificates to trust; only for a secure route.
        path: What stands before each request's own path, without a slash at its end.
        query: What stands in the query of each request, repr-less for it may hold a key.
    """

    secure: bool
    host: str
    port: int
    path: str = ""
    query: str = attrs.field(default="", repr=False)
    proxy: Proxy | None = None
    ca: str | None = None

    @property
    def where(self) -> str:
        """Name the server in a message."""
        return join_host(self.host, self.port)

    @property
    def origin(self) -> str:
        """Give scheme and authority as a URL has them, without a port that goes without saying."""
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Give what the Host header says."""
        if self.port == _PORTS["https" if self.secure else "http"]:
            return self.where.rpartition(":")[0]
        return self.where

    def target(self, path: str) -> str:
        """Give the request target for *path*, which may have a query of its own."""
        own, _, query = path.partition("?")
        queries = "&".join(part for part in (self.query, query) if part)
        joined = (self.path + own) or "/"
        return f"{joined}?{queries}" if queries else joined


def join_host(host: str, port: int) -> str:
    """Write host and port as a URL does."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def find_route(
    base_url: str, proxies: Mapping[str, str] | None, verify: bool | str | os.PathLike[str]
) -> Route:
    """
    Work out the way to *base_url*.

    The environment is asked here and never again: ``*_PROXY`` and ``no_proxy`` when *proxies*
    is None (an empty mapping means no proxy at all), ``REQUESTS_CA_BUNDLE`` when *verify* is
    True. ``~/.netrc`` is not read.

    Raises:
        ValueError: A field is unfit; the message names field, wanted and got, never a password.
    """
    parts = _split(base_url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    return Route(
        secure=secure,
        host=host,
        port=parts.port or _PORTS[parts.scheme],
        path=parts.path.rstrip("/"),
        query=parts.query,
        proxy=_find_proxy(f"{parts.scheme}://{parts.netloc}", proxies),
        ca=_find_ca(verify) if secure else _checked_ca(verify),
    )


def _split(base_url: str) -> SplitResult:
    wanted = "an http:// or https:// URL with a host"
    if not isinstance(base_url, str):
        refuse("base_url", wanted, base_url, kind=TypeError)
    # No more of it is shown than is needed: it may hold a password, or be a key misplaced.
    parts = _try_split(base_url)
    if parts is None:
        raise ValueError(f"base_url: wanted {wanted}, got one that cannot be read")
    if "://" not in base_url:
        raise ValueError(f"base_url: wanted {wanted}, got a text without a scheme")
    if parts.username is not None:
        raise ValueError("base_url: wanted a URL without user and password, got one with them")
    if parts.scheme not in _PORTS:
        raise ValueError(f"base_url: wanted {wanted}, got the scheme {parts.scheme!r}")
    prepared = requests.PreparedRequest()
    try:
        # Percent-encodes the path and turns an international host into ASCII.
        prepared.prepare_url(base_url.strip(), None)
    except (requests.RequestException, ValueError):
        prepared.url = None
    normal = _try_split(prepared.url or "")
    if normal is None or not normal.hostname or parts.port == 0:
        raise ValueError(f"base_url: wanted {wanted}, got one without a valid host and port")
    return normal


def _try_split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _find_proxy(origin: str, proxies: Mapping[str, str] | None) -> Proxy | None:
    if proxies is None:
        chosen = select_proxy(origin, get_environ_proxies(origin, no_proxy=None))
    elif not isinstance(proxies, Mapping):
        refuse("proxies", "a mapping or None", proxies, kind=TypeError)
    elif proxies.get("no_proxy") and should_bypass_proxies(origin, proxies["no_proxy"]):
        return None
    else:
        chosen = select_proxy(origin, dict(proxies))
    field = "the environment's proxy" if proxies is None else "proxies"
    return _read_proxy(field, chosen) if chosen else None


def _read_proxy(field: str, url: str) -> Proxy:
    parts = _try_split(url if "://" in url else f"http://{url}")
    if parts is None or parts.scheme != "http" or not parts.hostname:
        got = "one that cannot be read" if parts is None else f"one of the scheme {parts.scheme!r}"
        raise ValueError(f"{field}: wanted an http:// URL, got {got}")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, parts.port or 80, authorization)


def _checked_ca(verify: bool | str | os.PathLike[str]) -> str | None:
    wanted = "True or the path of a CA bundle"
    if verify is True:
        return None
    if verify is False:  # certificates are always checked
        refuse("verify", wanted, verify)
    if not isinstance(verify, (str, os.PathLike)):
        refuse("verify", wanted, verify, kind=TypeError)
    path = os.fspath(verify)
    if not os.path.exists(path):
        raise ValueError(f"verify: wanted {wanted}, got {path!r}, where there is nothing")
    return path


def _find_ca(verify: bool | str | os.PathLike[str]) -> str:
    path = _checked_ca(verify)
    if path is not None:
        return path
    for variable in _CA_VARIABLES:
        path = os.environ.get(variable)
        if path:
            if not os.path.exists(path):
                raise ValueError(f"{variable}: wanted the path of a CA bundle, got {path!r}")
            return path
    return DEFAULT_CA_BUNDLE_PATH
