"""The HTTP service, put together. Read from here: what stands before the router, and what the router leads to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.web import openapi, pages, problems
from app.web.evidence_routes import evidence_routes
from app.web.feed_routes import feed_routes
from app.web.heads import HeadAsGet
from app.web.measuring import Measured
from app.web.operation_routes import operation_routes
from app.web.prediction_routes import prediction_routes
from app.web.reading import Reader
from app.web.ready import ReadyFirst, ReadyForecasts
from app.web.stream import Streams
from app.web.stream_routes import stream_routes
from app.web.track_record import TrackRecord
from app.web.watching import EventWatcher
from app.wiring import ApiRole

_EXPOSED = ("ETag", "Retry-After", "Content-Disposition")


def create_web(role: ApiRole) -> FastAPI:
    """The service as an ASGI application; `app.state.streams` ends all streams when it is to stop."""
    watcher, reader = EventWatcher(role.database), Reader(role)
    streams = Streams(role.database, watcher)
    forecasts = ReadyForecasts(reader.ready, role.clock, watcher, role.settings.settle_s)

    @asynccontextmanager
    async def watching(_: FastAPI) -> AsyncIterator[None]:
        watcher.start()
        try:
            yield
        finally:
            watcher.stop()

    app = FastAPI(title="VeriRegime", version=__version__, docs_url=None, redoc_url=None, lifespan=watching)
    app.state.streams = streams
    problems.install(app)
    for router in (
        feed_routes(role, reader, forecasts, TrackRecord(role.database)),
        prediction_routes(role, reader),
        stream_routes(reader, streams),
        evidence_routes(role),
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
            allow_headers=["If-None-Match", "Last-Event-ID", "Content-Type"],
            expose_headers=list(_EXPOSED),
        )
    app.add_middleware(Measured, metrics=role.metrics)
    return app
