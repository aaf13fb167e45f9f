"""One process of the product, as the rig starts, stops, freezes and kills it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

_LAUNCHER = Path(__file__).with_name("launcher.py")
_ORPHANS_MAY_TAKE_S = 5.0
_ASK_S = 1.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a process ended that was told to, and how long that took."""

    seconds: float
    exit_code: int | None
    """None: it did not, and was killed."""


@dataclass(slots=True)
class Child:
    """``veriregime ROLE …`` in a process of its own, again and again under the same name.

    ``alive_url`` answers 200 once it is up. Everything that it says goes to ``log``.
    """

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    alive_url: str
    left_behind: list[str] = field(default_factory=list)
    """Processes that did not end with the one that had started them."""
    starts: int = 0
    was_up: bool = False
    """Whether anybody has seen it up since its last start."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ProcessLookupError(f"{self.name} was never started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        if self.is_running:
            raise RuntimeError(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        offset = self.folder / f"{self.name}.offset"
        offset.write_bytes(struct.pack("<d", 0.0))
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts + 1}\n".encode())
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_LAUNCHER), str(offset), *self.arguments],
                env=dict(self.env),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts, self.was_up = self.starts + 1, False

    def set_clock(self, offset_s: float) -> None:
        """Its time is this machine's and so many seconds, from now to its end."""
        with (self.folder / f"{self.name}.offset").open("r+b") as file:
            file.write(struct.pack("<d", offset_s))

    def is_up(self) -> bool:
        """Whether it runs and answers."""
        if not self.is_running:
            return False
        try:
            up = requests.get(self.alive_url, timeout=_ASK_S).status_code == 200
        except requests.RequestException:
            return False
        self.was_up = self.was_up or up
        return up

    def children(self) -> list[psutil.Process]:
        """Its prover processes, and whatever else it has started."""
        try:
            return psutil.Process(self.pid).children(recursive=True) if self.is_running else []
        except psutil.NoSuchProcess:
            return []

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """At once, and see that whatever it had started ends as well."""
        children = self.children()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._reap(children)

    def stop(self, limit_s: float = 10.0) -> Stopped:
        """By SIGTERM; killed when it takes longer than ``limit_s``."""
        if self._process is None:
            return Stopped(0.0, None)
        children, began = self.children(), time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        try:
            code: int | None = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            os.kill(self.pid, signal.SIGKILL)
        seconds = time.monotonic() - began
        self._reap(children)
        return Stopped(seconds, code)

    def wait(self, limit_s: float) -> int | None:
        """Its exit code once it has ended by itself; None when it has not by then."""
        if self._process is None:
            return None
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def said(self) -> str:
        """What it has said since its last start."""
        return self.log.read_text(errors="replace").rpartition("--- start ")[2] if self.log.exists() else ""

    def _reap(self, children: Sequence[psutil.Process]) -> None:
        assert self._process is not None
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        for orphan in psutil.wait_procs(children, timeout=_ORPHANS_MAY_TAKE_S)[1]:
            with suppress(psutil.NoSuchProcess):
                self.left_behind.append(f"{self.name} left {orphan.pid} {' '.join(orphan.cmdline())[:120]}")
                orphan.kill()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
