"""Errors as RFC 9457 problem+json: one handler for the whole tree of `app.errors`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.errors import OracleError

log = logging.getLogger(__name__)


_WORDS = {
    400: "the request is not in form",
    401: "the token is missing or wrong",
    404: "there is no such thing here",
    409: "not yet: see Retry-After",
    410: "no longer kept",
    413: "larger than is read",
    415: "requests are not unpacked: send the body without Content-Encoding",
    422: "the contents are not in form",
    429: "this client asks more often than one may: see Retry-After",
    500: "a defect of this installation",
    502: "the chain did not answer as it should",
    503: "not now: see Retry-After",
}


_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
_WITH_RETRY_AFTER = (409, 429, 503)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For ``responses=`` of a route: the problems it may answer with, beside a broken database and a bug."""
    return {status: _documented(status) for status in sorted({*statuses, 500, 503})}


def _documented(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    told = {"description": _WORDS[status], "content": {"application/problem+json": {"schema": schema}}}
    return told | ({"headers": _RETRY_AFTER} if status in _WITH_RETRY_AFTER else {})


def install(app: FastAPI) -> None:
    @app.exception_handler(OracleError)
    def oracle_error(request: Request, error: OracleError) -> JSONResponse:
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        return problem(error.status, type(error).slug(), str(error), headers)

    @app.exception_handler(RequestValidationError)
    def bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return problem(HTTPStatus.BAD_REQUEST, "bad-input", f"{where}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        """In the middle of its own request: nobody hears this, and it is no bug of ours."""
        return problem(HTTPStatus.BAD_REQUEST, "about:blank", "the request ended early")

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return problem(HTTPStatus(error.status_code), "about:blank", str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error on %s %r", request.method, request.scope["path"][:200], exc_info=error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "about:blank", "unexpected error; the log has the details")


def problem(status: HTTPStatus, kind: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"type": kind, "title": status.phrase, "status": int(status), "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
