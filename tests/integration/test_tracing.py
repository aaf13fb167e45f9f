"""Spans as a collector gets them: a server that reads OTLP over HTTP, and what happens where there is none."""

from __future__ import annotations

import gzip
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from app import logs, tracing
from app.metrics import Metrics
from app.types import ModelId, prediction_id
from app.web.measuring import Measured
from app.web.server import listen

FEED, END_MS, END = "btc-usdt-4h", 1_757_937_600_000, "2025-09-15T12:00:00Z"
PREDICTION = prediction_id(FEED, END_MS, ModelId("ab" * 32))
OTHER = prediction_id("eth-usdt-4h", END_MS, ModelId("ab" * 32))


@dataclass
class Collector:
    """What an OpenTelemetry collector has been sent."""

    url: str
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    status: int = 200

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {one.key: one.value.string_value for one in part.resource.attributes}
            self.services.add(told["service.name"])
            self.spans += [span for scope in part.scope_spans for span in scope.spans]

    def span(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers["Content-Encoding"] == "gzip"
            collector.take(self.path, gzip.decompress(body) if packed else body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not on the tests' standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield collector
    server.shutdown()
    server.server_close()
    thread.join()


def test_spans__of_one_prediction__are_one_trace_across_processes(collector: Collector) -> None:
    with tracing.exporting(collector.url, "pipeline"):
        started_ns = time.time_ns()
        with tracing.span("tick", feed=FEED, window_end_ms=END_MS, predictions=[PREDICTION]), tracing.span("store"):
            pass
        tracing.stored(PREDICTION, FEED, END_MS, started_ns)
    with tracing.exporting(collector.url, "prover"), tracing.span("prove", predictions=[PREDICTION, OTHER]):
        pass
    root, tick, store, prove = (collector.span(name) for name in ("forecast", "tick", "store", "prove"))
    assert {span.trace_id.hex() for span in (root, tick, store, prove)} == {PREDICTION}
    assert root.parent_span_id == b""
    assert tick.parent_span_id == prove.parent_span_id == root.span_id
    assert store.parent_span_id == tick.span_id
    assert [link.trace_id.hex() for link in prove.links] == [OTHER]
    assert collector.services == {"veriregime-pipeline", "veriregime-prover"}
    assert collector.paths == {"/v1/traces"}
    facts = {"veriregime.feed": FEED, "veriregime.window_end": END, "veriregime.prediction": PREDICTION}
    assert attributes(tick) == attributes(root) == facts


def test_span__that_fails__tells_the_class_and_not_the_words(collector: Collector) -> None:
    with (
        tracing.exporting(collector.url, "prover"),
        pytest.raises(ValueError, match="a password"),
        tracing.span("prove"),
    ):
        raise ValueError("a password")
    span = collector.span("prove")
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span) == {"error.type": "ValueError"}
    assert b"password" not in span.SerializeToString()


def test_request__with_traceparent__is_in_the_callers_trace(collector: Collector) -> None:
    seen: list[str | None] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        scope["route_pattern"] = "/v1/feeds/{feed}"
        seen.append(tracing.trace_id())
        await PlainTextResponse("ok", 503)(scope, receive, send)

    caller = {"traceparent": f"00-{'4b' * 16}-{'a1' * 8}-01", "x-request-id": "bot-7"}
    with tracing.exporting(collector.url, "api"):
        client = TestClient(Measured(answer, Metrics()))
        assert client.get("/v1/feeds/btc-usdt-4h?key=secret", headers=caller).headers["x-request-id"] == "bot-7"
    span = collector.span("GET /v1/feeds/{feed}")
    assert seen == [span.trace_id.hex()] == ["4b" * 16]
    assert span.parent_span_id.hex() == "a1" * 8
    assert span.kind == Span.SPAN_KIND_SERVER
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.route": "/v1/feeds/{feed}",
        "http.response.status_code": 503,
        "error.type": "503",
    }


@pytest.mark.parametrize("bad", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 9000])
def test_request__with_a_bad_traceparent__begins_a_trace(collector: Collector, bad: str) -> None:
    with tracing.exporting(collector.url, "api"), tracing.request([(b"traceparent", bad.encode())]) as answered:
        answered("GET", "/healthz", 200)
    assert collector.span("GET /healthz").parent_span_id == b""


def test_logs__within_a_span__name_its_trace(collector: Collector) -> None:
    with tracing.exporting(collector.url, "prover"), tracing.span("prove", predictions=[PREDICTION]):
        found: list[str | None] = []
        thread = threading.Thread(target=logs.carried(lambda: found.append(tracing.trace_id())))
        thread.start()
        thread.join()
    assert found == [PREDICTION]


@pytest.mark.parametrize("hangs", [True, False])
def test_collector_away__work_goes_on_and_one_line_says_so(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    with closing(listen("127.0.0.1", 0)) as nobody:
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        if not hangs:
            nobody.close()
        started = time.monotonic()
        with tracing.exporting(f"http://{where}", "pipeline"):
            for _ in range(6000):
                with tracing.span("tick", feed=FEED, predictions=[PREDICTION]):
                    pass
            worked_s = time.monotonic() - started
        assert worked_s < 3
        assert time.monotonic() - started < worked_s + 3
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert all(said.startswith("traces do not reach 127.0.0.1:") for said in warnings)
    assert len([said for said in warnings if where in said]) <= 1  # a former test's last thread may say so of its own


def test_collector_back__later_spans_arrive_and_one_line_says_so(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.tracing")
    collector.status, away = 400, f"traces do not reach {collector.url.removeprefix('http://')}"
    with tracing.exporting(collector.url, "pipeline"):
        fill_a_batch("lost")
        wait_for(caplog, away)
        collector.status = 200
        fill_a_batch("kept")
        wait_for(caplog, "spans were lost")
    assert "kept" in {span.name for span in collector.spans}
    assert len([record for record in caplog.records if away in record.getMessage()]) == 1


def fill_a_batch(name: str) -> None:
    """So many that they are sent at once."""
    for _ in range(512):
        with tracing.span(name):
            pass


def wait_for(caplog: pytest.LogCaptureFixture, words: str) -> None:
    deadline = time.monotonic() + 10
    while words not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.02)
