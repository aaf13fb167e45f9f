"""Benches of the HTTP side at rest, on a database with a real proof: few requests, twenty clients, no timing."""

from __future__ import annotations

from typing import Any

import pytest

from app.bench.api import LoadEffort
from app.bench.serving import Effort, copied, measure_at_rest
from app.bench.serving_text import as_text
from app.bench.streaming import StreamEffort
from app.types import Prediction
from app.wiring import Application

LOAD = LoadEffort(rounds=1, round_s=0.3, connections=2, paced_rounds=1, paced_s=0.15, paced_connections=4)
STREAMS = StreamEffort(clients=20, resuming=4, events=30, per_second=60)


@pytest.fixture(scope="module")
def found(app: Application, confirmed: Prediction, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("serving")
    subject = copied(app, confirmed.feed, folder)
    return measure_at_rest(subject, ("latest", "streams"), Effort(load=LOAD, streams=STREAMS), folder, lambda _: None)


def test_bench_latest__tells_the_smallest_ratio_and_what_it_is_of(found: dict[str, Any]) -> None:
    ratios = [
        found["latest"][kind][ratio]
        for kind in ("without_proof", "with_proof")
        for ratio in ("ratio_of_requests", "ratio_of_server_cpu")
    ]
    assert found["latest_vs_bare"] == min(ratios) > 0
    assert found["latest_vs_bare"] in (found["latest_vs_bare_without_proof"], found["latest_vs_bare_with_proof"])


def test_bench_latest__both_servers_give_the_same_bytes(found: dict[str, Any]) -> None:
    sizes = {kind: found["latest"][kind]["bytes"] for kind in ("without_proof", "with_proof")}
    assert sizes["with_proof"] > sizes["without_proof"] + 2_000


def test_bench_latest__half_load_is_half_of_what_was_measured(found: dict[str, Any]) -> None:
    for kind in ("without_proof", "with_proof"):
        figures = found["latest"][kind]
        half, latency = figures["at_half_load"], figures["at_half_load"]["latency_ms"]
        assert half["per_second"] == pytest.approx(figures["product"]["requests_per_second"] / 2, abs=1)
        assert 0 < latency["median"] <= latency["p99"] <= latency["largest"]


def test_bench_streams__every_client_has_every_event_once_also_those_that_were_away(found: dict[str, Any]) -> None:
    streams = found["streams"]
    assert streams["whole"]
    assert (streams["received"], streams["missed"], streams["repeated"], streams["resumed"]) == (600, 0, 0, 4)
    assert set(streams["server_mib"]) == {"before", "with_clients", "after_events"}


def test_bench_serving__text_has_ratio_p99_and_clients(found: dict[str, Any]) -> None:
    text = as_text(found)
    assert f"the same bytes: {found['latest_vs_bare']:.2f}" in text
    assert text.count("p99") == 3
    assert "20 clients of the stream at once, 30 events at 60 a second: 0 missed" in text
