"""What is taken out of a line before it stands on a page that is left open."""

from __future__ import annotations

import pytest

from llmpool.web.public import public

SECRET = "Zm9vYmFyMTIz.NDU2-x"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"GET https://host/v1?api_key={SECRET}&x=1", "GET https://host/v1?api_key=[key]&x=1"),
        (f"url: /v1?key={SECRET}", "url: /v1?key=[key]"),
        (f"'/v1?a=1&access_token={SECRET}'", "'/v1?a=1&access_token=[key]'"),
        (f"https://blob/x?sv=1&sig={SECRET}", "https://blob/x?sv=1&sig=[key]"),
        (f"https://me:{SECRET}@host:8/x", "https://host:8/x"),
        (f"https://{SECRET}@host", "https://host"),
        (f"postgres://me:a@b{SECRET}@host/x", "postgres://host/x"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer [key]"),
        (f"{{'authorization': 'Basic {SECRET}=='}}", "{'authorization': 'Basic [key]'}"),
        (f"Proxy-Authorization: {SECRET}", "Proxy-Authorization: [key]"),
        (f"sent bearer {SECRET}", "sent bearer [key]"),
        (f"x-api-key: {SECRET}", "x-api-key: [key]"),
        (f'{{"api_key": "{SECRET}"}}', '{"api_key": "[key]"}'),
        (f"API key={SECRET}, model=m", "API key=[key], model=m"),
        (f"password={SECRET};", "password=[key];"),
        (f"client_secret={SECRET}", "client_secret=[key]"),
        ("sk-h3Qz81LmWv0PxT7d", "[key]"),
        ("AIzaSyD-h3Qz81LmWv0PxT7dqwerty", "[key]"),
    ],
)
def test_what_looks_like_a_key(said: str, shown: str) -> None:
    """It is taken out, wherever it stands; the rest tells what was wrong."""
    told = public(said)
    assert told == shown
    assert SECRET not in told


@pytest.mark.parametrize(
    "said",
    [
        "HTTP 503: the model is loading",
        "connection refused by eu.example:443",
        "3 of 3 basic checks failed",
        "unknown key: model",
        "https://host/v1?model=m&page=2",
        "wrong key",
        "Retry-After: 7",
        "drained by the user",
    ],
)
def test_what_does_not(said: str) -> None:
    """It stays as it is."""
    assert public(said) == said


def test_nothing() -> None:
    """It stays nothing."""
    assert public(None) is None


@pytest.mark.parametrize(
    "said", ["://" * 2000, "?key" * 2000, "token " * 1500, "api_key:" + " " * 8000]
)
def test_what_is_long(said: str) -> None:
    """It is cut, and takes no longer than it must."""
    told = public(said)
    assert told is not None
    assert len(told) <= 1000
