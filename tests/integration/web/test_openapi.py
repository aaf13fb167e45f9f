"""The OpenAPI document: what it says of every operation is so, whatever is asked, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.python.asgi import shutdown_lifespans

from app.wiring import Application
from app.web.application import create_web
from tests.integration.web.conftest import Told


@pytest.fixture
def web(furnished_role: Application) -> Iterator[FastAPI]:
    yield create_web(furnished_role)
    shutdown_lifespans()


def config(role: Application, told: Told, examples: int) -> SchemathesisConfig:
    keys = role.feeds["btc-usdt-4h"].keys
    values = {
        "feed": ["btc-usdt-4h"],
        "prediction_id": [told.confirmed.id, told.waiting.id, told.failed.id],
        "model_id": [told.confirmed.model_id],
        "sha256": [keys.srs_hash],
    }
    return SchemathesisConfig.from_dict(
        {
            "seed": 7,
            "dictionaries": {name: {"values": known} for name, known in values.items()},
            "parameters": {f"path.{name}": {"dictionary": name, "probability": 0.7} for name in values},
            "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True, "database": "none"},
            "phases": {"stateful": {"enabled": False}, "coverage": {"generate-duplicate-query-parameters": True}},
            "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]}},
            "max-stream-events": 1,
            "operations": [{"include-path": "/v1/stream", "request-timeout": 0.1}],
            "continue-on-failure": True,
        }
    )


def test_schemathesis(web: FastAPI, furnished_role: Application, told: Told) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", web, config=config(furnished_role, told, 10))
    answered: dict[str, Counter[int]] = defaultdict(Counter)
    failures: dict[tuple[str, str, str], tuple[str, str]] = {}
    errors = []
    for event in from_schema(schema).execute():
        if isinstance(event, NonFatalError):
            errors.append(f"{event.label}: {event.value!r}")
        if isinstance(event, FatalError):
            raise event.exception
        if not isinstance(event, ScenarioFinished):
            continue
        print(event.phase, event.label, event.status, round(event.elapsed_time, 2), len(event.recorder.cases))
        for interaction in event.recorder.interactions.values():
            if interaction.response is not None:
                answered[str(event.label)][interaction.response.status_code] += 1
        for case_id, checks in event.recorder.checks.items():
            for check in checks:
                if check.failure_info:
                    f = check.failure_info.failure
                    failures.setdefault((str(event.label), check.name, f.title + f.message[:150]), (f.message[:900], check.failure_info.code_sample[:1000]))
    for key, c in answered.items():
        print(key, dict(c))
    for key, (m, code) in failures.items():
        print("=====", key[:2], "\n", m, "\n", code)
    print(errors)
    assert not failures
