"""A line of the log for each attempt."""

from __future__ import annotations

import logging

from llmpool.observers import AttemptFacts, Observer
from llmpool.outcomes import Attempt

_log = logging.getLogger("llmpool.calls")


class AttemptLog(Observer):
    """Logs each attempt at DEBUG, when it has ended."""

    def attempt_ended(self, attempt: Attempt, facts: AttemptFacts) -> None:
        """Log it; what the caller has named stands in the record's fields alone."""
        usage = facts.usage
        _log.debug(
            "pool %s: attempt %d of a call (%s) at %s: %s%s in %.3f s",
            facts.pool,
            facts.number,
            facts.kind,
            attempt.deployment,
            attempt.verdict,
            "" if attempt.error is None else f" ({attempt.error})",
            attempt.latency,
            extra={
                "llmpool_pool": facts.pool,
                "llmpool_deployment": attempt.deployment,
                "llmpool_model": facts.model,
                "llmpool_kind": facts.kind,
                "llmpool_attempt": facts.number,
                "llmpool_verdict": str(attempt.verdict),
                "llmpool_status": attempt.status,
                "llmpool_latency": attempt.latency,
                "llmpool_first_content": facts.first_content,
                "llmpool_input_tokens": None if usage is None else usage.input_tokens,
                "llmpool_output_tokens": None if usage is None else usage.output_tokens,
            },
        )


ATTEMPT_LOG = AttemptLog()
"""One for all pools, so that none has it twice."""


def wanted() -> bool:
    """Tell whether such lines would be written now."""
    return _log.isEnabledFor(logging.DEBUG)
