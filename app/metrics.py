"""Prometheus metrics of one process, on a registry of its own. docs/monitoring.md tells what each means.

Names are veriregime_…, with base units, and those of Prometheus' own for what every process has. Label values are enum
members, or come from the settings: never from outside. What stands in the database is not counted here but read when
somebody looks: `app.steps.figures`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.errors import PortInUse

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)
_GAS = (1e5, 2e5, 3e5, 4e5, 5e5, 6e5, 8e5, 1e6, 1.5e6, 2e6, 5e6)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: Any = {"registry": self.registry, "namespace": "veriregime"}
        ProcessCollector(registry=self.registry)
        Info("build", "The version that runs", **make).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self.ticks = Counter("ticks", "Ticks by what came of them", ["feed", "outcome"], **make)
        self.window_end_to_stored_seconds = Histogram(
            "window_end_to_stored_seconds",
            "From the window's end to its stored forecast, by the market's clock",
            ["feed"],
            buckets=_SECONDS,
            **make,
        )
        self.skipped = Counter("ticks_skipped", "Ticks that gave no forecast, by reason", ["feed", "reason"], **make)
        self.venue_answers = Counter(
            "venue_answers", "What asking a venue for the newest minute came to", ["venue", "answer"], **make
        )
        self.candles = Counter("candles", "Candles stored", ["venue"], **make)
        self.candle_revisions = Counter("candle_revisions", "Candles that a venue changed later", ["venue"], **make)
        self.venue_left_out = Gauge(
            "venue_left_out", "1 while a venue is left out of a feed", ["feed", "venue"], **make
        )
        self.set_aside = Gauge(
            "venue_minutes_set_aside",
            "Minutes of the last hour in which a venue's return was set aside: frozen, outlying",
            ["feed", "venue", "why"],
            **make,
        )
        self.venue_up = Gauge("venue_up", "1 while a venue has the newest minute", ["venue"], **make)
        self.venue_skew = Gauge("venue_clock_skew_seconds", "A venue's clock minus ours", ["venue"], **make)
        self.proofs = Counter("proofs", "Proof jobs by what came of them", ["outcome"], **make)
        self.proof_attempts = Counter(
            "proof_attempts",
            "Attempts at a window's proof by outcome; a prover process that died or was killed is replaced",
            ["outcome"],
            **make,
        )
        self.submissions = Counter("submissions", "Submission steps by what came of them", ["outcome"], **make)
        self.attestations = Counter(
            "attestations", "What attesters answered, by their host", ["attester", "outcome"], **make
        )
        self.answers = Counter("attester_answers", "What this attester said to proposals", ["answer"], **make)
        self.proof_step_seconds = Histogram(
            "proof_step_seconds", "Steps of a proof: queue, witness, prove, verify", ["step"], buckets=_SECONDS, **make
        )
        self.shed = Counter("proof_jobs_shed", "Windows given up because they could not be caught up with", **make)
        self.tick_to_proved_seconds = Histogram(
            "window_end_to_proved_seconds", "From the window's end to its verified proof", buckets=_SECONDS, **make
        )
        self.disagreements = Counter("disagreements", "Network and circuit beyond tolerance", ["feed"], **make)
        self.outcomes = Counter(
            "outcomes", "Forecasts that met what the market did: right, wrong, missing", ["feed", "result"], **make
        )
        self.submission_gas = Histogram(
            "submission_gas", "Gas used by each transaction of ours that is settled", buckets=_GAS, **make
        )
        self.chain_up = Gauge("chain_up", "1 while the chain answers and is the right one", ["chain"], **make)
        self.balance = Gauge("submitter_balance_ether", "Balance of the account that pays", ["account"], **make)
        self.affordable = Gauge(
            "submitter_affordable_updates",
            "Updates that it can pay for at the fees it is ready for",
            ["account"],
            **make,
        )
        self.stream_clients = Gauge("stream_clients", "Connections that follow the stream", **make)
        self.http = Histogram(
            "http_request_seconds",
            "Until the answer to a request begins",
            ["method", "route", "status"],
            buckets=_SECONDS,
            **make,
        )

        self.http_errors = Counter("http_errors", "Answers 500 and 502: bugs, and what others broke", **make)
        self.requests_in_flight = Gauge("http_requests_in_flight", "Requests under way, streams included", **make)

    def exposition(self, *others: Collector) -> bytes:
        """The text that Prometheus reads, of these metrics and of ``others``."""
        return generate_latest(_joined(self, others))


class ChildProcesses(Collector):
    """The prover processes of this one, as they are when somebody looks."""

    def __init__(self, process_ids: Callable[[], Sequence[int]]) -> None:
        self._process_ids = process_ids

    def collect(self) -> Iterator[Metric]:
        held = [memory for pid in self._process_ids() if (memory := _resident(pid)) is not None]
        yield GaugeMetricFamily(
            "veriregime_prover_processes", "Prover processes of this process that are alive", value=len(held)
        )
        yield GaugeMetricFamily(
            "veriregime_prover_resident_memory_bytes", "Memory that they hold together", value=sum(held)
        )


def _resident(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return None


def _joined(metrics: Metrics, others: Sequence[Collector]) -> CollectorRegistry:
    joined = CollectorRegistry(auto_describe=False)
    for collector in (metrics.registry, *others):
        joined.register(collector)
    return joined


@contextmanager
def serve_metrics(metrics: Metrics, host: str, port: int | None, *others: Collector) -> Iterator[None]:
    """Tell metrics over HTTP until the block ends, for a process that answers nothing else; not where ``port`` is None.

    Raises `PortInUse`.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, _joined(metrics, others))
    except OSError as error:
        raise PortInUse(
            f"metrics cannot be told at {host}:{port} ({error.strerror}): see VERIREGIME_METRICS_PORT"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
