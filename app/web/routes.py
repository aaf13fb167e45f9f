"""The routes of DESIGN §8 that exist so far. Each one reads, and hands the rest to `reading`."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from app.audit.bundle import parse_bundle
from app.errors import BadInput, BundleTooLarge, ForecastStale, NoForecastYet, UnknownSrs
from app.inference.release import model_by_id
from app.types import MINUTE_MS, Prediction, Status
from app.web.bodies import bounded_body
from app.web.reading import Reader, cursor_of, known_prediction, read_cursor, read_time
from app.web.schemas import (
    CandlesOut,
    FeedOut,
    FeedsOut,
    HealthOut,
    HistoryOut,
    ModelOut,
    PredictionOut,
    Problem,
    ProofOut,
    ReadyOut,
    UpdateOut,
    VerdictOut,
    step_out,
)
from app.wiring import Application

_DAY_MS = 24 * 60 * MINUTE_MS
_INCLUDABLE = ("proof", "observation", "calldata", "attempts", "attestations")
_READY_WITHIN_S = 180
_STEPS = (60, 300, 900, 3600)
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words}
    for status, words in ((400, "the request is not in form"), (404, "unknown"), (503, "not now: see Retry-After"))
}


def make_router(application: Application) -> APIRouter:
    router = APIRouter(responses=_PROBLEMS)
    for group in (_feeds, _predictions, _evidence, _operations):
        group(router, application, Reader(application))
    return router


def _feeds(router: APIRouter, application: Application, reader: Reader) -> None:
    @router.get("/v1/feeds", tags=["feeds"], summary="All feeds")
    def feeds() -> FeedsOut:
        return FeedsOut(feeds=[reader.feed(name) for name in application.pipeline.feeds])

    @router.get("/v1/feeds/{feed}", tags=["feeds"], summary="One feed: model, venues, chain, how the last tick went")
    def one_feed(feed: str) -> FeedOut:
        return reader.feed(feed)

    @router.get(
        "/v1/feeds/{feed}/latest",
        tags=["feeds"],
        summary="The newest forecast",
        response_model=PredictionOut,
        response_model_exclude_unset=True,
        responses={304: {"description": "still the one of the ETag"}},
    )
    def latest(
        feed: str,
        request: Request,
        response: Response,
        include: Annotated[str, Query(description=f"comma separated: {', '.join(_INCLUDABLE)}")] = "",
        max_age: Annotated[float | None, Query(gt=0, description="503 when the forecast is older, in seconds")] = None,
        proved: Annotated[bool, Query(description="false: the newest of any state")] = True,
    ) -> Any:
        """The newest forecast whose proof was verified, with its age. Poll it; the ETag changes when it does."""
        parts = _includes(include)
        reader.served(feed)
        with application.database.unit_of_work(write=False) as store:
            found = store.predictions.latest(feed, proved=proved)
            if found is None:
                raise NoForecastYet(f"{feed} has no forecast yet: see last_tick of /v1/feeds/{feed}", retry_after_s=5)
            body = reader.prediction(store, found, parts)
        if max_age is not None and body.age_seconds > max_age:
            raise ForecastStale(
                f"the newest forecast is {body.age_seconds:.0f} s old, the request allows {max_age:g} s",
                retry_after_s=_until_next_tick(application),
            )
        evidence = (len(body.attempts or ()), body.attestations, body.calldata)
        state = f"{found.id}|{found.status}|{body.onchain}|{sorted(parts)}|{evidence}"
        response.headers["ETag"] = f'"{hashlib.sha256(state.encode()).hexdigest()[:24]}"'
        response.headers["Cache-Control"] = _cache_control(
            application, found, None if max_age is None else max_age - body.age_seconds
        )
        if request.headers.get("if-none-match") == response.headers["ETag"]:
            return Response(status_code=304, headers=dict(response.headers))
        return body

    @router.get("/v1/feeds/{feed}/update", tags=["feeds"], summary="A signed update, ready to send by anyone")
    def update(feed: str) -> UpdateOut:
        """Calldata for the oracle contract: send it to ``contract`` on ``chain_id`` from any account before it expires.

        503 while the newest forecasts lack signatures, 404 when this service publishes to no chain.
        """
        return reader.update(feed)

    @router.get("/v1/feeds/{feed}/candles", tags=["feeds"], summary="Stored candles of one of the feed's venues")
    def candles(
        feed: str,
        venue: Annotated[str | None, Query(description="the feed's first one if not given")] = None,
        start: str | None = None,
        end: str | None = None,
        step: Annotated[int, Query()] = 300,
    ) -> CandlesOut:
        """At most seven days at a time; the last day by default."""
        if step not in _STEPS:
            raise BadInput(f"step: one of {', '.join(map(str, _STEPS))} seconds")
        end_ms = read_time("end", end) or application.clock.now_ms()
        start_ms = read_time("start", start) or end_ms - _DAY_MS
        if not 0 <= end_ms - start_ms <= 7 * _DAY_MS:
            raise BadInput("start and end: at most seven days, and start first")
        name, symbol, found = reader.candles(feed, venue, start_ms, end_ms, step)
        return CandlesOut(venue=name, symbol=symbol, step_seconds=step, candles=[tuple(row) for row in found.rows()])  # type: ignore[misc]


def _predictions(router: APIRouter, application: Application, reader: Reader) -> None:
    @router.get(
        "/v1/feeds/{feed}/predictions",
        tags=["predictions"],
        summary="History, newest first",
        response_model=HistoryOut,
    )
    def history(
        feed: str,
        start: str | None = None,
        end: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
    ) -> HistoryOut:
        """Windows that end within ``[start, end)``; pass ``next`` as ``cursor`` for older ones."""
        reader.served(feed)
        before = read_cursor(cursor)
        with application.database.unit_of_work(write=False) as store:
            found = store.predictions.history(feed, read_time("start", start), read_time("end", end), limit + 1, before)
            page = reader.predictions(store, found[:limit])
        return HistoryOut(predictions=page, next=cursor_of(found[limit - 1]) if len(found) > limit else None)

    @router.get("/v1/predictions/{prediction_id}", tags=["predictions"], summary="One prediction")
    def one_prediction(prediction_id: str) -> PredictionOut:
        with application.database.unit_of_work(write=False) as store:
            return reader.prediction(store, known_prediction(store, prediction_id), frozenset(_INCLUDABLE))

    @router.get("/v1/predictions/{prediction_id}/proof", tags=["predictions"], summary="Its proof")
    def proof(prediction_id: str) -> ProofOut:
        """409 while the proof is being made."""
        with application.database.unit_of_work(write=False) as store:
            _, found, proved_at_ms = reader.proved(store, prediction_id)
        return reader.proof(found, proved_at_ms)

    @router.get("/v1/predictions/{prediction_id}/bundle", tags=["predictions"], summary="Everything an auditor needs")
    def bundle(prediction_id: str) -> JSONResponse:
        """One JSON object; check it with `veriregime verify FILE` or `POST /v1/verify`."""
        made = reader.bundle(prediction_id)
        name = f'attachment; filename="veriregime-{made.id}.json"'
        return JSONResponse(made.model_dump(mode="json"), headers={"Content-Disposition": name})


def _evidence(router: APIRouter, application: Application, reader: Reader) -> None:
    @router.get("/v1/models/{model_id}", tags=["evidence"], summary="A model's manifest")
    def model(model_id: str) -> ModelOut:
        found = model_by_id(application.models, model_id)
        return ModelOut(model_id=found.model_id, name=found.name, manifest=dict(found.manifest))

    @router.get("/v1/srs/{sha256}", tags=["evidence"], summary="The SRS behind the proofs", response_class=FileResponse)
    def srs(sha256: str) -> FileResponse:
        """The file that `veriregime verify --srs` takes."""
        files: dict[str, Path] = {
            keys.srs_hash: keys.srs for served in application.pipeline.feeds.values() for keys in served.all_keys
        }
        if sha256 not in files:
            raise UnknownSrs(f"no feed here uses an SRS {sha256[:64]!r}")
        return FileResponse(files[sha256], media_type="application/octet-stream", filename=f"{sha256[:16]}.srs")

    @router.post("/v1/verify", tags=["evidence"], summary="Check a bundle", openapi_extra=_BUNDLE_BODY)
    async def verify(request: Request) -> VerdictOut:
        """Recomputes everything from the candles up, and names the first thing that does not hold."""
        raw = await bounded_body(request, application.settings.max_bundle_bytes, BundleTooLarge)
        return await run_in_threadpool(_verdict, application, raw)


def _operations(router: APIRouter, application: Application, reader: Reader) -> None:
    @router.get("/healthz", tags=["operations"], summary="The process answers")
    def health() -> HealthOut:
        return HealthOut(status="ok")

    @router.get("/readyz", tags=["operations"], summary="Forecasts are fresh", response_model=ReadyOut)
    def ready(response: Response) -> ReadyOut:
        """503 while any feed's newest proved forecast is older than three minutes."""
        ages = _ages(application)
        with application.database.unit_of_work(write=False) as store:
            waiting, alarms = store.jobs.waiting(), store.disagreements.open()
        fresh = all(age is not None and age <= _READY_WITHIN_S for age in ages.values())
        response.status_code = 200 if fresh else 503
        return ReadyOut(
            ready=fresh,
            feeds=ages,
            prover_process_ids=application.pool.process_ids(),
            proof_jobs_waiting=waiting,
            alarms=len(alarms),
            clock_skew_seconds=application.pipeline.clock_skew_s(),
            attesting=step_out(application.pipeline.last_attest),
            publishing=step_out(application.pipeline.last_submit),
        )

    @router.get("/metrics", tags=["operations"], summary="Prometheus metrics", response_class=Response)
    def metrics() -> Response:
        for feed, age in _ages(application).items():
            if age is not None:
                application.metrics.forecast_age.labels(feed).set(age)
        skew_s = application.pipeline.clock_skew_s()
        if skew_s is not None:
            application.metrics.clock_skew.set(skew_s)
        with application.database.unit_of_work(write=False) as store:
            application.metrics.jobs_waiting.set(store.jobs.waiting())
            for feed in application.pipeline.feeds:
                application.metrics.alarms.labels(feed).set(len(store.disagreements.open(feed)))
        return Response(application.metrics.exposition(), media_type="text/plain; version=0.0.4")


