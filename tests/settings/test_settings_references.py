"""Secrets that stand elsewhere."""

from __future__ import annotations

import os
import pathlib

import pytest

from llmpool import ProviderPool
from llmpool.settings import ConfigError
from llmpool.settings.references import STAND_IN, KeyFile, References, is_reference
from llmpool.testing import LocalServer


def test_a_variable() -> None:
    """Its text without the space around it."""
    references = References(environ={"EU_KEY": " of-tests\n"})
    assert references.follow("env:EU_KEY") == "of-tests"
    assert references.follow("plain") == "plain"
    assert references.follow("http://x") == "http://x"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("env:NOT_SET", "the environment variable NOT_SET, which is not set, or empty"),
        ("env:EMPTY", "the environment variable EMPTY, which is not set, or empty"),
        ("env:gsk_abc123", "the environment variable of that name, which is not set, or empty"),
        ("file:keys/none", "keys/none: No such file or directory"),
        ("file:empty.txt", "empty.txt, which is empty"),
        ("file:bytes.txt", "bytes.txt, which is no UTF-8 text"),
        ("file:.", "Is a directory"),
        ("env:", "env: without a name behind it"),
        ("file: ", "file: without a name behind it"),
    ],
)
def test_nothing_there(text: str, told: str, tmp_path: pathlib.Path) -> None:
    """The place is named, except where it may be a key put there by mistake."""
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    references = References(folder=tmp_path, environ={"EMPTY": " "})
    with pytest.raises(ValueError) as caught:
        references.follow(text)
    assert told in str(caught.value)


def test_a_name_of_a_file_that_may_be_a_key() -> None:
    """Without a sign of a path it is not repeated."""
    with pytest.raises(ValueError) as caught:
        KeyFile(pathlib.Path("abcdef1234567890abcdef"))
    assert "abcdef" not in str(caught.value)


def test_a_file_counts_from_the_folder(tmp_path: pathlib.Path) -> None:
    """A relative path begins at the configuration's own folder; an absolute one does not."""
    (tmp_path / "key").write_text("one\n")
    assert References(folder=tmp_path).follow("file:key") == "one"
    assert References().follow(f"file:{tmp_path / 'key'}") == "one"


def test_a_key_that_is_rotated(tmp_path: pathlib.Path) -> None:
    """The file is read again when it is another one; while it cannot be read the last key holds."""
    path = tmp_path / "key"
    path.write_text("one")
    key = KeyFile(path)
    assert (key(), repr(key)) == ("one", "KeyFile(…)")
    path.write_text("second")
    assert key() == "second"
    path.write_text("")
    assert key() == "second"
    path.unlink()
    assert key() == "second"
    path.write_text("third one")
    assert key() == "third one"


@pytest.mark.parametrize("content", [b"one\n", b"one\r\n", b"\xef\xbb\xbfone"])
def test_a_key_as_editors_leave_it(content: bytes, tmp_path: pathlib.Path) -> None:
    """The end of its line and a mark of its encoding are no part of it."""
    (tmp_path / "key").write_bytes(content)
    assert KeyFile(tmp_path / "key")() == "one"


def test_a_file_that_holds_more_than_a_key(tmp_path: pathlib.Path) -> None:
    """It is refused when the pool is made, and while a pool runs the last key holds."""
    path = tmp_path / "key"
    path.write_text("of-tests\nsecond")
    with pytest.raises(ValueError, match="more than a line of printable ASCII") as caught:
        KeyFile(path)
    assert "of-tests" not in str(caught.value)

    path.write_text("one")
    key = KeyFile(path)
    path.write_text("of-tests\nsecond")
    assert key() == "one"


def test_without_a_look() -> None:
    """A stand-in takes the place, fit for every field."""
    references = References(reveal=False)
    assert references.follow("env:NOT_SET") == STAND_IN
    assert references.follow("file:none") == STAND_IN
    assert is_reference("env:X")
    assert not is_reference("x")
    assert not is_reference(3)


def test_a_key_in_a_file_opens_a_server(tmp_path: pathlib.Path) -> None:
    """The key of today is sent, after a rotation too; headers may refer elsewhere as well."""
    (tmp_path / "key").write_text("one-of-tests\n")
    with LocalServer("eu", api_keys=["one-of-tests"]) as server:
        entry = {
            "name": "eu",
            "provider": "openai",
            "base_url": server.url,
            "api_key": f"file:{tmp_path / 'key'}",
            "headers": {"X-Own": f"file:{tmp_path / 'key'}"},
            "proxies": {},
            "model": "tiny",
        }
        pool = ProviderPool.from_mapping({"deployment": [entry]}, health_check=None)
        assert pool.complete("a").text == "echo: a"
        assert server.requests[-1].headers["x-own"] == "one-of-tests"
        server.use_keys("two-of-tests")
        (tmp_path / "key").write_text("two-of-tests, as it were"[:12])
        os.utime(tmp_path / "key", ns=(1, 1))
        assert pool.complete("b").text == "echo: b"
        pool.close()


def test_a_missing_secret_in_a_pool() -> None:
    """It is a problem with a place, like any other; in a header too."""
    entry = {
        "name": "eu",
        "provider": "openai",
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "env:NOT_SET_AT_ALL",
        "headers": {"X": "env:NOT_SET_EITHER"},
    }
    with pytest.raises(ConfigError) as caught:
        ProviderPool.from_mapping({"deployment": [entry]}, source="x")
    first, second = caught.value.problems
    assert first == (
        'x: [[deployment]] 1 "eu": api_key: wanted a value, got nothing from the environment '
        "variable NOT_SET_AT_ALL, which is not set, or empty"
    )
    assert second.startswith('x: [[deployment]] 1 "eu": headers: wanted a value, got nothing from')
