"""The OpenAPI document: what it says of every operation is so, whatever is asked, on SQLite and on PostgreSQL."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema_rs import Draft202012Validator
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import Interaction, ScenarioRecorder
from schemathesis.python.asgi import shutdown_lifespans

from app import __version__
from app.web.application import create_web
from app.web.openapi import EXAMPLES
from app.wiring import Application
from tests.integration.web.conftest import Told

NOT_NOW = {"forecast-stale", "no-forecast-yet", "attestations-missing"}
"""What may be a 503 here: the database and the chain are there, so nothing else may say that they are not."""
REJECTIONS = ["400", "404", "405", "409", "413", "422"]
IN_FORM = ["2xx", "304", "404", "409", "503"]
ONLY_TOGETHER = ("/candles", "/predictions")
"""Where parameters that are in form each may still not go together: a period, an order and its cursor."""


@dataclass(slots=True)
class Findings:
    """What came of a run."""

    answers: dict[str, set[int]] = field(default_factory=dict)
    """Statuses by operation."""
    wrong: set[str] = field(default_factory=set)

    def take(self, label: str, recorder: ScenarioRecorder) -> None:
        statuses = self.answers.setdefault(label, set())
        for interaction in recorder.interactions.values():
            if interaction.response is not None:
                statuses.add(int(interaction.response.status_code))
                self.wrong |= {f"{label}: {why}: {interaction.request.uri}" for why in complaints(interaction)}
        for failed in (check.failure_info for checks in recorder.checks.values() for check in checks):
            if failed:
                self.wrong.add(f"{label}: {failed.failure.title}: {failed.failure.message}\n{failed.code_sample}")


def complaints(interaction: Interaction) -> Iterator[str]:
    """Every error is a problem that says what it is, and only a few are temporary."""
    response = interaction.response
    assert response is not None
    if response.status_code < 400 or (response.status_code == 503 and interaction.request.uri.endswith("/readyz")):
        return
    if response.headers.get("content-type") != ["application/problem+json"]:
        yield f"{response.status_code} is {response.headers.get('content-type')}"
        return
    told = json.loads(response.content or b"")
    if set(told) != {"type", "title", "status", "detail"} or told["status"] != response.status_code:
        yield f"{told} is no problem"
    if response.status_code == 503 and (told["type"] not in NOT_NOW or "retry-after" not in response.headers):
        yield f"503 for {told}"
    if response.status_code == 405 and not response.headers.get("allow"):
        yield "405 without Allow"


def configured(role: Application, told: Told, examples: int, *, thorough: bool = False) -> SchemathesisConfig:
    known = {
        "feed": list(role.feeds),
        "prediction_id": [told.confirmed.id, told.waiting.id, told.failed.id],
        "model_id": [told.confirmed.model_id],
        "sha256": [served.keys.srs_hash for served in role.feeds.values()],
    }
    together = {"positive_data_acceptance": {"expected-statuses": [*IN_FORM, "400"]}}
    operations: list[dict[str, Any]] = [
        {"include-path": f"/v1/feeds/{{feed}}{path}", "checks": together} for path in ONLY_TOGETHER
    ]
    operations.append({"include-path": "/v1/stream", "request-timeout": 0.1})
    few = {"generation": {"max-examples": max(1, examples // 4)}}
    operations.append({"include-path": "/v1/predictions/{prediction_id}/bundle"} | few)
    strict = {"positive_data_acceptance": {"expected-statuses": [*IN_FORM, "422"]}}
    operations.append({"include-path": "/v1/verify", "checks": strict} | few)
    if not thorough:
        operations[-1]["phases"] = {"coverage": {"enabled": False}}
    return SchemathesisConfig.from_dict(
        {
            "seed": 7,
            "dictionaries": {name: {"values": values} for name, values in known.items()},
            "parameters": {f"path.{name}": {"dictionary": name, "probability": 0.7} for name in known},
            "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True, "database": "none"},
            "phases": {
                "stateful": {"enabled": False},
                "coverage": {"generate-duplicate-query-parameters": True, "extra-data-sources": {"responses": False}},
                "fuzzing": {"extra-data-sources": {"responses": False}},
                "examples": {"extra-data-sources": {"responses": False}},
            },
            "checks": {
                "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
                "negative_data_rejection": {"expected-statuses": REJECTIONS},
                "positive_data_acceptance": {"expected-statuses": IN_FORM},
            },
            "operations": operations,
            "max-stream-events": 1,
            "continue-on-failure": True,
        }
    )


@pytest.fixture
def web(furnished_role: Application) -> Iterator[FastAPI]:
    yield create_web(furnished_role)
    shutdown_lifespans()


def fuzz(web: FastAPI, config: SchemathesisConfig) -> Findings:
    """Ask every operation: with its examples, at the edges of what it takes, and at random."""
    schema, findings = schemathesis.openapi.from_asgi("/openapi.json", web, config=config), Findings()
    for event in from_schema(schema).execute():
        if isinstance(event, FatalError):
            raise event.exception
        if isinstance(event, NonFatalError):
            findings.wrong.add(f"{event.label}: {event.value}")
        if isinstance(event, ScenarioFinished):
            findings.take(str(event.label), event.recorder)
    return findings


def test_operations__whatever_is_asked__answer_as_documented(
    web: FastAPI, furnished_role: Application, told: Told
) -> None:
    findings = fuzz(web, configured(furnished_role, told, examples=8))
    assert not findings.wrong, "\n\n".join(sorted(findings.wrong))
    documented = {f"{method.upper()} {path}" for path, methods in web.openapi()["paths"].items() for method in methods}
    assert {label for label, statuses in findings.answers.items() if 200 in statuses} == documented


@pytest.mark.slow
def test_operations__asked_for_long__answer_as_documented(
    web: FastAPI, furnished_role: Application, told: Told
) -> None:
    findings = fuzz(web, configured(furnished_role, told, examples=400, thorough=True))
    assert not findings.wrong, "\n\n".join(sorted(findings.wrong))


def _cursor(text: str) -> str:
    return "cursor=" + base64.urlsafe_b64encode(text.encode()).decode()


FEED, ID = "/v1/feeds/btc-usdt-4h", "0" * 32
STRANGE = {
    f"{FEED}/predictions?{_cursor('0:' + chr(0))}": 400,
    f"{FEED}/predictions?{_cursor(f'{2**63}:{ID}')}": 400,
    f"{FEED}/predictions?{_cursor(f'{2**63 - 1}:{ID}')}": 200,
    f"{FEED}/predictions?{_cursor(f'{chr(0x663)}:{ID}')}": 400,
    f"{FEED}/predictions?order=arrival&{_cursor(f'{2**63 - 1}:')}": 200,
    f"{FEED}/predictions?order=arrival&{_cursor('-1:')}": 400,
    f"{FEED}/predictions?limit=1&limit=99999999999999999999": 400,
    f"{FEED}/track-record?start=0001-01-01T00:00:00%2B14:00": 200,
    f"{FEED}/track-record?end=9999-12-31T23:59:59-14:00": 200,
    f"{FEED}/outcomes?start=%00": 400,
    f"{FEED}/outcomes?cursor=999999999999999": 200,
    f"{FEED}/candles?venue=%ED%A0%80": 400,
    f"{FEED}/candles?start=9999999999999&end=9999999999999": 200,
    f"{FEED}/latest?max_age=nan": 400,
    f"{FEED}/latest?include=,": 200,
    f"{FEED}%2Flatest": 200,
    f"{FEED}%00": 404,
    "/v1/predictions/%00": 404,
    f"/v1/predictions/{ID}%0A/proof": 404,
    "/v1/predictions/%ED%A0%80/bundle": 404,
    "/v1/srs/..%2f..%2fetc": 404,
    "/v1/stream?last_event_id=999999999999999999999": 400,
}
"""Requests that somebody wrote by hand, with the status that each deserves."""


def test_strange_requests__are_answered_alike_by_both_databases(furnished_role: Application) -> None:
    with TestClient(create_web(furnished_role)) as client:
        answers = {url: client.get(url) for url in STRANGE}
        whole = client.get(f"/v1/srs/{furnished_role.feeds['btc-usdt-4h'].keys.srs_hash}", headers={"Range": "x"})
    assert {url: answer.status_code for url, answer in answers.items()} == STRANGE
    problems = {answer.headers["content-type"] for answer in answers.values() if answer.status_code >= 400}
    assert problems == {"application/problem+json"}
    assert whole.status_code == 200


@pytest.mark.parametrize("path", ["/v1/feeds", f"{FEED}/latest", "/v1/verify", "/v1/stream", "/"])
def test_another_method__is_a_problem_that_tells_which_ones_there_are(app: Application, path: str) -> None:
    client = TestClient(create_web(app))
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
        assert answer.headers["allow"].split(", ")[0] in ("GET", "POST")


@pytest.fixture(scope="module")
def document(app: Application) -> dict[str, Any]:
    return create_web(app).openapi()


Operation = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[Operation]:
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def contents(operations: list[Operation]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Place, media type and content of every request and answer."""
    for path, operation in operations:
        parts = {"request": operation.get("requestBody", {})} | operation["responses"]
        for place, part in parts.items():
            for kind, content in part.get("content", {}).items():
                yield f"{path} {place}", kind, content


