"""Whether a thousand clients of the stream hear of every event, once and in order, from one process of the API.

Events are written to the database from here, at a known pace, so the server learns of them as it does of another
process's. The clients are a process of their own (`followers`); some go away in the middle and resume.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

from app.bench.dialogue import helper
from app.bench.figures import MIB
from app.bench.followers import Crowd
from app.bench.served import Server
from app.settings import Settings
from app.store.database import Database
from app.types import EventKind, PredictionId
from app.wiring import open_database

Say = Callable[[str], None]
_KINDS = (EventKind.PREDICTION, EventKind.PROOF, EventKind.TRANSACTION, EventKind.ROUND)
"""What can be told of a proved forecast without anything being done to it."""
_LAST_ONES_S = 30.0


@dataclass(frozen=True, slots=True)
class StreamEffort:
    clients: int = 1_000
    resuming: int = 50
    events: int = 500
    per_second: float = 25.0


def bench_streams(
    server: Server, settings: Settings, about: PredictionId, effort: StreamEffort, say: Say
) -> dict[str, Any]:
    """What the clients saw and what that took. Events ``about`` a proved prediction of the server's database."""
    with closing(open_database(settings)) as database, helper("app.bench.followers") as clients:
        memory = {"before": _mib(server)}
        say(f"{effort.clients} clients connect")
        crowd = Crowd(server.host, server.port, effort.clients, effort.resuming, effort.events)
        clients.ask(asdict(crowd))
        memory["with_clients"] = _mib(server)
        committed = _write(database, about, effort, say)
        say("the last ones arrive")
        seen = clients.ask({"committed": committed, "limit_s": _LAST_ONES_S})
        memory["after_events"] = _mib(server)
    if seen["delay_ms"]:
        seen["delay_ms"] = {name: round(value, 1) for name, value in seen["delay_ms"].items()}
    return asdict(effort) | seen | {"whole": is_whole(seen, effort), "server_mib": memory}


def is_whole(seen: dict[str, Any], effort: StreamEffort) -> bool:
    """Everyone has every event once."""
    everything = seen["received"] == effort.clients * effort.events
    return everything and not (seen["missed"] or seen["repeated"] or seen["resets"])


def _write(database: Database, about: PredictionId, effort: StreamEffort, say: Say) -> dict[int, float]:
    """By number of the event: when its transaction was about to be committed, on the clock that all processes share."""
    with database.unit_of_work(write=False) as store:
        first = store.events.last() + 1
    begun, committed = time.monotonic(), {}
    for number, kind in enumerate(islice(cycle(_KINDS), effort.events)):
        time.sleep(max(0.0, begun + number / effort.per_second - time.monotonic()))
        with database.unit_of_work() as store:
            store.events.note(kind, about)
            committed[first + number] = time.monotonic()
        if number % 100 == 0:
            say(f"event {number + 1} of {effort.events}")
    return committed


def _mib(server: Server) -> float:
    return round(server.memory_bytes() / MIB, 1)
