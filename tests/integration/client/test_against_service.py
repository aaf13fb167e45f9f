"""The clients and the real service."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.client import Forecast, Regime, VeriRegime
from app.metrics import Metrics
from app.store.database import Database
from app.types import MINUTE_MS, EventKind, Prediction
from app.web.application import create_web
from app.web.server import address, listen, server
from app.wiring import Application

FEED = "btc-usdt-4h"


@contextmanager
def served(role: Any, listener: socket.socket) -> Iterator[str]:
    """The service at its address; ended as by SIGTERM."""
    web = create_web(replace(role, metrics=Metrics()))
    running = server(web)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield address(listener)
    finally:
        web.state.streams.close()
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(app: Application, confirmed: Prediction) -> Iterator[str]:
    with closing(listen("127.0.0.1", 0)) as listener, served(app, listener) as found:
        yield found


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VeriRegime]:
    """On a machine that has never seen the service."""
    with pytest.MonkeyPatch.context() as patched, VeriRegime(url) as client:
        patched.setenv("VERIREGIME_VAR_DIR", str(tmp_path_factory.mktemp("elsewhere")))
        yield client


@pytest.fixture(scope="module")
def forecast(client: VeriRegime) -> Forecast:
    return client.latest(FEED, include=("proof", "observation", "calldata", "attempts", "attestations"))


def test_verify_locally__of_what_was_served__holds_and_keeps_the_srs(
    client: VeriRegime, forecast: Forecast, confirmed: Prediction
) -> None:
    verdict = client.verify_locally(forecast)
    assert verdict.holds, verdict
    assert (forecast.id, forecast.p_high) == (confirmed.id, confirmed.p_high)
    assert verdict.srs_development is True
    assert len(verdict.signers) >= 2
    assert client.verify_locally(client.bundle(forecast.id), signed_by=verdict.signers) == verdict
    assert client.verify(client.bundle(forecast.id)) == replace(verdict, srs_development=None)


@pytest.mark.parametrize(
    "told", [{"regime": Regime.HIGH}, {"p_high": 0.5}, {"vol_annualised": 9.0}, {"feed": "eth-usdt-4h"}], ids=str
)
def test_verify_locally__evidence_of_another_forecast__does_not_hold(
    client: VeriRegime, forecast: Forecast, told: dict[str, Any]
) -> None:
    other = {"regime": Regime.LOW} if told == {"regime": forecast.regime} else told
    verdict = client.verify_locally(replace(forecast, **other))
    assert (verdict.holds, verdict.failed) == (False, "subject")
    assert "says something else than the forecast that was served" in str(verdict.reason)


def test_verify_locally__changed_bundle_or_missing_signature__says_what_is_wrong(
    client: VeriRegime, forecast: Forecast
) -> None:
    stranger = "0x" + "11" * 20
    assert client.verify_locally(forecast.id, signed_by=[stranger]).reason == f"{stranger} has not signed it"
    document = json.loads(client.bundle(forecast.id))
    document["candles"]["binance"][77][4] += 0.01
    assert client.verify_locally(json.dumps(document)).failed == "candles"


def test_both_clients__read_all_that_the_service_tells(ask: Any, url: str, forecast: Forecast) -> None:
    feeds, feed, prediction, proof, update, record = ask(
        url,
        ("feeds",),
        ("feed", FEED),
        ("prediction", forecast.id),
        ("proof", forecast.id),
        ("update", FEED),
        ("track_record", FEED, "2025-01-01T00:00:00Z"),
    )
    assert feeds == (replace(feed, market_time=feeds[0].market_time),)
    assert proof == prediction.proof == forecast.proof
    assert update.calldata == prediction.calldata == forecast.calldata
    assert (update.published, record.feed, feed.chain.chain_id) == (True, FEED, 31337)


def test_followers__while_forecasts_arrive_and_the_service_restarts__see_each_exactly_once(
    app: Application, sqlite_database: Database, make_prediction: Callable[..., Prediction], ask: Any
) -> None:
    """The stream, the pages in order of arrival, and history, which is asked for in the middle of it."""
    made = [make_prediction(window_end_ms=MINUTE_MS * (29_000_000 + number)) for number in range(60)]
    role = replace(app, database=sqlite_database)
    seen: list[Any] = []

    def follow(url: str) -> None:
        (found,) = ask(url, ("stream", FEED, (EventKind.PREDICTION,), 0), take=len(made))
        seen.extend(found)

    with closing(listen("127.0.0.1", 0)) as listener:
        follower = threading.Thread(target=follow, args=(address(listener),))
        follower.start()
        pages: list[str] = []
        cursor = None
        for part in range(3):
            with served(role, listener.dup()) as url, VeriRegime(url) as client:
                for number in range(part * 20, part * 20 + 20):
                    with sqlite_database.unit_of_work() as store:
                        store.predictions.add(made[number])
                    if number % 7 == 0:
                        page = client.arrivals(FEED, cursor)
                        pages, cursor = [*pages, *(one.id for one in page.predictions)], page.next
                history = [one.id for one in client.history(FEED)]
                pages += [one.id for one in client.arrivals(FEED, cursor).predictions] if part == 2 else []
        with served(role, listener.dup()):
            follower.join(20)
    wanted = [prediction.id for prediction in made]
    assert [event.data["id"] for event in seen] == wanted
    assert pages == wanted
    assert history == wanted[::-1]
