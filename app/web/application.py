"""The HTTP service around a wired application."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from app import __version__
from app.web import problems
from app.web.routes import make_router
from app.wiring import Application

_STATIC = Path(__file__).parent / "static"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DESCRIPTION = (
    "Forecasts of the next hours' volatility, each with a zero-knowledge proof that this very model computed it "
    "from these very candles."
)


def create_web(application: Application) -> FastAPI:
    app = FastAPI(title="VeriRegime", version=__version__, description=_DESCRIPTION)
    problems.install(app)
    app.include_router(make_router(application))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def dashboard() -> FileResponse:
        return FileResponse(_STATIC / "index.html", headers={"Content-Security-Policy": _PAGE_POLICY})

    @app.middleware("http")
    async def measured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        status = "500"
        try:
            response = await call_next(request)
            status = str(response.status_code)
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Referrer-Policy"] = "no-referrer"
            return response
        finally:
            # The route's pattern, not the path: a label must not grow with what strangers ask for.
            route = getattr(request.scope.get("route"), "path", "other")
            application.metrics.http.labels(request.method, route, status).observe(time.perf_counter() - started)

    return app
