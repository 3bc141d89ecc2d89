"""Keeping a conversation on the deployment that holds its prompt cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

SPREAD = 1.25
SLACK = 2.0


def home(key: str, candidates: Sequence[Any]) -> Any:
    """
    Give the candidate on which *key* is at home.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998; the weights after Schindelhauer and Schomaker
    2005): when a deployment comes or goes, only the keys that it gains or loses move. One whose load is above
    1.25 times the mean plus 2 is passed over for the next in the key's own order (consistent hashing
    with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2018).
    """
    bound = SPREAD * sum(candidate.load for candidate in candidates) / len(candidates) + SLACK
    ranked = sorted(candidates, key=lambda candidate: _score(key, candidate), reverse=True)
    return next((candidate for candidate in ranked if candidate.load <= bound), ranked[0])


def _score(key: str, candidate: Any) -> float:
    digest = hashlib.blake2b(f"{candidate.name}\0{key}".encode(), digest_size=6).digest()
    share = (int.from_bytes(digest, "big") + 0.5) / 2.0**48  # exact, and neither 0 nor 1
    return float(-candidate.weight / math.log(share))
