"""The OpenAPI document: what it says of every operation is so, whatever is asked, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import Interaction, ScenarioRecorder
from schemathesis.python.asgi import shutdown_lifespans

from app.web.application import create_web
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
            import time; print(time.time(), event.phase, event.label, event.status, round(event.elapsed_time, 2), len(event.recorder.cases))
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
