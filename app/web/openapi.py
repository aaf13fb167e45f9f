"""The OpenAPI document: what FastAPI makes of the routes, with problem+json and with answers that were really given."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.web.schemas import Problem

EXAMPLES = Path(__file__).parent / "examples.json"
"""By path and status: what a demo answered, cut short where it is long."""
_DESCRIPTION = (
    "Forecasts of the next hours' volatility, each with a zero-knowledge proof that this very model computed it "
    "from these very candles.\n\nTimes are UTC in ISO 8601, volatilities fractions of 1 per year (0.36 is 36 %). "
    "Errors are RFC 9457 problem+json: `type` names the problem, `detail` says what to do, `Retry-After` when."
)
_TAGS = [
    {"name": "feeds", "description": "A feed is a symbol and a horizon, such as btc-usdt-4h."},
    {"name": "predictions", "description": "One forecast each: history, proof, bundle."},
    {"name": "stream", "description": "What happens, as it happens, without asking again and again."},
    {"name": "evidence", "description": "What proofs are checked with."},
    {"name": "operations", "description": "For operators and their tools."},
]
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")
"""We answer a request that is not in form with a problem."""


def install(app: FastAPI) -> None:
    @cache
    def document() -> dict[str, Any]:
        made = get_openapi(
            title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, tags=_TAGS
        )
        schemas = made["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        for name in _OF_FASTAPI:
            schemas.pop(name, None)
        for path, methods in made["paths"].items():
            for operation in methods.values():
                operation["responses"].pop("422", None) if path != "/v1/verify" else None
        _exemplify(made["paths"])
        return made

    app.openapi = document  # type: ignore[method-assign]


def _exemplify(paths: dict[str, Any]) -> None:
    for path, by_status in json.loads(EXAMPLES.read_text()).items():
        for operation in paths[path].values():
            for status, example in by_status.items():
                for content in operation["responses"][status].get("content", {}).values():
                    content["example"] = example
