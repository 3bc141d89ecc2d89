"""Patch too late, at the moment that the first word names, and show how every call is refused."""

from __future__ import annotations

import sys

import house

from llmpool import LLMPoolError

WHEN = sys.argv[1]

if __name__ == "__main__":
    pool = house.POOL
    if WHEN == "used":
        assert not house.astray(pool, "before", 8)
    from gevent import monkey

    monkey.patch_all()
    # A thread from before the patch that ends after it is not found in the list of threads, since it has
    # got another identity: that is between gevent and Python, and may fall on any thread of any program.
    sys.unraisablehook = lambda _: None
    if WHEN == "imported":
        pool = house.build()
    for act in (
        lambda: pool.complete("hello"),
        lambda: pool.stream("hello"),
        lambda: pool.call(lambda lease: lease),
        lambda: pool.lease().__enter__(),
    ):
        try:
            print("not refused:", act())
        except LLMPoolError as error:
            print("refused:", error)
    assert house.state(pool)["in_flight"] == 0
