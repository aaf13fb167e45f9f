"""Proofs back to back through the pool: ``veriregime bench pool``. None may be lost, and memory must stay flat."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psutil

from app.bench.figures import p95
from app.errors import ProvingFailed
from app.proving.pool import Limits, ProverPool
from app.types import Keys

Say = Callable[[str], None]
_MIB = 2**20
_WARM_UPS = 3


def bench_pool(
    keys_of: Callable[[ProverPool], Keys],
    observations: Sequence[Sequence[int]],
    limits: Limits,
    *,
    proofs: int,
    workers: Sequence[int],
    say: Callable[[int], Say],
) -> dict[str, Any]:
    """A run of ``proofs`` for each number of workers, one after another on the same machine."""
    runs = [_run(keys_of, observations, limits, proofs, count, say(count)) for count in workers]
    return {"runs": runs, "throughput_against_first": [round(r["per_second"] / runs[0]["per_second"], 3) for r in runs]}


def as_text(found: dict[str, Any]) -> str:
    head = "workers  proofs  lost  proofs/s  median s   p95 s  peak MiB   memory"
    rows = [
        f"{run['workers']:>7} {run['proofs']:>7} {run['lost']:>5} {run['per_second']:>9.2f} {run['median_s']:>9.3f} "
        f"{run['p95_s']:>7.3f} {run['peak_worker_mib']:>9.1f} {run['memory_last_over_second_tenth']:>8.3f}"
        for run in found["runs"]
    ]
    return "\n".join((head, *rows, "memory: mean of the last tenth of the proofs over that of the second tenth"))


def _run(
    keys_of: Callable[[ProverPool], Keys],
    observations: Sequence[Sequence[int]],
    limits: Limits,
    proofs: int,
    workers: int,
    say: Say,
) -> dict[str, Any]:
    # A worker that is replaced halfway would hide what it leaked.
    with ProverPool(workers, replace(limits, calls=10 * proofs)) as pool:
        keys = keys_of(pool)
        for _ in range(_WARM_UPS * workers):
            pool.prove(keys, observations[0])
        work = _Work(pool, keys, observations, say, proofs)
        started = time.perf_counter()
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(work.one, range(proofs)))
        return work.figures(workers, time.perf_counter() - started)


class _Work:
    """Makes the proofs and notes what each took and what the workers hold after it."""

    def __init__(
        self, pool: ProverPool, keys: Keys, observations: Sequence[Sequence[int]], say: Say, proofs: int
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._observations = observations
        self._say = say
        self._proofs = proofs
        self._guard = threading.Lock()
        self._seconds: list[float] = []
        self._memory: list[int] = []
        self._peak = 0
        self._lost: list[str] = []

    def one(self, number: int) -> None:
        started = time.perf_counter()
        try:
            self._pool.prove(self._keys, self._observations[number % len(self._observations)])
        except ProvingFailed as error:
            with self._guard:
                self._lost.append(str(error))
            return
        seconds = time.perf_counter() - started
        held = [psutil.Process(pid).memory_info().rss for pid in self._pool.process_ids()]
        with self._guard:
            self._seconds.append(seconds)
            self._memory.append(sum(held))
            self._peak = max(self._peak, *held)
            self._say(f"{len(self._seconds)} of {self._proofs} proofs")

    def figures(self, workers: int, seconds: float) -> dict[str, Any]:
        tenth = max(1, len(self._memory) // 10)
        last, second = self._memory[-tenth:], self._memory[tenth : 2 * tenth] or self._memory[-tenth:]
        return {
            "workers": workers,
            "proofs": len(self._seconds),
            "lost": len(self._lost),
            "reasons": sorted(set(self._lost)),
            "seconds": round(seconds, 3),
            "per_second": round(len(self._seconds) / seconds, 4),
            "median_s": round(statistics.median(self._seconds), 4),
            "p95_s": round(p95(self._seconds), 4),
            "peak_worker_mib": round(self._peak / _MIB, 1),
            "memory_last_over_second_tenth": round(statistics.mean(last) / statistics.mean(second), 4),
        }
