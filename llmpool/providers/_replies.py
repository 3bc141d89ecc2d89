"""What a request brings back."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import attrs

from llmpool.providers._body import Body
from llmpool.providers._connections import Answer
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import WireFailure


@attrs.frozen
class Reply:
    """A whole answer; the body is unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


class OpenReply:
    """
    An answer whose body is read while it comes.

    Read it to its end or close it; a forgotten one is closed when it is collected.

    Threads: one reads at a time, which may change; :meth:`close` from any, also while
    another reads, whose read then ends with a WireFailure.

    Attributes:
        deadline: When the next read must have ended; move it between reads.
    """

    def __init__(self, answer: Answer, body: Body, deadline: Deadline, where: str) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.deadline = deadline
        self._body = body
        self._where = where
        self._closed = False
        self._pid = os.getpid()
        # Held by who may touch the body. Nobody waits for it, so a close from a signal handler
        # or a finaliser cannot lock itself out.
        self._owned = threading.Lock()

    def __enter__(self) -> OpenReply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read1(self) -> bytes:
        """
        Give what is there of the body, unpacked, waiting for the first byte; empty at its end.

        Raises:
            WireFailure: with ``sent`` "answered": ``cut`` when the body ends short or the reply
                was closed, ``timeout``, ``reset``, ``bad-protocol``.
            RuntimeError: Another thread is reading.
        """
        if self._is_closed():
            raise self._closed_failure()
        if not self._owned.acquire(blocking=False):
            raise RuntimeError("two threads read one reply at the same time")
        failure: WireFailure | None = None
        data = b""
        try:
            data = self._body.read1(self.deadline)
        except WireFailure as error:
            failure = error.bare()
        except BaseException:
            self._closed = True  # an interrupt: what was read is lost, so no more may follow
            raise
        finally:
            self._owned.release()
            if self._is_closed():
                self._let_go()
        if self._is_closed():
            failure = self._closed_failure()  # what the read saw was the doing of close()
        if failure is not None:
            raise failure
        return data

    def close(self) -> None:
        """Let go of the connection, at once; more than once does no harm."""
        self._closed = True
        if not self._let_go() and self._pid == os.getpid():
            self._body.wake()  # the reader lets go

    def _let_go(self) -> bool:
        """Close the body if nobody is reading; it stays owned, for nobody shall read it again."""
        if not self._owned.acquire(blocking=False):
            return False
        self._body.close()
        return True

    def _is_closed(self) -> bool:
        return self._closed

    def _closed_failure(self) -> WireFailure:
        return WireFailure("cut", "answered", f"{self._where}: the reply was closed by its reader")
