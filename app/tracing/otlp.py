"""The only door to opentelemetry: spans, and their way to a collector (OTLP over HTTP, in batches, packed)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.types import iso

log = logging.getLogger(__name__)

_MOST_WAITING = 2048
"""Spans, about a kilobyte each; the oldest go when more come."""
_AT_ONCE = 512
_EVERY_MS = 2_000
_ONE_EXPORT_S = 5.0
_PATH = "/v1/traces"
_PROPAGATED = (b"traceparent", b"tracestate")
_ROOT: ContextVar[SpanContext | None] = ContextVar("root", default=None)
"""The ids of the span that is being started, where they are not left to chance."""


class Traces:
    def __init__(self, endpoint: str, role: str) -> None:
        self.where = urlsplit(endpoint).netloc.rpartition("@")[2]
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # each failure, each full queue: see _Heard
        exporter = OTLPSpanExporter(_url(endpoint), timeout=_ONE_EXPORT_S, compression=Compression.Gzip)
        self._provider = TracerProvider(resource=_resource(role), shutdown_on_exit=False, id_generator=_Ids())
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _Heard(exporter, self.where),
                max_queue_size=_MOST_WAITING,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=_AT_ONCE,
            )
        )
        self._tracer = self._provider.get_tracer("veriregime", __version__)

    def close(self) -> None:
        """Export what waits, and stop."""
        self._provider.shutdown()

    def span(
        self, name: str, feed: str | None, window_end_ms: int | None, predictions: Sequence[str]
    ) -> AbstractContextManager[None]:
        facts = _facts(feed, window_end_ms, predictions[0] if predictions else None)
        context = _within(predictions[0]) if predictions else None
        return self._span(name, context, facts, [Link(_root(other)) for other in predictions[1:]])

    @contextmanager
    def _span(
        self, name: str, context: Context | None, facts: Mapping[str, str], links: Sequence[Link]
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name, context, attributes=facts, links=links, record_exception=False, set_status_on_exception=False
        ) as found:
            try:
                yield
            except BaseException as error:
                _fail(found, type(error).__name__)
                raise

    @contextmanager
    def request(self, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[_Request]:
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name in _PROPAGATED}
        context = TraceContextTextMapPropagator().extract(sent, Context())
        found = self._tracer.start_span("HTTP", context, SpanKind.SERVER)
        with trace.use_span(found, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield _Request(found)

    def stored(self, prediction: str, feed: str, window_end_ms: int, started_ns: int) -> None:
        token = _ROOT.set(_root(prediction))
        try:
            facts = _facts(feed, window_end_ms, prediction)
            self._tracer.start_span("forecast", Context(), attributes=facts, start_time=started_ns).end(time.time_ns())
        finally:
            _ROOT.reset(token)

    def trace_id(self) -> str | None:
        found = trace.get_current_span().get_span_context()
        return trace.format_trace_id(found.trace_id) if found.is_valid else None


class _Request:
    """What the answer to a request is told to."""

    def __init__(self, found: Span) -> None:
        self._span = found

    def __call__(self, method: str, route: str, status: int) -> None:
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            _fail(self._span, str(status))
        self._span.end()


class _Heard(SpanExporter):
    """Says once that the collector is away, and once that it is back; spans that it did not get are forgotten."""

    def __init__(self, inner: SpanExporter, where: str) -> None:
        self._inner = inner
        self._where = where
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning("traces do not reach %s: they are dropped until they do", self._where)
            self._lost += len(spans)
        elif self._lost:
            log.info("traces reach %s again, %d or more spans were lost", self._where, self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Ids(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        known = _ROOT.get()
        return known.trace_id if known else super().generate_trace_id()

    def generate_span_id(self) -> int:
        known = _ROOT.get()
        return known.span_id if known else super().generate_span_id()


def _root(prediction: str) -> SpanContext:
    """The same in every process: the trace has the prediction's id, 128 bits of a hash, and the root the last 64."""
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(prediction, 16), int(prediction[16:], 16), is_remote=True, trace_flags=flags)


def _within(prediction: str) -> Context | None:
    """In the trace of the prediction: below the span that is current where that is in it, else below its root."""
    root = _root(prediction)
    if trace.get_current_span().get_span_context().trace_id == root.trace_id:
        return None
    return trace.set_span_in_context(NonRecordingSpan(root), Context())


def _facts(feed: str | None, window_end_ms: int | None, prediction: str | None) -> dict[str, str]:
    end = None if window_end_ms is None else iso(window_end_ms)
    known = {"feed": feed, "window_end": end, "prediction": prediction}
    return {f"veriregime.{name}": value for name, value in known.items() if value is not None}


def _fail(found: Span, kind: str) -> None:
    found.set_attribute("error.type", kind)
    found.set_status(StatusCode.ERROR)


def _url(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _resource(role: str) -> Resource:
    return Resource.create(
        {
            "service.name": f"veriregime-{role}" if role else "veriregime",
            "service.namespace": "veriregime",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )
