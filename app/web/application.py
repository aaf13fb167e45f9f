"""The HTTP service, put together. Read from here: what stands before the router, and what the router leads to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.settings import Settings
from app.web import openapi, pages, problems
from app.web.evidence_routes import VERIFY, evidence_routes
from app.web.feed_routes import feed_routes
from app.web.heads import HeadAsGet
from app.web.measuring import Measured
from app.web.operation_routes import operation_routes
from app.web.prediction_routes import prediction_routes
from app.web.protocol import Bounds
from app.web.rates import Places, RateLimits
from app.web.reading import Reader
from app.web.ready import ReadyFirst, ReadyForecasts
from app.web.stream import Streams
from app.web.stream_routes import stream_routes
from app.web.track_record import TrackRecord
from app.web.watching import EventWatcher
from app.wiring import ApiRole

_EXPOSED = ("ETag", "Retry-After", "Content-Disposition", "X-Request-ID")


def create_web(role: ApiRole, threads: int | None = None) -> FastAPI:
    """The service as an ASGI application, which makes so many answers at once as it has ``threads``: 40 when not told.

    `app.state.streams` ends all streams when it is to stop, `app.state.bounds` are those of its connections. Raises
    `Misconfigured` where a limit of the settings cannot be read.
    """
    watcher, reader = EventWatcher(role.database), Reader(role)
    limits = RateLimits.of(role.settings)
    streams = Streams(role.database, watcher, _stream_places(role.settings))
    forecasts = ReadyForecasts(reader.ready, role.clock, watcher, role.settings.settle_s)

    @asynccontextmanager
    async def watching(_: FastAPI) -> AsyncIterator[None]:
        if threads is not None:
            to_thread.current_default_thread_limiter().total_tokens = threads
        watcher.start()
        try:
            yield
        finally:
            watcher.stop()

    app = FastAPI(title="VeriRegime", version=__version__, docs_url=None, redoc_url=None, lifespan=watching)
    app.state.streams = streams
    app.state.bounds = Bounds(
        connections=role.settings.max_connections, bodies={VERIFY: role.settings.max_bundle_bytes}
    )
    problems.install(app)
    for router in (
        feed_routes(role, reader, forecasts, TrackRecord(role.database), limits),
        prediction_routes(role, reader, limits),
        stream_routes(reader, streams, limits.clients),
        evidence_routes(role, limits),
        operation_routes(role, reader, streams),
    ):
        app.include_router(router)
    pages.install(app, role.settings)
    openapi.install(app)
    app.add_middleware(ReadyFirst, forecasts=forecasts)
    app.add_middleware(HeadAsGet)
    if role.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(role.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["If-None-Match", "Last-Event-ID", "Content-Type", "X-Request-ID", "traceparent"],
            expose_headers=list(_EXPOSED),
        )
    app.add_middleware(Measured, metrics=role.metrics)
    return app


def _stream_places(settings: Settings) -> Places:
    return Places("streams", settings.max_streams, settings.max_streams_per_client)
