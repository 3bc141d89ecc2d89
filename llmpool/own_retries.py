"""Clients that ask again by themselves, which multiplies what the pool does and escapes its deadlines."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any

_log = logging.getLogger("llmpool.clients")

# Guards the mapping below it: the clients that were warned about, by identity, for a client may compare
# and hash as it likes. It is tried and never waited for, so that neither a fork nor a signal handler in
# the middle can hang a call.
_lock = threading.Lock()
_known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def notice(client: object) -> None:
    """
    Warn, once for each client, of one that retries by itself (``max_retries`` above 0).

    Threads: any. It never raises, whatever the client is.
    """
    try:
        times = getattr(client, "max_retries", 0)
    except Exception:  # noqa: BLE001 - a property of somebody's client
        return
    if isinstance(times, bool) or not isinstance(times, int) or times <= 0:
        return
    if _is_news(client):
        kind = type(client)
        _log.warning(
            "the client %s.%s retries by itself (max_retries=%d): that multiplies the pool's attempts "
            "and waits outside its deadlines; make it with max_retries=0",
            kind.__module__.partition(".")[0],
            kind.__name__,
            times,
        )


def _is_news(client: object) -> bool:
    if not _lock.acquire(blocking=False):
        return False  # somebody else is just here; the next call notices
    try:
        known = _known.get(id(client)) is client
        _known[id(client)] = client
    except TypeError:
        return False  # without weak references it could be warned about once more on every call
    finally:
        _lock.release()
    return not known
