"""What a client refuses when it is made."""

from __future__ import annotations

import re
from typing import Any

import pytest
from loopback import CA

from llmpool.providers._http import HttpClient
from llmpool.providers._route import find_route

WANTED = "base_url: wanted an http:// or https:// URL with a host, got "


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("http://h", "http://h", "/x"),
        ("HTTP://H:80/", "http://h", "/x"),
        ("  https://h/v1/ \n", "https://h", "/v1/x"),
        ("https://h:8443/a b?c=d#e", "https://h:8443", "/a%20b/x?c=d"),
        ("https://bücher.example", "https://xn--bcher-kva.example", "/x"),
        ("http://[2001:db8::1]/v1", "http://[2001:db8::1]", "/v1/x"),
        ("http://[2001:db8::1]:8000", "http://[2001:db8::1]:8000", "/x"),
    ],
)
def test_a_url(url: str, origin: str, target: str) -> None:
    """It is read as a browser would."""
    route = find_route(url, {}, True)
    assert route.origin == origin
    assert route.target("/x") == target


@pytest.mark.parametrize(
    ("path", "target"),
    [("", "/v1?a=b"), ("/x", "/v1/x?a=b"), ("/x?c=d", "/v1/x?a=b&c=d")],
)
def test_a_path(path: str, target: str) -> None:
    """It is appended, before the query."""
    assert find_route("http://h/v1?a=b", {}, True).target(path) == target


@pytest.mark.parametrize("path", ["", "/"])
def test_no_path_at_all(path: str) -> None:
    """It is the root."""
    assert find_route("http://h", {}, True).target(path) == "/"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("h.example/v1", WANTED + "a text without a scheme"),
        ("localhost:8000", WANTED + "a text without a scheme"),
        ("sk-misplaced", WANTED + "a text without a scheme"),
        ("user:sk-pw@h.example", WANTED + "a text without a scheme"),
        ("", WANTED + "a text without a scheme"),
        ("ftp://h", WANTED + "the scheme 'ftp'"),
        ("://h", WANTED + "the scheme ''"),
        ("http://", WANTED + "one without a valid host and port"),
        ("http://:80", WANTED + "one without a valid host and port"),
        ("http://*h", WANTED + "one without a valid host and port"),
        ("http://h:0", WANTED + "one without a valid host and port"),
        ("http://h:99999", WANTED + "one that cannot be read"),
        ("http://[::1", WANTED + "one that cannot be read"),
        ("http://user:sk-pw@h", "base_url: wanted a URL without user and password"),
        ("http://@h", "base_url: wanted a URL without user and password"),
    ],
)
def test_an_unfit_url(url: str, said: str) -> None:
    """The message tells what was wanted, and shows neither password nor key."""
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        HttpClient(url)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"base_url": None}, "base_url: wanted an http:// or https:// URL with a host, got None"),
        ({"proxies": "http://p"}, "proxies: wanted a mapping or None, got"),
        ({"verify": 1}, "verify: wanted True or the path of a CA bundle, got 1"),
        ({"headers": "a: b"}, "headers: wanted a mapping, got"),
        ({"connect_timeout": "5"}, "connect_timeout: wanted seconds > 0, got"),
        ({"max_connections": 1.5}, "max_connections: wanted a whole number >= 0, got"),
    ],
)
def test_a_setting_of_the_wrong_type(setting: dict[str, Any], said: str) -> None:
    """It is a TypeError that names the field."""
    with pytest.raises(TypeError, match=re.escape(said)):
        HttpClient(**{"base_url": "http://h", **setting})


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"proxies": {"http": "socks5://p:1"}}, "proxies: wanted an http:// URL, got one of the"),
        ({"proxies": {"http": "https://p:1"}}, "proxies: wanted an http:// URL, got one of the"),
        ({"proxies": {"http": "http://"}}, "proxies: wanted an http:// URL, got one of the"),
        ({"proxies": {"http": "p:port"}}, "proxies: wanted an http:// URL, got one that cannot"),
        ({"verify": False}, "verify: wanted True or the path of a CA bundle, got False"),
        ({"verify": "/no/such.pem"}, "got '/no/such.pem', where there is nothing"),
        ({"connect_timeout": 0}, "connect_timeout: wanted seconds > 0, got 0"),
        ({"max_connections": -1}, "max_connections: wanted a whole number >= 0, got -1"),
    ],
)
def test_a_setting_of_the_wrong_value(setting: dict[str, Any], said: str) -> None:
    """It is a ValueError that names the field."""
    with pytest.raises(ValueError, match=re.escape(said)):
        HttpClient(**{"base_url": "http://h", **setting})


def test_a_proxy_of_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says where it comes from."""
    monkeypatch.setenv("http_proxy", "socks5://p:1")
    with pytest.raises(ValueError, match="the environment's proxy: wanted an http:// URL"):
        HttpClient("http://h")


def test_a_bundle_of_the_environment_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with pytest.raises(ValueError, match="REQUESTS_CA_BUNDLE: wanted the path"):
        HttpClient("https://h")
    HttpClient("http://h")
    HttpClient("https://h", verify=CA)


def test_the_usual_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word from anywhere it is the bundle that requests brings along."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    ca = find_route("https://h", {}, True).ca
    assert ca is not None
    assert ca.endswith(".pem")


def test_what_is_shown() -> None:
    """A client shows its server; neither the query nor a proxy's password."""
    shown = repr(HttpClient("http://h/v1?key=sk-query", proxies={"http": "http://u:sk-pw@p"}))
    assert shown == "<HttpClient http://h>"
    assert "sk-" not in repr(find_route("http://h/v1?key=sk-q", {"http": "http://u:sk-pw@p"}, True))
