"""What a step is about: its log lines and its span say so alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app import logs, tracing


@contextmanager
def about_window(feed: str, window_end_ms: int, prediction: str | None = None) -> Iterator[None]:
    with logs.about(tick=logs.tick_id(feed, window_end_ms), prediction=prediction):
        yield


@contextmanager
def stage(name: str, feed: str, window_end_ms: int, predictions: Sequence[str]) -> Iterator[None]:
    """A part of the way of the first of ``predictions``, whose feed and window these are, and of the others with it."""
    span = tracing.span(name, feed=feed, window_end_ms=window_end_ms, predictions=predictions)
    with about_window(feed, window_end_ms, predictions[0]), span:
        yield
