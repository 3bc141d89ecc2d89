"""
Reading the error answers of LLM APIs: code in the body, type in the body, headers, status, in this order.

The facts are those of the vendors' documentation as of November 2026. Nothing here does I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmpool import errors
from llmpool.codes import LOADING_CODE, class_of_code, class_of_status
from llmpool.delays import retry_after
from llmpool.errors import one_line as one_line
from llmpool.privacy import LOOKED_AT
from llmpool.privacy import scrub as scrub

Facts = Mapping[str, Any]

_CONTEXT = "context_length_exceeded"
_BY_PROSE: tuple[tuple[tuple[int | None, ...], str, type[errors.ProviderError], str], ...] = (
    (
        (503, None),
        r"loading model|model is (still |currently )?loading|currently loading",
        errors.ServerFault,
        LOADING_CODE,
    ),
    (
        (500, 503, None),
        r"server busy|maximum pending requests|overloaded|queue ?(is )?full|capacity exceeded"
        r"|experiencing high demand",
        errors.ServerFault,
        "overloaded",
    ),
    (
        (400, 402, 403, 429, None),
        r"credit balance is too low|specified API usage limits|enforced_spend_limit"
        r"|(reached|exceed\w*) .{0,40}spend(ing)? limit|\blimit: 0(?!\.?\d)",
        errors.QuotaExhausted,
        "insufficient_quota",
    ),
    # The limit of a minute, asked for at once: no wait helps.
    ((429,), r"request too large for", errors.ContextLengthExceeded, _CONTEXT),
    (
        (400, 422, None),
        r"prompt is too long|context (length|window|size)|input is too long"
        r"|input token count.{0,80}exceeds",
        errors.ContextLengthExceeded,
        _CONTEXT,
    ),
    # Gemini's; a server of one's own that has no memory for a context is none of these.
    ((500,), r"input context is too long", errors.ContextLengthExceeded, _CONTEXT),
    # llama.cpp answers a mistake of the caller's with a 500.
    (
        (500,),
        r"^failed to parse (tools|messages|tool call)|^cannot use both json_schema and grammar"
        r"|^(image|audio) input is not supported|^unknown reasoning format",
        errors.InvalidRequest,
        "invalid_request_error",
    ),
    ((400,), r"api key (not valid|expired)", errors.AuthenticationFailed, "invalid_api_key"),
    ((403,), r"moderation|flagged|content policy", errors.ContentFiltered, "content_filter"),
    (
        (400,),
        r"^model not exist|\bmodel .{0,80}does not exist|^invalid model\b"
        r"|\bmodel identifier is invalid",
        errors.InvalidRequest,
        "model_not_found",
    ),
)
"""Statuses, words, class, code: where a vendor says in prose what others say in a code."""
_PROSE = [
    (statuses, re.compile(words, re.I), kind, code) for statuses, words, kind, code in _BY_PROSE
]
_BROAD = frozenset(
    {"rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "server_error"}
)
"""Codes that stand for several things, which only the prose tells apart."""
_BAD_REQUEST = frozenset(
    {
        "invalid_request_error",
        "invalid_argument",
        "invalid_request",
        "bad_request",
        "validationexception",
    }
)
"""Types that vendors put on anything under a 4xx; they tell something only where no status does."""

_NAMES = ("code", "type", "error_type", "status", "error", "__type")
_NUMBERS = ("code", "status", "status_code", "statusCode")
_WORDS = ("message", "error", "detail", "error_description", "msg", "title")
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id")


def read_error(
    status: int,
    headers: Mapping[str, str],
    body: object,
    *,
    wall_time: float | None = None,
    secrets: Iterable[str] = (),
    private: Iterable[str] = (),
) -> errors.ProviderError:
    """
    Build the error that an answer stands for.

    Args:
        headers: with lower-case names.
        body: bytes, text, or what was decoded from JSON.
        wall_time: POSIX seconds, for a Retry-After date without a ``Date`` beside it.
        secrets: keys, removed from the message wherever they stand.
        private: texts of the prompt; a longer run of any of them is removed from the message.
    """
    secrets, private = tuple(secrets), tuple(private)
    found = _decode(body)
    layers = list(_layers(found))
    meant = _status(status, layers)
    said = "; ".join(dict.fromkeys(filter(None, map(_words, layers))))[:LOOKED_AT]
    kind, code = _judge(meant, [name for facts in layers for name in _names(facts)], said, layers)
    if _is_page(body):
        said = "an HTML page"
        if meant == 403:
            kind = errors.ServerFault  # a firewall's; it says nothing about the key
    if code is not None and class_of_code(code.lower(), None) is None:
        code = scrub(code, secrets, private)
    named = f"HTTP {meant}" if meant is not None else "an error under HTTP 200"
    request_id = _request_id(headers, found)
    return kind(
        ": ".join(dict.fromkeys(filter(None, (named, code, scrub(said, secrets, private))))),
        status=meant,
        code=code,
        retry_after=retry_after(headers, _details(layers), wall_time),
        request_id=request_id and scrub(request_id, secrets, private),
        sent="answered",
    )


def _judge(
    status: int | None, names: list[str], said: str, layers: list[Facts]
) -> tuple[type[errors.ProviderError], str | None]:
    """Give the class that an answer stands for, and the name by which its server calls it."""
    if status == 429 and _is_daily(layers):
        return errors.QuotaExhausted, "quota_per_day"
    telling = [name for name in names if class_of_code(name.lower(), status)]
    if all(name.lower() in _BROAD for name in telling):
        for statuses, words, kind, code in _PROSE:
            if status in statuses and words.search(said):
                return kind, code
    for name in telling:
        return class_of_code(name.lower(), status) or errors.ProviderError, name
    shown = names[0] if names else None
    if status is None and any(name.lower() in _BAD_REQUEST for name in names):
        return errors.InvalidRequest, shown
    return class_of_status(status), shown


# -- the body -----------------------------------------------------------------------------------


def _decode(body: object) -> Facts:
    """Give what is in a body as a mapping; words that are no JSON are its message."""
    if isinstance(body, (bytes, str)):
        start = body[:LOOKED_AT]
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            body = start.decode("utf-8", "replace") if isinstance(start, bytes) else start
    if isinstance(body, list) and body:
        body = body[0]  # Gemini's, through its OpenAI-compatible face
    if isinstance(body, str):
        return {} if _is_page(body) else {"message": body.strip()}
    return body if isinstance(body, Mapping) else {}


def _layers(found: Facts) -> Iterator[Facts]:
    """Give the error objects of an answer from the outside in: gateways wrap what they were told."""
    for _ in range(3):
        error = found.get("error") or found.get("errors")
        if isinstance(error, list) and error:
            error = error[0]
        facts = error if isinstance(error, Mapping) else found
        yield facts
        metadata = facts.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
        if isinstance(raw, str):
            found = _decode(raw)
        elif (nested := _nested(facts.get("message"))) is not None:
            found = nested
        else:
            return


def _nested(text: object) -> Facts | None:
    """Give the JSON object that a message turns out to be."""
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        found = _decode(text)
        return found if found.get("message") != text.strip() else None
    return None


def _status(status: int, layers: list[Facts]) -> int | None:
    """Give the status that an answer means: its own, or under a 200 the one in its body."""
    if status >= 300:
        return status
    for facts in layers:
        for field in _NUMBERS:
            number = facts.get(field)
            if isinstance(number, str) and re.fullmatch("[45][0-9][0-9]", number):
                number = int(number)
            if isinstance(number, int) and 400 <= number <= 599:
                return number
    return None


def _names(facts: Facts) -> Iterator[str]:
    """Give the names that an error has, the most telling first."""
    nested = [facts.get("innererror"), *_details([facts]), facts.get("metadata")]
    inner = [
        entry.get(field)
        for entry in nested
        if isinstance(entry, Mapping)
        for field in ("code", "reason", "error_type")
    ]
    for name in (*map(facts.get, _NAMES), *inner):
        if isinstance(name, str) and re.fullmatch(r"(?!\d+$)[\w.:/-]{1,64}", name, re.ASCII):
            yield name


def _words(facts: Facts) -> str:
    """Give the prose of an error."""
    for field in _WORDS:
        said = _prose(facts.get(field), 3)
        if said and _nested(said) is None:
            return said
    return ""


def _prose(value: object, depth: int) -> str:
    """Give the words in a value of any shape; of what FastAPI found wrong, the place and the fact."""
    if isinstance(value, str):
        return value[:LOOKED_AT]
    if depth and isinstance(value, list):
        return "; ".join(filter(None, (_prose(entry, depth - 1) for entry in value[:5])))
    if depth and isinstance(value, Mapping):
        place = value.get("loc")
        where = ".".join(map(str, place)) if isinstance(place, list) else ""
        said = next(filter(None, (_prose(value.get(field), depth - 1) for field in _WORDS)), "")
        return ": ".join(filter(None, (where[:LOOKED_AT], said)))
    return ""


def _details(layers: Iterable[Facts]) -> list[Facts]:
    """Give the ``details`` of Google's errors."""
    listed = [facts.get("details") for facts in layers]
    return [
        detail
        for details in listed
        if isinstance(details, list)
        for detail in details
        if isinstance(detail, Mapping)
    ]


def _is_daily(layers: list[Facts]) -> bool:
    """Tell whether a Gemini quota is one that a wait does not cure; its retryDelay lies then."""
    found = (detail.get("violations") for detail in _details(layers))
    return any(
        isinstance(violation, Mapping) and "PerDay" in str(violation.get("quotaId", ""))
        for violations in found
        if isinstance(violations, list)
        for violation in violations
    )


def _is_page(body: object) -> bool:
    start = body[:200] if isinstance(body, (bytes, str)) else ""
    text = start.decode("latin-1") if isinstance(start, bytes) else start
    return text.lstrip("\ufeffï»¿ \t\r\n").lower().startswith(("<!doctype", "<html"))


def _request_id(headers: Mapping[str, str], found: Facts) -> str | None:
    given = [headers.get(name) for name in _REQUEST_IDS]
    given.append(found.get("request_id"))
    return next((name for name in given if isinstance(name, str) and name), None)
