from __future__ import annotations

from typing import Any

import pytest

from app.errors import BadInput
from app.sim.faults import MOST_FAULTS, Fault, FaultBook, FaultKind, parse_fault, read_fault
from app.types import MINUTE_MS, parse_time

NOON = parse_time("2025-09-15T12:00:00Z")
START = NOON + 20_000
VENUES = ("binance", "coinbase", "kraken")


def test_parse__venue_and_kind__has_the_usual_values_from_the_next_minute() -> None:
    assert parse_fault("kraken:late", START) == Fault("kraken", FaultKind.LATE, NOON + MINUTE_MS, 10, 25.0, 0.0)


def test_parse__keys__are_taken() -> None:
    told = parse_fault("coinbase:revised:from=-3,minutes=7,seconds=12.5,amount=-0.01", START)
    assert told == Fault("coinbase", FaultKind.REVISED, NOON - 3 * MINUTE_MS, 7, 12.5, -0.01)


@pytest.mark.parametrize(
    ("kind", "seconds", "amount"),
    [
        ("timeout", 60.0, 0.0),
        ("rate-limit", 30.0, 0.0),
        ("server-error", 0.0, 0.0),
        ("html", 0.0, 0.0),
        ("missing", 0.0, 0.0),
        ("late", 25.0, 0.0),
        ("revised", 90.0, 0.002),
        ("frozen", 0.0, 0.0),
        ("wrong-price", 0.0, 0.05),
        ("clock-skew", -90.0, 0.0),
    ],
)
def test_parse__every_kind__has_its_usual_seconds_and_amount(kind: str, seconds: float, amount: float) -> None:
    told = parse_fault(f"binance:{kind}", START)
    assert (told.seconds, told.amount) == (seconds, amount)
    assert read_fault(told.as_json(), 0) == told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kraken", "'kraken' is not a fault: write it like kraken:late:minutes=10,seconds=25"),
        ("okx:late", "'okx' is not a simulated venue: it is one of binance, coinbase, kraken"),
        ("kraken:sleepy", "'sleepy' is not a fault: it is one of timeout, rate-limit, "),
        ("kraken:late:secs=3", "a fault has no 'secs': only from, minutes, seconds, amount"),
        ("kraken:late:seconds=soon", "'soon' is not a number: 'seconds' in 'kraken:late:seconds=soon' wants one"),
        ("kraken:late:seconds=nan", "'nan' is not a number"),
        ("kraken:late:seconds", "'' is not a number"),
        ("kraken:late:seconds=1,seconds=2", "'seconds' stands twice"),
        ("kraken:late:seconds=0", "seconds is 0: late wants more than 0, 86400 at most"),
        ("kraken:late:seconds=-1", "late wants more than 0"),
        ("kraken:clock-skew:seconds=0", "clock-skew wants any but 0"),
        ("kraken:late:amount=0.1", "a fault of kind late has no amount"),
        ("kraken:frozen:seconds=5", "a fault of kind frozen has no seconds"),
        ("kraken:wrong-price:amount=-1", "wrong-price wants -0.9 to 9, and not 0"),
        ("kraken:late:minutes=0", "minutes is 0: a fault lasts 1 to 525600 minutes"),
        ("kraken:late:minutes=1.5", "minutes is 1.5: it wants a whole number"),
        ("kraken:late:from=9999999", "from is 9999999: a fault starts within a year"),
    ],
)
def test_parse__what_does_not_fit__is_one_clear_sentence(text: str, words: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse_fault(text, START)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "a fault is a JSON object"),
        ({"kind": "late"}, "a fault needs its venue"),
        ({"venue": "kraken", "kind": 3}, "a fault needs its kind"),
        ({"venue": "kraken", "kind": "late", "from": 1}, "a fault has no 'from'"),
        ({"venue": "kraken", "kind": "late", "seconds": "5"}, "seconds is '5': it wants a number"),
        ({"venue": "kraken", "kind": "late", "minutes": True}, "minutes is True: it wants a number"),
        ({"venue": "kraken", "kind": "late", "from_ms": -1}, "-1 is not a time to start at"),
        ({"venue": "kraken", "kind": "late", "from_ms": 10**400}, "it wants a number"),
    ],
)
def test_read__json_that_does_not_fit__is_refused(fields: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_fault(fields, START)


def test_read__without_a_time__starts_with_the_minute_that_forms() -> None:
    assert read_fault({"venue": "kraken", "kind": "html"}, START).from_ms == NOON


def test_fault__stretch__is_half_open() -> None:
    told = Fault.of("kraken", "html", NOON, minutes=2)
    held = [told.holds_at(NOON + shift) for shift in (-1, 0, 2 * MINUTE_MS - 1, 2 * MINUTE_MS)]
    assert held == [False, True, True, False]


def test_book__request_faults__are_those_of_the_venue_that_hold_now() -> None:
    html, timeout = Fault.of("kraken", "html", NOON), Fault.of("kraken", "timeout", NOON, minutes=1)
    book = FaultBook(VENUES, [html, timeout, Fault.of("kraken", "frozen", NOON)])
    assert book.of_request("kraken", NOON) == timeout
    assert book.of_request("kraken", NOON + MINUTE_MS) == html
    assert book.of_request("kraken", NOON - 1) is None
    assert book.of_request("binance", NOON) is None


def test_book__candle_faults__stay_and_come_in_their_order() -> None:
    late, wrong = Fault.of("kraken", "late", NOON), Fault.of("kraken", "wrong-price", NOON)
    book = FaultBook(VENUES, [late, Fault.of("binance", "missing", NOON), wrong, Fault.of("kraken", "html", NOON)])
    assert book.of_candles("kraken") == (wrong, late)


def test_book__skews__add_up_while_they_hold() -> None:
    skews = [Fault.of("kraken", "clock-skew", NOON), Fault.of("kraken", "clock-skew", NOON, minutes=1, seconds=30)]
    book = FaultBook(VENUES, skews)
    assert [book.skew_ms("kraken", NOON + n * MINUTE_MS) for n in (-1, 0, 1, 10)] == [0, -60_000, -90_000, 0]
    assert book.skew_ms("binance", NOON) == 0


def test_book__clear__forgets_those_of_the_venue_or_all() -> None:
    faults = [Fault.of(venue, "late", NOON) for venue in VENUES]
    book = FaultBook(VENUES, faults)
    book.clear("coinbase")
    assert book.all() == (faults[0], faults[2])
    book.clear()
    assert book.all() == ()


def test_book__venue_that_does_not_run__is_refused() -> None:
    book = FaultBook(["binance"])
    with pytest.raises(BadInput, match="'kraken' does not run here: only binance"):
        book.add(Fault.of("kraken", "late", NOON))
    with pytest.raises(BadInput, match="'kraken' does not run here"):
        book.clear("kraken")


def test_book__too_many_faults__are_refused() -> None:
    book = FaultBook(VENUES, [Fault.of("kraken", "late", NOON)] * MOST_FAULTS)
    with pytest.raises(BadInput, match="DELETE /faults first"):
        book.add(Fault.of("kraken", "late", NOON))
