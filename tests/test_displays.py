"""What a notebook shows of answers and batches: escaped, bounded, and no more than belongs there."""

from __future__ import annotations

import html.parser
import json
import pickle
from typing import Any

import pytest
from checking import pool_of

from llmpool import (
    Attempt,
    BatchResults,
    Choice,
    CompletionResponse,
    EmbeddingResponse,
    MapInterrupted,
    PoolClosed,
    RateLimited,
    ServerFault,
    ToolCall,
    Usage,
    Verdict,
    _html,
)
from llmpool.testing import ScriptedProvider

EVIL = "<script>alert('x')</script>&\"$a$\""
USAGE = Usage(prompt_tokens=1200, completion_tokens=30, total_tokens=1230)
TAGS = {"div", "p", "pre", "table", "thead", "tbody", "tr", "th", "td", "span"}
TRIED = (
    Attempt("eu", Verdict.FAULT, "ServerFault: HTTP 500", latency=0.5),
    Attempt("us", Verdict.OK, latency=0.25),
)


class Shown(html.parser.HTMLParser):
    """The tags and the words of a piece of HTML, whose elements are all closed in their order."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.source: str = value._repr_html_()
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"th", "td"} & set(self._open):
            self.rows[-1][-1] += data


def test_an_answer() -> None:
    """Its text as it is, and below it who gave it, how soon, and for how many tokens."""
    answer = CompletionResponse(
        f"two\n  lines {EVIL}", finish_reason="stop", usage=USAGE, model="tiny",
        deployment="eu", latency=0.01234, attempts=TRIED[1:], cost=0.5,
    )  # fmt: skip
    shown = Shown(answer)
    assert shown.words == [
        f"two\n  lines {EVIL}",
        "model tiny · deployment eu · 0.0123 s · 1,200 tokens in, 30 out · cost 0.5",
    ]
    assert shown.tags == {"div", "pre", "p"}


def test_an_answer_that_took_several_attempts() -> None:
    """They can be unfolded."""
    shown = Shown(CompletionResponse("yes", deployment="us", latency=0.25, attempts=TRIED))
    assert shown.words[2:] == ["2 attempts", *map(str, TRIED)]
    assert {"details", "summary", "ol", "li"} <= shown.tags


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (CompletionResponse(), ["no text"]),
        (CompletionResponse(None), ["no text"]),  # type: ignore[arg-type]
        (CompletionResponse("cut", finish_reason="length"), ["cut", "ended by length"]),
        (
            CompletionResponse.from_choices([Choice(text="one"), Choice(text="two")]),
            ["one", "the first of 2 choices"],
        ),
        (
            CompletionResponse(tool_calls=(ToolCall(name="find", arguments='{"a": "<b>"}'),)),
            ['find({"a": "<b>"})'],
        ),
        (CompletionResponse(refusal=EVIL), ["refused:", EVIL]),
    ],
    ids=["nothing", "none", "cut", "choices", "tool call", "refusal"],
)
def test_an_answer_of_another_kind(answer: CompletionResponse, words: list[str]) -> None:
    """What it holds is shown in the text's place."""
    assert [word for word in Shown(answer).words if word] == words


def test_a_very_long_answer() -> None:
    """It is cut, and says by how much."""
    shown = Shown(CompletionResponse("x" * (_html.LONGEST_TEXT + 1234)))
    assert shown.words[0] == "x" * (_html.LONGEST_TEXT - 1) + "…"
    assert shown.words[1] == "… 1,234 more characters"


def test_half_a_sign() -> None:
    """Half of a pair of surrogates, as a cut answer holds it, can be sent to the notebook."""
    shown = Shown(CompletionResponse("cut \ud83d here", model="\ud83d"))
    shown.source.encode("utf-8")
    assert shown.words[0] == "cut ? here"


def test_what_belongs_to_others() -> None:
    """Of what came with the answer, and of what was asked, nothing is shown."""
    raw = {"prompt": "the question itself", "reasoning": "private thoughts"}
    answer = CompletionResponse("yes", raw=raw, reasoning="private thoughts", id="chatcmpl-1")
    assert Shown(answer).words == ["yes"]


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([[0.5] * 1536] * 3, "3 vectors · 1,536 numbers each"),
        ([[0.5, 0.5]], "1 vector · 2 numbers each"),
        ([[0.5], [0.5, 0.5]], "2 vectors"),
        ([], "0 vectors"),
    ],
)
def test_embeddings(vectors: list[list[float]], words: str) -> None:
    """They are counted, not shown."""
    shown = Shown(EmbeddingResponse(vectors, usage=USAGE, model="tiny", cost=2.0))
    assert shown.words == [f"{words} · model tiny · 1,200 tokens in, 30 out · cost 2"]


def test_figures() -> None:
    """A few signs are enough."""
    given = [1234567, 1234.5, 99.94, 0.000695, 0.0, float("inf"), float("nan")]
    told = ["1,234,567", "1,234", "99.9", "0.000695", "0", "∞", "–"]
    assert [_html.figure(number) for number in given] == told


