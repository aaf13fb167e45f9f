"""The constants of the capacity model, found here and now by what the other benches use.

Proofs on as many prover processes as there are cores; ticks of a demo with one feed, and what its roles take and hold;
`latest` of an API process beside it; updates on a chain of our own. Bytes are those that `app.bench.sizes` states and
`bench soak` checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import psutil

from app.bench.api import PATHS, Target, per_second
from app.bench.capacity_constants import JOINT, Constants
from app.bench.figures import MIB
from app.bench.inputs import market_windows
from app.bench.looks import ATTESTERS, PROVERS, SERVICE, Held, filled, held_by_role, lateness, newest_ms
from app.bench.oracle import bench_oracle
from app.bench.own_demo import OwnDemo, api_beside, own_demo
from app.bench.proving import machine
from app.bench.sizes import BYTES
from app.errors import BadInput
from app.features.variation import VariationSpec
from app.inference.release import ReleasedModel
from app.proving.cores import usable_cores
from app.proving.pool import ProverPool
from app.settings import Settings
from app.types import Keys
from app.wiring import open_pool

Say = Callable[[str], None]
_DEMO_SETTLES_S = 0.2
_DIFFERENT_WINDOWS = 50
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class MeasuringEffort:
    proofs_per_core: int = 30
    ticks_s: float = 60.0
    speed: float = 20.0
    rounds: int = 3
    round_s: float = 2.0
    connections: int = 16


def measured(settings: Settings, model: ReleasedModel, effort: MeasuringEffort, say: Say) -> Constants:
    """Takes a few minutes. Raises `BadInput` for a model without a circuit for several windows."""
    if model.batch is None:
        raise BadInput(f"model {model.name} has no circuit for several windows: choose another with --model")
    cores = usable_cores()
    one_each = settings.model_copy(update={"prover_threads": 1, "prover_workers": cores})
    with open_pool(one_each, cores) as pool:
        say("keys")
        keys, joint_keys = (
            pool.serving_keys(settings.var_dir, circuit, *settings.srs_choice)
            for circuit in (model.circuit, model.batch)
        )
        proofs = _proofs(pool, keys, model, cores, effort, say)
        say("updates on a chain of our own")
        oracle = bench_oracle(model, pool, keys, joint_keys, settings.contracts_dir, settings.var_dir / "bench")
    gas = {(row["windows"], row["signatures"]): row["gas"] for row in oracle["updates"] if row["reserved"]}
    return Constants(
        machine=_in_words(machine()),
        measured_at=datetime.now(UTC).strftime("%Y-%m-%d"),
        **proofs,
        **_running(settings, effort, say),
        bytes_each=BYTES,
        gas_single=gas[(1, 2)],
        gas_joint=gas[(JOINT, 3)],
    )


def _proofs(
    pool: ProverPool, keys: Keys, model: ReleasedModel, cores: int, effort: MeasuringEffort, say: Say
) -> dict[str, Any]:
    """As many at once as there are cores, each on one."""
    spec = VariationSpec.from_manifest(model.manifest["observation"])
    windows = market_windows(spec, _DIFFERENT_WINDOWS).at_scale(spec.input_scale).tolist()
    count = cores * effort.proofs_per_core

    def one(number: int) -> tuple[float, float]:
        begun = time.perf_counter()
        proof = pool.prove(keys, windows[number % len(windows)])
        return time.perf_counter() - begun, proof.verify_seconds

    with ThreadPoolExecutor(cores) as threads:
        say(f"{count} proofs on {cores} cores")
        list(threads.map(one, range(2 * cores)))  # each process loads its keys
        before_s = _cpu_of(pool)
        made = list(threads.map(one, range(count)))
        spent_s = _cpu_of(pool) - before_s
    return {
        "proof_s": tuple(round(took, _DIGITS) for took, _ in made),
        "proofs_per_core_s": round(count / spent_s, _DIGITS),
        "verify_s": round(median(verify for _, verify in made), _DIGITS),
    }


def _cpu_of(pool: ProverPool) -> float:
    """Processor time that counts whatever else the machine does."""
    times = (psutil.Process(pid).cpu_times() for pid in pool.process_ids())
    return sum(float(one.user + one.system) for one in times)


def _running(settings: Settings, effort: MeasuringEffort, say: Say) -> dict[str, Any]:
    with own_demo(settings, effort.speed, say, VERIREGIME_FEEDS=settings.feeds[0]) as demo:
        ticks = _ticks(demo, effort, say)
        say("latest of an API process")
        with api_beside(demo) as server:
            target = Target(server, PATHS["without_proof"].format(settings.feeds[0]))
            rounds = [target.asked(effort.connections, effort.round_s) for _ in range(effort.rounds)]
    return ticks | {"api_per_s": round(median(map(per_second, rounds)))}


def _ticks(demo: OwnDemo, effort: MeasuringEffort, say: Say) -> dict[str, Any]:
    say(f"ticks of a demo at {effort.speed:g} times real time")
    since_ms = newest_ms(demo.database)
    before, rows = held_by_role(demo.pid), filled(demo.database).rows["prediction"]
    time.sleep(effort.ticks_s)
    after, windows = held_by_role(demo.pid), filled(demo.database).rows["prediction"] - rows
    late_s = [ms / 1000 / effort.speed - _DEMO_SETTLES_S for *_, ms, _ in lateness(demo.database, since_ms)]
    attesters = after[ATTESTERS].processes
    return {
        "tick_s": tuple(round(max(10**-_DIGITS, seconds), _DIGITS) for seconds in late_s),
        "window_cpu_s": _cpu_s(before, after, SERVICE, windows),
        "attester_cpu_s": round(_cpu_s(before, after, ATTESTERS, windows) / attesters, _DIGITS),
        "memory_mib": {
            role: round(after[role].bytes / after[role].processes / MIB) for role in (SERVICE, PROVERS, ATTESTERS)
        },
    }


def _cpu_s(before: dict[str, Held], after: dict[str, Held], role: str, windows: int) -> float:
    return round((after[role].cpu_s - before[role].cpu_s) / max(1, windows), _DIGITS)


def _in_words(found: dict[str, Any]) -> str:
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory_mib'] / 1024:.0f} GiB, Python {found['python']}"
    )
