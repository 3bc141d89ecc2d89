"""What is taken out of a server's words before they go into a message or a log."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmpool.privacy import KEY_RUN, LOOKED_AT, RUN, scrub

KEY = "9f86d081884c7d659a2feaa0c55ad015"
PROMPT = (
    'Dear Ms. Ève Okonkwo,\nyour "blood test" \U0001f52c shows\tβ-thalassaemia; '
    "你好，你得了地中海贫血症。"
)


def shares_a_run(shown: str, secret: str, run: int) -> bool:
    """Tell whether *shown* holds a run of so many signs of *secret*."""
    return any(secret[at : at + run] in shown for at in range(len(secret) - run + 1))


def escaped(text: str, times: int, *, ascii_only: bool) -> str:
    """Write *text* as JSON in JSON in JSON."""
    for _ in range(times):
        text = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    return text


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_an_echo_escaped_as_json(times: int, ascii_only: bool) -> None:
    """It is found however often it was escaped, also where every sign is written as a number."""
    said = f"bad input: {escaped(PROMPT, times, ascii_only=ascii_only)}"
    assert scrub(said[:LOOKED_AT], [], [PROMPT]) == "bad input: [prompt]"


@pytest.mark.parametrize(
    "said",
    [
        repr(PROMPT),
        PROMPT.replace("\n", " ").replace("\t", "    "),
        PROMPT.replace("\n", "\r\n\x00"),
        PROMPT[:30],
        PROMPT[-30:],
        PROMPT[20:50],
        f"{PROMPT[:20]}…{PROMPT[-20:]}",
        f"x{PROMPT}x",
        f"{PROMPT}{PROMPT}",
        PROMPT.encode("unicode_escape").decode(),
    ],
)
def test_an_echo_in_part_or_with_other_spaces(said: str) -> None:
    """No longer run of the prompt is left."""
    shown = scrub(said, [], [PROMPT])
    assert "[prompt]" in shown
    assert not shares_a_run(shown, " ".join(PROMPT.split()), RUN)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"key {KEY} refused", "key [key] refused"),
        (f"key {KEY[:10]}… refused", "key [key]… refused"),
        (f"key …{KEY[-10:]} refused", "key …[key] refused"),
        (f"https://x.example/?key={KEY}&a=1", "https://x.example/?key=[key]&a=1"),
        (f"{KEY}{KEY}", "[key][key]"),
        (f"a{KEY}\\n{KEY}", "a[key] [key]"),
        ("Incorrect API key provided: sk-abc*****wxyz.", "Incorrect API key provided: [key]"),
        ("Bearer sk-proj-a_b-c was sent", "Bearer [key] was sent"),
        ("key AIzaSyA-1234567890abcdef", "key [key]"),
        ("the disk-full and task-based paths", "the disk-full and task-based paths"),
        ("call hf_hub_download again", "call hf_hub_download again"),
    ],
)
def test_a_key(said: str, shown: str) -> None:
    """A key we know goes, whole or in part, and whatever looks like one."""
    assert scrub(said, [KEY], []) == shown


def test_a_key_where_the_words_are_cut_off() -> None:
    """No longer run of it is left at the end of what is looked at."""
    for cut in range(len(KEY)):
        said = "." * (LOOKED_AT - cut) + KEY
        assert not shares_a_run(scrub(said, [KEY], []), KEY, KEY_RUN)


@pytest.mark.parametrize(
    ("private", "said", "shown"),
    [
        ("hello", "no hello here, no othello", "no [prompt] here, no othello"),
        ("hi", "hi there", "hi there"),
        ("", "nothing", "nothing"),
        ("a.c+", "a.c+ and abc", "[prompt] and abc"),
        (r"\g<0>", r"sent \g<0> on", "sent [prompt] on"),
    ],
)
def test_a_short_prompt(private: str, said: str, shown: str) -> None:
    """It is replaced where it stands as a word; two letters are no echo."""
    assert scrub(said, [], [private]) == shown


def test_short_dummy_keys() -> None:
    """The key of a server without keys is a common word, and is replaced as a word alone."""
    assert scrub("none of the nonesuch", ["none"], []) == "[key] of the nonesuch"


@pytest.mark.parametrize("said", ["", "all is well", "x" * 5000, "\x1b[31mred\x1b[0m\r\n"])
def test_words_without_anything_private(said: str) -> None:
    """They are one printable, bounded line."""
    shown = scrub(said, [KEY], [PROMPT])
    assert shown.isprintable()
    assert shown == " ".join(shown.split())
    assert len(shown) <= 300


TEXT = st.text(alphabet="ab \n\\\"u0é\U0001f52c\ud83d'", max_size=60)


@given(TEXT, TEXT, TEXT, st.integers(0, 60), st.integers(0, 60))
@example("", "a" * 40, "", 0, 40)
@example("\\", "\\u00e9" * 10, "", 0, 60)
def test_any_echo(before: str, prompt: str, after: str, start: int, end: int) -> None:
    """Whatever part of a prompt is echoed, and wherever: no longer run of it is left."""
    shown = scrub(before + prompt[start:end] + after, [], [prompt])
    assert not shares_a_run(shown, prompt, RUN)
    assert shown.isprintable()


def test_a_giant_prompt_and_a_hostile_server() -> None:
    """Time grows with the prompt alone: pieces that almost match cost no more than others."""
    prompt = "aaaaaab" * 300_000
    hostile = "aaaaaac" * 100_000
    shown = scrub(hostile, [], [prompt])
    assert len(shown) == 300
    assert scrub(prompt, [], [prompt]) == "[prompt]"


def test_many_prompts() -> None:
    """A long conversation is gone through once; a run does not reach over from one text to the next."""
    private = [f"message number {number} of the talk" for number in range(5000)]
    shown = scrub("echo: message number 4321 of the talk", [], private)
    assert shown == "echo: [prompt]"
    assert scrub("first half second half", [], ["xxxxxx first half", "second half xxxxxxx"]) != ""
    assert scrub("abcdefg hijklmn", [], ["12345 abcdefg", "hijklmn 12345"]) == "abcdefg hijklmn"
