"""What is asked about a feed: what it is, its newest forecast, its candles, and how good it was."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.errors import BadInput
from app.store.outcomes import Origin
from app.types import DAY_MS
from app.web.caching import REVALIDATE, conditional, is_current
from app.web.problems import documented
from app.web.reading import Reader, read_period
from app.web.ready import LATEST, Asked, ReadyForecasts
from app.web.record_schemas import OutcomesOut, TrackRecordOut
from app.web.schemas import CandlesOut, FeedOut, FeedsOut, PredictionOut, UpdateOut
from app.web.track_record import TrackRecord
from app.wiring import ApiRole

INCLUDABLE = ("proof", "observation", "calldata", "attempts", "attestations")
_STEPS = (60, 300, 900, 3600)
_TAGS: list[Any] = ["feeds"]
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "still the one of the ETag"}}

Start = Annotated[str | None, Query(description="window ends from here on: ISO 8601, or ms since 1970")]
End = Annotated[str | None, Query(description="and before this")]


def feed_routes(role: ApiRole, reader: Reader, forecasts: ReadyForecasts, record: TrackRecord) -> APIRouter:
    router = APIRouter(tags=_TAGS)
    _facts(router, role, reader)
    _latest(router, reader, forecasts)
    _record(router, reader, record)
    return router


def _facts(router: APIRouter, role: ApiRole, reader: Reader) -> None:
    @router.get("/v1/feeds", summary="All feeds", responses=documented(502))
    def feeds() -> FeedsOut:
        return FeedsOut(feeds=[reader.feed(name) for name in role.feeds])

    @router.get(
        "/v1/feeds/{feed}",
        summary="One feed: model, venues, chain, how the last tick went",
        responses=documented(404, 502),
    )
    def one_feed(feed: str) -> FeedOut:
        return reader.feed(feed)

    @router.get(
        "/v1/feeds/{feed}/update", summary="A signed update, ready to send by anyone", responses=documented(404, 502)
    )
    def update(feed: str) -> UpdateOut:
        """Calldata for the oracle contract: send it to ``contract`` on ``chain_id`` from any account before it expires.

        503 while the newest forecasts lack signatures, 404 when this service publishes to no chain.
        """
        return reader.update(feed)

    @router.get(
        "/v1/feeds/{feed}/candles",
        summary="Stored candles of one of the feed's venues",
        response_model=CandlesOut,
        responses=_NOT_MODIFIED | documented(400, 404),
    )
    def candles(
        feed: str,
        request: Request,
        venue: Annotated[str | None, Query(description="the feed's first one if not given")] = None,
        start: Annotated[str | None, Query(description="open times from here on; a day before the end")] = None,
        end: Annotated[str | None, Query(description="and before this; now")] = None,
        step: Annotated[int, Query(description="seconds of each candle: 60, 300, 900 or 3600")] = 300,
    ) -> Response:
        """At most seven days at a time; the last day by default."""
        if step not in _STEPS:
            raise BadInput(f"step: one of {', '.join(map(str, _STEPS))} seconds")
        start_ms, end_ms = read_period(start, end)
        end_ms = role.clock.now_ms() if end_ms is None else end_ms
        start_ms = end_ms - DAY_MS if start_ms is None else start_ms
        if not 0 <= end_ms - start_ms <= 7 * DAY_MS:
            raise BadInput("start and end: at most seven days, and start first")
        name, symbol, found = reader.candles(feed, venue, start_ms, end_ms, step)
        rows: Any = [tuple(row) for row in found.rows()]
        told = CandlesOut(venue=name, symbol=symbol, step_seconds=step, candles=rows)
        return conditional(request, told.model_dump_json().encode(), REVALIDATE)


def _latest(router: APIRouter, reader: Reader, forecasts: ReadyForecasts) -> None:
    @router.get(
        LATEST,
        summary="The newest forecast",
        response_model=PredictionOut,
        responses=_NOT_MODIFIED | documented(400, 404, 502),
    )
    async def latest(
        feed: str,
        request: Request,
        include: Annotated[str, Query(description=f"comma separated: {', '.join(INCLUDABLE)}")] = "",
        max_age: Annotated[
            float | None,
            Query(gt=0, le=1e9, allow_inf_nan=False, description="503 when the forecast is older, in seconds"),
        ] = None,
        proved: Annotated[bool, Query(description="false: the newest of any state")] = True,
    ) -> Response:
        """The newest forecast whose proof was verified, with its age. Poll it: the ETag changes when it does.

        A forecast older than ``max_age`` is never a 200: the answer is a 503 that says when to ask again.
        """
        reader.served(feed)
        asked = Asked(feed, _included(include), proved, max_age)
        ready = await forecasts.get(asked)
        forecasts.remember(request.url.path, request.scope["query_string"], asked)
        headers = {name.decode(): value.decode() for name, value in forecasts.headers(asked, ready)}
        if is_current(request.headers.get("if-none-match"), ready.etag):
            return Response(status_code=304, headers=headers)
        return Response(forecasts.body(ready), headers=headers, media_type="application/json")


def _record(router: APIRouter, reader: Reader, record: TrackRecord) -> None:
    @router.get(
        "/v1/feeds/{feed}/track-record",
        summary="How good the forecasts were",
        response_model=TrackRecordOut,
        responses=_NOT_MODIFIED | documented(400, 404),
    )
    def track_record(
        feed: str, request: Request, start: Start = None, end: End = None, origin: Origin = Origin.LIVE
    ) -> Response:
        """Every proved forecast whose hours have passed, against the volatility that they had, beside persistence.

        The numbers are those of `veriregime evaluate` on the same windows. ``origin=backtest`` is of forecasts that
        were made afterwards from recorded candles: nobody was served those.
        """
        model, (start_ms, end_ms) = reader.served(feed).model, read_period(start, end)
        told = record.record(feed, model, origin, start_ms, end_ms)
        return conditional(request, told.model_dump_json(by_alias=True).encode(), REVALIDATE)

    @router.get(
        "/v1/feeds/{feed}/outcomes",
        summary="Each forecast and what became of it, oldest first",
        response_model=OutcomesOut,
        responses=_NOT_MODIFIED | documented(400, 404),
    )
    def outcomes(
        feed: str,
        request: Request,
        start: Start = None,
        end: End = None,
        origin: Origin = Origin.LIVE,
        step: Annotated[int, Query(ge=1, le=1440, description="minutes between windows")] = 1,
        limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
        cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
    ) -> Response:
        model, (start_ms, end_ms) = reader.served(feed).model, read_period(start, end)
        told = record.outcomes(
            feed, model.model_id, origin, start_ms, end_ms, step=step, limit=limit, cursor=cursor
        )
        return conditional(request, told.model_dump_json().encode(), REVALIDATE)


def _included(text: str) -> frozenset[str]:
    parts = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(parts - set(INCLUDABLE))
    if unknown:
        raise BadInput(f"include: {unknown[0][:40]!r} is not one of {', '.join(INCLUDABLE)}")
    return parts