class Custom(ServerFault):
    """A user's own."""


PLACES: list[Any] = [
    CompletionResponse("first\n answer", usage=USAGE, deployment="eu", latency=0.5, attempts=TRIED),
    None,
    RateLimited(EVIL, deployment="us", attempts=TRIED),
    ValueError("the prompt, cited by somebody else's code"),
    Custom("all wrong"),
    PoolClosed("it was closed"),
    CompletionResponse(tool_calls=(ToolCall(name="find", arguments="{}"),)),
    CompletionResponse(refusal="never"),
    CompletionResponse(""),
    {"put": "there by the user"},
]


def test_a_batch() -> None:
    """A line of counts, and a row for each place; the words of foreign errors are not repeated."""
    shown = Shown(BatchResults(PLACES))
    assert shown.words[0] == (
        "4 answers · 1 RateLimited · 1 ValueError · 1 Custom · 1 PoolClosed · 1 not done"
    )
    assert shown.rows[:4] == [
        ["n", "answer", "deployment", "latency (s)", "tokens out", "attempts"],
        ["0", "first answer", "eu", "0.5", "30", "2"],
        ["1", "●\xa0not done", "–", "–", "–", "–"],
        ["2", f"●\xa0RateLimited: {EVIL}", "us", "–", "–", "2"],
    ]
    assert [row[1] for row in shown.rows[4:]] == [
        "●\xa0ValueError", "●\xa0Custom: all wrong", "●\xa0PoolClosed",
        "find({})", "never", "no text", "dict",
    ]  # fmt: skip
    assert shown.tags <= TAGS


def test_a_batch_as_records() -> None:
    """Flat values for a table or for JSON, the same names in each."""
    records = BatchResults(PLACES).to_dicts()
    assert json.loads(json.dumps(records)) == records
    assert records[0] == {
        "n": 0, "text": "first\n answer", "finish_reason": None, "model": None, "deployment": "eu",
        "latency": 0.5, "input_tokens": 1200, "output_tokens": 30, "cost": None, "attempts": 2,
        "error": None,
    }  # fmt: skip
    assert {tuple(record) for record in records} == {tuple(records[0])}
    assert [record["text"] for record in records[1:]] == [None] * 5 + ["", "", "", None]
    assert records[2]["error"] == f"RateLimited: {EVIL}"
    assert (records[2]["deployment"], records[2]["attempts"]) == ("us", 2)
    assert [record["error"] for record in records[3:6]] == [
        "ValueError", "Custom: all wrong", "PoolClosed",
    ]  # fmt: skip


def test_a_large_batch() -> None:
    """Its first rows are shown, and how many more there are; its long texts are cut."""
    text = "word " * 1000
    shown = Shown(BatchResults([CompletionResponse(text)] * 1000))
    assert shown.words[0] == "1,000 answers"
    assert shown.words[-1] == f"… {1000 - _html.ROWS} more"
    assert all(len(word) <= _html.LONGEST_CELL for word in shown.words)


def test_an_empty_batch() -> None:
    """It says so."""
    assert Shown(BatchResults()).words == ["0 answers"]


def test_a_batch_is_a_list() -> None:
    """Equal to one, sliced like one, pickled with all that it holds."""
    batch = BatchResults(PLACES[:2])
    assert batch == PLACES[:2]
    assert isinstance(batch, list)
    assert pickle.loads(pickle.dumps(batch)) == batch
    assert type(pickle.loads(pickle.dumps(batch))) is BatchResults


def test_what_is_missing() -> None:
    """The places of errors and of what was not done are known, and can be filled."""
    batch = BatchResults(PLACES[:4])
    assert list(batch.errors) == [2, 3]
    assert isinstance(batch.errors[2], RateLimited)
    assert batch.missing == [1]
    batch.fill([*batch.missing, *batch.errors], ["b", "c", "d"])
    assert batch[1:] == ["b", "c", "d"]
    assert (batch.errors, batch.missing) == ({}, [])
    with pytest.raises(ValueError, match="argument 2 is"):
        batch.fill([0, 1], ["a"])


def test_an_interrupted_batch() -> None:
    """It is shown like any other, with what is not done; so is its error, which pickles."""
    error = MapInterrupted("interrupted with 1 of 2 done", PLACES[:2])
    again = pickle.loads(pickle.dumps(error))
    assert again.results == PLACES[:2]
    for each in (error, again):
        assert Shown(each).words[0] == "1 answer · 1 not done"


def test_a_status_after_a_prompt() -> None:
    """Neither the question nor the answer of any call stands in what a pool tells of itself."""
    asked, said = "a question of some length", "an answer of some length"
    pool = pool_of(
        ScriptedProvider(said, repeat=True), ScriptedProvider(RateLimited("slow down"), repeat=True)
    )
    pool.map([asked] * 8)
    whole = pool.health_status()
    for value in (pool, whole, *whole.deployments, *pool.check_now()):
        text = Shown(value).source
        assert asked not in text
        assert said not in text
