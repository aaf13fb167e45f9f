"""What is asked about predictions: the history, one of them, its proof, its bundle."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from app.audit.bundle import Bundle
from app.web.bundles import Bundles
from app.web.caching import FOREVER, REVALIDATE, conditional, etag_of, is_current, zipped
from app.web.openapi import CACHEABLE, CONDITIONAL, name_of
from app.web.parameters import (
    INCLUDABLE,
    EndMs,
    FeedName,
    HistoryCursor,
    IdOfPrediction,
    StartMs,
    cursor_of,
    read_cursor,
)
from app.web.problems import documented
from app.web.rates import RateLimits
from app.web.reading import Reader, known_prediction
from app.web.schemas import HistoryOut, PredictionOut, ProofOut
from app.wiring import ApiRole

_TAGS: list[Any] = ["predictions"]


def prediction_routes(role: ApiRole, reader: Reader, limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=_TAGS, generate_unique_id_function=name_of)
    _history(router, role, reader, limits)
    _one(router, role, reader)
    _bundle(router, reader, limits)
    return router


def _history(router: APIRouter, role: ApiRole, reader: Reader, limits: RateLimits) -> None:
    @router.get(
        "/v1/feeds/{feed}/predictions",
        summary="List predictions, page by page",
        response_model_exclude_unset=True,
        responses=CACHEABLE | documented(400, 404, 429),
        dependencies=[Depends(limits.costly)],
    )
    def history(
        feed: FeedName,
        response: Response,
        start_ms: StartMs = None,
        end_ms: EndMs = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="most predictions of a page")] = 100,
        cursor: HistoryCursor = None,
        order: Annotated[
            Literal["newest", "arrival"], Query(description="newest window first, or oldest arrival first")
        ] = "newest",
    ) -> HistoryOut:
        """Page by page: nothing is skipped or repeated, whatever arrives meanwhile.

        By ``newest`` the pages end at the oldest prediction. By ``arrival`` they never end: pass ``next`` again later
        for what has arrived since.
        """
        reader.served(feed)
        response.headers["Cache-Control"] = REVALIDATE
        period, after = (start_ms, end_ms), read_cursor(cursor, with_id=order == "newest")
        if order == "arrival":
            return _arrivals(role, reader, feed, period, limit, after[0] if after else 0)
        with role.database.unit_of_work(write=False) as store:
            found = store.predictions.history(feed, *period, limit + 1, after)
            page = reader.predictions(store, found[:limit])
        last = found[limit - 1] if len(found) > limit else None
        return HistoryOut(predictions=page, next=cursor_of(last.window_end_ms, last.id) if last else None)


def _arrivals(
    role: ApiRole, reader: Reader, feed: str, period: tuple[int | None, int | None], limit: int, after: int
) -> HistoryOut:
    with role.database.unit_of_work(write=False) as store:
        found = store.predictions.arrivals(feed, *period, limit, after)
        page = reader.predictions(store, [prediction for _, prediction in found])
    return HistoryOut(predictions=page, next=cursor_of(found[-1][0] if found else after))


def _one(router: APIRouter, role: ApiRole, reader: Reader) -> None:
    @router.get(
        "/v1/predictions/{prediction_id}",
        summary="Get a prediction with all its parts",
        response_model=PredictionOut,
        responses=CONDITIONAL | documented(404, 502),
    )
    def prediction(prediction_id: IdOfPrediction, request: Request) -> Response:
        with role.database.unit_of_work(write=False) as store:
            told = reader.prediction(store, known_prediction(store, prediction_id), frozenset(INCLUDABLE))
        ageless = told.model_copy(update={"age_seconds": 0.0}).model_dump_json()
        headers = {"ETag": etag_of(ageless), "Cache-Control": REVALIDATE}
        if is_current(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(told.model_dump_json(), headers=headers, media_type="application/json")

    @router.get(
        "/v1/predictions/{prediction_id}/proof",
        summary="Get a prediction's proof",
        response_model=ProofOut,
        responses=CONDITIONAL | documented(404, 409),
    )
    def proof(prediction_id: IdOfPrediction, request: Request) -> Response:
        """409 while the proof is being made."""
        with role.database.unit_of_work(write=False) as store:
            _, found, proved_at_ms = reader.proved(store, prediction_id)
        told = reader.proof(found, proved_at_ms)
        return conditional(request, told.model_dump_json().encode(), FOREVER)


def _bundle(router: APIRouter, reader: Reader, limits: RateLimits) -> None:
    bundles = Bundles(reader)

    @router.get(
        "/v1/predictions/{prediction_id}/bundle",
        summary="Get a prediction's bundle: everything an auditor needs",
        response_model=Bundle,
        responses=CONDITIONAL | documented(404, 409, 410, 429),
        dependencies=[Depends(limits.costly)],
    )
    def bundle(prediction_id: IdOfPrediction, request: Request) -> Response:
        """One JSON object; check it with `veriregime verify FILE` or `POST /v1/verify`.

        409 while the proof is being made, 410 once its candles are gone.
        """
        made = bundles.of(prediction_id)
        answer = conditional(request, made.raw, REVALIDATE)
        answer.headers["Content-Disposition"] = f'attachment; filename="veriregime-{prediction_id}.json"'
        return zipped(request, answer, made.packed)
