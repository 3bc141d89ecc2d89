"""The one field of a request that is written anew, in bodies of every form."""

from __future__ import annotations

import pytest

from llmpool.forwarding.model_field import read_fields, read_form

FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ('{"model":"a"}', '{"model":"b"}'),
        ('{"model" : "a" , "n":1}', '{"model" : "b" , "n":1}'),
        ('\n{\t"x": [{"model": "a"}], "model":\r\n"a"}\n', '\n{\t"x": [{"model": "a"}], "model":\r\n"b"}\n'),
        ('{"n": 1e400, "m": 1.10, "model": "a"}', '{"n": 1e400, "m": 1.10, "model": "b"}'),
        ('{"é": "\\u00e9", "model": "a"}', '{"é": "\\u00e9", "model": "b"}'),
        ('{"model": "x", "model": "a"}', '{"model": "b", "model": "b"}'),
        ("{}", '{"model":"b"}'),
        ('{ "n": 1}', '{"model":"b", "n": 1}'),
        ('{"model": null, "n": 1}', '{"model": "b", "n": 1}'),
    ],
)  # fmt: skip
def test_only_the_name_changes(body: str, written: str) -> None:
    """All else stays as it was, byte for byte."""
    fields = read_fields(body.encode())
    assert fields is not None
    assert fields.with_model("b").decode() == written


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ('{"model": "a", "n": 1}', "a"),
        ('{"model": "x", "model": "a"}', "a"),
        ('{"model": ""}', None),
        ('{"model": 7}', None),
        ("{}", None),
    ],
)
def test_the_name_that_counts(body: str, model: str | None) -> None:
    """The last one does, as in every reader of JSON; nothing is no name."""
    fields = read_fields(body.encode())
    assert fields is not None
    assert fields.model == model


def test_a_name_with_signs_of_its_own() -> None:
    """It is written as JSON has it."""
    fields = read_fields(b'{"model": "a"}')
    assert fields is not None
    assert fields.with_model('b"\\é') == b'{"model": "b\\"\\\\\\u00e9"}'


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"[]",
        b'"model"',
        b"{",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1',
        b'{"a":1 "b":2}',
        b'{"a":1,}',
        b"{1:2}",
        b"{} {}",
        b"\xff",
        b"{" + b'"a":{' * 100_000,
    ],
)
def test_what_is_no_object(body: bytes | None) -> None:
    """It is left alone."""
    assert read_fields(body) is None


# -- forms --------------------------------------------------------------------------------------


def part(head: str, content: bytes = b"a") -> bytes:
    """Render a part of a form."""
    return (
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
    )


FILE = part('name="file"; filename="model"', b'\r\n--\r\n; name="model"\r\n\r\nx')
END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (part('name="model"') + FILE + END, "a"),
        (FILE + part('name="n"', b"1") + part("name=model") + END, "a"),
        (FILE + part('name="model"', b"") + END, None),
        (FILE + END, None),
        (part('name="model"', b"a" * 2000) + END, None),
        (part('name="model"; filename="x"') + END, None),
        (part('filename*="x"') + END, None),
        (part('name="model"'), None),  # cut off
        (b"--b\r\nname", None),
        (b"anything", None),
    ],
)
def test_a_form(body: bytes, model: str | None) -> None:
    """The name stands in a part of its own; nothing in a file is taken for it."""
    form = read_form(body, FORM)
    assert form is not None
    assert form.model == model
    wanted = body.replace(b"\r\n\r\na\r\n", b"\r\n\r\nmine\r\n") if model else body
    if form.model or form.span is None:
        assert form.with_model("mine") == wanted


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (b"--b", 'Multipart/Form-Data; charset=utf-8; boundary="b"', True),
        (b"--b", "multipart/form-data", False),
        (b"--b", "multipart/mixed; boundary=b", False),
        (b"--b", "", False),
        (None, FORM, False),
    ],
)
def test_what_is_a_form(body: bytes | None, kind: str, found: bool) -> None:
    """Its type says so, and what its parts are divided by."""
    assert (read_form(body, kind) is not None) is found