def test_examples__are_what_their_schemas_say(document: dict[str, Any], operations: list[Operation]) -> None:
    seen = 0
    for place, kind, content in contents(operations):
        if "example" in content and kind != "text/event-stream":
            schema = content["schema"] | {"components": document["components"]}
            found = [error.message for error in Draft202012Validator(schema).iter_errors(content["example"])]
            assert not found, f"{place}: {found}: record them anew with python -m tests.make_examples"
            seen += 1
    assert seen > 35


def test_examples__are_there_for_every_answer_in_json_or_text(operations: list[Operation]) -> None:
    succeeded = [(place, kind, content) for place, kind, content in contents(operations) if place.endswith(" 200")]
    missing = {place for place, _, content in succeeded if "example" not in content}
    assert missing == {"/v1/srs/{sha256} 200"}  # a file of its own
    assert EXAMPLES.stat().st_size < 60_000


def test_stream__example__begins_as_a_stream_does(operations: list[Operation]) -> None:
    (example,) = [content["example"] for _, kind, content in contents(operations) if kind == "text/event-stream"]
    first, *events = example.strip().split("\n\n")
    assert first == "retry: 2000\nid: 0"
    assert events[0].split("\n")[1] == "event: prediction"


def test_operations__are_named_by_what_they_give(operations: list[Operation]) -> None:
    names = {path: operation["operationId"] for path, operation in operations}
    assert len(set(names.values())) == len(operations)
    assert names["/v1/feeds/{feed}/latest"] == "latest"
    assert names["/v1/feeds/{feed}/predictions"] == "history"
    assert names["/v1/predictions/{prediction_id}"] == "prediction"
    assert all(operation["summary"][0].isupper() and operation["tags"] for _, operation in operations)


