"""What serving ``latest`` costs, beside a bare FastAPI route that returns the same bytes under the same uvicorn.

Both are processes of their own, and so is who asks them (`load`). They are asked in turn, in short rounds, so that
whatever else the machine does meets both; figures are medians of rounds, the ratio that of neighbouring rounds.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from app.bench.dialogue import helper
from app.bench.load import Load
from app.bench.served import Server, bare

Say = Callable[[str], None]
Round = dict[str, Any]
PATHS = {"without_proof": "/v1/feeds/{}/latest", "with_proof": "/v1/feeds/{}/latest?include=proof"}
_START_LIMIT_S = 60
_CPU_TICK_S = 0.01
"""What the system counts processor time in."""


@dataclass(frozen=True, slots=True)
class LoadEffort:
    """How much is asked. ``rounds`` are of each server and each kind of answer."""

    rounds: int = 9
    round_s: float = 1.5
    connections: int = 16
    paced_rounds: int = 5
    paced_s: float = 3.0
    paced_connections: int = 64


def bench_latest(real: Server, feed: str, folder: Path, effort: LoadEffort, say: Say) -> dict[str, Any]:
    """The figures of each kind of answer, and `latest_vs_bare`. ``real`` has a proved forecast of ``feed``."""
    bodies = {kind: _body(real.url + path.format(feed)) for kind, path in PATHS.items()}
    with bare(bodies, folder) as plain:
        found = {
            kind: {"bytes": len(bodies[kind])}
            | _beside_bare(Target(real, path.format(feed)), Target(plain, f"/{kind}"), effort, say)
            for kind, path in PATHS.items()
        }
    return compared(found) | {
        "latest": found | {"effort": asdict(effort), "load_average": round(os.getloadavg()[0], 1)}
    }


@dataclass(frozen=True, slots=True)
class Target:
    server: Server
    path: str

    def asked(self, connections: int, seconds: float, per_second: float | None = None) -> Round:
        """One round."""
        load = Load(self.server.host, self.server.port, self.path, self.server.pid, connections, seconds, per_second)
        with helper("app.bench.load") as client:
            return client.ask(asdict(load))


def _body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_START_LIMIT_S) as answer:  # noqa: S310  our own address
        body: bytes = answer.read()
        return body


def _beside_bare(real: Target, plain: Target, effort: LoadEffort, say: Say) -> dict[str, Any]:
    ours: list[Round] = []
    theirs: list[Round] = []
    for number in range(effort.rounds):
        say(f"{real.path}, round {number + 1} of {effort.rounds}")
        order = ((real, ours), (plain, theirs))
        for target, rounds in order if number % 2 else reversed(order):
            rounds.append(target.asked(effort.connections, effort.round_s))
    half = at_half_load(real, ours, effort, say)
    return {"product": told(ours), "bare": told(theirs), **_ratios(ours, theirs), "at_half_load": half}


def _ratios(ours: list[Round], theirs: list[Round]) -> dict[str, float]:
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "ratio_of_requests": round(median(per_second(our) / per_second(bare) for our, bare in pairs), 3),
        "ratio_of_server_cpu": round(median(cpu_each_us(bare) / cpu_each_us(our) for our, bare in pairs), 3),
    }


def at_half_load(target: Target, measured: list[Round], effort: LoadEffort, say: Say) -> dict[str, Any]:
    """Latencies at half of what ``measured`` rounds show to be the most, from when each request was due."""
    pace = median(map(per_second, measured)) / 2
    rounds = []
    for number in range(effort.paced_rounds):
        say(f"{target.path} at half load, round {number + 1} of {effort.paced_rounds}")
        rounds.append(target.asked(effort.paced_connections, effort.paced_s, pace))
    return {"per_second": round(pace)} | {
        name: {key: round(median(one[name][key] for one in rounds), 3) for key in ("median", "p99", "largest")}
        for name in ("latency_ms", "sent_late_ms")
    }


def told(rounds: list[Round]) -> dict[str, float]:
    """Medians of the rounds."""
    return {
        "requests_per_second": round(median(map(per_second, rounds))),
        "server_cpu_us_per_request": round(median(map(cpu_each_us, rounds)), 1),
        "server_cpu_share": round(median(one["server_cpu_s"] / one["seconds"] for one in rounds), 3),
        "client_cpu_share": round(median(one["client_cpu_s"] / one["seconds"] for one in rounds), 3),
    }


def bench_busy(url: str, feed: str, effort: LoadEffort, say: Say) -> dict[str, Any]:
    """The same of this very process, which serves at ``url`` while it ticks and proves.

    Its rounds are the longer ones, so that each has a tick in it.
    """
    host, _, port = url.removeprefix("http://").rpartition(":")
    target = Target(Server(url, host, int(port), os.getpid()), PATHS["without_proof"].format(feed))
    rounds = []
    for number in range(effort.paced_rounds):
        say(f"the service at work, round {number + 1} of {effort.paced_rounds}")
        rounds.append(target.asked(effort.connections, effort.paced_s))
    return told(rounds) | {"at_half_load": at_half_load(target, rounds, effort, say)}


def per_second(one: Round) -> float:
    return float(max(1, one["answers"]) / one["seconds"])


def cpu_each_us(one: Round) -> float:
    return float(1e6 * max(_CPU_TICK_S, one["server_cpu_s"]) / max(1, one["answers"]))


def compared(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`latest_vs_bare`, the least favourable of all ratios.

    Requests per second would flatter us where something else than the servers limits both, their processor's time
    where a server waits: so for each kind of answer the smaller of the two counts.
    """
    ratios = {
        f"latest_vs_bare_{kind}": min(each["ratio_of_requests"], each["ratio_of_server_cpu"])
        for kind, each in found.items()
    }
    return {"latest_vs_bare": min(ratios.values()), **ratios}
