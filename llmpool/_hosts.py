"""What a host may do to a process behind this package's back."""

from __future__ import annotations

import sys
import threading

from llmpool import errors

get_ident = threading.get_ident
"""As this package found it: gevent replaces it together with locks and threads, and seldom anybody else.
Whether it is still the same costs a call next to nothing to see."""


def refuse_late_gevent() -> None:
    """
    Refuse to work on locks, threads and sockets of two kinds.

    Those that this package has made, or derived its own from, are the system's; gevent's would meet them
    without seeing the threads behind them.

    Raises:
        LLMPoolError: gevent has patched threads since this package was imported.
    """
    # Never imported here: gevent starts work of its own on import.
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise errors.LLMPoolError(
            "gevent patched this process after llmpool was imported: call "
            "gevent.monkey.patch_all() before importing llmpool"
        )
