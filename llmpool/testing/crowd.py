"""The open connections of a server and the threads that serve them."""

from __future__ import annotations

import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable

from llmpool.testing.connection import Connection
from llmpool.testing.exchange import Gone
from llmpool.testing.plan import Setting

logger = logging.getLogger("llmpool.testing")


class Crowd:
    """
    Every open connection, each with a thread that calls *serve* and then ends it.

    Threads: the lock guards ``_open`` and ``_threads``. A thread stays in the latter as long
    as it runs, also once its connection has left, so that all can be joined.
    """

    def __init__(self, prefix: str, serve: Callable[[Connection], None]) -> None:
        self._prefix = prefix
        self._serve = serve
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def admit(self, sock: socket.socket, number: int) -> None:
        """Serve an accepted socket in a thread of its own."""
        connection = Connection(number, sock)
        name = f"{self._prefix}{number}"
        thread = threading.Thread(target=self._run, args=(connection,), name=name, daemon=True)
        with self._lock:
            self._open.add(connection)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            self._leave(connection)

    def release(self, settings: frozenset[Setting]) -> None:
        """End every connection that is held by one of *settings*."""
        for connection in self._list():
            connection.release(settings)

    def end(self) -> None:
        """End every connection; its thread notices."""
        for connection in self._list():
            connection.kick()

    def join(self, timeout: float) -> None:
        """Wait for every thread but the caller's; log by name which has not stopped in time."""
        end = time.monotonic() + timeout
        with self._lock:
            threads = [thread for thread in self._threads if thread.is_alive()]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))
                if thread.is_alive():
                    logger.warning("%s did not stop within %s s", thread.name, timeout)

    def abandon(self) -> None:  # pragma: no cover - runs in a forked child only
        """Close the descriptors a forked child has inherited, without taking a lock."""
        for connection in tuple(self._open):
            connection.abandon()

    def _list(self) -> tuple[Connection, ...]:
        with self._lock:
            return tuple(self._open)

    def _run(self, connection: Connection) -> None:
        try:
            connection.begin()
            self._serve(connection)
        except (Gone, OSError):
            pass  # the connection is over, whoever ended it
        finally:
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        connection.finish()
        with self._lock:
            self._open.discard(connection)
