"""What goes in and what comes out: requests, answers and pieces of a stream, for every wire format."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from llmpool import _html
from llmpool._made import made
from llmpool._validators import as_count, as_number, as_text, refuse

if TYPE_CHECKING:
    from llmpool.outcomes import Attempt

Content = str | Sequence[Mapping[str, Any]] | None
"""A text, a list of parts (text, image, audio …) in the API's own shape, or nothing."""


def _length(value: Sequence[Any]) -> str:
    return f"<{len(value)}>"


class Role(str, enum.Enum):
    """Who speaks."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@attrs.frozen(kw_only=True)
class ToolCall:
    """
    A call that the model asks for.

    ``arguments`` is the JSON text as the model wrote it. In a stream it is a piece of that text, and
    ``index`` tells to which call the piece belongs.
    """

    id: str | None = None
    name: str | None = None
    arguments: str = attrs.field(default="", repr=False)
    index: int = 0
    type: str = "function"
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], index: int = 0) -> ToolCall:
        """Read the OpenAI shape; fields it does not know stay in ``raw``."""
        function = _mapping(raw.get("function"))
        arguments = function.get("arguments") or ""
        place = raw.get("index")
        return cls(
            id=raw.get("id"),
            name=function.get("name"),
            # Some servers give the arguments as the object that the text would stand for.
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
            index=place if isinstance(place, int) else index,
            type=raw.get("type") or "function",
            raw=raw,
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the OpenAI shape, as an assistant's message carries it back."""
        # An index belongs to a stream; some servers refuse it in a message.
        written = {key: value for key, value in self.raw.items() if key != "index"}
        written |= {"id": self.id, "type": self.type}
        if self.type == "function":
            known = {"name": self.name, "arguments": self.arguments}
            written["function"] = {**_mapping(written.get("function")), **known}
        return written


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tool_calls(given: Iterable[ToolCall | Mapping[str, Any]] | None) -> tuple[ToolCall, ...]:
    if not given:
        return ()
    wanted = "a list of tool calls (dicts or ToolCall)"
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        refuse("tool_calls", wanted, given, kind=TypeError, private=True)
    taken = []
    for index, call in enumerate(given):
        if isinstance(call, Mapping):
            call = ToolCall.from_dict(call, index)
        elif not isinstance(call, ToolCall):
            refuse("tool_calls", wanted, call, kind=TypeError, private=True)
        taken.append(call)
    return tuple(taken)


def _role(given: object) -> str:
    if type(given) is str and given:
        return given
    if not isinstance(given, str) or not given:
        refuse("role", "a text such as 'user'", given, kind=TypeError)
    return str.__str__(given)  # an enum's own __str__ may give its name


def _content(given: Any) -> Content:
    if type(given) is str or given is None or isinstance(given, str):
        return given
    wanted = "a text, a list of parts (dicts), or None"
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Sequence):
        refuse("content", wanted, given, kind=TypeError, private=True)
    for part in given:
        if not isinstance(part, Mapping):
            refuse("content", wanted, part, kind=TypeError, private=True)
    return given


