"""``python -m llmpool``."""

from __future__ import annotations

from llmpool.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
