"""What stands around every answer: its id, its measurement."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from app import logs
from app.metrics import Metrics
from app.web.measuring import Measured

log = logging.getLogger("app.web.tested")


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """By a thread of the pool, as routes do that read the database."""
    if scope["path"] == "/bug":
        raise RuntimeError("a bug")
    await run_in_threadpool(log.warning, "asked")
    await PlainTextResponse("ok", 502 if scope["path"] == "/chain" else 200)(scope, receive, send)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> TestClient:
    return TestClient(Measured(answer, metrics), raise_server_exceptions=False)


def test_id__of_the_caller__is_answered_and_logged(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up()
    answered = client.get("/", headers={"X-Request-ID": "bot-7.a_B"})
    assert answered.headers["x-request-id"] == "bot-7.a_B"
    assert "asked [request bot-7.a_B]" in capsys.readouterr().err


@pytest.mark.parametrize("sent", [None, "", "a" * 65, "a b", "a\x1b[2J", "a,b", "ä".encode()])
def test_id__none_or_unsound__is_a_new_one(client: TestClient, sent: str | bytes | None) -> None:
    headers = {} if sent is None else {"X-Request-ID": sent}
    found = {client.get("/", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(found) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in found)


def test_measured__errors_of_ours__are_counted(client: TestClient, metrics: Metrics) -> None:
    for path in ("/", "/chain", "/bug"):
        client.get(path)
    assert metrics.registry.get_sample_value("veriregime_http_errors_total") == 2
    bugs = {"method": "GET", "route": "other", "status": "500"}
    assert metrics.registry.get_sample_value("veriregime_http_request_seconds_count", bugs) == 1
    assert metrics.registry.get_sample_value("veriregime_http_requests_in_flight") == 0
