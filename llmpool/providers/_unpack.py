"""Bodies that come packed (gzip, deflate), and how large a body may become."""

from __future__ import annotations

import zlib

from llmpool.providers._body import Body
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import Kind, WireFailure

ACCEPTED = "gzip, deflate"
_PIECE = 256 * 1024  # most that is unpacked at once, so that a bomb stays small
_GZIP, _ZLIB, _BARE = 31, 15, -15  # as zlib numbers the formats


def unpacked(body: Body, coding: str | None, where: str) -> Body:
    """
    Give a body without its content coding.

    Raises:
        WireFailure: of kind ``bad-protocol``, for a coding that was not asked for.
    """
    name = (coding or "identity").strip().lower()
    if name == "identity":
        return body
    if name in ("gzip", "x-gzip", "deflate"):
        return _Unpacked(body, name == "deflate", where)
    body.close()
    raise WireFailure(
        "bad-protocol", "answered", f"{where}: the answer has a content coding not asked for"
    )


def read_all(body: Body, deadline: Deadline, most: int, where: str) -> bytes:
    """
    Read a body to its end, which must come before *most* bytes are exceeded.

    Whatever goes wrong, the connection is closed.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        while size <= most:
            piece = body.read1(deadline)
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
    finally:
        body.close()
    raise WireFailure("too-large", "answered", f"{where}: the answer is larger than {most} bytes")


class _Unpacked:
    """A body that is unpacked as it comes, a bounded piece at a time."""

    def __init__(self, body: Body, deflate: bool, where: str) -> None:
        self._body = body
        self._where = where
        self._deflate = deflate
        self._engine = None if deflate else zlib.decompressobj(_GZIP)
        self._packed = b""  # read and not yet unpacked
        self._more = False  # whether the engine has more to give without being fed

    def close(self) -> None:
        """Let go of it."""
        self._body.close()

    def wake(self) -> None:
        """End the wait of a thread that reads."""
        self._body.wake()

    def read1(self, deadline: Deadline) -> bytes:
        """Give what is there, unpacked; empty at the end."""
        while True:
            if not self._packed and not self._more:
                self._packed = self._body.read1(deadline)
                if not self._packed:
                    self._check_end()
                    return b""
            engine = self._engine
            if engine is None:
                engine = self._engine = self._choose(deadline)
            data = self._unpack(engine)
            if data:
                return data

    def _choose(self, deadline: Deadline) -> zlib._Decompress:
        """Tell zlib's format from bare deflate: both go by the name of deflate."""
        if len(self._packed) < 2:
            self._packed += self._body.read1(deadline)
        first, second = (*self._packed, 0)[:2]
        has_header = first & 0x0F == 8 and (first * 256 + second) % 31 == 0
        return zlib.decompressobj(_ZLIB if has_header else _BARE)

    def _unpack(self, engine: zlib._Decompress) -> bytes:
        if engine.eof:
            packed = self._packed.lstrip(b"\0")
            if self._deflate or not packed:
                self._packed = b""  # behind the end there may be padding
                return b""
            # A gzip file may have several members.
            engine = self._engine = zlib.decompressobj(_GZIP)
            self._packed = packed
        try:
            data = engine.decompress(self._packed, _PIECE)
        except zlib.error:
            pass
        else:
            self._packed = engine.unused_data if engine.eof else engine.unconsumed_tail
            self._more = len(data) == _PIECE and not engine.eof
            return data
        self.close()
        raise self._failure("bad-protocol", "the answer cannot be unpacked")

    def _check_end(self) -> None:
        if self._engine is None or not self._engine.eof:
            raise self._failure("cut", "the answer was cut off in its packed content")

    def _failure(self, kind: Kind, fact: str) -> WireFailure:
        return WireFailure(kind, "answered", f"{self._where}: {fact}")