@attrs.frozen(slots=False)  # made for every call, and twice as quick without slots
class Message:
    """
    One message of a conversation.

    ``extra`` holds any field of the API's own that has no name here; it is sent as it is.
    """

    role: str = attrs.field(converter=_role)
    content: Content = attrs.field(default=None, repr=False, converter=_content)
    name: str | None = attrs.field(default=None, kw_only=True)
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True, converter=_tool_calls)
    tool_call_id: str | None = attrs.field(default=None, kw_only=True)
    extra: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, repr=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Message:
        """Read the OpenAI shape; fields that have no name here go to ``extra``."""
        if "role" not in raw:
            refuse("messages", "dicts with a 'role'", raw)
        known = ("role", "content", "name", "tool_calls", "tool_call_id")
        return cls(
            raw["role"],
            raw.get("content"),
            name=raw.get("name"),
            tool_calls=raw.get("tool_calls") or (),
            tool_call_id=raw.get("tool_call_id"),
            extra={key: value for key, value in raw.items() if key not in known},
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the OpenAI shape."""
        written: dict[str, Any] = {"role": self.role, "content": self.content, **self.extra}
        if self.name is not None:
            written["name"] = self.name
        if self.tool_calls:
            written["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        if self.tool_call_id is not None:
            written["tool_call_id"] = self.tool_call_id
        return written

    def texts(self) -> Iterator[str]:
        """Give the content's texts: itself, or those of its parts."""
        if isinstance(self.content, str):
            yield self.content
        elif self.content is not None:
            yield from (part["text"] for part in self.content if isinstance(part.get("text"), str))


Prompt = str | Sequence[Message | Mapping[str, Any]]


_USER = {**Message("user").__dict__}  # a plain dict, which is copied as a whole


def _from_user(text: str) -> Message:
    """Give a user's message."""
    facts = _USER.copy()
    facts["content"] = text
    facts["extra"] = {}
    return made(Message, facts)


def _messages(given: object) -> tuple[Message, ...]:
    if isinstance(given, str):
        return (_from_user(given),)
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        refuse("messages", "a str or a list of messages (dicts or Message)", given, kind=TypeError)
    taken = []
    for entry in given:
        if isinstance(entry, Message):
            taken.append(entry)
        elif isinstance(entry, Mapping):
            taken.append(Message.from_dict(entry))
        else:
            wanted = "dicts or Message in the list"
            refuse("messages", wanted, entry, kind=TypeError, private=True)
    if not taken:
        refuse("messages", "at least one message", given)
    return tuple(taken)


@attrs.frozen(slots=False)
class CompletionRequest:
    """
    What is asked of a deployment, in one shape for every wire format.

    ``messages`` may be given as a str, or as a list of dicts or :class:`Message`. ``extra`` holds
    every further field of the API (``response_format``, ``top_p``, ``stop`` …); it is sent as it is.
    ``once`` asks a provider to send it once at most, whatever happens to the connection.
    """

    messages: tuple[Message, ...] = attrs.field(converter=_messages, repr=_length)
    model: str | None = attrs.field(default=None, kw_only=True)
    max_tokens: int | None = attrs.field(default=None, kw_only=True)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    tools: Sequence[Mapping[str, Any]] | None = attrs.field(default=None, kw_only=True, repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, repr=False)
    once: bool = attrs.field(default=False, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        # Not by validators: this stands on the path of every call, where mostly all are None.
        if self.model is not None:
            as_text("model", self.model)
        if self.max_tokens is not None:
            as_count("max_tokens", self.max_tokens, least=1)
        if self.temperature is not None:
            as_number("temperature", self.temperature)
        if self.tools is not None:
            _check_tools(self.tools)
        if type(self.extra) is not dict and not isinstance(self.extra, Mapping):
            refuse("extra", "a mapping", self.extra, kind=TypeError, private=True)

    def texts(self) -> tuple[str, ...]:
        """Give the texts of all messages, in order."""
        return tuple(text for message in self.messages for text in message.texts())


_NOTHING_ASKED = {**CompletionRequest("").__dict__}


def asked(
    given: Prompt,
    model: str | None,
    max_tokens: int | None,
    temperature: float | None,
    tools: Sequence[Mapping[str, Any]] | None,
    extra: Mapping[str, Any],
) -> CompletionRequest:
    """Give a request; made for every call, so without the cost of ``__init__``."""
    facts = _NOTHING_ASKED.copy()
    facts["messages"] = (_from_user(given),) if type(given) is str else _messages(given)
    facts["extra"] = extra
    if model is None and max_tokens is None and temperature is None and tools is None:
        return made(CompletionRequest, facts)
    facts["model"] = model
    facts["max_tokens"] = max_tokens
    facts["temperature"] = temperature
    facts["tools"] = tools
    request = made(CompletionRequest, facts)
    request.__attrs_post_init__()
    return request


def _check_tools(tools: object) -> None:
    wanted = "a list of tools (dicts)"
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Sequence):
        refuse("tools", wanted, tools, kind=TypeError, private=True)
    for tool in tools:
        if not isinstance(tool, Mapping):
            refuse("tools", wanted, tool, kind=TypeError, private=True)


_CACHED = ("cache_read_input_tokens", "prompt_cache_hit_tokens", "cachedContentTokenCount")
"""Where Anthropic, DeepSeek and Gemini tell of them."""


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens, as the server counted them; ``raw`` holds its further counts (cached, reasoning …)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def input_tokens(self) -> int:
        """The newer name of ``prompt_tokens``."""
        return self.prompt_tokens

    @property
    def output_tokens(self) -> int:
        """The newer name of ``completion_tokens``."""
        return self.completion_tokens

    @property
    def cached_tokens(self) -> int:
        """Those of the prompt that a prompt cache held, as far as ``raw`` tells."""
        details = self.raw.get("prompt_tokens_details") or self.raw.get("input_tokens_details")
        told = [_mapping(details).get("cached_tokens"), *map(self.raw.get, _CACHED)]
        counts = [count for count in told if type(count) is int]
        return min(max(0, *counts), self.prompt_tokens) if counts else 0

    @property
    def reasoning_tokens(self) -> int:
        """Those of the answer that went into thinking, as far as ``raw`` tells."""
        details = self.raw.get("completion_tokens_details") or self.raw.get("output_tokens_details")
        told = (_mapping(details).get("reasoning_tokens"), self.raw.get("thoughtsTokenCount"))
        counts = [count for count in told if type(count) is int]
        return min(max(0, *counts), self.completion_tokens) if counts else 0


def _text(given: object) -> str:
    if given is None:  # what SDKs give beside a tool call or a refusal
        return ""
    if not isinstance(given, str):
        refuse("text", "a text or None", given, kind=TypeError, private=True)
    return given


@attrs.frozen(kw_only=True)
class Choice:
    """One of the answers to a request that asked for several."""

    index: int = 0
    text: str = attrs.field(default="", repr=_length, converter=_text)
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = attrs.field(default=None, repr=False)
    refusal: str | None = attrs.field(default=None, repr=False)
    logprobs: Any = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


# Not slotted: the pool fills in the last three fields on a copy, and copying a
# __dict__ costs a tenth of attrs.evolve on the path of every call.
@attrs.frozen(slots=False)
class CompletionResponse:
    """
    An answer.

    The fields before ``choices`` are the first choice's. ``raw`` is the body as it came; nothing of it
    is dropped. The pool fills in ``deployment`` (its name), ``latency`` (seconds of the attempt that
    answered), ``attempts`` (every attempt of the call, oldest first) and ``cost`` (by the
    deployment's prices; None without prices or usage).
    """

    text: str = attrs.field(default="", repr=_length, converter=_text)
    finish_reason: str | None = attrs.field(default=None, kw_only=True)
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True, converter=_tool_calls)
    usage: Usage | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    id: str | None = attrs.field(default=None, kw_only=True)
    choices: tuple[Choice, ...] = attrs.field(default=(), kw_only=True, repr=_length)
    reasoning: str | None = attrs.field(default=None, kw_only=True, repr=False)
    refusal: str | None = attrs.field(default=None, kw_only=True, repr=False)
    logprobs: Any = attrs.field(default=None, kw_only=True, repr=False)
    raw: Any = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    deployment: str | None = attrs.field(default=None, kw_only=True)
    latency: float | None = attrs.field(default=None, kw_only=True)
    attempts: tuple[Attempt, ...] = attrs.field(default=(), kw_only=True, repr=_length)
    cost: float | None = attrs.field(default=None, kw_only=True)

    @classmethod
    def from_choices(cls, choices: Sequence[Choice], **facts: Any) -> CompletionResponse:
        """Build an answer whose leading fields are those of the first choice."""
        first = choices[0]
        return cls(
            first.text,
            finish_reason=first.finish_reason,
            tool_calls=first.tool_calls,
            reasoning=first.reasoning,
            refusal=first.refusal,
            logprobs=first.logprobs,
            choices=tuple(choices),
            **facts,
        )

    def _repr_html_(self) -> str:
        return _html.answer(self)


