"""What may stand on a page that is left open."""

from __future__ import annotations

import re

from llmpool.privacy import scrub

_USER_INFO = re.compile(r"(?<=://)[^\s/?#]*@")
_IN_QUERY = re.compile(
    r"(?i)([?&][\w.-]*(?:key|token|secret|sig|signature|password|credential|code)=)[^\s&#\"']+"
)
# "basic checks" are no password.
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+(?:(?=\S*\d)[\w.~+/=-]{6,}|[\w.~+/=-]{12,})")
_NAMED = re.compile(
    r"(?i)\b((?:[\w-]*(?:api[-_ ]?key|token|secret|password)|authorization)[\"']?\s*[:=]\s*[\"']?)"
    r"(?!(?:bearer|basic)\s)[^\s\"',;&]+"
)


def public(text: str | None) -> str | None:
    """
    Take out of a line what looks like a key or a password, and what stands before the host in an address.

    Providers keep their own keys, and prompts, out of what servers say; this is for what a user's own
    provider or check says, whose keys nobody here knows.
    """
    if text is None:
        return None
    text = _USER_INFO.sub("", text)
    text = _IN_QUERY.sub(r"\1[key]", text)
    text = _SCHEME.sub(r"\1 [key]", text)
    text = _NAMED.sub(r"\1[key]", text)
    return scrub(text, (), ())
