"""gevent: fine where it patches first, refused where it comes too late."""

from __future__ import annotations

import pytest
from hosted import EXIT_SECONDS, WALL, Launch, python

from llmpool.testing import Hang, LocalServer

pytestmark = [pytest.mark.needs("gevent"), pytest.mark.timeout(180)]


@pytest.mark.parametrize("end", ["forgotten", "closed"])
def test_patched_early(end: str, eu: LocalServer, us: LocalServer, launch: Launch) -> None:
    """Calls overlap, checks go on beside one that hangs, no native thread is used, and the end is prompt."""
    us.behave(Hang(), on="models")
    program = launch(python("-m", "gevent_early", end))
    program.said("(all went well)")
    assert program.ended(EXIT_SECONDS) == 0
    assert eu.peak > 1


@pytest.mark.parametrize("when", ["imported", "made", "used"])
def test_patched_late(when: str, launch: Launch) -> None:
    """Every call is refused in one line that says what to do, and the program ends."""
    program = launch(python("-W", "ignore", "-m", "gevent_late", when))
    assert program.ended(WALL) == 0
    refused = [line for line in program.log.splitlines() if "refused" in line]
    assert len(refused) == 4
    for line in refused:
        assert line.startswith("refused: gevent patched this process after llmpool")
        assert line.endswith("call gevent.monkey.patch_all() before importing llmpool")
