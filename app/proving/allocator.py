"""What glibc's allocator does with the memory of a proof once it is made.

By itself it raises the size from which it asks the system for memory of its own each time, up to 32 MiB, and keeps what
was freed below that: a worker that had made one joint proof held 185 MiB from then on, where 36 will do.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_MMAP_THRESHOLD = -3
_OWN_PAGES_FROM = 128 * 2**10
"""Bytes; glibc's own beginning. Once told, it stays."""


def keep_little() -> None:
    """From now on, what is large goes back to the system when it is freed."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_FROM)


def give_back() -> None:
    """All pages that hold nothing. Takes about a millisecond."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    """None elsewhere: other allocators do not have these calls, and mostly no need of them."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
