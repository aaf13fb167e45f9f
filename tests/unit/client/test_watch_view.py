"""What `veriregime watch` shows of events, and what a service cannot do to a terminal."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from app.cli.watch_view import View, after, line, picture, row_of
from app.client import Event, Feed
from app.client.values import Forecast, Pipeline, Srs, TrackRecord, Venue, read

NOON = datetime(2025, 9, 15, 12, tzinfo=UTC)
ABOUT = {"feed": "btc-usdt-4h", "id": "a" * 32, "window_end": "2025-09-15T12:00:00Z"}
SAID = {"regime": "low", "p_high": 0.0618, "vol_annualised": 0.226, "model_id": "ab" * 32}
SECONDS = {"witness_seconds": 0.0125, "prove_seconds": 0.25, "verify_seconds": 0.003}
SENT = {"chain_id": 1, "contract": "0x1", "tx_hash": "0xfeed", "block_number": None, "gas_used": None, "ours": True}

HISTORY = [
    Event(1, "prediction", ABOUT | SAID | {"status": "predicted"}),
    Event(2, "proof", ABOUT | SAID | SECONDS | {"status": "proved", "vk_hash": "", "commitment": ""}),
    Event(3, "attestation", ABOUT | {"attester": "own", "outcome": "signed", "signer": "0xabc"}),
    Event(4, "attestation", ABOUT | {"attester": "b:1", "outcome": "refused", "signer": None}),
    Event(5, "transaction", ABOUT | SENT | {"state": "sent"}),
    Event(6, "round", ABOUT | SENT | {"state": "confirmed", "block_number": 7, "gas_used": 474_852}),
    Event(
        7,
        "outcome",
        ABOUT | SAID | {"realised_vol_annualised": 0.351, "realised_regime": "high", "right": False, "missing": None},
    ),
]


@pytest.fixture
def view() -> View:
    feed = Feed(
        feed="btc-usdt-4h",
        symbol="BTC/USDT",
        horizon_minutes=240,
        cadence_seconds=60,
        model_id="ab" * 32,
        model_name="btc-usdt-4h-v3",
        market="simulated",
        market_time=NOON + timedelta(seconds=10),
        venues=(
            Venue("binance", "BTC/USDT", "fresh", None, None, 0.0, NOON, 0),
            Venue("kraken", "BTC/USDT", "resting", "it asked\x1b[2J us to slow down", None, None, None, 7),
        ),
        quorum=2,
        clock_skew_seconds=None,
        srs=Srs("cd" * 32, True),
        chain=None,
        last_tick=None,
        alarms=(),
        market_speed=20.0,
        pipeline=Pipeline(True, None),
    )
    return View(feed, at=100.0)


def shown(view: View, now: float = 100.0, width: int = 110) -> str:
    page = Console(file=io.StringIO(), width=width, height=40, color_system=None, force_terminal=False)
    page.print(picture([view], "connected", now, width))
    text: str = page.file.getvalue()  # type: ignore[attr-defined]
    return text


def after_all(view: View, events: list[Event]) -> View:
    for event in events:
        view = after(view, event, most_rows=5)
    return view


def test_events__take_a_window_all_the_way(view: View) -> None:
    (row,) = after_all(view, HISTORY).rows
    assert (row.regime, row.proved, row.prove_seconds) == ("low", True, 0.25)
    assert row.answers == {"own": "signed", "b:1": "refused"}
    assert (row.chain, row.gas_used, row.right) == ("confirmed", 474_852, False)


def test_picture__has_forecast_age_steps_and_gas(view: View) -> None:
    text = " ".join(shown(after_all(view, HISTORY), now=103.0).split())
    assert "LOW 22.6 % a year high: 6.2 %" in text
    assert "age 70 s" in text  # ten seconds when it was asked for, then three at twenty times the speed
    assert "12:00Z low 6.2 % 22.6 % 0.013 s 0.25 s 0.003 s 1/2 confirmed 474,852 wrong" in text
    assert "simulated market at 20 × real time · development SRS: proofs can be forged" in text


def test_picture__on_a_narrow_terminal__cuts_no_figure(view: View) -> None:
    text = " ".join(shown(after_all(view, HISTORY), width=80).split())
    assert "12:00Z low 6.2 % 22.6 % 0.25 s 1/2 confirmed 474,852 wrong" in text
    assert "simulated market at 20 × real time · development SRS: proofs can be forged" in text


def test_picture__before_the_first_proof__says_so(view: View) -> None:
    text = shown(after_all(view, HISTORY[:1]))
    assert "no proved forecast yet" in text
    assert "predicted" in text


def test_picture__cannot_be_painted_by_the_service(view: View) -> None:
    text = shown(view)
    assert "kraken it asked [2J us to slow down" in text
    assert "\x1b" not in text + line(Event(1, "failure", ABOUT | {"reason": "\x1b]0;mine\a [bold]?"}))


def test_rows__are_the_newest_windows_whatever_order_they_come_in(view: View) -> None:
    ends = [3, 1, 9, 2, 8, 7, 4]
    events = [
        Event(n, "prediction", HISTORY[0].data | {"id": f"{end:032x}", "window_end": f"2025-09-15T12:0{end}:00Z"})
        for n, end in enumerate(ends)
    ]
    assert [row.window_end.minute for row in after_all(view, events).rows] == [9, 8, 7, 4, 3]


def test_event_of_another_feed__changes_nothing(view: View) -> None:
    assert after(view, Event(1, "prediction", dict(HISTORY[0].data) | {"feed": "eth-usdt-4h"}), 5) is view


def test_row__of_a_stored_forecast__is_as_after_its_events(view: View, forecast: Any) -> None:
    stored = read(Forecast, json.dumps(forecast(0, **ABOUT)).encode(), "x")
    row = row_of(stored)
    assert (row.id, row.window_end, row.status, row.proved) == (ABOUT["id"], NOON, "confirmed", False)


def test_lines__say_what_has_happened() -> None:
    assert [line(event).partition("Z: ")[2] for event in HISTORY] == [
        "low, 22.6 % a year, high: 6.2 %",
        "low, proved in 0.25 s (witness 0.013 s, verify 0.003 s)",
        "own signed 0xabc",
        "b:1 refused",
        "sent 0xfeed",
        "confirmed 0xfeed, block 7, 474,852 gas",
        "wrong: said low, it was high, 35.1 % a year",
    ]
    assert line(Event(9, "reset", {"oldest": 5, "newest": 9})) == "reset: events up to 9 are no longer kept"


def test_track_record__is_told_with_where_it_comes_from(view: View) -> None:
    assert "no window is over yet" in shown(view)
    told = {
        "feed": "btc-usdt-4h",
        "model_id": "ab" * 32,
        "model_name": "m",
        "origin": "backtest",
        "start": None,
        "end": None,
        "windows": 1440,
        "pending": 0,
        "left_out": 0,
        "high_share": 0.4,
        "model": {"accuracy": 0.843},
        "baselines": {},
        "points_above_better_persistence": 8.1,
        "calibration": [{"from": 0.0, "to": 0.1, "windows": 3, "stated": 0.05, "observed": 0.0}],
        "per_day": [],
    }
    record = read(TrackRecord, json.dumps(told).encode(), "x")
    assert (record.calibration[0].lower, record.calibration[0].upper) == (0.0, 0.1)
    words = "track record (backtest): 84.3 % right in 1,440 windows, +8.1 points against persistence"
    assert words in shown(View(view.feed, view.at, record=record))
