"""The service and its HTTP side in one process, or some of it, until a signal ends it."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from app import tracing
from app.clock import Clock
from app.metrics import ChildProcesses, serve_metrics
from app.service import Service
from app.settings import Settings
from app.steps.figures import StoreFigures
from app.web.application import create_web
from app.web.server import address, run
from app.wiring import Application, api

log = logging.getLogger(__name__)

_SWITCH_S = 0.0005
"""How long a thread computes before another has its turn. A tick waits for its turn after each statement and request,
behind the answers of the HTTP side: with Python's own 5 ms that adds up to a second under load."""
_ANSWERING_THREADS = 4
"""A tick has a share of the interpreter like each thread that makes an answer at the moment: so many, and no more."""


def serve(app: Application, listener: socket.socket) -> None:
    """Tick, prove, submit and answer until Ctrl-C or SIGTERM; what is unfinished then stays in the store."""
    web = create_web(app, _ANSWERING_THREADS)  # first: it may refuse a setting
    sys.setswitchinterval(_SWITCH_S)
    with _traced(app.settings, "serve"), _at_work(app):
        log.info("dashboard and API at %s — Ctrl-C ends everything", address(listener))
        run(web, listener)
    log.info("ended")


def serve_roles(app: Application) -> None:
    """Do what the application's roles are until Ctrl-C or SIGTERM, without HTTP."""
    asked_to_end = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        asked_to_end.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        figures = StoreFigures(app.database, app.feeds, app.clock)
        children = ChildProcesses(app.pool.process_ids)
        with (
            _traced(app.settings, "-".join(sorted(app.roles))),
            serve_metrics(app.metrics, app.settings.host, app.settings.metrics_port, figures, children),
            _at_work(app),
        ):
            log.info("at work: %s — Ctrl-C ends it", ", ".join(sorted(app.roles)))
            asked_to_end.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    log.info("ended")


def serve_api(settings: Settings, listener: socket.socket, clock: Clock | None = None) -> None:
    """Answer over HTTP what the pipelines on the same database have written, until Ctrl-C or SIGTERM."""
    with _traced(settings, "api"), api(settings, clock=clock) as role:
        log.info("API at %s — Ctrl-C ends it", address(listener))
        run(create_web(role), listener)
    log.info("ended")


def _traced(settings: Settings, role: str) -> AbstractContextManager[None]:
    return tracing.exporting(str(settings.otlp_endpoint) if settings.otlp_endpoint else None, role)


@contextmanager
def _at_work(app: Application) -> Iterator[None]:
    service = Service(app)
    try:
        service.start()
        yield
    finally:
        service.stop()
