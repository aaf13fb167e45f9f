"""How many threads a prover process gets, so that several of them do not fight over the cores."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def threads_each(workers: int, limit: Path = _CGROUP_LIMIT) -> int:
    """An even share of the cores that this process may use, at least one."""
    return max(1, usable_cores(limit) // workers)


def usable_cores(limit: Path = _CGROUP_LIMIT) -> int:
    """Cores by affinity, or fewer where a container's quota (``cpu.max`` of cgroup v2) allows fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max": no quota
        return cores
