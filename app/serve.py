"""The service and its HTTP side in one process, or the HTTP side alone, until a signal ends it."""

from __future__ import annotations

import logging
import socket

from app.clock import Clock
from app.service import Service
from app.settings import Settings
from app.web.application import create_web
from app.web.server import address, run
from app.wiring import Application, api

log = logging.getLogger(__name__)


def serve(app: Application, listener: socket.socket) -> None:
    """Tick, prove, submit and answer until Ctrl-C or SIGTERM; what is unfinished then stays in the store."""
    service = Service(app)
    service.start()
    try:
        log.info("dashboard and API at %s — Ctrl-C ends everything", address(listener))
        run(create_web(app), listener)
    finally:
        service.stop()
    log.info("ended")


def serve_api(settings: Settings, listener: socket.socket, clock: Clock | None = None) -> None:
    """Answer over HTTP what the pipelines on the same database have written, until Ctrl-C or SIGTERM."""
    with api(settings, clock=clock) as role:
        log.info("API at %s — Ctrl-C ends it", address(listener))
        run(create_web(role), listener)
    log.info("ended")
