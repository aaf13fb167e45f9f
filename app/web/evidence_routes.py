"""What proofs are checked with: models, SRS files, and a check for those who take our word."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from app.audit.bundle import parse_bundle
from app.errors import BundleTooLarge, UnknownSrs
from app.inference.release import model_by_id
from app.web.bodies import bounded_body
from app.web.caching import FOREVER, conditional, is_current
from app.web.checking import OneAtATime
from app.web.openapi import CONDITIONAL, name_of
from app.web.parameters import HashOfSrs, IdOfModel
from app.web.problems import documented
from app.web.rates import Places, RateLimits
from app.web.schemas import ModelOut, VerdictOut
from app.wiring import ApiRole

_TAGS: list[Any] = ["evidence"]
_MOST_UPLOADS = 8
"""Bundles that are in memory at once, on their way or waiting to be checked."""
_MOST_UPLOADS_OF_ONE = 2
VERIFY = "/v1/verify"
_BUNDLE = {"schema": {"$ref": "#/components/schemas/Bundle"}}
_BUNDLE_BODY = {"requestBody": {"required": True, "content": {"application/json": _BUNDLE}}}
_FILE = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


class _WholeFile(FileResponse):
    """Answers no part of it: a range that is not in form would be no problem+json."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def evidence_routes(role: ApiRole, limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=_TAGS, generate_unique_id_function=name_of)
    _files(router, role, limits)
    _verifying(router, role, limits)
    return router


def _files(router: APIRouter, role: ApiRole, limits: RateLimits) -> None:
    @router.get(
        "/v1/models/{model_id}",
        summary="Get a model's manifest",
        response_model=ModelOut,
        responses=CONDITIONAL | documented(404),
    )
    def model(model_id: IdOfModel, request: Request) -> Response:
        found = model_by_id(role.models, model_id)
        told = ModelOut(model_id=found.model_id, name=found.name, manifest=dict(found.manifest))
        return conditional(request, told.model_dump_json().encode(), FOREVER)

    @router.get(
        "/v1/srs/{sha256}",
        summary="Download the SRS behind the proofs",
        response_class=FileResponse,
        responses=CONDITIONAL | {200: CONDITIONAL[200] | _FILE} | documented(404, 429),
        dependencies=[Depends(limits.costly)],
    )
    def srs(sha256: HashOfSrs, request: Request) -> Response:
        """The file that `veriregime verify --srs` takes."""
        files = {keys.srs_hash: keys.srs for served in role.feeds.values() for keys in served.all_keys}
        if sha256 not in files:
            raise UnknownSrs(f"no feed here uses an SRS {sha256[:64]!r}")
        headers = {"ETag": f'"{sha256}"', "Cache-Control": FOREVER, "Accept-Ranges": "none"}
        if is_current(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return _WholeFile(
            files[sha256], headers=headers, media_type="application/octet-stream", filename=f"{sha256[:16]}.srs"
        )


def _verifying(router: APIRouter, role: ApiRole, limits: RateLimits) -> None:
    uploads, checks = Places("bundles to check", _MOST_UPLOADS, _MOST_UPLOADS_OF_ONE), OneAtATime()

    @router.post(
        VERIFY,
        summary="Check a bundle",
        openapi_extra=_BUNDLE_BODY,
        responses=documented(404, 413, 415, 422, 429),
        dependencies=[Depends(limits.verify)],
    )
    async def verify(request: Request) -> VerdictOut:
        """Recomputes everything from the candles up, and names the first thing that does not hold.

        One bundle is checked at a time; 503 while there are too many others.
        """
        with uploads.taken(limits.clients.of(request.scope)):
            raw = await bounded_body(request, role.settings.max_bundle_bytes, BundleTooLarge)
            return await checks.run(partial(_verdict, role, raw))


def _verdict(role: ApiRole, raw: bytes) -> VerdictOut:
    verdict = role.auditor.verify(parse_bundle(raw, role.settings.max_bundle_bytes))
    return VerdictOut(**asdict(verdict))
