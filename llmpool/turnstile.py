"""Taking a lock without queueing for it."""

from __future__ import annotations

import threading

from llmpool.bell import Bell

FIRST_NAP = 50e-6
LONGEST_NAP = 1e-3


def come_back(lock: threading.RLock) -> None:
    """
    Take *lock*, which was found taken, as soon as it is found free.

    The system gives a lock to the first in its queue while another thread runs Python code. The new holder
    waits for the interpreter; whoever has it soon meets a lock that is taken, and queues as well. From then
    on each section costs two switches of threads, and it does not end by itself (Blasgen et al.: The Convoy
    Phenomenon, 1979). Here nobody queues. So only a thread that has the interpreter takes the lock, and it
    finds it taken only if the holder was switched out within: mostly one short sleep is enough. The sleeps
    double up to a millisecond (Anderson: The Performance of Spin Lock Alternatives, 1990).
    """
    never = Bell()
    nap = FIRST_NAP
    while not lock.acquire(False):
        never.wait(nap)
        nap = min(2.0 * nap, LONGEST_NAP)
