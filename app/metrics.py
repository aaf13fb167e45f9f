"""Prometheus metrics. One object per service, on a registry of its own; label values are enum members."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: Any = {"registry": self.registry, "namespace": "veriregime"}
        self.ticks = Counter("ticks", "Ticks by what came of them", ["feed", "outcome"], **make)
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
        self.clock_skew = Gauge("clock_skew_seconds", "The median of the venues' clocks minus ours", **make)
        self.proofs = Counter("proofs", "Proof jobs by what came of them", ["outcome"], **make)
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
        self.alarms = Gauge("alarms", "Disagreements that nobody has looked at", ["feed"], **make)
        self.outcomes = Counter(
            "outcomes", "Forecasts that met what the market did: right, wrong, missing", ["feed", "result"], **make
        )
        self.submit_gas = Gauge("submit_gas", "Gas used by the last confirmed submission", **make)
        self.balance = Gauge("submitter_balance_ether", "Balance of the account that pays", **make)
        self.forecast_age = Gauge("forecast_age_seconds", "Age of the newest proved forecast", ["feed"], **make)
        self.jobs_waiting = Gauge("proof_jobs_waiting", "Proof jobs not finished", **make)
        self.stream_clients = Gauge("stream_clients", "Connections that follow the stream", **make)
        self.http = Histogram(
            "http_request_seconds",
            "Until the answer to a request begins",
            ["method", "route", "status"],
            buckets=_SECONDS,
            **make,
        )

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
