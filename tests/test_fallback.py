"""A request that one deployment refuses as too long, or as filtered, sent on to those marked as able."""

from __future__ import annotations

from typing import Any

import pytest
from calling import ENDS, Stage, on
from stand import Mute, deployment

from llmpool import (
    CompletionResponse,
    ContentFiltered,
    ContextLengthExceeded,
    Deployment,
    EmbeddingResponse,
    InvalidRequest,
    ProviderPool,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    errors,
)
from llmpool.fallback import meaning, meanings, unable
from llmpool.outcomes import IGNORED, classify
from llmpool.testing import ScriptedProvider

LONG = {"context_length"}
FILTER = {"content_filter"}
TOO_LONG = ContextLengthExceeded("too long", status=400)
FILTERED = ContentFiltered("filtered", status=400)
NOTHING = CompletionResponse("", finish_reason="content_filter")


def sized(name: str, words: str, max_context: int | None, **options: Any) -> Deployment:
    """Give a deployment whose model reads so much."""
    return on(name, words, max_context=max_context, **options)


def vendors(**steps: Any) -> ProviderPool:
    """Give a pool of a deployment for each vendor, asked in that order; a list is several steps."""
    return ProviderPool(
        [
            Deployment(
                name,
                ScriptedProvider(*(step if isinstance(step, tuple) else (step,))),
                vendor=name.rstrip("12") if not name.startswith("unmarked") else None,
                max_context=len(name),
            )
            for name, step in steps.items()
        ],
        strategy="primary",
        health_check=None,
    )


# -- context length -------------------------------------------------------------------------


def test_without_it() -> None:
    """A request that is too long fails where it was first sent."""
    stage = Stage(sized("small", "long", 8), sized("large", "ok", 128))

    assert isinstance(stage.fail(), ContextLengthExceeded)
    assert stage.asked() == ["small"]


def test_a_larger_one() -> None:
    """It gets the request, and those as small as the first do not."""
    stage = Stage(
        sized("small", "long", 8), sized("twin", "ok", 8), on("unmarked", "ok"),
        sized("large", "ok", 128),
    )  # fmt: skip

    assert stage.complete(fallback_on=LONG) == "large"
    assert stage.asked() == ["small", "large"]


def test_one_that_is_blamed_for_nothing() -> None:
    """The one that refused keeps its health, and is no error in its count."""
    stage = Stage(sized("small", "long", 8), sized("large", "ok", 128), failure_threshold=1)
    for _ in range(5):
        stage.complete(fallback_on=LONG)

    assert stage.states() == {"small": "healthy", "large": "healthy"}
    assert stage.counts("small") == (5, 0, 0)


def test_a_pool_that_always_does() -> None:
    """A call may ask for less."""
    deployments = [
        Deployment("small", ScriptedProvider(TOO_LONG, repeat=True), max_context=8),
        Deployment("large", ScriptedProvider("fine", repeat=True), max_context=128),
    ]
    pool = ProviderPool(deployments, strategy="primary", health_check=None, fallback_on=LONG)

    assert pool.complete("hello").deployment == "large"
    with pytest.raises(ContextLengthExceeded):
        pool.complete("hello", fallback_on=())
    with pytest.raises(ContextLengthExceeded):
        pool.complete("hello", fallback_on=FILTER)


def test_one_that_refused_and_is_not_marked() -> None:
    """Any that is marked counts as larger."""
    stage = Stage(on("unmarked", "long"), on("other", "ok"), sized("small", "ok", 8))

    assert stage.complete(fallback_on=LONG) == "small"


def test_nobody_is_able() -> None:
    """The error is the one that it would have been, at once and without a pause."""
    stage = Stage(sized("large", "long", 128), sized("small", "ok", 8), on("unmarked", "ok"))

    error = stage.fail(fallback_on=LONG)

    assert isinstance(error, ContextLengthExceeded)
    assert error.deployment == "large"
    assert stage.when() == [("large", 0.0)]


def test_all_of_them_refuse() -> None:
    """The first one's error tells of every attempt; who is larger than the last is asked next."""
    stage = Stage(*(sized(name, "long", size) for name, size in [("z", 8), ("y", 16), ("a", 32)]))

    error = stage.fail(fallback_on=LONG)

    assert isinstance(error, ContextLengthExceeded)
    assert error.deployment == "z"
    assert [attempt.deployment for attempt in error.attempts] == ["z", "y", "a"]
    assert stage.asked() == ["z", "y", "a"]


def test_refusals_are_no_attempts_that_worked() -> None:
    """As many are asked as are able, whatever max_attempts says."""
    sizes = [(f"d{size}", size) for size in range(1, 8)]
    stage = Stage(
        *(sized(name, "ok" if size == 7 else "long", size) for name, size in sizes),
        retry=RetryPolicy(max_attempts=1, budget_min=0, budget_ratio=0.0),
    )

    assert stage.complete(fallback_on=LONG) == "d7"


