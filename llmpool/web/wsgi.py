"""The site as a WSGI application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from llmpool.web import replies
from llmpool.web.controls import MOST_BYTES
from llmpool.web.replies import Reply

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def serve(
    respond: Callable[..., Reply], environ: Environ, start_response: StartResponse
) -> list[bytes]:
    """Answer one request, of whose body at most a little is read."""
    answer = _redirect(environ) or _answer(respond, environ)
    phrase = HTTPStatus(answer.status).phrase
    start_response(f"{answer.status} {phrase}", list(answer.headers))
    return [answer.body]


def _answer(respond: Callable[..., Reply], environ: Environ) -> Reply:
    path = environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    body = _body(environ)
    if body is None:
        return replies.refusal(413, f"the body is longer than {MOST_BYTES} bytes")
    answer: Reply = respond(
        environ["REQUEST_METHOD"],
        f"{path}?{query}" if query else path,
        _headers(environ),
        body,
        request=environ,
        secure=environ.get("wsgi.url_scheme") == "https",
    )
    return answer


def _redirect(environ: Environ) -> Reply | None:
    """Send who comes without the slash to the page; only with it its relative links are right."""
    mount = environ.get("SCRIPT_NAME", "")
    if not mount or environ.get("PATH_INFO"):
        return None
    # Relative: a mount's whole path may begin with "//", which would name another host.
    last = mount.rpartition("/")[2].encode("latin-1", "replace")
    return replies.of_text(308, "add a slash", ("Location", f"./{quote(last)}/"))


def _headers(environ: Environ) -> Mapping[str, str]:
    found = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    found["content-type"] = environ.get("CONTENT_TYPE", "")
    return found


def _body(environ: Environ) -> bytes | None:
    """Read the body of an order, of which there is none without a length; None if it is too long."""
    length = environ.get("CONTENT_LENGTH", "")
    digits = length.isascii() and length.isdigit()
    if environ["REQUEST_METHOD"] != "POST" or not digits or not length.strip("0"):
        return b""
    if len(length) > 9 or int(length) > MOST_BYTES:
        return None
    body: bytes = environ["wsgi.input"].read(int(length))
    return body
