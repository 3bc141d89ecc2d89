"""One request of a client's, passed on: judged as every call, answered as the client's API answers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import attrs

from llmpool import errors, spending
from llmpool import outcomes as out
from llmpool.calls import Call, Conduct
from llmpool.claims import Claim
from llmpool.codes import MODEL_CODES
from llmpool.config import Deployment
from llmpool.forwarding import answers, readers, refusals
from llmpool.forwarding.answers import Answer, Relay
from llmpool.forwarding.asked import ANTHROPIC, OPENAI, Asked
from llmpool.forwarding.body import Body, joined
from llmpool.messages import StreamChunk
from llmpool.providers import _translate
from llmpool.providers._forward import Passed
from llmpool.providers._http import Reply
from llmpool.providers._stream import Reader
from llmpool.streams import CompletionStream, Opened, StreamClocks
from llmpool.telling import ToldCall
from llmpool.wishes import Wish

GAP = 60.0
"""Seconds between two data events of a stream, where the client allows as many."""
_PAGE_IS_MISSING = frozenset({403, 404, 405, 409, 410, 412, 415, 416})
"""Statuses of pages beside the main one that tell of the page, or of the thing that it is about."""


@attrs.frozen
class Found:
    """What a deployment answered: whole, or a body that goes on."""

    status: int
    headers: answers.Fields
    whole: bytes = b""
    opened: Opened | None = None
    held: list[StreamChunk] = attrs.field(factory=list)
    body: Body | None = None


class Passing:
    """
    One request of a client's on its way through the pool.

    Args:
        seconds: for all of it but a stream after its first content.
        lasts: seconds for a stream in all.
    """

    def __init__(
        self, asked: Asked, conduct: Conduct, pool: str, seconds: float, lasts: float
    ) -> None:
        self._asked = asked
        self._conduct = conduct
        self._pool = pool
        self._seconds = seconds
        self._lasts_until = conduct.clock.now() + lasts
        self._strangers: frozenset[str] = frozenset()

    def answer(self, wish: Wish) -> Answer:
        """
        Attempt until one answers; give its answer, or one of the pool's own.

        Raises:
            DeadlineExceeded: the client's time is over.
        """
        try:
            self._leave_out_strangers(wish)
            kind = Call if wish.story is None else ToldCall
            done = kind(self._conduct, wish, self._send, True, keeps_claim=True).run()
        except errors.LLMPoolError as error:
            if wish.story is not None:
                wish.story.fail(error)
            return self._failed(error, wish)
        if wish.story is not None:
            wish.story.outlast()
        claim, latency = done.claim, done.latency
        attempts = done.attempts
        found = done.hand_over()
        fields = [*found.headers, *answers.own_fields(attempts[-1].deployment, len(attempts))]
        works = self._asked.method == "POST"
        if found.opened is None or not works:
            # To be there is no proof of being able to work: it is booked neither way.
            self._settle(claim, out.OK if works else out.IGNORED, latency)
        if found.opened is None or found.body is None:
            return Answer.of_whole(found.status, fields, found.whole)
        stream = CompletionStream(found.opened, found.held, done.failed, self._conduct.clock)
        return Answer(found.status, fields, Relay(stream, found.body))

    def _settle(self, claim: Claim, outcome: out.Outcome, latency: float) -> None:
        """Book the end of an attempt that brought an answer."""
        claim.settle(outcome, latency)
        story = claim.wish.story
        if story is not None:
            story.complete = True
            story.finish(outcome, latency, claim.usage)

    def _leave_out_strangers(self, wish: Wish) -> None:
        """
        Bar the deployments that do not speak the client's format.

        Raises:
            ProviderError: none does.
        """
        deployments = self._conduct.ledger.deployments()
        wire_format = self._asked.wire_format
        self._strangers = strangers_to(deployments, wire_format)
        if deployments and len(self._strangers) == len(deployments):
            raise errors.ServerFault(_no_speaker(wire_format), status=501, sent="no")
        wish.avoid |= self._strangers
        wish.barred |= self._strangers

    # -- one attempt ------------------------------------------------------------------------

    def _send(self, claim: Claim) -> Found:
        asked, deployment = self._asked, claim.deployment
        reader = readers.reader_of(asked)
        request = asked.for_deployment(deployment, names_model=reader is not None)
        if isinstance(reader, readers.VectorReader):
            claim.wish.upstream = request.model  # the vectors of two models do not mix
        passed: Passed = deployment.provider.forward(request, claim.timeout)
        try:
            return self._find(passed, reader, claim)
        except BaseException:
            passed.reply.close()
            raise

    def _find(self, passed: Passed, reader: Reader | None, claim: Claim) -> Found:
        """
        Read as much of an answer as tells whether it is one.

        Raises:
            ProviderError: it is none.
        """
        reply = passed.reply
        if not _translate.is_good(reply.status):
            whole = _translate.plainly(functools.partial(_translate.read_whole, reply))
            raise self._refused(whole, passed)
        if reader is not None and not self._is_stream(reply.headers.get("content-type", "")):
            return self._found_whole(passed, reader, claim)
        body = Body(passed, reader, by_name=self._asked.wire_format == ANTHROPIC)
        opened = Opened(body, claim, self._conduct.clock, self._clocks())
        held = [] if reader is None else joined(opened.commit())
        fields = answers.fields_of(reply.headers, keeps_length=reader is None)
        return Found(reply.status, fields, opened=opened, held=held, body=body)

    def _is_stream(self, kind: str) -> bool:
        """Tell whether an answer of this content type is one; not every server names it rightly."""
        kind = kind.lower()
        other = not self._asked.streamed or "json" in kind or "html" in kind
        return "event-stream" in kind or not other

    def _clocks(self) -> StreamClocks:
        patience = self._seconds
        gap = patience if readers.is_silent(self._asked) else min(GAP, patience)
        return StreamClocks(gap, self._lasts_until)

    def _found_whole(self, passed: Passed, reader: Reader, claim: Claim) -> Found:
        whole = _translate.plainly(functools.partial(_translate.read_whole, passed.reply))
        answer = _translate.read_object(whole, passed.private)
        failed = reader.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, passed.private)
        read = reader.read_answer(answer)
        claim.usage = spending.counted(read.usage)
        if claim.wish.story is not None:
            claim.wish.story.note(read)
        fields = answers.fields_of(whole.headers, keeps_length=False)
        return Found(whole.status, fields, whole.body)

    def _refused(self, whole: Reply, passed: Passed) -> errors.ProviderError:
        """Give the error that an answer stands for, and keep the answer with it."""
        error = _translate.answer_error(whole.status, whole.headers, whole.body, passed.private)
        if self._lies_elsewhere(whole.status, error):
            error = errors.ServerFault(error.message, status=501, request_id=error.request_id)
        body = whole.body
        for secret in passed.private.secrets():
            body = body.replace(secret.encode(), "…".encode())
        fields = answers.fields_of(whole.headers, keeps_length=False)
        vars(error)["answered"] = Found(whole.status, fields, body)
        return error

    def _lies_elsewhere(self, status: int, error: errors.ProviderError) -> bool:
        """Tell whether another may well have this page, or what was made there; nobody is to blame."""
        asked = self._asked
        if readers.is_main(asked):
            return False
        if (error.code or "").lower() in MODEL_CODES:
            # Of a thing that the page's address names, unless the body names a model.
            return asked.model is None and readers.reader_of(asked) is None
        return status in _PAGE_IS_MISSING

    # -- the end ----------------------------------------------------------------------------

    def _failed(self, error: errors.LLMPoolError, wish: Wish) -> Answer:
        answered = vars(error).get("answered")
        if isinstance(answered, Found) and isinstance(error, errors.ProviderError):
            own = answers.own_fields(error.deployment, len(error.attempts))
            fields = [*answered.headers, refusals.RETRIES_ARE_DONE, *own]
            return Answer.of_whole(answered.status, fields, answered.whole)
        late = self._conduct.clock.now() >= wish.deadline_at
        if late and isinstance(error, errors.DeadlineExceeded):
            raise error
        if isinstance(error, errors.NoHealthyDeployment):
            named = dict.fromkeys(self._strangers & error.reasons.keys(), "speaks another format")
            error.reasons.update(named)
        return refusals.tell(error, self._asked.wire_format, self._pool)


def strangers_to(deployments: Iterable[Deployment], wire_format: str) -> frozenset[str]:
    """Name the deployments that do not take the requests of such clients."""
    return frozenset(
        each.name
        for each in deployments
        if getattr(each.provider, "wire_format", None) != wire_format
        or not callable(getattr(each.provider, "forward", None))
    )


def demand_speaker(deployments: Sequence[Deployment], wire_format: str) -> None:
    """
    Demand a deployment that takes the requests of such clients.

    Raises:
        ValueError: there is none.
    """
    if len(strangers_to(deployments, wire_format)) == len(deployments):
        raise ValueError(_no_speaker(wire_format))


def _no_speaker(wire_format: str) -> str:
    providers = {OPENAI: "OpenAIProvider, AzureOpenAIProvider", ANTHROPIC: "AnthropicProvider"}
    return (
        f"no deployment of this pool takes what a client of the {wire_format} format sends; "
        f"those of {providers[wire_format]} do"
    )
