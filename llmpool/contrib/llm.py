"""
A pool as a model of the command line tool ``llm``, which finds this module by its entry point.

The model ``llmpool`` is the pool that the environment describes, as for ``ProviderPool.from_env()``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from llmpool.contrib._optional import load
from llmpool.errors import LLMPoolError, one_line
from llmpool.forwarding.refusals import MOST_SAID, say
from llmpool.messages import CompletionResponse
from llmpool.pool import ProviderPool

_llm = load("llm", "llmpool.contrib.llm", "llm")
_NONE_ANSWERED = 503


@_llm.hookimpl  # type: ignore[untyped-decorator]
def register_models(register: Any) -> None:
    """Offer the pool of the environment, which is made when it is first asked."""
    register(model())


def model(pool: ProviderPool | None = None, model_id: str = "llmpool") -> Any:
    """Make a model of ``llm`` on *pool*, or else on the one that the environment describes."""
    made = type("PoolModel", (_PoolModel, _llm.Model), {})
    return made(pool, model_id)


class _PoolModel:
    """Asks the pool; streams, calls tools and fills schemas."""

    can_stream = True
    supports_tools = True
    supports_schema = True
    needs_key = None

    def __init__(self, pool: ProviderPool | None, model_id: str) -> None:
        self._given = pool
        self.model_id = model_id

    @cached_property
    def pool(self) -> ProviderPool:
        """
        The pool that is asked.

        Raises:
            llmpool.settings.ConfigError: the environment describes none.
        """
        return ProviderPool.from_env() if self._given is None else self._given

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        """Answer *prompt*, in pieces if *stream* says so."""
        try:
            asked = {"messages": _messages(prompt), **_wishes(prompt)}
            yield from self._stream(asked, response) if stream else self._complete(asked, response)
        except LLMPoolError as error:
            failure = _llm.ModelError(one_line(say(error, _NONE_ANSWERED), MOST_SAID))
        except (
            ValueError
        ) as error:  # of the configuration, or of a part that the pool does not take
            failure = _llm.ModelError(str(error))
        else:
            return
        raise failure

    def _complete(self, asked: dict[str, Any], response: Any) -> Iterator[str]:
        answer = self.pool.complete(**asked)
        yield answer.text
        _tell(answer, response)

    def _stream(self, asked: dict[str, Any], response: Any) -> Iterator[str]:
        with self.pool.stream(**asked) as stream:
            for chunk in stream:
                if chunk.text:
                    yield chunk.text
        _tell(stream.response, response)


def _wishes(prompt: Any) -> dict[str, Any]:
    wishes: dict[str, Any] = {}
    if prompt.schema:
        shape = {"name": "output", "schema": prompt.schema}
        wishes["response_format"] = {"type": "json_schema", "json_schema": shape}
    if prompt.tools:
        wishes["tools"] = [_tool(each) for each in prompt.tools]
    return wishes


def _tool(tool: Any) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.input_schema,
    }
    return {"type": "function", "function": function}


def _messages(prompt: Any) -> list[dict[str, Any]]:
    """Give a conversation in the pool's words; what is neither text nor of a tool is refused."""
    return [each for message in prompt.messages for each in _message(message)]


def _message(message: Any) -> Iterator[dict[str, Any]]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        kind = type(part).__name__
        if kind == "TextPart":
            texts.append(part.text)
        elif kind == "ToolCallPart":
            function = {"name": part.name, "arguments": json.dumps(part.arguments)}
            calls.append({"type": "function", "id": part.tool_call_id, "function": function})
        elif kind == "ToolResultPart":
            yield {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.output}
        elif kind != "ReasoningPart":
            raise ValueError(f"llmpool: wanted text and tools in a prompt, got {kind}")
    if texts or calls:
        made: dict[str, Any] = {"role": message.role, "content": "".join(texts) or None}
        yield {**made, "tool_calls": calls} if calls else made


def _tell(answer: CompletionResponse, response: Any) -> None:
    """Tell of the answer what is no text."""
    for call in answer.tool_calls:
        arguments = json.loads(call.arguments or "{}")
        made = _llm.ToolCall(name=call.name, arguments=arguments, tool_call_id=call.id)
        response.add_tool_call(made)
    if answer.usage is not None:
        response.set_usage(input=answer.usage.prompt_tokens, output=answer.usage.completion_tokens)
    response.response_json = {"id": answer.id, "deployment": answer.deployment}