_BUNDLE_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


def _verdict(application: Application, raw: bytes) -> VerdictOut:
    verdict = application.auditor.verify(parse_bundle(raw, application.settings.max_bundle_bytes))
    return VerdictOut(**asdict(verdict))


def _ages(application: Application) -> dict[str, float | None]:
    ages: dict[str, float | None] = {}
    with application.database.unit_of_work(write=False) as store:
        for feed in application.pipeline.feeds:
            found = store.predictions.latest(feed)
            ages[feed] = (application.clock.now_ms() - found.window_end_ms) / 1000 if found else None
    return ages


def _includes(text: str) -> frozenset[str]:
    parts = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(parts - set(_INCLUDABLE))
    if unknown:
        raise BadInput(f"include: {unknown[0][:40]!r} is not one of {', '.join(_INCLUDABLE)}")
    return parts


def _until_next_tick(application: Application) -> int:
    clock = application.clock
    return max(1, int(clock.seconds_until(clock.last_minute_ms() + MINUTE_MS) + application.settings.settle_s))


def _cache_control(application: Application, found: Prediction, fresh_for_s: float | None) -> str:
    """Nothing new comes before the next tick once this minute's forecast is all the way through; until then it may.

    ``fresh_for_s`` is how long the answer stays within the caller's ``max_age``: a cache must not stretch that.
    """
    last = Status.CONFIRMED if application.pipeline.target else Status.PROVED
    if found.window_end_ms < application.clock.last_minute_ms() or found.status is not last:
        return "no-cache"
    seconds = _until_next_tick(application) if fresh_for_s is None else min(_until_next_tick(application), fresh_for_s)
    return f"public, max-age={int(seconds)}"
