"""The OpenAPI document: what FastAPI makes of the routes, with problem+json and with answers that were really given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.web.schemas import Problem

EXAMPLES = Path(__file__).parent / "examples.json"
"""By path and status: what a demo answered, cut short where it is long (`tests/make_examples.py` records it)."""
_DESCRIPTION = (
    "Forecasts of the next hours' volatility, each with a zero-knowledge proof that this very model computed it "
    "from these very candles.\n\nTimes are UTC in ISO 8601, volatilities fractions of 1 per year (0.36 is 36 %). "
    "Errors are RFC 9457 problem+json: `type` names the problem, `detail` says what to do, `Retry-After` when.\n\n"
    "The examples are answers that a demo on a simulated market gave, cut short: of long lists they have the first two "
    "items, such as two candles of each venue of a bundle, whose checks therefore do not hold."
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
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_EXACT = 2**53
_TEXT = {"schema": {"type": "string"}, "required": True}
_CACHE_CONTROL = {"description": "for how long the answer may be kept without asking again"} | _TEXT
_ETAG = {"description": "of this very answer: send it back as `If-None-Match`"} | _TEXT

CACHEABLE: dict[int | str, dict[str, Any]] = {200: {"headers": {"Cache-Control": _CACHE_CONTROL}}}
CONDITIONAL: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "headers": {"ETag": _ETAG, "Cache-Control": _CACHE_CONTROL}}
    for status, words in ((200, "the answer, with its ETag"), (304, "still the one of the ETag"))
}
"""For ``responses=`` of a route that answers with `app.web.caching.conditional`."""


def name_of(route: APIRoute) -> str:
    """The operation's id: the name of the function behind it, whatever its path."""
    return route.name


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
        for operation in _operations(made["paths"]):
            _without_fastapis_422(operation["responses"])
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _in_a_url(parameter["schema"])
        _without_inexact_limits(schemas)
        _exemplify(made["paths"])
        return made

    app.openapi = document  # type: ignore[method-assign]


def _operations(paths: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in paths.values():
        yield from methods.values()


def _without_fastapis_422(responses: dict[str, Any]) -> None:
    if "HTTPValidationError" in json.dumps(responses.get("422", {})):
        del responses["422"]


def _in_a_url(schema: dict[str, Any]) -> dict[str, Any]:
    """Without null: a parameter that has no value is not there."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


def _without_inexact_limits(node: Any) -> None:
    """Limits that a JSON number may be rounded to pass; such values are checked all the same."""
    if isinstance(node, dict):
        for name in _LIMITS:
            if isinstance(node.get(name), int | float) and abs(node[name]) > _EXACT:
                del node[name]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _without_inexact_limits(child)


def _exemplify(paths: dict[str, Any]) -> None:
    recorded = json.loads(EXAMPLES.read_text())
    for path, by_status in recorded.items():
        for operation in paths[path].values():
            for status, example in by_status.items():
                problem = isinstance(example, dict) and "detail" in example and "title" in example
                for kind, content in operation["responses"][status].get("content", {}).items():
                    if (kind == "application/problem+json") == problem:
                        content["example"] = example
    bundle = recorded.get("/v1/predictions/{prediction_id}/bundle", {}).get("200")
    if bundle is not None:
        paths["/v1/verify"]["post"]["requestBody"]["content"]["application/json"]["example"] = bundle
