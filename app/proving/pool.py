"""Prover processes. ezkl holds the GIL while it works, so every call of it that serving needs runs here.

A worker that exceeds its time limit is killed and replaced; a worker that dies is replaced. What was being done is
reported as `ProofTimedOut` or `ProverDied`, and whoever leased the job decides about the next attempt.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from app.errors import ProofTimedOut, ProverDied
from app.types import Circuit, Keys, Proof

_KEYS_TIME_LIMIT_S = 300.0


class ProverPool:
    """A fixed number of warm worker processes. Its methods block; call them from any thread.

    The time limit covers everything from handing the job over to its answer, so a worker that was stopped while idle is
    found out as well.
    """

    def __init__(self, workers: int, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._workers = [_Worker() for _ in range(workers)]
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
    def size(self) -> int:
        return len(self._workers)

    def process_ids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def development_keys(self, var_dir: Path, circuit: Circuit) -> Keys:
        """Keys under this installation's development SRS, both made on first use."""
        return cast(Keys, self._run(_KEYS_TIME_LIMIT_S, "development_keys", var_dir, circuit))

    def keys_for_srs(self, var_dir: Path, circuit: Circuit, srs_sha256: str) -> Keys | None:
        """Keys under the SRS with this hash; none when that SRS is not here."""
        return cast(Keys | None, self._run(_KEYS_TIME_LIMIT_S, "keys_for_srs", var_dir, circuit, srs_sha256))

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        """A verified proof. Raises `ProofTimedOut`, `ProverDied`, or what the engine raised."""
        return cast(Proof, self._run(self._time_limit_s, "prove", keys, tuple(observation)))

    def verify(self, keys: Keys, proof: bytes, instances: Sequence[int]) -> bool:
        return bool(self._run(self._time_limit_s, "verify", keys, proof, tuple(instances)))

    def commit(self, keys: Keys, observation: Sequence[int]) -> bytes:
        return bytes(self._run(self._time_limit_s, "commit", keys, tuple(observation)))

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
    """One process and the pipe to it; a new process takes the place of one that was lost."""

    def __init__(self) -> None:
        self._stopped = False
        self._guard = threading.Lock()
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, task: str, arguments: tuple[Any, ...], limit_s: float) -> Any:
        try:
            self._pipe.send((task, arguments))
            if not self._pipe.poll(limit_s):
                raise ProofTimedOut(f"killed after {limit_s:g} s")
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            code = self._replace()
            raise ProverDied(f"the prover process ended with code {code}") from error
        except ProofTimedOut:
            self._replace()
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        with self._guard:
            self._stopped = True
            self._end()

    def _start(self) -> None:
        self._pipe: Connection[Any, Any]
        self._pipe, theirs = Pipe()
        with theirs:
            # A session of its own: Ctrl-C on the terminal is for the service, which then decides what ends and when.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.proving.worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _replace(self) -> int | None:
        with self._guard:
            self._end()
            if not self._stopped:
                self._start()
            return self._ended_with

    def _end(self) -> None:
        self._process.kill()
        self._ended_with = self._process.wait()
        self._pipe.close()
