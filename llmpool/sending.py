"""What one deployment is asked for each kind of call, and what is taken from its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from llmpool import _validators as valid
from llmpool import errors, spending
from llmpool._made import made
from llmpool.calls import Send
from llmpool.claims import Claim
from llmpool.clock import Clock
from llmpool.config import Deployment
from llmpool.fallback import CONTENT_FILTER
from llmpool.leases import Lease
from llmpool.messages import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    StreamChunk,
)
from llmpool.streams import Opened, StreamClocks
from llmpool.wishes import Wish

_T = TypeVar("_T")


def to_complete(request: CompletionRequest, sends_on: bool) -> Send[CompletionResponse]:
    """Ask for a whole answer; *sends_on* takes one that a filter emptied for a refusal."""

    def send(claim: Claim) -> CompletionResponse:
        # Not by the claim's property, which costs a call: this is in the way of every answer.
        deployment = claim.entry.deployment  # type: ignore[union-attr]  # it was taken
        answer = deployment.provider.complete(_for(deployment, request), claim.timeout)
        if not isinstance(answer, CompletionResponse):
            answer = _as_answer(answer)
        if answer.usage is not None:
            claim.usage = spending.counted(answer.usage)
        if sends_on and claim.wish.fallback_on:
            has_content = bool(answer.text or answer.tool_calls)
            _refuse_filtered(claim.wish, answer.finish_reason, has_content)
        return answer

    return send


def to_stream(
    request: CompletionRequest,
    sends_on: bool,
    clock: Clock,
    first_content_timeout: float | None,
    gap_timeout: float | None,
) -> Send[tuple[Opened, list[StreamChunk]]]:
    """Ask for an answer as it comes, and read it up to its first content."""

    def send(claim: Claim) -> tuple[Opened, list[StreamChunk]]:
        provider = claim.deployment.provider
        if not callable(getattr(provider, "stream", None)):
            raise _unsupported(provider, "stream")
        if first_content_timeout is not None:
            claim.timeout = min(claim.timeout, first_content_timeout)
        source = provider.stream(_for(claim.deployment, request), claim.timeout)
        clocks = StreamClocks(gap_timeout, claim.wish.deadline_at)
        opened = Opened(iter(source), claim, clock, clocks)
        try:
            held = opened.commit()
            if sends_on and claim.wish.fallback_on:
                _refuse_filtered(
                    claim.wish,
                    next(filter(None, (chunk.finish_reason for chunk in held)), None),
                    any(chunk.has_content for chunk in held),
                )
            return opened, held
        except BaseException:
            opened.close()
            raise

    return send


def to_embed(inputs: Sequence[str], model: str | None) -> Send[EmbeddingResponse]:
    """Ask for vectors; the call is bound to the upstream model of the first that is asked."""

    def send(claim: Claim) -> EmbeddingResponse:
        provider = claim.deployment.provider
        if not callable(getattr(provider, "embed", None)):
            raise _unsupported(provider, "embed")
        own = claim.deployment.upstream(model)
        claim.wish.upstream = own
        answer = provider.embed(inputs, own, claim.timeout)
        if not isinstance(answer, EmbeddingResponse) or len(answer.vectors) != len(inputs):
            raise errors.MalformedResponse(
                f"wanted {len(inputs)} vectors, got {valid.describe(answer)}"
            )
        if answer.usage is not None:
            claim.usage = spending.counted(answer.usage)
        return answer

    return send


def to_call(fn: Callable[[Lease], _T], model: str | None, clock: Clock) -> Send[_T]:
    """Call the user's function, and count what its answer tells of."""

    def send(claim: Claim) -> _T:
        lease = Lease(claim, clock, claim.deployment.upstream(model))
        answer = fn(lease)
        lease.count(answer)
        return answer

    return send


def _for(deployment: Deployment, request: CompletionRequest) -> CompletionRequest:
    """Give *request* with the deployment's own name of the model."""
    model = deployment.upstream(request.model)
    if model == request.model:
        return request
    if type(request) is not CompletionRequest:
        return attrs.evolve(request, model=model)
    facts = request.__dict__.copy()
    facts["model"] = model
    return made(CompletionRequest, facts)


def _as_answer(given: object) -> CompletionResponse:
    if isinstance(given, str):
        return CompletionResponse(given)
    raise TypeError(
        f"complete: wanted a CompletionResponse or str from the provider, got a "
        f"{type(given).__name__}"
    )


def _refuse_filtered(wish: Wish, reason: str | None, has_content: bool) -> None:
    """
    Take an answer that a content filter left nothing of for the refusal it is.

    Raises:
        ContentFiltered: the call is to be sent on for that.
    """
    if reason == "content_filter" and not has_content and CONTENT_FILTER in wish.fallback_on:
        raise errors.ContentFiltered(
            "the content filter left nothing of the answer", code=CONTENT_FILTER, sent="answered"
        )


def _unsupported(provider: object, method: str) -> errors.ProviderError:
    return errors.ServerFault(f"{type(provider).__name__} has no {method}()", status=501, sent="no")
