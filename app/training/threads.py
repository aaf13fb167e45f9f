"""How many threads training takes: fixed, as their number decides how sums are grouped, and so the last bits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MOST_THREADS = min(2, os.cpu_count() or 1)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Run torch on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