@attrs.frozen
class StreamChunk:
    """
    One piece of a streamed answer, belonging to the choice at ``index``.

    ``tool_calls`` are pieces too: their ``arguments`` are to be joined by their ``index``.
    """

    text: str = attrs.field(default="", repr=_length, converter=_text)
    finish_reason: str | None = attrs.field(default=None, kw_only=True)
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True, converter=_tool_calls)
    reasoning: str | None = attrs.field(default=None, kw_only=True, repr=False)
    refusal: str | None = attrs.field(default=None, kw_only=True, repr=False)
    audio: Any = attrs.field(default=None, kw_only=True, repr=False)
    role: str | None = attrs.field(default=None, kw_only=True)
    usage: Usage | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    id: str | None = attrs.field(default=None, kw_only=True)
    index: int = attrs.field(default=0, kw_only=True)
    logprobs: Any = attrs.field(default=None, kw_only=True, repr=False)
    raw: Any = attrs.field(default=None, kw_only=True, repr=False, eq=False)

    @property
    def has_content(self) -> bool:
        """Whether a reader is given something by it: text, reasoning, refusal, audio, a tool call."""
        return bool(self.text or self.tool_calls or self.reasoning or self.refusal or self.audio)


def _vectors(given: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(vector) for vector in given)


@attrs.frozen(slots=False)
class EmbeddingResponse:
    """One vector for each input, in the order of the inputs."""

    vectors: tuple[tuple[float, ...], ...] = attrs.field(repr=_length, converter=_vectors)
    usage: Usage | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    raw: Any = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    deployment: str | None = attrs.field(default=None, kw_only=True)
    latency: float | None = attrs.field(default=None, kw_only=True)
    attempts: tuple[Attempt, ...] = attrs.field(default=(), kw_only=True, repr=_length)
    cost: float | None = attrs.field(default=None, kw_only=True)

    def _repr_html_(self) -> str:
        return _html.embeddings(self)
