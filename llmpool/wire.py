"""
Reading the error answers of LLM APIs: code in the body, type in the body, headers, status, in this order.

The facts are those of the vendors' documentation as of November 2026. Nothing here does I/O.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from llmpool import errors
from llmpool.outcomes import LOADING_CODE, class_of_status

LONGEST_MESSAGE = 300

_BY_CODE: dict[str, type[errors.ProviderError]] = {
    **dict.fromkeys(
        (
            "context_length_exceeded",
            "exceed_context_size_error",
            "context_window_exceeded",
            "request_too_large",
        ),
        errors.ContextLengthExceeded,
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "moderation_blocked",
            "content_filtered",
        ),
        errors.ContentFiltered,
    ),
    **dict.fromkeys(
        (
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "enforced_spend_limit_reached",
            "billing_error",
            "billing_hard_limit_reached",
            "billing_not_active",
            "failed_precondition",
        ),
        errors.QuotaExhausted,
    ),
    **dict.fromkeys(
        (
            "invalid_api_key",
            "api_key_invalid",
            "authentication_error",
            "permission_error",
            "permission_denied",
            "unauthenticated",
            "unsupported_country_region_territory",
        ),
        errors.AuthenticationFailed,
    ),
    **dict.fromkeys(
        ("rate_limit_exceeded", "rate_limit_error", "slow_down", "resource_exhausted"),
        errors.RateLimited,
    ),
    **dict.fromkeys(
        ("model_not_found", "deploymentnotfound", "invalid_model", "not_found_error"),
        errors.InvalidRequest,
    ),
    **dict.fromkeys(
        (
            "overloaded_error",
            "server_is_overloaded",
            "server_error",
            "internal_error",
            "internal",
            "api_error",
            "unavailable",
            "deadline_exceeded",
        ),
        errors.ServerFault,
    ),
}

# (statuses, pattern, class, code): where a vendor says only in prose what others say in a code.
_BY_PROSE: tuple[tuple[frozenset[int], re.Pattern[str], type[errors.ProviderError], str], ...] = (
    (
        frozenset({503}),
        re.compile(r"loading model|model is loading|currently loading", re.I),
        errors.ServerFault,
        LOADING_CODE,
    ),
    (
        frozenset({500, 503}),
        re.compile(r"server busy|maximum pending requests|overloaded|queue (is )?full", re.I),
        errors.ServerFault,
        "overloaded",
    ),
    (
        frozenset({400, 402, 403, 429}),
        re.compile(r"credit balance is too low|limit: 0\b", re.I),
        errors.QuotaExhausted,
        "insufficient_quota",
    ),
    (
        frozenset({400, 413, 422, 500}),
        re.compile(
            r"prompt is too long|context (length|window|size)|input token count.*exceeds"
            r"|input context is too long",
            re.I,
        ),
        errors.ContextLengthExceeded,
        "context_length_exceeded",
    ),
    (
        frozenset({400}),
        re.compile(r"api key (not valid|expired)", re.I),
        errors.AuthenticationFailed,
        "invalid_api_key",
    ),
    (
        frozenset({403}),
        re.compile(r"moderation|flagged", re.I),
        errors.ContentFiltered,
        "content_filter",
    ),
)

_VAGUE = frozenset({"invalid_request_error", "invalid_argument", "error", "none", "bad_request"})
"""Types that vendors put on anything; the status tells more."""


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
    found = _decode(body)
    facts = _error_object(found)
    inner = _numeric_code(facts)
    effective = inner if inner is not None and status < 400 else status
    codes = _codes(facts)
    said = str(facts.get("message") or found.get("message") or found.get("detail") or "")
    kind, code = _class_and_code(effective, codes, said, facts)
    if effective == 403 and kind is errors.AuthenticationFailed and _is_page(body):
        # A firewall's page says nothing about the key.
        kind = errors.ServerFault
    shown = scrub(said, secrets, private)
    named = f"HTTP {effective}" if effective >= 300 else "an error under HTTP 200"
    message = ": ".join(
        part for part in (named, scrub(code or "", secrets, private), shown) if part
    )
    request_id = headers.get("x-request-id") or headers.get("request-id")
    return kind(
        message,
        status=effective if effective >= 300 else None,
        code=code,
        retry_after=retry_after(headers, facts, wall_time),
        request_id=one_line(request_id, 128) if request_id else None,
        sent="answered",
    )


def _class_and_code(
    status: int, codes: list[str], said: str, facts: Mapping[str, Any]
) -> tuple[type[errors.ProviderError], str | None]:
    shown = codes[0] if codes else None
    if status == 429 and _is_daily(facts):
        return errors.QuotaExhausted, "quota_per_day"
    for statuses, pattern, kind, code in _BY_PROSE:
        if status in statuses and pattern.search(said) and not _decisive(codes):
            return kind, code
    for code in codes:
        if code in _VAGUE or (code == "failed_precondition" and status != 400):
            continue
        if code in _BY_CODE:
            return _BY_CODE[code], code
    if status == 404:
        return errors.InvalidRequest, shown if shown not in (None, *_VAGUE) else "not_found"
    if status < 400 and "invalid_request_error" in codes:
        return errors.InvalidRequest, shown
    return class_of_status(status), shown


def _decisive(codes: Iterable[str]) -> bool:
    """Tell whether a code says more than prose could."""
    broad = _VAGUE | {"unavailable", "resource_exhausted", "internal", "rate_limit_error"}
    return any(code in _BY_CODE and code not in broad for code in codes)


def _decode(body: object) -> Mapping[str, Any]:
    if isinstance(body, (bytes, str)):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return {}
    if isinstance(body, list) and body:
        body = body[0]
    return body if isinstance(body, Mapping) else {}


def _error_object(found: Mapping[str, Any]) -> Mapping[str, Any]:
    error = found.get("error")
    if isinstance(error, Mapping):
        return error
    if isinstance(error, str):
        return {"message": error, "code": found.get("code"), "type": found.get("type")}
    return found


def _numeric_code(facts: Mapping[str, Any]) -> int | None:
    code = facts.get("code")
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:9])
    if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599:
        return code
    return None


def _codes(facts: Mapping[str, Any]) -> list[str]:
    """Collect the names of the error, the most telling first, in lower case."""
    inner = facts.get("innererror")
    details = facts.get("details")
    named: list[object] = [inner.get("code") if isinstance(inner, Mapping) else None]
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            named.append(detail.get("reason"))
    named += [facts.get("code"), facts.get("type"), facts.get("status")]
    return [
        one_line(name, 64).lower()
        for name in named
        if isinstance(name, str) and name and not name.isdigit()
    ]


def _is_daily(facts: Mapping[str, Any]) -> bool:
    """Tell whether a Gemini quota is one that a wait does not cure; its retryDelay lies then."""
    details = facts.get("details")
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, Mapping) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, Mapping) and "PerDay" in str(violation.get("quotaId", "")):
                return True
    return False


def _is_page(body: object) -> bool:
    start = body[:200] if isinstance(body, (bytes, str)) else b""
    text = start.decode("latin-1") if isinstance(start, bytes) else start
    return text.lstrip().lower().startswith(("<!doctype", "<html"))


_NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DURATION = re.compile(r"(\d+\.?\d*)s", re.ASCII)


def retry_after(
    headers: Mapping[str, str], facts: Mapping[str, Any], wall_time: float | None = None
) -> float | None:
    """
    Give the seconds a server asks to wait, unclamped; None when it names none that makes sense.

    Only finite, positive, ASCII numbers count. A date is taken relative to the answer's own ``Date``
    (RFC 9110 §10.2.3), since the clock here may be wrong.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        delay = _positive(headers.get(name))
        if delay is not None:
            return delay / 1000
    named = headers.get("retry-after")
    delay = _positive(named)
    if delay is not None:
        return delay
    if named is not None:
        delay = _until(named, headers.get("date"), wall_time)
        if delay is not None:
            return delay
    details = facts.get("details")
    for detail in details if isinstance(details, list) else ():
        asked = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        match = _DURATION.fullmatch(asked) if isinstance(asked, str) else None
        if match:
            return _positive(match[1])
    return None


