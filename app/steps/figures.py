"""What the database tells operators: read when somebody looks, in one transaction, by a collector for Prometheus."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.clock import Clock, wall_ms
from app.errors import OracleError
from app.steps.standing import Role
from app.store.database import Database
from app.store.repository import Store
from app.types import DAY_MS, PROVED_STATES, Status

log = logging.getLogger(__name__)

_PATIENCE_S = 4.0
"""Less than Prometheus waits for everything: a database that hangs must not hide what this process itself counts."""
_UP = ("veriregime_database_up", "1 while the database can be read")


@dataclass(frozen=True, slots=True)
class _Read:
    """Ages are of the market's clock where they are a window's, of the wall's where they are a process's."""

    forecast_ages_s: dict[str, float]
    round_ages_s: dict[str, float]
    alarms: dict[str, int]
    jobs_waiting: int
    job_age_s: float
    events: int
    size_bytes: int
    leases: dict[str, int]
    standing_ages_s: dict[str, float]
    clock_skew_s: float | None

    def families(self) -> Iterator[Metric]:
        yield _gauge("forecast_age_seconds", "Age of the newest proved forecast", "feed", self.forecast_ages_s)
        yield _gauge(
            "confirmed_age_seconds", "Age of the newest forecast that is confirmed on chain", "feed", self.round_ages_s
        )
        yield _gauge("alarms", "Disagreements that nobody has looked at", "feed", self.alarms)
        yield _gauge("leases", "Leases that are held, by what is done under them", "work", self.leases)
        yield _gauge(
            "standing_age_seconds", "Since any process of a role last said how it stands", "role", self.standing_ages_s
        )
        yield _figure("proof_jobs_waiting", "Proof jobs not finished", self.jobs_waiting)
        yield _figure("proof_job_oldest_age_seconds", "Since when the oldest of them waits", self.job_age_s)
        yield _figure("database_size_bytes", "Room that the database takes", self.size_bytes)
        yield CounterMetricFamily("veriregime_events", "Events since the database was made", value=self.events)
        if self.clock_skew_s is not None:
            yield _figure("clock_skew_seconds", "The median of the venues' clocks minus ours", self.clock_skew_s)


class StoreFigures(Collector):
    """While the database is away, nothing but that: old figures would look like new ones."""

    def __init__(self, database: Database, feeds: Collection[str], clock: Clock) -> None:
        self._database = database
        self._feeds = tuple(feeds)
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        read = self._read_in_time()
        yield GaugeMetricFamily(*_UP, value=read is not None)
        if read is not None:
            yield from read.families()

    def _read_in_time(self) -> _Read | None:
        found: list[_Read] = []
        reader = threading.Thread(target=self._read_into, args=(found,), daemon=True, name="figures")
        reader.start()
        reader.join(_PATIENCE_S)
        return found[0] if found else None

    def _read_into(self, found: list[_Read]) -> None:
        try:
            with self._database.unit_of_work(write=False) as store:
                found.append(self._read(store))
        except OracleError as error:
            log.debug("metrics go without the database: %s", error)  # veriregime_database_up says so
        except Exception:  # in a thread of its own nobody else would hear of it
            log.exception("reading figures met a bug")

    def _read(self, store: Store) -> _Read:
        now_ms = wall_ms()
        ends = {feed: store.figures.newest_windows_ms(feed, PROVED_STATES) for feed in self._feeds}
        waiting_since_ms = store.figures.waiting_since_ms()
        open_alarms = Counter(found.feed for found in store.disagreements.open())
        standings = store.standings.since(now_ms - DAY_MS)
        return _Read(
            forecast_ages_s=self._ages({feed: max(found.values(), default=None) for feed, found in ends.items()}),
            round_ages_s=self._ages({feed: found.get(Status.CONFIRMED) for feed, found in ends.items()}),
            alarms={feed: open_alarms[feed] for feed in self._feeds},
            jobs_waiting=store.jobs.waiting(),
            job_age_s=max(0, now_ms - waiting_since_ms) / 1000 if waiting_since_ms else 0.0,
            events=store.events.last(),
            size_bytes=store.size_bytes(),
            leases=_by_work(store.leases.held(now_ms)),
            standing_ages_s=_ages_of_roles(standings, now_ms),
            clock_skew_s=_skew_s(standings),
        )

    def _ages(self, ends_ms: dict[str, int | None]) -> dict[str, float]:
        """Of the feeds that have one: nothing is an age of what there is not."""
        now_ms = self._clock.now_ms()
        return {feed: (now_ms - end_ms) / 1000 for feed, end_ms in ends_ms.items() if end_ms is not None}


def _by_work(held: Mapping[str, str]) -> dict[str, int]:
    """Its first word is what a lease is for."""
    return Counter(name.partition(" ")[0] for name in held)


def _ages_of_roles(standings: Sequence[tuple[int, Mapping[str, Any]]], now_ms: int) -> dict[str, float]:
    newest = {role: seen_ms for seen_ms, said in standings for role in Role if role in said.get("roles", ())}
    return {role: max(0, now_ms - seen_ms) / 1000 for role, seen_ms in newest.items()}


def _skew_s(standings: Sequence[tuple[int, Mapping[str, Any]]]) -> float | None:
    """As the last process said that asks venues."""
    told = [said.get("clock_skew_s") for _, said in standings]
    return next((float(skew) for skew in reversed(told) if isinstance(skew, int | float)), None)


def _gauge(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"veriregime_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _figure(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"veriregime_{name}", words, value=value)
