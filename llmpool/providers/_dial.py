"""Connections from nothing: name, address, proxy and TLS, each within the time left."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import threading

from llmpool.providers._answer import StrictAnswer
from llmpool.providers._deadline import Deadline
from llmpool.providers._dns import RESOLVER, Address
from llmpool.providers._failure import Kind, WireFailure
from llmpool.providers._route import Proxy, Route, join_host
from llmpool.providers._sockets import TimedSocket, TimedTlsSocket

_CONNECT_KINDS: dict[int | None, tuple[Kind, str]] = {
    errno.ECONNREFUSED: ("refused", "connection refused"),
    errno.ECONNRESET: ("reset", "connection reset while connecting"),
    errno.ECONNABORTED: ("reset", "connection reset while connecting"),
    errno.ETIMEDOUT: ("connect-timeout", "no answer to the connection attempt"),
}
# Idle connections stay open through address translators that forget silent ones after some
# four minutes, and a peer that is gone is noticed during a long wait for an answer.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 4}


def dial(route: Route, deadline: Deadline, limit: float) -> TimedSocket:
    """
    Connect to the server, through its proxy and up to the end of the TLS handshake.

    Name look-up, connecting and the handshake may each take *limit* seconds, and together
    what is left of *deadline*.

    Raises:
        WireFailure: with ``sent`` "no".
    """
    proxy = route.proxy
    if proxy is None:
        sock = _connect(route.host, route.port, deadline, limit)
    else:
        sock = _reach(proxy, deadline, limit)
    sock.where = route.where
    try:
        if proxy is not None and route.secure:
            _tunnel(sock, proxy, route, deadline, limit)
        return _secure(sock, route, deadline, limit) if route.secure else sock
    except BaseException:
        sock.close()
        raise


def _connect(host: str, port: int, deadline: Deadline, limit: float) -> TimedSocket:
    """Try each address of *host* in turn; one that never answers leaves time for the others."""
    addresses = RESOLVER.resolve(host, port, deadline, limit)
    phase = Deadline.after(min(limit, deadline.remaining()))
    failures: list[WireFailure] = []
    for number, address in enumerate(addresses):
        share = phase.remaining() / (len(addresses) - number)
        if share <= 0.0:
            break
        found = _try_address(address, share, join_host(host, port))
        if isinstance(found, TimedSocket):
            return found
        failures.append(found)
    expired = not deadline.remaining()
    if expired or not failures:
        message = f"{join_host(host, port)}: not connected in time"
        raise WireFailure("connect-timeout", "no", message, expired=expired)
    # An address that this machine cannot use at all says nothing about the server.
    raise next((one for one in failures if one.kind != "local"), failures[0])


def _try_address(address: Address, share: float, where: str) -> TimedSocket | WireFailure:
    family, target = address
    try:
        sock = TimedSocket(family, socket.SOCK_STREAM)
    except OSError as error:
        return _cannot_connect(error, where)
    try:
        _tune(sock)
        sock.settimeout(share)
        sock.connect(target)
    except OSError as error:
        sock.close()
        return _cannot_connect(error, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:  # pragma: no branch - each system has its own three of the four
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _cannot_connect(error: OSError, where: str) -> WireFailure:
    if isinstance(error, TimeoutError):
        kind, fact = _CONNECT_KINDS[errno.ETIMEDOUT]
    elif error.errno in _CONNECT_KINDS:
        kind, fact = _CONNECT_KINDS[error.errno]
    else:
        # No descriptors, no route, no network, no right to connect: this machine's trouble.
        kind, fact = "local", f"cannot connect from this machine ({error.strerror or 'OS error'})"
    return WireFailure(kind, "no", f"{where}: {fact}")


def _reach(proxy: Proxy, deadline: Deadline, limit: float) -> TimedSocket:
    """Connect to the proxy; what fails there is not the server's doing."""
    try:
        return _connect(proxy.host, proxy.port, deadline, limit)
    except WireFailure as error:
        kind: Kind = error.kind if error.kind in ("dns", "local") else "proxy"
        failure = WireFailure(kind, "no", f"proxy {error.message}", error.temporary, error.expired)
    raise failure


