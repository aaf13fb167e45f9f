"""What the clients make of a service and a network that have bad moments."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from app.client import Forecast, ForecastStale, ServiceBusy, ServiceUnreachable, UnexpectedAnswer

FORECAST = {
    "feed": "btc-usdt-4h",
    "id": "0" * 32,
    "window_end": "2025-09-15T12:00:00Z",
    "age_seconds": 12.5,
    "regime": "low",
    "p_high": 0.0618,
    "vol_annualised": 0.226,
    "model_id": "ab" * 32,
    "status": "confirmed",
    "venues": {"binance": "BTC/USDT"},
    "left_out": {},
    "quorum": 1,
}
LATEST = ("latest", "btc-usdt-4h")


def event(number: int) -> str:
    return f'id: {number}\nevent: proof\ndata: {{"n": {number}}}\n\n'


def test_latest__after_bad_moments__is_there_all_the_same(ask: Any, service: Any, reply: Any, hang_up: Any) -> None:
    service.replies = [hang_up, reply(503, {"type": "store-unavailable"}, Retry_After="0"), reply(200, FORECAST)]
    (found,) = ask(service.url, LATEST)
    assert isinstance(found, Forecast)
    assert found.id == "0" * 32
    assert len(service.asked) == 3


def test_latest__twice__is_sent_once(ask: Any, service: Any, reply: Any) -> None:
    service.replies = [reply(200, FORECAST, ETag='"7"'), not_modified, reply(404, {}), not_modified]
    with pytest.raises(UnexpectedAnswer, match="404"):  # the feed, asked for the speed of its market
        ask(service.url, LATEST, LATEST)
    assert [headers.get("If-None-Match") for _, headers in service.asked] == [None, '"7"', None]


def not_modified(handler: Any) -> None:
    handler.send_response(304)
    handler.end_headers()


def test_stale__for_longer_than_our_patience__is_raised_without_waiting(ask: Any, service: Any, reply: Any) -> None:
    service.replies = [reply(503, {"type": "forecast-stale", "detail": "130 s old"}, Retry_After="40")]
    started = time.monotonic()
    with pytest.raises(ForecastStale, match="130 s old"):
        ask(service.url, LATEST)
    assert time.monotonic() - started < 1


def test_nobody_there__ends_within_our_patience(ask: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        started = time.monotonic()
        with pytest.raises(ServiceUnreachable, match="is it running"):
            ask(f"http://127.0.0.1:{unused.getsockname()[1]}", LATEST, patience_s=1)
    assert time.monotonic() - started < 2


def test_answer_that_never_ends__ends_within_our_patience(ask: Any, service: Any) -> None:
    def drip(handler: Any) -> None:
        nonlocal drops
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not ended.wait(0.05) and drops < 200:
            handler.wfile.write(b" ")
            drops += 1

    ended, drops = threading.Event(), 0
    service.replies = [drip]
    with pytest.raises(ServiceUnreachable, match="did not end in time"):
        ask(service.url, LATEST, patience_s=1)
    ended.set()
    assert drops < 40  # counted, for whoever drips is as slow as the machine


def test_stream__lost_between_and_within_events__gives_each_once(
    ask: Any, service: Any, reply: Any, sends: Any
) -> None:
    service.replies = [
        sends("retry: 10\nid: 6\n\n"),
        sends("id: 6\n\n", event(7), event(8), event(9)[:17]),
        reply(503, {"type": "store-unavailable"}, Retry_After="0"),
        sends(": heartbeat\n\n", event(8), event(9) + event(10)),
        sends(event(11)),
    ]
    (found,) = ask(service.url, ("stream", "btc-usdt-4h", ("proof", "round")), take=5)
    assert [(one.id, one.kind, one.data) for one in found] == [(n, "proof", {"n": n}) for n in range(7, 12)]
    assert service.asked[0][0] == "/v1/stream?feed=btc-usdt-4h&kinds=proof%2Cround"
    assert [headers.get("Last-Event-ID") for _, headers in service.asked] == [None, "6", "8", "8", "10"]


def test_stream__of_a_service_that_is_gone__ends_and_can_be_resumed_where_it_was(
    ask: Any, service: Any, reply: Any, sends: Any
) -> None:
    service.replies = [sends(event(7)), reply(502, {})]
    with pytest.raises(ServiceBusy, match="502"):
        ask(service.url, ("stream",), take=2, patience_s=1)
    service.replies = [sends(event(8))]
    (found,) = ask(service.url, ("stream", (), (), 7), take=1)
    assert [one.id for one in found] == [8]
    assert service.asked[-1][1]["Last-Event-ID"] == "7"
