"""No room on the disk: files grow no further, as a limit that is put on processes that run."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.faults.fault import DatabaseFault, ProcessFault
from tests.rig.rig import Rig

_NOTHING = 1
"""Bytes that a file may have. Nothing can be written beyond them, wherever in a file that is."""


@dataclass(frozen=True, slots=True)
class DiskFull(ProcessFault):
    """For a process of the product."""

    @property
    def kind(self) -> str:
        return "disk full"

    @property
    def name(self) -> str:
        return f"disk full for {self.process}, {self.hold_s:.1f} s"

    def inject(self, rig: Rig) -> None:
        _limit(rig.children[self.process].pid, _NOTHING)

    def heal(self, rig: Rig) -> None:
        _limit(rig.children[self.process].pid, resource.RLIM_INFINITY)


@dataclass(frozen=True, slots=True)
class DatabaseDiskFull(DatabaseFault):
    """For the backends of PostgreSQL that there are."""

    @property
    def kind(self) -> str:
        return "disk full for PostgreSQL"

    @property
    def name(self) -> str:
        return f"disk full for PostgreSQL, {self.hold_s:.1f} s"

    def inject(self, rig: Rig) -> None:
        self._limit_all(rig, _NOTHING)

    def heal(self, rig: Rig) -> None:
        self._limit_all(rig, resource.RLIM_INFINITY)

    def _limit_all(self, rig: Rig, most: int) -> None:
        backends = rig.postgres.backends() if rig.postgres else []
        if backends:
            _limit_as(backends[0].uids().real, [one.pid for one in backends], most)


def _limit(pid: int, most: int) -> None:
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


def _limit_as(user: int, pids: Sequence[int], most: int) -> None:
    """From a process of that user: root may not where it lacks CAP_SYS_RESOURCE, as in a container."""
    ours = os.fork()
    if ours:
        os.waitpid(ours, 0)
        return
    try:
        if os.geteuid() == 0:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        for pid in pids:
            _limit(pid, most)
    finally:
        os._exit(0)
