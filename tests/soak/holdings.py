"""What this process holds: memory, objects, threads, descriptors."""

from __future__ import annotations

import ctypes
import gc
import os
import pathlib
import sys
import threading
from collections.abc import Collection

import attrs

PROC = pathlib.Path("/proc/self")
SPARE = 16.0
"""Megabytes that 64 threads may keep at hand in glibc, which counts them as in use."""
_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _MallocInfo(ctypes.Structure):
    """What glibc's mallinfo2() gives."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


@attrs.frozen
class Holdings:
    """
    What the process holds when nobody calls; of the threads the names of those that are new.

    Attributes:
        in_use: megabytes that were allocated and not freed, blocks of Python's own apart; None where
            the C library does not tell.
        resident: megabytes of the process. It grows by what freed memory lies between memory in use,
            by tens of megabytes at times, and says nothing of a leak.
        blocks: of Python's own allocator, each of 512 bytes at most.
    """

    in_use: float | None
    resident: float
    blocks: int
    objects: int
    threads: tuple[str, ...]
    descriptors: int

    @classmethod
    def look(cls, known: Collection[threading.Thread]) -> Holdings:
        """Count; threads that are *known* are passed over."""
        gc.collect()
        pages = int((PROC / "statm").read_text().split()[1])
        return cls(
            _malloced(),
            pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
            sys.getallocatedblocks(),
            len(gc.get_objects()),
            new_threads(known),
            descriptors(),
        )

    def __str__(self) -> str:
        in_use = "?" if self.in_use is None else f"{self.in_use:.1f}"
        return (
            f"{in_use}/{self.resident:.0f} {self.blocks} {self.objects} {len(self.threads)} "
            f"{self.descriptors}"
        )


def _malloced() -> float | None:
    read = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if read is None:
        return None
    read.restype = _MallocInfo
    info = read()
    return float(info.uordblks + info.hblkhd) / 1e6


def new_threads(known: Collection[threading.Thread]) -> tuple[str, ...]:
    """Give the names of the threads that are not *known*."""
    return tuple(sorted(one.name for one in threading.enumerate() if one not in known))


def descriptors() -> int:
    """Count the open descriptors, with the one that lists them."""
    return len(os.listdir(PROC / "fd"))


def growth(first: Holdings, last: Holdings) -> list[str]:
    """Say what *last* has more than chance would add to *first*: what leaks does so with each call."""
    problems = []
    if last.in_use is not None and last.in_use > 1.2 * (first.in_use or 0.0) + SPARE:
        problems.append(f"memory has grown: {first.in_use} to {last.in_use} MB in use")
    if last.resident > 2.0 * first.resident + 128.0:
        problems.append(f"memory has grown: {first.resident} to {last.resident} MB")
    if last.blocks > 1.1 * first.blocks + 5000:
        problems.append(f"memory has grown: {first.blocks} to {last.blocks} blocks")
    if last.objects > 1.05 * first.objects + 2000:
        problems.append(f"objects have piled up: {first.objects} to {last.objects}")
    return problems