def _tunnel(
    sock: TimedSocket, proxy: Proxy, route: Route, deadline: Deadline, limit: float
) -> None:
    """Have the proxy connect us to the server."""
    lines = [f"CONNECT {route.where} HTTP/1.1", f"Host: {route.where}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    sock.begin(Deadline.after(min(limit, deadline.remaining())))
    fact: str | None = None
    status: int | None = None
    expired = False
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        with StrictAnswer(sock, method="CONNECT") as answer:
            answer.begin()
        status = answer.status
        if not 200 <= status < 300:
            fact = f"refused to connect to {route.where}, with HTTP {status}"
        elif sock.leftover:
            fact = f"spoke before {route.where} did"
    except WireFailure as error:
        fact = f"did not connect to {route.where} ({error.kind})"
        expired = not deadline.remaining()
    if fact is not None:
        message = f"{proxy.where}: {fact}"
        raise WireFailure("proxy", "no", message, expired=expired, status=status)


def _secure(sock: TimedSocket, route: Route, deadline: Deadline, limit: float) -> TimedTlsSocket:
    """Speak TLS from here on, with a server that proves its name."""
    where = route.where
    context = TRUST.context(route.ca or "")
    failure: WireFailure
    secured: TimedTlsSocket | None = None
    try:
        secured = context.wrap_socket(  # type: ignore[assignment]  # of the context's own class
            sock, server_hostname=route.host.partition("%")[0], do_handshake_on_connect=False
        )
        assert secured is not None
        secured.where = where
        left = deadline.remaining()
        if left > 0.0:
            secured.settimeout(min(left, limit))
            secured.do_handshake()
            return secured
        raise TimeoutError
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message or "not valid"
        failure = WireFailure("tls", "no", f"{where}: the server's certificate: {reason}")
    except ssl.SSLError as error:
        reason = (error.reason or "protocol error").replace("_", " ").lower()
        failure = WireFailure("tls", "no", f"{where}: the TLS handshake failed: {reason}")
    except TimeoutError:
        expired = not deadline.remaining()
        message = f"{where}: the TLS handshake took too long"
        failure = WireFailure("connect-timeout", "no", message, expired=expired)
    except OSError:
        message = f"{where}: the connection was closed during the TLS handshake"
        failure = WireFailure("reset", "no", message)
    except BaseException:
        if secured is not None:
            secured.close()
        raise
    if secured is not None:
        secured.close()
    raise failure


class Trust:
    """
    TLS contexts, one for each CA file or directory.

    Reading a bundle takes some 20 ms, hence at the first connection and once per process.
    """

    def __init__(self) -> None:
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._renew_lock()

    def _renew_lock(self) -> None:
        # Guards _contexts. Re-entrant for a signal handler that sends a request of its own.
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def context(self, ca: str) -> ssl.SSLContext:
        """
        Give the context that trusts *ca*.

        Raises:
            WireFailure: of kind ``tls``, when the bundle cannot be read.
        """
        if self._pid != os.getpid():
            self._renew_lock()  # a thread of the parent may have held it at the fork
        with self._lock:
            context = self._contexts.get(ca)
        if context is None:
            context = _read_bundle(ca)
            with self._lock:
                context = self._contexts.setdefault(ca, context)
        return context


def _read_bundle(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525: a name stands in subjectAltName
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = TimedTlsSocket
    try:
        if os.path.isdir(ca):
            context.load_verify_locations(capath=ca)
        else:
            context.load_verify_locations(cafile=ca)
    except OSError:  # also ssl.SSLError: no certificate in it
        pass
    else:
        return context
    raise WireFailure("tls", "no", f"the CA bundle {ca!r} cannot be read")


TRUST = Trust()
