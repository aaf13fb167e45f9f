"""What operators and their tools ask: alive, ready, measured."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.metrics import ChildProcesses
from app.steps.figures import StoreFigures
from app.store.repository import Store
from app.types import PROVED_STATES
from app.web.openapi import name_of
from app.web.problems import documented
from app.web.reading import Reader
from app.web.schemas import HealthOut, ReadyOut, step_out
from app.web.stream import Streams
from app.wiring import ApiRole

_TAGS: list[Any] = ["operations"]
_READY_WITHIN_S = 180
_UNREADY = documented()
_UNREADY[503] |= {"model": ReadyOut, "description": "a feed's newest forecast is too old, or the database is away"}


def operation_routes(role: ApiRole, reader: Reader, streams: Streams) -> APIRouter:
    router = APIRouter(tags=_TAGS, generate_unique_id_function=name_of)
    figures = StoreFigures(role.database, role.feeds, role.clock)
    children = ChildProcesses(role.pool.process_ids)

    @router.get("/healthz", summary="Ask whether the process answers", responses=documented())
    def health() -> HealthOut:
        return HealthOut(status="ok")

    @router.get(
        "/readyz",
        summary="Ask whether forecasts are fresh",
        responses=_UNREADY,
    )
    def ready(response: Response) -> ReadyOut:
        """503 while any feed's newest proved forecast is older than three minutes."""
        told = _readiness(role, reader)
        response.status_code = 200 if told.ready else 503
        return told

    @router.get(
        "/metrics",
        summary="Get metrics for Prometheus",
        response_class=Response,
        responses=documented() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        """What this process counts, and what the database says just now. While that is away,
        ``veriregime_database_up`` is 0 and the rest of it is missing.
        """
        role.metrics.stream_clients.set(len(streams))
        return Response(role.metrics.exposition(figures, children), media_type="text/plain; version=0.0.4")

    return router


def _readiness(role: ApiRole, reader: Reader) -> ReadyOut:
    with role.database.unit_of_work(write=False) as store:
        ages = {feed: _age_s(role, store, feed) for feed in role.feeds}
        waiting, alarms = store.jobs.waiting(), store.disagreements.open()
        standing, _ = reader.standing(store)
    return ReadyOut(
        ready=all(age is not None and age <= _READY_WITHIN_S for age in ages.values()),
        feeds=ages,
        prover_process_ids=list(standing.prover_process_ids),
        proof_jobs_waiting=waiting,
        alarms=len(alarms),
        clock_skew_seconds=standing.clock_skew_s,
        attesting=step_out(standing.attesting),
        publishing=step_out(standing.publishing),
    )


def _age_s(role: ApiRole, store: Store, feed: str) -> float | None:
    """Of the feed's newest proved forecast; none before there is one."""
    found = store.figures.newest_windows_ms(feed, PROVED_STATES)
    return (role.clock.now_ms() - max(found.values())) / 1000 if found else None
