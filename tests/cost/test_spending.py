"""What a request is thought to take, what an answer says it took, and what that costs."""

from __future__ import annotations

import types
from typing import Any

import attrs
import pytest

from llmpool import CompletionRequest, Prices, Usage
from llmpool.spending import counted, estimate, read_usage, texts


class Thing(types.SimpleNamespace):
    """An SDK's object."""


class Trap:
    """An object that raises when it is looked at."""

    @property
    def usage(self) -> Any:
        raise RuntimeError("not for you")

    prompt_tokens = input_tokens = usage


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (CompletionRequest("hell"), 1),
        (CompletionRequest("hello"), 2),
        (CompletionRequest("hello", max_tokens=100), 102),
        (CompletionRequest("hell", extra={"max_completion_tokens": 50}), 51),
        (CompletionRequest("hell", extra={"max_completion_tokens": "many"}), 1),
        (CompletionRequest("hell", max_tokens=5, extra={"max_output_tokens": 50}), 6),
        (CompletionRequest([{"role": "user", "content": [{"type": "text", "text": "hell"}]}]), 1),
        (CompletionRequest("hell", tools=[{"a": 1}, {"b": 22}]), 1 + 5),
        (CompletionRequest([{"role": "user", "content": None}]), 0),
    ],
)
def test_an_estimate(request_: CompletionRequest, tokens: int) -> None:
    """Four characters a token, and all that may be answered."""
    assert estimate(request_) == tokens


def test_texts_alone() -> None:
    """They are counted together."""
    assert texts(["ab", "cde"]) == 2
    assert texts([]) == 0


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        # OpenAI: chat, then responses.
        (
            {
                "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            (10, 5, 15, 4),
        ),
        (
            {
                "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
                "input_tokens_details": {"cached_tokens": 4},
            },
            (10, 5, 15, 4),
        ),
        ({"prompt_tokens": 10, "total_tokens": 10}, (10, 0, 10, 0)),  # embeddings
        ({"total_tokens": 10}, (0, 0, 10, 0)),
        # Anthropic counts the cached ones beside the others.
        ({"input_tokens": 10, "output_tokens": 5}, (10, 5, 15, 0)),
        (
            {
                "input_tokens": 10, "output_tokens": 5,
                "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
            },
            (130, 5, 135, 100),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 3}, (10, 5, 15, 3)),
        ({"output_tokens": 5}, (0, 5, 5, 0)),
        ({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}, (10, 5, 15, 0)),  # Bedrock
        (  # LangChain
            {
                "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
                "input_token_details": {"cache_read": 4},
            },
            (10, 5, 15, 4),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["object", "mapping"])
def test_a_usage(usage: dict[str, Any], told: tuple[int, ...], shape: str) -> None:
    """It is read under every vendor's names, from an object's fields as from a body's keys."""
    given: Any = {"usage": usage}
    if shape == "object":
        inner = {
            name: Thing(**value) if isinstance(value, dict) else value
            for name, value in usage.items()
        }
        given = Thing(usage=Thing(**inner))

    read = read_usage(given)

    assert read is not None
    assert told == (
        read.prompt_tokens, read.completion_tokens, read.total_tokens, read.cached_tokens
    )  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        Thing(
            usage_metadata=Thing(
                prompt_token_count=10, candidates_token_count=3, thoughts_token_count=2,
                total_token_count=15, cached_content_token_count=4,
            )
        ),
        {
            "usageMetadata": {
                "promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 2,
                "totalTokenCount": 15, "cachedContentTokenCount": 4,
            }
        },
    ],
)  # fmt: skip
def test_a_usage_of_gemini(answer: Any) -> None:
    """Its thoughts are output, and are billed as such."""
    read = read_usage(answer)
    assert read is not None
    assert (read.prompt_tokens, read.completion_tokens, read.total_tokens) == (10, 5, 15)
    assert read.cached_tokens == 4


@pytest.mark.parametrize(
    "answer",
    [
        None, "text", b"bytes", 5, [], {}, object(), Trap(), Thing(usage=None), Thing(usage="many"),
        Thing(usage=Thing(prompt_tokens="10")), Thing(usage=Thing(prompt_tokens=True)),
        {"usage": {"prompt_tokens": -1}}, {"usage": []}, Thing(usage=Trap()),
    ],
)  # fmt: skip
def test_an_answer_that_tells_of_none(answer: Any) -> None:
    """It is none, and what the object raises is kept from the caller."""
    assert read_usage(answer) is None


def test_a_usage_of_our_own() -> None:
    """It is taken as it is, if it can be added up."""
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    assert read_usage(Thing(usage=usage)) is usage
    assert counted(usage) is usage
    assert counted(attrs.evolve(usage, total_tokens=-1)) is None
    assert counted(attrs.evolve(usage, prompt_tokens="3")) is None  # type: ignore[arg-type]
    assert counted({"prompt_tokens": 3}) is None


@pytest.mark.parametrize(
    ("raw", "cached"),
    [
        ({}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 40}}, 40),
        ({"prompt_tokens_details": None, "input_tokens_details": {"cached_tokens": 40}}, 40),
        ({"prompt_tokens_details": {"cached_tokens": None}}, 0),
        ({"prompt_tokens_details": "none"}, 0),
        ({"cache_read_input_tokens": 30}, 30),
        ({"prompt_cache_hit_tokens": 20}, 20),
        ({"cachedContentTokenCount": 10}, 10),
        ({"prompt_cache_hit_tokens": 10**6}, 100),
        ({"prompt_cache_hit_tokens": -5}, 0),
    ],
)
def test_cached_tokens(raw: dict[str, Any], cached: int) -> None:
    """They are found where each vendor tells of them, and are never more than the prompt."""
    assert Usage(prompt_tokens=100, raw=raw).cached_tokens == cached


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        (Prices(input=2.0, output=8.0), (1000 * 2.0 + 100 * 8.0) / 1e6),
        (Prices(input=2.0, output=8.0, cached_input=0.5), (600 * 2 + 400 * 0.5 + 800) / 1e6),
        (Prices(input=2.0, output=8.0, cached_input=0), (600 * 2 + 800) / 1e6),
        (Prices(input=0, output=0), 0.0),
    ],
)
def test_a_cost(prices: Prices, cost: float) -> None:
    """Prices are for a million tokens; cached ones cost like the others where no price says else."""
    usage = Usage(
        prompt_tokens=1000, completion_tokens=100, total_tokens=1100,
        raw={"prompt_tokens_details": {"cached_tokens": 400}},
    )  # fmt: skip
    assert prices.cost(usage) == pytest.approx(cost)
