"""Send a text for each argument to the worker, and print the summaries as they come."""

from __future__ import annotations

import sys

from tasks import summarise

# What Celery shows of a task in its events and logs is argsrepr; without it that is the text itself.
sent = [(text, summarise.apply_async((text,), argsrepr="(a text)")) for text in sys.argv[1:]]
for text, result in sent:
    print(f"{text!r}: {result.get(timeout=120)}")