def test_the_able_one_fails() -> None:
    """The first error surfaces, for nobody else could mend that; the able one bears its own fault."""
    stage = Stage(sized("small", "long", 8), sized("large", "500", 128), failure_threshold=9)

    error = stage.fail(fallback_on=LONG)

    assert isinstance(error, ContextLengthExceeded)
    assert stage.asked() == ["small", "large", "large", "large"]
    assert stage.counts("large")[1] == 3


def test_the_able_one_refuses_for_another_reason() -> None:
    """The first error surfaces, and nobody further is asked."""
    stage = Stage(sized("small", "long", 8), sized("a", "400", 16), sized("large", "ok", 128))

    error = stage.fail(fallback_on=LONG)
    assert isinstance(error, ContextLengthExceeded)
    assert stage.asked() == ["small", "a"]


def test_the_able_one_cools_down() -> None:
    """The call waits for it, as it would for any."""
    stage = Stage(sized("small", "long", 8), sized("large", "429:3 ok", 128))

    assert stage.complete(fallback_on=LONG) == "large"
    assert stage.when() == [("small", 0.0), ("large", 0.0), ("large", 3.0)]


def test_after_a_fault() -> None:
    """An able one that failed before is returned to; one that is not able is not."""
    stage = Stage(
        sized("large", "500 ok", 128), sized("tiny", "500 ok", 4), sized("small", "long", 8)
    )

    assert stage.complete(fallback_on=LONG) == "large"
    assert stage.asked() == ["large", "tiny", "small", "large"]


def test_no_able_one_is_healthy() -> None:
    """An unhealthy one is tried as the last resort, if it is able."""
    stage = Stage(sized("small", "long", 8), sized("large", "500 ok", 128), failure_threshold=1)
    stage.pool.drain("small")
    stage.fail(retry=False)
    stage.pool.resume("small")
    assert stage.states()["large"] == "unhealthy"

    assert stage.complete(fallback_on=LONG) == "large"


@pytest.mark.parametrize(("retry", "asked"), [(False, ["small"]), ("unsent", ["small", "large"])])
def test_retries_that_are_off(retry: Any, asked: list[str]) -> None:
    """One request is one; what was refused was not processed, and may be sent on."""
    stage = Stage(sized("small", "long", 8), sized("large", "ok", 128))
    if retry is False:
        stage.fail(fallback_on=LONG, retry=retry)
    else:
        stage.complete(fallback_on=LONG, retry=retry)

    assert stage.asked() == asked


def test_a_conversation() -> None:
    """It leaves a home that is too small for it."""
    stage = Stage(sized("a", "long", 8), sized("b", "long", 8), sized("large", "ok", 128))
    keys = {key: stage.complete(affinity_key=key, fallback_on=LONG) for key in "abcdefgh"}

    assert set(keys.values()) == {"large"}


# -- content filter -------------------------------------------------------------------------


def test_another_vendor() -> None:
    """It gets what the first one's filter refused; the same vendor does not."""
    pool = vendors(azure1=FILTERED, azure2="fine", unmarked="fine", other="fine")

    assert pool.complete("hello", fallback_on=FILTER).deployment == "other"
    assert [len(each.provider.calls) for each in pool.deployments] == [1, 0, 0, 1]


def test_a_filter_and_then_a_length() -> None:
    """Who is left must be able to do both."""
    pool = vendors(aa=FILTERED, bb=TOO_LONG, a_larger="fine", bb2="fine")

    answer = pool.complete("hello", fallback_on=FILTER | LONG)

    assert [attempt.deployment for attempt in answer.attempts] == ["aa", "bb", "a_larger"]


@pytest.mark.parametrize("code", ["content_filter", "responsibleaipolicyviolation"])
def test_an_error_that_is_named_by_its_code(code: str) -> None:
    """A provider of the user's own need not know our classes."""
    refused = InvalidRequest("no", status=400, code=code)
    pool = vendors(azure=refused, other="fine")

    assert pool.complete("hello", fallback_on=FILTER).deployment == "other"


def test_an_answer_of_which_a_filter_left_nothing() -> None:
    """It is sent on too; without the setting it is the answer."""
    assert vendors(azure=NOTHING, other="fine").complete("hello").finish_reason == "content_filter"
    pool = vendors(azure=NOTHING, other="fine")

    answer = pool.complete("hello", fallback_on=FILTER)

    assert answer.deployment == "other"
    assert [attempt.verdict for attempt in answer.attempts] == ["caller", "ok"]


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (CompletionResponse("a part", finish_reason="content_filter"), {"fallback_on": FILTER}),
        (NOTHING, {"fallback_on": LONG}),
        (NOTHING, {"fallback_on": FILTER, "retry": False}),
        (NOTHING, {"fallback_on": FILTER, "retry": "unsent"}),
        (CompletionResponse("", finish_reason="stop"), {"fallback_on": FILTER}),
    ],
)
def test_an_answer_that_stands(answer: CompletionResponse, options: dict[str, Any]) -> None:
    """Where something was left of it, or nothing is to be repeated, it is given as it is."""
    given = vendors(azure=answer, other="fine").complete("hello", **options)
    assert given.deployment == "azure"
    assert given.finish_reason == answer.finish_reason


