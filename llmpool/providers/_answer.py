"""
Answers as http.client reads them, with what it overlooks.

http.client takes some answers that were cut off for whole ones, and a body whose length it
cannot read for one that lasts until the connection is closed. A connection whose framing is in
doubt could hand one request's answer to another, so such answers are refused.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

from llmpool.providers._failure import Kind, WireFailure
from llmpool.providers._sockets import TimedSocket

MOST_INTERIM = 100
_BUFFER = 16 * 1024  # for as long as a stream is open
_LENGTH = re.compile(r"([0-9]{1,18})(?:[ \t]*,[ \t]*\1)*")


class StrictAnswer(http.client.HTTPResponse):
    """
    The head of an answer, and its body without the framing.

    Raises:
        WireFailure: from :meth:`begin` and :meth:`read1`; of kind ``reset`` with ``sent`` other
            than "answered" when the peer went away before a byte of an answer.
    """

    def __init__(self, sock: TimedSocket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        self.fp = _Reader(self.fp.detach(), sock)

    def begin(self) -> None:
        """Read the head; interim answers (1xx) are passed over."""
        fact = ""
        try:
            super().begin()
            interim = 0
            while 101 < self.status < 200:  # http.client itself passes over 100 alone
                interim += 1
                if interim > MOST_INTERIM:
                    raise http.client.HTTPException
                self.headers = None  # type: ignore[assignment]
                super().begin()
        except http.client.HTTPException as error:
            fact = f"the answer is not HTTP/1 ({type(error).__name__})"
        if self._sock.ended:
            # A head that is whole is read no further than its empty line.
            if self._sock.sent != "answered":
                raise self._failure("reset", "the connection was closed without an answer")
            raise self._failure("cut", "the answer was cut off in its head")
        fact = fact or self._find_doubt()
        if fact:
            raise self._failure("bad-protocol", fact)

    def _find_doubt(self) -> str:
        """Say what is wrong with the head; leave no doubt where the body ends (RFC 9112, 6.3)."""
        if self.status == 101:
            return "switched to a protocol not asked for"
        if self.msg.defects or self.msg.get_payload():  # else there is nothing to sort out
            try:
                assert_header_parsing(self.msg)
            except HeaderParsingError:
                return "the answer has a malformed header"
        coding = ", ".join(self.msg.get_all("transfer-encoding", []))
        if coding and not self.chunked:
            return "the answer has an unknown transfer coding"
        if "," in ", ".join(self.msg.get_all("content-encoding", [])):
            return "the answer is packed more than once"  # each layer costs memory to unpack
        length = ", ".join(self.msg.get_all("content-length", []))
        if length and _LENGTH.fullmatch(length) is None:
            return "the answer has a malformed Content-Length"
        if length and coding:
            self.will_close = True  # both at once smell of smuggling
        if self.length == 0:
            self.chunked = False
        return ""

    def read1(self, n: int = -1) -> bytes:
        """Give what is there, waiting for the first byte of it; empty at the end."""
        data = b""
        malformed = False
        try:
            data = super().read1(n)
        except http.client.HTTPException:
            malformed = True
        until_close = not self.chunked and self.length is None
        if not data and self._sock.ended and not until_close:
            short = "without its last chunk" if self.chunked else f"{self.length} bytes short"
            raise self._failure("cut", f"the answer was cut off, {short}")
        if malformed:
            raise self._failure("bad-protocol", "the answer has a malformed chunk")
        return data

    def _failure(self, kind: Kind, fact: str) -> WireFailure:
        return WireFailure(kind, self._sock.sent, f"{self._sock.where}: {fact}")


class _Reader(io.BufferedReader):
    """What http.client reads from; at its end it notes whether more came than was asked for."""

    def __init__(self, raw: io.RawIOBase, sock: TimedSocket) -> None:
        super().__init__(raw, _BUFFER)
        self._sock = sock

    def close(self) -> None:
        sock = self._sock
        sock.rest()  # so that this look does not wait
        sock.leftover = bool(self.peek(1)) or sock.unread() > 0
        super().close()
