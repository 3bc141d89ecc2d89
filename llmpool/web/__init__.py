"""The status page, its JSON feed, the health URL and the metrics, for any framework and for none."""

from __future__ import annotations

from llmpool.web.quorum import as_quorum, is_ready
from llmpool.web.replies import Reply
from llmpool.web.site import StatusSite

__all__ = ["Reply", "StatusSite", "as_quorum", "is_ready"]
