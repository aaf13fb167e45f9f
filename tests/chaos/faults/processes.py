"""Signals to processes of the product, and to those that they have started."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

from tests.chaos.faults.fault import ProcessFault, ProductAtFaultError
from tests.rig.processes import Child
from tests.rig.rig import ATTESTER, Rig

_DRAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Killed(ProcessFault):
    """SIGKILL, and a new start after a while."""

    @property
    def kind(self) -> str:
        return f"SIGKILL {_role(self.process)}"

    @property
    def name(self) -> str:
        return f"SIGKILL {self.process}"

    @property
    def wants_round(self) -> bool:
        return self.process == ATTESTER

    def inject(self, rig: Rig) -> None:
        rig.children[self.process].kill()

    def heal(self, rig: Rig) -> None:
        rig.children[self.process].start()


@dataclass(frozen=True, slots=True)
class Told(ProcessFault):
    """SIGTERM: it ends by itself, soon and with 0, and is started again."""

    @property
    def kind(self) -> str:
        return f"SIGTERM {_role(self.process)}"

    @property
    def name(self) -> str:
        return f"SIGTERM {self.process}"

    def inject(self, rig: Rig) -> None:
        stopped = rig.children[self.process].stop(_DRAIN_S)
        if stopped.exit_code is None:
            raise ProductAtFaultError(f"{self.process} did not end within {_DRAIN_S:g} s of SIGTERM")
        if stopped.exit_code != 0:
            raise ProductAtFaultError(f"{self.process} ended with {stopped.exit_code} on SIGTERM")

    def heal(self, rig: Rig) -> None:
        if not rig.children[self.process].is_running:
            rig.children[self.process].start()


@dataclass(frozen=True, slots=True)
class Frozen(ProcessFault):
    """SIGSTOP, and SIGCONT after a while: shorter or longer than its leases."""

    length: Literal["short", "long"]

    @property
    def kind(self) -> str:
        return f"SIGSTOP {_role(self.process)}, {self.length}"

    @property
    def name(self) -> str:
        return f"SIGSTOP {self.process} for {self.hold_s:.1f} s"

    @property
    def wants_round(self) -> bool:
        return self.process == ATTESTER

    def inject(self, rig: Rig) -> None:
        rig.children[self.process].pause()

    def heal(self, rig: Rig) -> None:
        rig.children[self.process].resume()


@dataclass(frozen=True, slots=True)
class WorkerHurt(ProcessFault):
    """The process that makes proofs, a child of the named one, is killed, or frozen and left so."""

    how: Literal["SIGKILL", "SIGSTOP"]

    @property
    def kind(self) -> str:
        return f"{self.how} prover worker"

    @property
    def name(self) -> str:
        return f"{self.how} the worker of {self.process}" + (f" for {self.hold_s:.1f} s" if self.hold_s else "")

    def inject(self, rig: Rig) -> None:
        for worker in workers(rig.children[self.process]):
            _send(worker, signal.SIGKILL if self.how == "SIGKILL" else signal.SIGSTOP)

    def heal(self, rig: Rig) -> None:
        for worker in workers(rig.children[self.process]):
            _send(worker, signal.SIGCONT)


def workers(child: Child) -> list[psutil.Process]:
    """Its prover processes."""
    return [one for one in child.children() if _is_worker(one)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "app.proving.worker" in process.cmdline()
    except psutil.Error:
        return False


def _send(process: psutil.Process, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, what)


def _role(process: str) -> str:
    return process.rpartition("-")[0] or process
