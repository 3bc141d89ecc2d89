"""
Name look-ups that end when the caller's time is over.

``getaddrinfo`` cannot be interrupted, so it runs in a daemon helper thread; callers wait
for the helper, not for the resolver. There is at most one helper per name: a resolver that
hangs costs one thread, however many calls wait on it.
"""

from __future__ import annotations

import os
import socket
import threading

from llmpool.bell import Bell
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import WireFailure

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

# RFC 6761 section 6.3: these names always mean the loopback interface.
_LOCALHOST = ("localhost", "localhost.")
_TEMPORARY = (socket.EAI_AGAIN, getattr(socket, "EAI_SYSTEM", socket.EAI_AGAIN))


class _Lookup:
    """One look-up under way: its fields are written before *done* is set."""

    def __init__(self) -> None:
        self.done = Bell()  # a signal handler may ask for the same name
        self.thread: threading.Thread | None = None
        self.addresses: list[Address] = []
        self.problem: str | None = None
        self.temporary = False

    def run(self, host: str) -> None:
        """Ask the system's resolver; never raise."""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            self.addresses = [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
        except socket.gaierror as error:
            self.problem = str(error.strerror or "no answer")
            self.temporary = error.errno in _TEMPORARY
        except UnicodeError:
            self.problem = "not a valid host name"
        except OSError as error:
            self.problem = str(error.strerror or type(error).__name__)
            self.temporary = True


class Resolver:
    """
    Single-flight look-ups, one helper thread per name at most.

    An answer is shared by those who were waiting for it and then forgotten: caching names
    is the system resolver's business.

    Threads: any. After a fork the parent's look-ups are not waited for.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        # Guards _running. Re-entrant for a signal handler that sends a request of its own.
        self._lock = threading.RLock()
        self._running: dict[str, _Lookup] = {}
        self._pid = os.getpid()  # last, for it tells other threads that the rest is new

    def resolve(self, host: str, port: int, deadline: Deadline, limit: float) -> list[Address]:
        """
        Find the addresses of *host*, within *deadline* and within *limit* seconds.

        Raises:
            WireFailure: of kind ``dns``.
        """
        literal = _literal(host, port)
        if literal:
            return literal
        if self._pid != os.getpid():
            self._forget()  # by process id, for under uWSGI no fork hook fires
        lookup = self._join(host)
        left = deadline.remaining()
        if not lookup.done.wait(min(left, limit)):
            if lookup.thread is None or not lookup.thread.is_alive():
                self._drop(host, lookup)  # an interrupt kept its helper from starting
            raise WireFailure(
                "dns",
                "no",
                f"{host}:{port}: the name look-up took too long",
                temporary=True,
                expired=left <= limit,
            )
        if lookup.problem is not None or not lookup.addresses:
            raise WireFailure(
                "dns",
                "no",
                f"{host}:{port}: the name cannot be resolved ({lookup.problem or 'no address'})",
                temporary=lookup.temporary,
            )
        return [(family, _with_port(address, port)) for family, address in lookup.addresses]

    def _join(self, host: str) -> _Lookup:
        """Join the look-up of *host* that is under way, or begin one."""
        with self._lock:
            lookup = self._running.get(host)
            if lookup is not None:
                return lookup
            lookup = self._running[host] = _Lookup()
            lookup.thread = threading.Thread(
                target=self._run, args=(host, lookup), name=f"llmpool-dns-{host}", daemon=True
            )
        try:
            lookup.thread.start()
        except RuntimeError:  # no more threads, or the interpreter is on its way out
            self._run(host, lookup)
        except BaseException:
            self._drop(host, lookup)
            raise
        if lookup.thread.ident is None and not lookup.done.is_set():
            self._run(host, lookup)  # a host that embeds Python and never runs threads
        return lookup

    def _drop(self, host: str, lookup: _Lookup) -> None:
        with self._lock:
            if self._running.get(host) is lookup:
                del self._running[host]

    def _run(self, host: str, lookup: _Lookup) -> None:
        lookup.run(host)
        self._drop(host, lookup)
        lookup.done.set()


def _literal(host: str, port: int) -> list[Address] | None:
    """Read a literal address, or a name that needs no resolver."""
    if host.lower() in _LOCALHOST:
        return [
            (socket.AF_INET, ("127.0.0.1", port)),
            (socket.AF_INET6, ("::1", port, 0, 0)),
        ]
    if host[:1].isdigit() or ":" in host:
        try:
            found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except (OSError, UnicodeError):
            return None
        return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
    return None


def _with_port(
    address: tuple[str, int] | tuple[str, int, int, int], port: int
) -> tuple[str, int] | tuple[str, int, int, int]:
    if len(address) == 4:
        return (address[0], port, address[2], address[3])
    return (address[0], port)


RESOLVER = Resolver()
