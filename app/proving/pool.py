"""Prover processes. ezkl holds the GIL while it works, so every call of it that serving needs runs here.

A worker that exceeds its time or memory limit is killed and replaced, one that dies is replaced, and one that has done
its share of calls makes way for a fresh one. What was being done is reported as `ProofTimedOut`, `ProverOutOfMemory` or
`ProverDied`, and whoever leased the job decides about the next attempt.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import psutil

from app.errors import ProofTimedOut, ProverDied, ProverOutOfMemory
from app.proving.cores import threads_each
from app.types import Circuit, Keys, Proof

_KEYS_TIME_LIMIT_S = 300.0
_LOOK_EVERY_S = 0.02
"""How often a busy worker's memory is looked at."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker process may use. A worker is replaced after ``calls``, before a slow leak could matter."""

    time_s: float = 30.0
    memory_mib: int = 768
    calls: int = 1000
    threads: int = 0
    """Of ezkl; 0 shares the cores evenly among the workers."""


class ProverPool:
    """A fixed number of warm worker processes. Its methods block; call them from any thread.

    The time limit covers everything from handing the job over to its answer, so a worker that was stopped while idle is
    found out as well.
    """

    def __init__(self, workers: int, limits: Limits) -> None:
        self._limits = limits
        threads = limits.threads or threads_each(workers)
        self._workers = [_Worker(limits, threads) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def slots(self) -> int:
        """Proofs that can be made at once."""
        return len(self._workers)

    @property
    def patience_s(self) -> float:
        """The time limit of a proof: `prove` has returned or raised by then."""
        return self._limits.time_s

    def process_ids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def serving_keys(
        self, var_dir: Path, circuit: Circuit, trusted: Collection[str] = (), chosen: Collection[str] = ()
    ) -> Keys:
        """Keys under the SRS that `app.proving.srs.serving_srs` takes; both made on first use where they are not here.

        ``trusted`` are hashes of SRS files whose ceremony the operator trusts, ``chosen`` of those to use in any case.
        """
        asked = (var_dir, circuit, tuple(trusted), tuple(chosen))
        return cast(Keys, self._run(_KEYS_TIME_LIMIT_S, "serving_keys", *asked))

    def keys_for_srs(
        self, var_dir: Path, circuit: Circuit, srs_sha256: str, trusted: Collection[str] = ()
    ) -> Keys | None:
        """Keys under the SRS with this hash; none when that SRS is not here."""
        asked = (var_dir, circuit, srs_sha256, tuple(trusted))
        return cast(Keys | None, self._run(_KEYS_TIME_LIMIT_S, "keys_for_srs", *asked))

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        """A verified proof. Raises `ProofTimedOut`, `ProverOutOfMemory`, `ProverDied`, or what the engine raised."""
        return cast(Proof, self._run(self._limits.time_s, "prove", keys, tuple(observation)))

    def witness(self, keys: Keys, observation: Sequence[int]) -> tuple[int, ...]:
        """The circuit's outputs without a proof."""
        return tuple(self._run(self._limits.time_s, "witness", keys, tuple(observation)))

    def verify(self, keys: Keys, proof: bytes, instances: Sequence[int]) -> bool:
        return bool(self._run(self._limits.time_s, "verify", keys, proof, tuple(instances)))

    def commit(self, keys: Keys, observation: Sequence[int]) -> bytes:
        return bytes(self._run(self._limits.time_s, "commit", keys, tuple(observation)))

    def stop(self) -> None:
        """Kill what is running and end every worker. Unfinished jobs stay in the store."""
        for worker in self._workers:
            worker.stop()

    def _run(self, limit_s: float, task: str, *arguments: Any) -> Any:
        worker = self._idle.get()
        try:
            return worker.call(task, arguments, limit_s)
        finally:
            self._idle.put(worker)


class _Worker:
    """One place in the pool: a process, and towards the end of its life the one that takes over."""

    def __init__(self, limits: Limits, threads: int) -> None:
        self._limits = limits
        self._threads = threads
        self._stopped = False
        self._guard = threading.Lock()
        self._calls = 0
        self._process = _Process(threads)
        self._successor: _Process | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, task: str, arguments: tuple[Any, ...], limit_s: float) -> Any:
        self._retire_when_due()
        self._calls += 1
        try:
            answer = self._process.call((task, arguments), limit_s, self._limits.memory_mib * _MIB)
        except (EOFError, OSError) as error:
            code = self._replace()
            raise ProverDied(f"the prover process ended with code {code}") from error
        except (ProofTimedOut, ProverOutOfMemory):
            self._replace()
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        """Only kills: the pipe is left to the thread that may be waiting on it, which finds it at its end."""
        with self._guard:
            self._stopped = True
            self._process.kill()
            if self._successor is not None:
                self._successor.kill()

    def _retire_when_due(self) -> None:
        """A fresh process starts beside an old one and takes its place once it is warm, so that no proof waits."""
        if self._calls < self._limits.calls:
            return
        with self._guard:
            if self._stopped:
                return
            if self._successor is None:
                self._successor = _Process(self._threads)
                return
            try:
                warm = self._successor.is_warm()
            except (EOFError, OSError):  # it died: the old one goes on, and the next call starts another
                self._successor.end()
                self._successor = None
                return
            if warm:
                self._process.end()
                self._process, self._successor, self._calls = self._successor, None, 0

    def _replace(self) -> int | None:
        with self._guard:
            code = self._process.end()
            if not self._stopped:
                self._process, self._successor = self._successor or _Process(self._threads), None
                self._calls = 0
            return code


class _Process:
    """A worker process and the pipe to it."""

    def __init__(self, threads: int) -> None:
        self._warm = False
        self._pipe: Connection[Any, Any]
        self._pipe, theirs = Pipe()
        with theirs:
            # A session of its own: Ctrl-C on the terminal is for the service, which then decides what ends and when.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.proving.worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "RAYON_NUM_THREADS": str(threads)},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_warm(self) -> bool:
        """Whether it has loaded everything and waits for calls; what it says then is taken from the pipe."""
        if not self._warm and self._pipe.poll():
            self._pipe.recv()
            self._warm = True
        return self._warm

    def call(self, request: tuple[str, tuple[Any, ...]], limit_s: float, memory_limit: int) -> Any:
        give_up = time.monotonic() + limit_s
        self._pipe.send(request)
        if not self.is_warm():
            self._wait(give_up, limit_s, memory_limit)
            self.is_warm()
        self._wait(give_up, limit_s, memory_limit)
        return self._pipe.recv()

    def kill(self) -> int:
        self._process.kill()
        return self._process.wait()

    def end(self) -> int:
        code = self.kill()
        self._pipe.close()
        return code

    def _wait(self, give_up: float, limit_s: float, memory_limit: int) -> None:
        """Until there is something to read."""
        while not self._pipe.poll(_LOOK_EVERY_S):
            if time.monotonic() > give_up:
                raise ProofTimedOut(f"killed after {limit_s:g} s")
            if (held := self._memory()) > memory_limit:
                raise ProverOutOfMemory(f"killed at {held / _MIB:.0f} MiB, {memory_limit // _MIB} are allowed")

    def _memory(self) -> int:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess:  # the pipe will tell
            return 0
