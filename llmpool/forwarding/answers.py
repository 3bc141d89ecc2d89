"""What a client is given: status, header fields, and a body whole or as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmpool import errors
from llmpool.forwarding.body import Body
from llmpool.streams import CompletionStream

_STAYING = """
    alt-svc connection content-length keep-alive proxy-authenticate proxy-connection set-cookie
    te trailer transfer-encoding upgrade x-llmpool-attempts x-llmpool-deployment
    x-should-retry"""
_NOT_ALONG = frozenset(_STAYING.split())

Fields = list[tuple[str, str]]


class Answer(Iterator[bytes]):
    """
    An answer to be handed to a client; iterating gives the bytes of its body.

    They are not packed, whatever they were on their way here, and the header fields say so. Closed
    early or forgotten, it lets go of its deployment and blames nobody.

    Threads: one reader at a time; :meth:`close` from any.

    Attributes:
        headers: names and values, each fit to be sent in Latin-1.

    Raises:
        StreamInterrupted: while iterating; the answer broke off, or ended without its end mark.
    """

    def __init__(self, status: int, headers: Fields, pieces: Iterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces

    @classmethod
    def of_whole(cls, status: int, headers: Fields, body: bytes) -> Answer:
        """Give one whose body is there already."""
        return cls(status, [*headers, ("content-length", str(len(body)))], iter([body]))

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """Read no further."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


class Relay(Iterator[bytes]):
    """The bytes of a stream under the pool's clocks; an error that the client was told ends it quietly."""

    def __init__(self, stream: CompletionStream, body: Body) -> None:
        self._stream = stream
        self._body = body

    def __next__(self) -> bytes:
        try:
            data: bytes = next(self._stream).raw
        except errors.StreamInterrupted:
            told = self._body.take_last_words()
            if not told:
                raise
            return told  # the client reads of the error in its API's own words
        if self._body.done:
            # Many clients stop at the end mark and never ask for the end.
            next(self._stream, None)
        return data

    def close(self) -> None:
        """Read no further; nobody is blamed."""
        self._stream.close()


def fields_of(headers: Mapping[str, str], *, keeps_length: bool) -> Fields:
    """Give the header fields of an answer that go along; its length only where it is still true."""
    packed = headers.get("content-encoding", "identity").strip().lower() != "identity"
    kept = [
        (name, text)
        for name, text in headers.items()
        if name.lower() not in _NOT_ALONG and name.lower() != "content-encoding"
    ]
    if keeps_length and not packed and "content-length" in headers:
        kept.append(("content-length", headers["content-length"]))
    return kept


def own_fields(deployment: str | None, attempts: int) -> Fields:
    """Give the header fields that tell of the pool."""
    told = [("x-llmpool-attempts", str(attempts))]
    if deployment is not None:
        named = deployment.encode("ascii", "backslashreplace").decode()
        told.append(("x-llmpool-deployment", named))
    return told
