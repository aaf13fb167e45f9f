"""One connection's share of the stream, and what a request for one may say."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import BadInput
from app.types import Event, EventKind
from app.web import stream
from app.web.parameters import read_kinds, read_last_event_id
from app.web.stream import Client, Wanted


@pytest.fixture(autouse=True)
def _few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_WAITING", 3)
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.02)


def client_with(*numbers: int, has: int = 0) -> Client:
    client = Client(Wanted(frozenset(), frozenset()), has)
    for number in numbers:
        client.put(number, b"%d " % number)
    return client


async def all_that_comes(client: Client) -> bytes:
    found = b""
    while part := await client.take():
        found += part
    return found


def test_client__that_keeps_up__is_given_everything_at_once() -> None:
    assert asyncio.run(client_with(1, 2, 3).take()) == b"1 2 3 "


def test_client__nothing_happens__is_given_a_comment() -> None:
    assert asyncio.run(client_with().take()) == b""


def test_client__told_elsewhere__is_not_given_it_again() -> None:
    client = client_with(1, 2, 3)
    client.has_up_to(2)
    assert asyncio.run(all_that_comes(client)) == b"3 "


def test_client__too_slow__is_cut_off_and_keeps_nothing() -> None:
    client = client_with(1, 2, 3, 4)
    assert client.too_slow.is_set()
    assert asyncio.run(all_that_comes(client)) == b""


def test_client__too_slow__is_not_given_what_comes_after_the_gap() -> None:
    client = client_with(1, 2, 3, 4, 5, 6)
    assert asyncio.run(all_that_comes(client)) == b""


@pytest.mark.parametrize(
    ("feeds", "kinds", "has"),
    [
        ((), "", True),
        (("btc-usdt-4h", "eth-usdt-4h"), "proof , prediction,", True),
        (("eth-usdt-4h",), "", False),
        ((), "proof,round", False),
        (("btc-usdt-4h",), "round", False),
    ],
)
def test_wanted__has_what_was_asked_for(feeds: tuple[str, ...], kinds: str, has: bool) -> None:
    event = Event(1, EventKind.PREDICTION, "btc-usdt-4h", "{}")
    assert Wanted(frozenset(feeds), read_kinds(kinds)).has(event) is has


def test_kinds__none_named__are_all() -> None:
    assert Wanted(frozenset(), read_kinds("")).has(Event(1, EventKind.ROUND, "any", "{}"))


def test_kinds__that_there_are_not__are_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadInput, match=r"kinds: 'forecast' is not one of prediction, proof, failure"):
        read_kinds("proof,forecast")


@pytest.mark.parametrize(("text", "number"), [(None, None), ("", None), ("0", 0), ("0012", 12), ("9" * 18, 10**18 - 1)])
def test_last_event_id__is_a_number_or_none(text: str | None, number: int | None) -> None:
    assert read_last_event_id(text) == number


@pytest.mark.parametrize("text", ["-1", "1.5", " 1", "null", "²", "٣", "9" * 19])
def test_last_event_id__that_no_stream_has_sent__is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="Last-Event-ID"):
        read_last_event_id(text)