def test_nobody_has_another_filter() -> None:
    """An empty answer ends as the refusal that it is."""
    with pytest.raises(ContentFiltered, match="azure: the content filter left nothing"):
        vendors(azure=NOTHING, azure2="fine").complete("hello", fallback_on=FILTER)


# -- the other forms of a call --------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [FILTERED, [FILTERED], [StreamChunk(role="assistant"), FILTERED]], ids=repr
)
def test_a_stream(step: Any) -> None:
    """Before its first content it is sent on unseen."""
    with vendors(azure=step, other="fine").stream("hello", fallback_on=FILTER) as stream:
        assert stream.deployment == "other"
        assert "".join(chunk.text for chunk in stream) == "fine"


def test_a_stream_of_which_a_filter_left_nothing() -> None:
    """It is sent on; without the setting it is an empty stream."""
    end = [StreamChunk(role="assistant"), StreamChunk(finish_reason="content_filter")]
    with vendors(azure=end, other="fine").stream("hello", fallback_on=FILTER) as stream:
        assert stream.deployment == "other"
    with vendors(azure=end, other="fine").stream("hello") as stream:
        assert stream.deployment == "azure"
    with vendors(azure=["text", *end]).stream("hello", fallback_on=FILTER) as stream:
        assert next(chunk.text for chunk in stream) == "text"


def test_a_stream_after_its_first_content() -> None:
    """It is interrupted, never switched."""
    stream = vendors(azure=["some", FILTERED], other="fine").stream("hello", fallback_on=FILTER)
    with pytest.raises(StreamInterrupted):
        list(stream)


def test_an_embedding() -> None:
    """It is sent on to those of the same model."""
    pool = vendors(a=TOO_LONG, larger=EmbeddingResponse([[1.0]]))

    assert pool.embed("hello", fallback_on=LONG).deployment == "larger"


def test_a_function() -> None:
    """The errors that it raises are sent on."""
    pool = vendors(a="fine", larger="fine")

    def ask(lease: Any) -> str:
        if lease.deployment == "a":
            raise ENDS["long"]()
        return str(lease.deployment)

    assert pool.call(ask, fallback_on=LONG) == "larger"


# -- what may be asked for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("context_length", "fallback_on: wanted an iterable of texts, got 'context_length'"),
        (True, "fallback_on: wanted an iterable of texts, got True"),
        (["rate_limit"], "names among context_length, content_filter, got 'rate_limit'"),
        ([5], "fallback_on: wanted a text"),
    ],
)
def test_a_wrong_name(given: Any, said: str) -> None:
    """It is refused by the pool and by the call."""
    with pytest.raises((TypeError, ValueError), match=said):
        meanings(given)
    with pytest.raises((TypeError, ValueError), match=said):
        ProviderPool([deployment("a")], fallback_on=given)
    with pytest.raises((TypeError, ValueError), match=said):
        vendors(a="fine").complete("hello", fallback_on=given)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (TOO_LONG, "context_length"),
        (ContextLengthExceeded("too long", status=413), "context_length"),
        (errors.ProviderError("too long", code="context_length_exceeded"), "context_length"),
        (FILTERED, "content_filter"),
        (InvalidRequest("wrong", status=400), None),
        (errors.ServerFault("broke", status=500), None),
        (TypeError("the caller's own"), None),
    ],
)
def test_what_an_error_means(error: Exception, name: str | None) -> None:
    """Only those two are ever sent on."""
    assert meaning(classify(error)) == name
    assert meaning(IGNORED) is None


def test_who_is_able() -> None:
    """The larger, or another vendor's; one without a mark never."""
    all_of_them = [
        Deployment("a", Mute(), max_context=8, vendor="x"),
        Deployment("b", Mute(), max_context=16, vendor="x"),
        Deployment("c", Mute(), max_context=8, vendor="y"),
        Deployment("d", Mute()),
    ]
    a, *_, d = all_of_them
    assert unable("context_length", a, all_of_them) == {"a", "c", "d"}
    assert unable("content_filter", a, all_of_them) == {"a", "b", "d"}
    assert unable("context_length", d, all_of_them) == {"d"}
    assert unable("content_filter", d, all_of_them) == {"d"}
