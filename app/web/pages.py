"""The pages for people: built by `dashboard/`, served as they are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from app.errors import PagesMissing
from app.settings import Settings
from app.web.caching import FOREVER, REVALIDATE, conditional

PAGES = Path(__file__).parent / "pages"
_STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


_OF_PAGES = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class _Forever(StaticFiles):
    """Files whose names change with their contents."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        if answer.status_code == 200 or isinstance(answer, NotModifiedResponse):
            answer.headers["Cache-Control"] = FOREVER
        return answer


def install(app: FastAPI, settings: Settings) -> None:
    router = APIRouter(include_in_schema=False)
    policy = _policy(connect=f"'self' {_origin(settings)}".strip())
    # Swagger's viewer writes styles of its own.
    viewer_policy = _policy(style="'self' 'unsafe-inline'")

    @router.get("/")
    def dashboard(request: Request) -> Response:
        return _page(request, "index.html", policy)

    @router.get("/predictions/{prediction_id}")
    def prediction(request: Request, prediction_id: str) -> Response:
        return _page(request, "prediction.html", policy)

    @router.get("/docs")
    def docs(request: Request) -> Response:
        return _page(request, "docs.html", viewer_policy)

    app.include_router(router)
    app.mount("/assets", _Forever(directory=PAGES / "assets", check_dir=False), name="assets")


def _page(request: Request, name: str, policy: str) -> Response:
    try:
        body = (PAGES / name).read_bytes()
    except OSError:
        raise PagesMissing from None
    answer = conditional(request, body, REVALIDATE, "text/html; charset=utf-8")
    answer.headers.update({"Content-Security-Policy": policy} | _OF_PAGES)
    return answer


def _policy(connect: str = "'self'", style: str = "'self'") -> str:
    rules = _STRICT | {"connect-src": connect, "style-src": style}
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _origin(settings: Settings) -> str:
    """Where the page may ask the chain by itself."""
    if settings.public_rpc_url is None:
        return ""
    parts = urlsplit(str(settings.public_rpc_url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
