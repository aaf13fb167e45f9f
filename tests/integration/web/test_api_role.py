"""The HTTP side alone, on the database of a service that runs elsewhere: it answers as that service does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app.types import Prediction
from app.web.application import create_web
from app.wiring import Application, api

FEED = "/v1/feeds/btc-usdt-4h"
AGES = ("age_seconds", "market_time", "seen")


@pytest.fixture(scope="module")
def both(app: Application, confirmed: Prediction) -> Iterator[tuple[TestClient, TestClient]]:
    """The service's own API, and the role's."""
    app.pipeline.tell()
    with (
        api(app.settings, clock=app.clock) as role,
        TestClient(create_web(app)) as own,
        TestClient(create_web(role)) as alone,
    ):
        yield own, alone


def ageless(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: ageless(value) for name, value in found.items() if name not in AGES}
    return [ageless(one) for one in found] if isinstance(found, list) else found


def test_role__without_a_pipeline__says_what_the_service_says(
    both: tuple[TestClient, TestClient], confirmed: Prediction
) -> None:
    one = f"/v1/predictions/{confirmed.id}"
    paths = [
        "/v1/feeds",
        FEED,
        f"{FEED}/latest",
        f"{FEED}/latest?include=proof,observation,calldata,attempts,attestations",
        f"{FEED}/latest?proved=false&max_age=3600",
        f"{FEED}/predictions",
        f"{FEED}/predictions?order=arrival&limit=1",
        f"{FEED}/candles?end={confirmed.window_end_ms}",
        f"{FEED}/update",
        f"{FEED}/track-record",
        f"{FEED}/outcomes",
        one,
        f"{one}/proof",
        f"{one}/bundle",
        f"/v1/models/{confirmed.model_id}",
        "/openapi.json",
        f"{FEED}/latest?max_age=0.001",
        "/v1/feeds/doge/latest",
    ]
    for path in paths:
        own, alone = (client.get(path) for client in both)
        assert own.status_code == alone.status_code, path
        if "max_age=0.001" not in path:  # its words tell the age
            assert ageless(own.json()) == ageless(alone.json()), path
        assert own.headers.get("etag") == alone.headers.get("etag"), path


def test_role__checks_a_bundle_itself(both: tuple[TestClient, TestClient], confirmed: Prediction) -> None:
    _, alone = both
    bundle = alone.get(f"/v1/predictions/{confirmed.id}/bundle", headers={"Accept-Encoding": "gzip"})
    verdict = alone.post("/v1/verify", content=bundle.content).json()
    signers = [one["signer"] for one in bundle.json()["attested"]["signatures"]]
    assert (verdict["holds"], verdict["signers"]) == (True, signers)


def test_role__readiness__is_that_of_the_pipeline(both: tuple[TestClient, TestClient], app: Application) -> None:
    own, alone = (client.get("/readyz").json() for client in both)
    assert alone["prover_process_ids"] == list(app.pool.process_ids())
    assert alone["feeds"].keys() == own["feeds"].keys()
    assert alone | {"feeds": None} == own | {"feeds": None}


@pytest.mark.parametrize(("threads", "at_once"), [(2, 2), (None, 6)], ids=["of-serve", "of-api"])
def test_answers__made_in_threads__are_no_more_at_once_than_there_are_threads(
    app: Application, threads: int | None, at_once: int
) -> None:
    """Of six: each waits until all are there that can be, and a moment for one that must not."""
    all_there, guard, most, inside = threading.Barrier(at_once), threading.Lock(), 0, 0

    def slow() -> None:
        nonlocal most, inside
        with guard:
            inside += 1
            most = max(most, inside)
        all_there.wait(30)
        time.sleep(0.05)
        with guard:
            inside -= 1

    web = create_web(app, threads)
    web.router.routes.insert(0, APIRoute("/slow", slow))
    with TestClient(web) as client, ThreadPoolExecutor(6) as visitors:
        assert {answer.status_code for answer in visitors.map(lambda _: client.get("/slow"), range(6))} == {200}
    assert most == at_once
