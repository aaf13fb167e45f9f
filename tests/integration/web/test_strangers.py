"""Requests that are no honest question: too many, on strange paths, packed, or into a bug of ours."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.audit.checks import Auditor
from app.errors import Misconfigured
from app.types import Prediction
from app.web import checking
from app.web.application import create_web
from app.wiring import Application

FEED = "/v1/feeds/btc-usdt-4h"
COSTLY = (
    f"{FEED}/candles",
    f"{FEED}/predictions",
    f"{FEED}/track-record",
    f"{FEED}/outcomes",
    "/v1/srs/0",
    "/v1/predictions/00000000000000000000000000000000/bundle",
)

Open = Callable[..., FastAPI]


@pytest.fixture
def web(app: Application) -> Open:
    """The service with settings, or parts, of the test's own."""

    def make(auditor: Auditor | None = None, **settings: Any) -> FastAPI:
        return create_web(
            replace(app, settings=app.settings.model_copy(update=settings), auditor=auditor if auditor else app.auditor)
        )

    return make


def test_costly_routes__asked_too_often__are_counted_together_and_say_when_to_come_back(web: Open) -> None:
    with TestClient(web(bundle_rate="6/hour")) as client:
        assert 429 not in [client.get(path).status_code for path in COSTLY]
        answers = [client.get(path) for path in COSTLY]
        cheap = [client.get(path).status_code for path in (f"{FEED}/latest", FEED, "/healthz")]
    assert {(one.status_code, one.headers["content-type"]) for one in answers} == {(429, "application/problem+json")}
    assert {one.json()["type"] for one in answers} == {"too-many-requests"}
    assert all(3_500 < int(one.headers["retry-after"]) <= 3_600 for one in answers)
    assert 429 not in cheap


def test_verify__asked_too_often__is_refused_before_anything_is_read(web: Open) -> None:
    with TestClient(web(verify_rate="2/minute")) as client:
        statuses = [client.post("/v1/verify", content=b"{}").status_code for _ in range(4)]
    assert statuses == [422, 422, 429, 429]


def test_rates__behind_a_trusted_proxy__are_of_each_client(web: Open) -> None:
    with TestClient(web(verify_rate="1/minute", trusted_proxies=("10.0.0.0/8",)), client=("10.1.1.1", 1)) as client:
        asked = [
            client.post("/v1/verify", content=b"{}", headers={"X-Forwarded-For": told}).status_code
            for told in ("9.9.9.1", "9.9.9.2", "6.6.6.6, 9.9.9.1", "2001:db8::1", "2001:db8::2")
        ]
    assert asked == [422, 422, 429, 422, 429]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"verify_rate": "often"}, "VERIREGIME_VERIFY_RATE"),
        ({"bundle_rate": "1"}, "VERIREGIME_BUNDLE_RATE"),
        ({"trusted_proxies": ("proxy",)}, "VERIREGIME_TRUSTED_PROXIES"),
    ],
)
def test_limit__that_cannot_be_read__is_refused_at_the_start(web: Open, wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(Misconfigured, match=name):
        web(**wrong)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_body__that_is_packed__is_not_unpacked(web: Open, encoding: str) -> None:
    with TestClient(web()) as client:
        bomb = gzip.compress(b" " * 10_000_000)
        answer = client.post("/v1/verify", content=bomb, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["type"]) == (415, "encoding-refused")


def test_body__that_says_it_is_too_long__is_not_read(web: Open) -> None:
    with TestClient(web(max_bundle_bytes=1_000)) as client:
        answer = client.post("/v1/verify", content=b"x", headers={"Content-Length": "1001"})
    assert (answer.status_code, answer.json()["type"]) == (413, "bundle-too-large")


class Waiting(Auditor):
    """Notes how many bundles are checked at once; each check takes until it is let go."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.go = threading.Event()

    def verify(self, *_: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        assert self.go.wait(30)
        self.now -= 1
        raise Misconfigured("that was it")


def test_verify__many_at_once__takes_the_prover_for_one_and_sends_away_who_would_wait_long(
    web: Open, app: Application, confirmed: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "PATIENCE_S", 0.2)
    auditor = Waiting()
    proxied = web(auditor, trusted_proxies=("127.0.0.1",))

    async def ask_all() -> list[int]:
        transport = httpx2.ASGITransport(proxied, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            bundle = (await client.get(f"/v1/predictions/{confirmed.id}/bundle")).content

            async def ask(who: int) -> int:
                told = {"X-Forwarded-For": f"9.9.9.{who}"}
                return (await client.post("/v1/verify", content=bundle, headers=told)).status_code

            asked = [asyncio.create_task(ask(number % 5)) for number in range(11)]
            waiting = set(asked)
            while len(waiting) > 1:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            auditor.go.set()
            return [*sorted([await one for one in asked]), await ask(9)]

    statuses = asyncio.run(ask_all())
    assert auditor.most == 1
    assert statuses == [429, 500, *[503] * 9, 500]  # the last one asks when nobody is before it


TRAVERSALS = ("../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5cwindows")
TRAVERSALS += ("....//....//etc/passwd", "%252e%252e%252fetc%252fpasswd", "..%c0%af..%c0%afetc", "/etc/passwd", "%00")
UNDER = ("/assets/", "/v1/srs/", "/v1/models/", "/v1/predictions/", "/v1/feeds/", "/predictions/../", "/")


@pytest.mark.parametrize("under", UNDER)
def test_path__that_climbs_out__leads_nowhere(web: Open, under: str) -> None:
    """Sent as it is: clients would tidy it up."""
    service = web()

    async def ask(path: str) -> tuple[int, bytes]:
        said: list[Any] = []
        raw, decoded = path.encode(), httpx2.URL(f"http://x{path}").path if "%" in path else path
        scope = {"type": "http", "method": "GET", "path": decoded, "raw_path": raw, "query_string": b"", "headers": []}
        scope |= {
            "client": ("9.9.9.9", 1),
            "server": ("x", 80),
            "scheme": "http",
            "root_path": "",
            "http_version": "1.1",
        }

        async def send(message: Any) -> None:
            said.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        await service(scope, receive, send)
        return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])

    for tail in TRAVERSALS:
        status, body = asyncio.run(ask(under + tail))
        assert (status in (307, 400, 404) or b"<title>VeriRegime" in body, b"root:" in body) == (True, False), tail


def test_bug__is_a_problem_without_details_and_one_log_line(web: Open, caplog: pytest.LogCaptureFixture) -> None:
    service = web()

    @service.get("/v1/broken")
    def broken() -> None:
        raise RuntimeError("the secret of the house")

    with caplog.at_level(logging.ERROR), TestClient(service, raise_server_exceptions=False) as client:
        answer = client.get("/v1/broken")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["detail"] == "unexpected error; the log has the details"
    assert "secret" not in answer.text + str(answer.headers)
    (record,) = caplog.records
    assert record.getMessage() == "unexpected error on GET '/v1/broken'"
