"""How often one may ask: by client, over a moving window, in memory that does not grow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fastapi import Request

from app.errors import Busy, Misconfigured, TooManyRequests
from app.web import rates
from app.web.clients import Clients
from app.web.rates import Places, Recent, rate_limit, read_rate


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(rates, "time", hand)
    return hand


@pytest.fixture
def ask() -> Callable[[str], None]:
    """Ask once as a client, where three times a minute are allowed."""
    limit = rate_limit(Clients(), "VERIREGIME_VERIFY_RATE", "3/minute")
    return lambda client: asyncio.run(limit(Request({"type": "http", "client": (client, 1), "headers": []})))


def test_client__that_asks_too_often__is_told_when_to_come_back(hand: Hand, ask: Callable[[str], None]) -> None:
    for _ in range(3):
        ask("9.9.9.9")
        hand.now += 10
    with pytest.raises(TooManyRequests, match="3 times in 60 s") as refused:
        ask("9.9.9.9")
    assert refused.value.retry_after_s == 30
    hand.now += 30
    ask("9.9.9.9")
    with pytest.raises(TooManyRequests):
        ask("9.9.9.9")


def test_client__that_asks_too_often__keeps_nobody_else_away(hand: Hand, ask: Callable[[str], None]) -> None:
    for _ in range(3):
        ask("9.9.9.9")
    ask("9.9.9.8")


def test_memory__however_many_clients_come__is_bounded_and_forgets_who_was_away_longest() -> None:
    recent = Recent(most_clients=100)
    for number in range(1_000):
        assert recent.acquire_entry("steady", 10_000, 60)
        assert recent.acquire_entry(str(number), 1, 60)
    assert len(recent) == 100
    assert (recent.get("steady"), recent.get("0"), recent.get("999")) == (1_000, 0, 1)


def test_memory__of_a_client__keeps_no_more_than_its_window() -> None:
    recent = Recent()
    assert sum(recent.acquire_entry("one", 5, 60) for _ in range(100)) == 5
    assert recent.get("one") == 5


@pytest.mark.parametrize("rate", ["", "  "])
def test_rate__that_is_empty__is_no_limit(rate: str) -> None:
    assert read_rate("X", rate) is None


@pytest.mark.parametrize("rate", ["often", "30", "30/moment", "-1/minute", "1/second; 30/minute", "x" * 10_000])
def test_rate__that_is_none__is_refused_by_the_settings_name(rate: str) -> None:
    with pytest.raises(Misconfigured, match=r"VERIREGIME_VERIFY_RATE: .* is no rate: write 30/minute"):
        read_rate("VERIREGIME_VERIFY_RATE", rate)


@pytest.mark.parametrize("rate", ["0/minute", "10001/hour"])
def test_rate__that_cannot_be_counted__is_refused(rate: str) -> None:
    with pytest.raises(Misconfigured, match="1 to 10,000 can be counted"):
        read_rate("VERIREGIME_BUNDLE_RATE", rate)


def test_places__that_are_taken__come_back() -> None:
    places = Places("streams", 2, 1)
    with places.taken("a"), places.taken("b"):
        with pytest.raises(Busy, match="all 2 streams are taken"), places.taken("c"):
            pass
        with pytest.raises(TooManyRequests, match="one client may have 1 streams at once"), places.taken("a"):
            pass
        assert len(places) == 2
    assert len(places) == 0
    with places.taken("a"):
        assert len(places) == 1
