"""The variable LLMPOOL_LOG: a log on stderr without a line of code."""

from __future__ import annotations

import logging
import sys
from typing import Any

from llmpool import _validators as valid

NAME = "LLMPOOL_LOG"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # not before 3.11
    """Writes to what is ``sys.stderr`` at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.name = NAME
        self.setFormatter(logging.Formatter(_LINE))

    @property
    def stream(self) -> Any:
        """The present stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, _: object) -> None:
        """Leave it."""


def configure(value: str | None) -> None:
    """
    Log to stderr from the level that *value* names; without one change nothing.

    A value that names none is told of in one line, and no more than warnings after it.
    """
    if not value:
        return
    logger = logging.getLogger("llmpool")
    level = LEVELS.get(value.strip().lower())
    logger.setLevel(logging.WARNING if level is None else level)
    if not any(each.name == NAME for each in logger.handlers):
        logger.addHandler(_Stderr())
    if level is None:
        logger.warning("%s: wanted %s, got %s", NAME, ", ".join(LEVELS), valid.describe(value))
