"""Two threads that share a machine: torch's workers sleep while they wait for each other.

By default they wait spinning. As soon as another process takes one of the cores, both then burn their time waiting, and
training takes ten times as long. The setting is read once, when torch is loaded, so this module must be the first to
load it; where it comes too late, only time is lost.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["MOST_THREADS", "torch", "using_threads"]

MOST_THREADS = min(2, os.cpu_count() or 1)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Run torch on ``count`` threads: how many there are decides how sums are grouped, and so the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
