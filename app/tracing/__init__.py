"""Traces: how long the parts of a forecast's way take, across processes, told to an OpenTelemetry collector.

Off, which is usual, a span costs a look at one variable and opentelemetry is not loaded: `exporting` does that, and
`app.tracing.otlp` is its only door. All spans of one prediction are in one trace, of whichever process and hour they
are: the ids of the trace and of its root follow from the prediction's. Errors are told by their class alone, for their
words may hold secrets.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from app.errors import Misconfigured

if TYPE_CHECKING:
    from app.tracing.otlp import Traces

log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
Answered = Callable[[str, str, int], None]
"""Told once of a request's method, its route and the answer's status."""

_LAST_EXPORT_S = 2.0
_NOTHING: AbstractContextManager[None] = nullcontext()
_UNHEARD: AbstractContextManager[Answered] = nullcontext(lambda method, route, status: None)
_traces: Traces | None = None


@contextmanager
def exporting(endpoint: str | None, role: str) -> Iterator[None]:
    """Within the block spans go to the collector at this URL (OTLP over HTTP); nowhere where there is none.

    While the collector is away some thousand spans wait and nothing else does; the end waits two seconds for the last
    of them. ``role`` is what this process does. Raises `Misconfigured` without the `tracing` extra.
    """
    global _traces  # like the log: there for whoever has something to tell
    if endpoint is None:
        yield
        return
    traces = _traces = _open(endpoint, role)
    log.info("traces go to %s", traces.where)
    try:
        yield
    finally:
        _traces = None
        last = threading.Thread(target=traces.close, daemon=True, name="last traces")
        last.start()
        last.join(_LAST_EXPORT_S)


def _open(endpoint: str, role: str) -> Traces:
    try:
        from app.tracing.otlp import Traces
    except ImportError as error:
        raise Misconfigured(
            "VERIREGIME_OTLP_ENDPOINT needs the tracing extra: pip install 'veriregime[tracing]', or unset it"
        ) from error
    return Traces(endpoint, role)


def span(
    name: str, *, feed: str | None = None, window_end_ms: int | None = None, predictions: Sequence[str] = ()
) -> AbstractContextManager[None]:
    """A part of the work, until the block ends, within the span around it.

    One about ``predictions`` is in the trace of the first of them, and linked to those of the others.
    """
    return _NOTHING if _traces is None else _traces.span(name, feed, window_end_ms, predictions)


def request(headers: Headers) -> AbstractContextManager[Answered]:
    """A request over HTTP, within the span that its W3C ``traceparent`` names; gives what is to be told its answer.

    With the answer's beginning the span ends: a stream may last for days.
    """
    return _UNHEARD if _traces is None else _traces.request(headers)


def stored(prediction: str, feed: str, window_end_ms: int, started_ns: int) -> None:
    """The root of a prediction's trace, to be told once: by whoever has just stored it.

    It begins where the wall's clock showed ``started_ns``, when the tick began, and ends now.
    """
    if _traces is not None:
        _traces.stored(prediction, feed, window_end_ms, started_ns)


def trace_id() -> str | None:
    """Of the span that the caller is in, as 32 hexadecimal digits."""
    return None if _traces is None else _traces.trace_id()