def test_parameters__each_say_what_they_mean(operations: list[Operation]) -> None:
    parameters = [parameter for _, operation in operations for parameter in operation.get("parameters", ())]
    assert not [parameter["name"] for parameter in parameters if not parameter.get("description")]
    feeds = [parameter for parameter in parameters if parameter["name"] == "feed" and parameter["in"] == "path"]
    assert all(parameter["schema"]["examples"] == ["btc-usdt-4h"] for parameter in feeds)


def test_answers__tell_of_the_headers_to_heed(operations: list[Operation]) -> None:
    responses = {path: operation["responses"] for path, operation in operations}
    latest = responses["/v1/feeds/{feed}/latest"]
    assert set(latest["200"]["headers"]) == set(latest["304"]["headers"]) == {"ETag", "Cache-Control"}
    assert set(latest["503"]["headers"]) == {"Retry-After"}
    assert set(responses["/v1/predictions/{prediction_id}/proof"]["409"]["headers"]) == {"Retry-After"}


def test_document__is_of_this_version_and_names_no_server(document: dict[str, Any]) -> None:
    assert document["info"]["version"] == __version__
    assert "servers" not in document
    assert not [name for name in document["components"]["schemas"] if name.endswith("ValidationError")]


PAGE = {"Origin": "https://app.example"}
PREFLIGHT = PAGE | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "If-None-Match"}


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [((), None), (("https://app.example",), "https://app.example"), (("https://other.example",), None), (("*",), "*")],
    ids=["none", "this one", "another one", "all"],
)
def test_cors__of_a_page_elsewhere__is_what_the_settings_allow(
    app: Application, origins: tuple[str, ...], allowed: str | None
) -> None:
    role = replace(app, settings=app.settings.model_copy(update={"cors_origins": origins}))
    client = TestClient(create_web(role))
    asked = client.get("/v1/feeds/nothing", headers=PAGE)
    assert asked.status_code == 404
    assert asked.headers.get("access-control-allow-origin") == allowed
    assert not allowed or "ETag" in asked.headers["access-control-expose-headers"]
    preflight = client.options("/v1/feeds/nothing", headers=PREFLIGHT)
    assert (preflight.status_code == 200) == bool(allowed)
    assert preflight.headers.get("access-control-allow-origin") == allowed
