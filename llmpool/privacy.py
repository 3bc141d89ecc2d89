"""Keeping keys and prompts out of what servers say, which goes into messages and logs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from llmpool.errors import LONGEST_MESSAGE, one_line

RUN = 12
"""A run of a prompt this long, found in a server's words, is an echo and no coincidence."""
KEY_RUN = 8
"""The same of a key."""
LOOKED_AT = LONGEST_MESSAGE * 4
"""So many characters of a server's words are looked at; no more than a part of them is shown."""

_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[\w*.…-]{2,}|(?:gsk_|xai-|hf_|AIza|nvapi-|pplx-)[\w*.…-]{16,})"
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^\w\s]|[bfnrt]))")
_CONTROL = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def scrub(text: str, secrets: Iterable[str], private: Iterable[str]) -> str:
    """
    Take keys and echoes of the prompt out of a server's words, and make them one bounded line.

    Keys and prompts are found escaped (as JSON writes them, several times over), with other spaces, and
    in part. It takes time in proportion to *private*, and the same for a short answer and a giant one.
    """
    text = _plain(text[:LOOKED_AT])
    text = _without(text, secrets, KEY_RUN, "[key]")
    text = _KEY.sub("[key]", text)
    return one_line(_without(text, private, RUN, "[prompt]"))


def _plain(text: str) -> str:
    """Undo escapes, and make every run of spaces and of signs that are not printable one space."""
    for _ in range(3):
        if "\\" not in text:
            break
        text = _ESCAPE.sub(_unescaped, text)
    odd = {sign for sign in set(text) if not sign.isprintable()}
    if any("\ud800" <= sign <= "\udfff" for sign in odd):
        # An escaped sign beyond the first plane is two halves; they are put together here.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text.translate({ord(sign): " " for sign in odd}).split())


def _unescaped(match: re.Match[str]) -> str:
    number = match[1] or match[2]
    return chr(int(number, 16)) if number else _CONTROL.get(match[3], match[3])


def _without(text: str, unwanted: Iterable[str], run: int, mark: str) -> str:
    """Put *mark* in the place of every run of so many signs of the unwanted, and of short ones whole."""
    wholes = []
    for given in unwanted:
        whole = _plain(given)
        if len(whole) >= run:
            wholes.append(whole)
        elif len(whole) >= 3:
            text = re.sub(rf"(?<!\w){re.escape(whole)}(?!\w)", lambda _: mark, text)
    # The sign between them is in no text that went through _plain().
    echoed = _shared_runs(text, "\n".join(wholes), run)
    shown: list[str] = []
    end = 0
    for place, sign in enumerate(text):
        if text[place : place + run] in echoed:
            if place >= end:
                shown.append(mark)
            end = place + run
        if place >= end:
            shown.append(sign)
    return "".join(shown)


def _shared_runs(text: str, whole: str, run: int) -> set[str]:
    """Give the runs of *text* that *whole* has too, in one pass over each."""
    half = run // 2
    halves = {text[place : place + half] for place in range(len(text) - half + 1)}
    # Wherever a run lies in the whole, an aligned half lies in the run: mostly there is none.
    if not any(whole[place : place + half] in halves for place in range(0, len(whole), half)):
        return set()
    runs = {text[place : place + run] for place in range(len(text) - run + 1)}
    return {
        part
        for place in range(len(whole) - run + 1)
        if (part := whole[place : place + run]) in runs
    }
