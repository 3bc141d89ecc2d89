"""What a call gets where it names nothing itself, and whether what it names makes sense."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from llmpool import _validators as valid
from llmpool import fallback
from llmpool.calls import Retry
from llmpool.clock import Clock
from llmpool.config import RetryPolicy
from llmpool.wishes import Wish

_NO_TAGS: frozenset[str] = frozenset()


@attrs.frozen
class Terms:
    """
    What the calls of a pool go by.

    Attributes:
        fallback_on: of a call that names none.
        seconds: of a call that names none.
    """

    policy: RetryPolicy
    clock: Clock
    fail_open: bool
    fallback_on: frozenset[str] = attrs.field(converter=fallback.meanings)
    seconds: float = attrs.field(init=False)

    @seconds.default
    def _find_seconds(self) -> float:
        return self.policy.limit

    def wish(
        self,
        model: str | None,
        tags: Iterable[str],
        timeout: float | None,
        affinity_key: str | None = None,
        fallback_on: Iterable[str] | None = None,
        tokens: int = 0,
        retry: Retry = True,
    ) -> Wish:
        """
        Give what a call asks of the ledger; its time begins now.

        Raises:
            ValueError: a wrong value, named as the user names it.
            TypeError: a wrong type, named likewise.
        """
        if retry is not True and retry is not False and retry != "unsent":
            valid.refuse("retry", 'True, False or "unsent"', retry)
        if model is not None:
            valid.as_text("model", model)
        seconds = self.seconds
        if timeout is not None:
            valid.as_seconds("timeout", timeout, zero=True)
            seconds = timeout
        policy = self.policy
        wish = Wish(
            model,
            frozenset(valid.names("tags", tags)) if tags else _NO_TAGS,
            self.clock.now() + seconds,
            policy.max_wait,
            self.fail_open,
            # An attempt that is not repeated elsewhere leaves no time for others.
            policy.max_attempts if retry is True else 1,
        )
        if affinity_key is not None:
            valid.as_text("affinity_key", affinity_key)
            wish.affinity = affinity_key
        if fallback_on is not None:
            wish.fallback_on = fallback.meanings(fallback_on)
        elif self.fallback_on:
            wish.fallback_on = self.fallback_on
        if tokens:
            wish.tokens = tokens
        return wish
