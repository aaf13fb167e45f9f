"""What is asked about a feed: what it is, its newest forecast, its candles, and how good it was."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.errors import BadInput
from app.store.outcomes import Origin
from app.types import DAY_MS
from app.web.caching import REVALIDATE, conditional, is_current
from app.web.openapi import CONDITIONAL, name_of
from app.web.parameters import (
    STEPS_S,
    EndMs,
    FeedName,
    Include,
    MaxAge,
    OutcomesCursor,
    Proved,
    StartMs,
    StepMinutes,
    StepS,
    Venue,
    read_included,
)
from app.web.problems import documented
from app.web.rates import RateLimits
from app.web.reading import Reader
from app.web.ready import LATEST, Asked, ReadyForecasts
from app.web.record_schemas import OutcomesOut, TrackRecordOut
from app.web.schemas import CandlesOut, FeedOut, FeedsOut, PredictionOut, UpdateOut
from app.web.track_record import TrackRecord
from app.wiring import ApiRole

_TAGS: list[Any] = ["feeds"]

RecordOrigin = Annotated[
    Origin, Query(description="live: what was served and proved; backtest: made afterwards from recorded candles")
]


def feed_routes(
    role: ApiRole, reader: Reader, forecasts: ReadyForecasts, record: TrackRecord, limits: RateLimits
) -> APIRouter:
    router = APIRouter(tags=_TAGS, generate_unique_id_function=name_of)
    _facts(router, role, reader)
    _candles(router, role, reader, limits)
    _latest(router, reader, forecasts)
    _record(router, reader, record, limits)
    return router


def _facts(router: APIRouter, role: ApiRole, reader: Reader) -> None:
    @router.get("/v1/feeds", summary="List all feeds", responses=documented(502))
    def feeds() -> FeedsOut:
        return FeedsOut(feeds=[reader.feed(name) for name in role.feeds])

    @router.get(
        "/v1/feeds/{feed}",
        summary="Get a feed: model, venues, chain, how the last tick went",
        responses=documented(404, 502),
    )
    def feed(feed: FeedName) -> FeedOut:
        return reader.feed(feed)

    @router.get(
        "/v1/feeds/{feed}/update",
        summary="Get a signed update, ready to send by anyone",
        responses=documented(404, 502),
    )
    def update(feed: FeedName) -> UpdateOut:
        """Calldata for the oracle contract: send it to ``contract`` on ``chain_id`` from any account before it expires.

        503 while the newest forecasts lack signatures, 404 when this service publishes to no chain.
        """
        return reader.update(feed)


def _candles(router: APIRouter, role: ApiRole, reader: Reader, limits: RateLimits) -> None:
    @router.get(
        "/v1/feeds/{feed}/candles",
        summary="List stored candles of one of the feed's venues",
        response_model=CandlesOut,
        responses=CONDITIONAL | documented(400, 404, 429),
        dependencies=[Depends(limits.costly)],
    )
    def candles(
        feed: FeedName,
        request: Request,
        venue: Venue = None,
        start_ms: StartMs = None,
        end_ms: EndMs = None,
        step_s: StepS = 300,
    ) -> Response:
        """Those that open in at most seven days; in the last day before the end, which is now, where none are said."""
        if step_s not in STEPS_S:
            raise BadInput(f"step: one of {', '.join(map(str, STEPS_S))} seconds")
        end_ms = role.clock.now_ms() if end_ms is None else end_ms
        start_ms = end_ms - DAY_MS if start_ms is None else start_ms
        if not 0 <= end_ms - start_ms <= 7 * DAY_MS:
            raise BadInput("start and end: at most seven days, and start first")
        name, symbol, found = reader.candles(feed, venue, start_ms, end_ms, step_s)
        rows: Any = [tuple(row) for row in found.rows()]
        told = CandlesOut(venue=name, symbol=symbol, step_seconds=step_s, candles=rows)
        return conditional(request, told.model_dump_json().encode(), REVALIDATE)


def _latest(router: APIRouter, reader: Reader, forecasts: ReadyForecasts) -> None:
    @router.get(
        LATEST,
        summary="Get the newest forecast",
        response_model=PredictionOut,
        responses=CONDITIONAL | documented(400, 404, 502),
    )
    async def latest(
        feed: FeedName,
        request: Request,
        include: Include = "",
        max_age: MaxAge = None,
        proved: Proved = True,
    ) -> Response:
        """The newest forecast whose proof was verified, with its age. Poll it: the ETag changes when it does.

        A forecast older than ``max_age`` is never a 200: the answer is a 503 that says when to ask again.
        """
        reader.served(feed)
        asked = Asked(feed, read_included(include), proved, max_age)
        ready = await forecasts.get(asked)
        forecasts.remember(request.url.path, request.scope["query_string"], asked)
        headers = {name.decode(): value.decode() for name, value in forecasts.headers(asked, ready)}
        if is_current(request.headers.get("if-none-match"), ready.etag):
            return Response(status_code=304, headers=headers)
        return Response(forecasts.body(ready), headers=headers, media_type="application/json")


def _record(router: APIRouter, reader: Reader, record: TrackRecord, limits: RateLimits) -> None:
    @router.get(
        "/v1/feeds/{feed}/track-record",
        summary="Get the track record: how good the forecasts were",
        response_model=TrackRecordOut,
        responses=CONDITIONAL | documented(400, 404, 429),
        dependencies=[Depends(limits.costly)],
    )
    def track_record(
        feed: FeedName,
        request: Request,
        start_ms: StartMs = None,
        end_ms: EndMs = None,
        origin: RecordOrigin = Origin.LIVE,
    ) -> Response:
        """Every proved forecast whose hours have passed, against the volatility that they had, beside persistence.

        The numbers are those of `veriregime evaluate` on the same windows. ``origin=backtest`` is of forecasts that
        were made afterwards from recorded candles: nobody was served those.
        """
        model = reader.served(feed).model
        told = record.record(feed, model, origin, start_ms, end_ms)
        return conditional(request, told.model_dump_json(by_alias=True).encode(), REVALIDATE)

    @router.get(
        "/v1/feeds/{feed}/outcomes",
        summary="List forecasts with what became of them, oldest first",
        response_model=OutcomesOut,
        responses=CONDITIONAL | documented(400, 404, 429),
        dependencies=[Depends(limits.costly)],
    )
    def outcomes(
        feed: FeedName,
        request: Request,
        start_ms: StartMs = None,
        end_ms: EndMs = None,
        origin: RecordOrigin = Origin.LIVE,
        step: StepMinutes = 1,
        limit: Annotated[int, Query(ge=1, le=5000, description="most outcomes of a page")] = 1000,
        cursor: OutcomesCursor = None,
    ) -> Response:
        model = reader.served(feed).model
        told = record.outcomes(feed, model.model_id, origin, start_ms, end_ms, step=step, limit=limit, cursor=cursor)
        return conditional(request, told.model_dump_json().encode(), REVALIDATE)