def _positive(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) and number > 0 else None


def _until(date: str, base: str | None, wall_time: float | None) -> float | None:
    start = _posix(base)
    start = wall_time if start is None else start
    end = _posix(date)
    if start is None or end is None or end <= start:
        return None
    return end - start


def _posix(date: str | None) -> float | None:
    if date is None or not date.isascii():
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def one_line(text: str, most: int = LONGEST_MESSAGE) -> str:
    """Make a server's text fit for a log: printable, one line, bounded."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text[: most * 2])
    kept = " ".join(kept.split())
    return kept if len(kept) <= most else kept[: most - 1] + "…"


RUN = 12
"""A run of a prompt this long, found in a server's message, is an echo and no coincidence."""


def scrub(text: str, secrets: Iterable[str], private: Iterable[str]) -> str:
    """Take keys and echoes of the prompt out of a server's text, and make it one bounded line."""
    text = text[: LONGEST_MESSAGE * 4]
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    text = re.sub(r"sk-[\w*.-]{2,}", "[key]", text)
    for prompt in private:
        text = _without_runs(text, prompt)
    return one_line(text)


def _without_runs(text: str, prompt: str) -> str:
    """Replace the whole of a prompt, and every run of :data:`RUN` characters of it."""
    for spelled in {prompt, json.dumps(prompt)[1:-1]}:
        whole = spelled.strip()
        if 3 <= len(whole) < RUN:
            text = re.sub(rf"(?<!\w){re.escape(whole)}(?!\w)", "[prompt]", text)
        start = 0
        while len(whole) >= RUN and start + RUN <= len(text):
            if text[start : start + RUN] not in whole:
                start += 1
                continue
            end = start + RUN
            while end < len(text) and text[start : end + 1] in whole:
                end += 1
            text = f"{text[:start]}[prompt]{text[end:]}"
            start += len("[prompt]")
    return text
