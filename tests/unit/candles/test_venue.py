"""How a venue is asked and what its answers become; ccxt's own client with scripted answers in place of HTTP."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.client import RemoteDisconnected
from typing import Any

import ccxt
import pytest
import requests
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

from app.candles.habits import KNOWN
from app.candles.venue import Page, Venue
from app.errors import Misconfigured, VenueUnavailable
from app.types import MINUTE_MS

SYMBOL = "BTC/USDT"
START_MS = 1_757_937_600_000
VENUES = sorted(KNOWN)

Row = list[float]
Answer = tuple[int, dict[str, str], bytes]


def at(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


def candle(minute: int, volume: float = 1.5) -> Row:
    return [at(minute), 100.0, 102.0, 99.0, 101.0, volume]


class Market:
    """Candles as venues show them: the first from a time on, those of a stretch, or the last that there are."""

    def __init__(self, venue: str, rows: list[Row], most: int = 10_000) -> None:
        self.venue = venue
        self.rows = rows
        self.most = most
        self.asked: list[tuple[int, int | None]] = []
        self.parameters: list[dict[str, str]] = []

    def fetch_ohlcv(
        self, symbol: str, timeframe: str, *, since: int, limit: int | None, params: dict[str, str]
    ) -> list[Row]:
        assert (symbol, timeframe) == (SYMBOL, "1m")
        self.asked.append(((since - START_MS) // MINUTE_MS, limit))
        self.parameters.append(params)
        rows = [row for row in self.rows if row[0] >= since]
        if limit is None:
            return [row for row in self.rows[-720:] if row[0] >= since]
        if self.venue not in ("binance", "bitfinex"):
            # Both ends are in, as Coinbase has it.
            rows = [row for row in rows if row[0] <= since + limit * MINUTE_MS]
        return rows[: min(limit, self.most)]


def open_on(market: Market) -> Venue:
    """The venue with the market behind its client."""
    venue = Venue(market.venue)
    venue._client.fetch_ohlcv = market.fetch_ohlcv
    venue._client.markets = {SYMBOL: {}}
    venue._client.last_http_response = "[]"
    return venue


def pages_of(market: Market, minutes: int) -> list[Page]:
    return list(open_on(market).pages(SYMBOL, START_MS, at(minutes)))


def minutes_in(pages: list[Page]) -> list[int]:
    return [(time_ms - START_MS) // MINUTE_MS for page in pages for time_ms in page.candles.open_time_ms.tolist()]


@settings(deadline=None)
@given(
    venue=st.sampled_from([*VENUES, "bitvavo"]),
    missing=st.sets(st.integers(0, 1_199)),
    gap=st.tuples(st.integers(0, 1_199), st.integers(0, 1_199)),
    quiet=st.sets(st.integers(0, 1_199)),
    most=st.integers(50, 2_000),
)
def test_pages__whatever_is_missing_or_cut_short__hold_every_traded_candle_once_and_cover_the_whole(
    venue: str, missing: set[int], gap: tuple[int, int], quiet: set[int], most: int
) -> None:
    shown = [minute for minute in range(1_205) if minute not in missing and minute not in range(*gap)]
    market = Market(venue, [candle(minute, volume=0.0 if minute in quiet else 1.5) for minute in shown], most)
    pages = pages_of(market, 1_200)
    kept = shown[-720:] if venue == "kraken" else shown
    assert minutes_in(pages) == [minute for minute in kept if minute < 1_200 and minute not in quiet]
    done = [page.done for page in pages]
    assert done == sorted(set(done))
    assert (done[-1], {page.total for page in pages}) == (1_200, {1_200})
    most_at_once = KNOWN[venue].page_minutes if venue in KNOWN else 100
    assert all(limit is None or limit <= most_at_once for _, limit in market.asked)


@pytest.mark.parametrize(
    ("venue", "asked"),
    [
        ("binance", [(0, 1_000), (1_000, 500)]),
        ("coinbase", [(minute, 300) for minute in range(0, 1_500, 300)]),
        ("kraken", [(0, None)]),
        ("okx", [(minute, 100) for minute in range(0, 1_500, 100)]),
        ("bitvavo", [(minute, 100) for minute in range(0, 1_500, 100)]),
    ],
)
def test_pages__without_a_candle__go_on_where_the_question_ended(
    venue: str, asked: list[tuple[int, int | None]]
) -> None:
    market = Market(venue, [])
    pages_of(market, 1_500)
    assert market.asked == asked


def test_pages__answer_cut_short__go_on_after_its_last_candle() -> None:
    market = Market("coinbase", [candle(minute) for minute in range(300)], most=200)
    pages_of(market, 300)
    assert market.asked == [(0, 300), (200, 100)]


def test_pages__next_candle_after_a_long_gap__is_reached_with_one_question() -> None:
    market = Market("binance", [candle(5_000)])
    pages = pages_of(market, 5_001)
    assert (market.asked, minutes_in(pages)) == ([(0, 1_000)], [5_000])


def test_pages__candle_from_beyond_the_stretch__says_nothing_about_what_lies_between() -> None:
    market = Market("coinbase", [candle(minute) for minute in range(900)])
    stray = candle(899)
    venue = open_on(market)
    venue._client.fetch_ohlcv = lambda *args, **asked: [*market.fetch_ohlcv(*args, **asked)[:10], stray]
    assert next(venue.pages(SYMBOL, START_MS, at(900))).done == 300
    assert len(next(venue.pages(SYMBOL, START_MS, at(900))).candles) == 10


def test_pages__stretch_that_kraken_no_longer_shows__is_done_with_the_first_answer() -> None:
    market = Market("kraken", [candle(minute) for minute in range(9_281, 10_001)])
    [page] = pages_of(market, 10_000)
    assert (page.candles.open_time_ms[0], page.done, len(market.asked)) == (at(9_281), 10_000, 1)
    [page] = pages_of(market, 5_000)
    assert (len(page.candles), page.done) == (0, 5_000)


def test_pages__okx__recent_ones_are_long_and_older_ones_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: at(1_300) * 1_000_000)
    market = Market("okx", [candle(minute) for minute in range(1_300)])
    pages_of(market, 700)
    assert market.asked == [(0, 100), (100, 300), (400, 300)]
    assert [said["type"] for said in market.parameters] == ["HistoryCandles", "Candles", "Candles"]


class Answers(requests.adapters.BaseAdapter):
    """Answers every request of a session with what the script says."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[str] = []

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        assert request.url is not None
        self.asked.append(request.url.partition("?")[0])
        status, headers, body = self.answer(request.url)
        raw = urllib3.HTTPResponse(io.BytesIO(body), headers, status, reason="Said", preload_content=False)
        return requests.adapters.HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def open_answering() -> Iterator[Callable[..., tuple[Venue, Answers]]]:
    """A venue with every answer scripted; its list of markets is known."""

    def opened(name: str, answer: Callable[[str], Answer]) -> tuple[Venue, Answers]:
        venue = Venue(name)
        venue._client.enableRateLimit = False
        market = {"id": "BTCUSDT", "symbol": SYMBOL, "type": "spot", "spot": True, "linear": None, "inverse": None}
        venue._client.markets = {SYMBOL: market | {"option": None}}
        script = Answers(answer)
        venue._session.mount("https://", script)
        return venue, script

    return opened


def ask(venue: Venue) -> list[Page]:
    return list(venue.pages(SYMBOL, START_MS, at(10)))


@pytest.mark.parametrize(
    ("status", "headers", "rest_s"),
    [
        (429, {"Retry-After": "17"}, 17),
        (418, {"Retry-After": "0"}, 1),
        (429, {"Retry-After": formatdate(1_000_090, usegmt=True), "Date": formatdate(1_000_000, usegmt=True)}, 90),
        (429, {"Retry-After": "soon"}, 60),
        (429, {}, 60),
        (503, {"Retry-After": "30"}, 30),
        (503, {}, None),
    ],
)
def test_refusal__with_and_without_retry_after__says_how_long_the_venue_wants_to_rest(
    open_answering: Callable[..., Any], status: int, headers: dict[str, str], rest_s: int | None
) -> None:
    venue, _ = open_answering("binance", lambda _: (status, headers, b"{}"))
    with pytest.raises(VenueUnavailable) as caught:
        ask(venue)
    assert vars(caught.value).get("retry_after_s") == rest_s


def test_refusal__earlier_answer_with_retry_after__says_nothing_about_a_later_silence(
    open_answering: Callable[..., Any],
) -> None:
    venue, script = open_answering("binance", lambda _: (503, {"Retry-After": "30"}, b""))

    def silent(_: str) -> Answer:
        raise requests.ConnectTimeout

    with pytest.raises(VenueUnavailable):
        ask(venue)
    script.answer = silent
    with pytest.raises(VenueUnavailable, match="it took longer than 10 s") as caught:
        ask(venue)
    assert "retry_after_s" not in vars(caught.value)


def test_call__kept_connection_that_the_server_closes_meanwhile__is_asked_once_more(
    open_answering: Callable[..., Any],
) -> None:
    hung_up = requests.ConnectionError(ProtocolError("Connection aborted.", RemoteDisconnected("closed")))
    refused = requests.ConnectionError("refused")
    answers: list[Answer | Exception] = [hung_up, (200, {}, b"[]"), hung_up, hung_up, refused]

    def next_answer(_: str) -> Answer:
        match answers.pop(0):
            case Exception() as error:
                raise error
            case answer:
                return answer

    venue, script = open_answering("binance", next_answer)
    assert ask(venue)[-1].done == 10
    for _ in range(2):
        with pytest.raises(VenueUnavailable, match="cannot be reached"):
            ask(venue)
    assert len(script.asked) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"<html>maintenance</html>",
        b'{"error": []}',
        b'{"error": [], "result": {"last": 1}}',
        b"[" * 3_000,
        b'{"error": [], "result": {"BTCUSDT": [[1757937600, 1, 1]]}}',
        b'{"error": [], "result": {"BTCUSDT": [[1757937600, "1", "1", "1", "1", "1", "1e999", 3]]}}',
        b'{"error": [], "result": {"BTCUSDT": [[1757937600, "1", "1", "2", "1", "1", "5", 3]]}}',
        b'{"error": [], "result": {"BTCUSDT": [' + b'[1757937600, "1", "1", "1", "1", "1", "5", 3],' * 2 + b"[]]}}",
        b'{"error": "none"}',
        b"\xff\xfe",
        b"",
    ],
)
@pytest.mark.parametrize("name", VENUES)
def test_pages__answer_that_holds_no_candles__is_unavailable(
    open_answering: Callable[..., Any], name: str, body: bytes
) -> None:
    venue, _ = open_answering(name, lambda _: (200, {}, body))
    with pytest.raises(VenueUnavailable, match=rf"^{name} "):
        ask(venue)


def test_pages__compressed_answer__is_as_good_and_a_broken_one_is_unavailable(
    open_answering: Callable[..., Any],
) -> None:
    packed = gzip.compress(b"[]")
    venue, script = open_answering("binance", lambda _: (200, {"Content-Encoding": "gzip"}, packed))
    assert [page.done for page in ask(venue)] == [10]
    for body in (packed[:-4] + b"\0\0\0\0", b"[]"):
        script.answer = lambda _, body=body: (200, {"Content-Encoding": "gzip"}, body)
        with pytest.raises(VenueUnavailable):
            ask(venue)


def test_pages__answer_that_unpacks_to_gigabytes__is_given_up(open_answering: Callable[..., Any]) -> None:
    bomb = gzip.compress(b" " * 2**24, compresslevel=1)
    venue, _ = open_answering("binance", lambda _: (200, {"Content-Encoding": "gzip"}, bomb))
    with pytest.raises(VenueUnavailable, match="larger than 8 MiB"):
        ask(venue)


def test_pages__redirect__is_refused_with_where_it_leads(open_answering: Callable[..., Any]) -> None:
    venue, script = open_answering("kraken", lambda _: (302, {"Location": "https://elsewhere.example/"}, b""))
    with pytest.raises(VenueUnavailable, match=r"it sends us to https://elsewhere\.example/"):
        ask(venue)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("name", "path", "body", "told_ms"),
    [
        ("binance", "/api/v3/time", {"serverTime": START_MS + 7}, START_MS + 7),
        ("okx", "/api/v5/public/time", {"code": "0", "data": [{"ts": str(START_MS + 7)}]}, START_MS + 7),
        ("kraken", "/0/public/Time", {"error": [], "result": {"unixtime": START_MS // 1000}}, START_MS + 500),
        ("coinbase", "/api/v3/brokerage/time", {"epochSeconds": str(START_MS // 1000)}, START_MS + 500),
        ("bitstamp", "/api/v2/eur_usd/", {"buy": "1.1", "sell": "1.2"}, START_MS + 500),
        ("bitfinex", "/v2/platform/status", [1], START_MS + 500),
    ],
)
def test_time__of_each_venue__is_its_own_or_the_middle_of_the_second_that_it_tells(
    open_answering: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    path: str,
    body: Any,
    told_ms: int,
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    date = formatdate(START_MS // 1000, usegmt=True)
    venue, script = open_answering(name, lambda _: (200, {"Date": date}, json.dumps(body).encode()))
    assert venue.time_ms() == told_ms
    assert [url.endswith(path) for url in script.asked] == [True]


def test_time__of_a_venue_that_does_not_tell_it__goes_on_from_its_last_answer(
    open_answering: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    date = formatdate(START_MS // 1000, usegmt=True)
    venue, script = open_answering("bitstamp", lambda _: (200, {"Date": date, "Age": "5"}, b'{"data": {"ohlc": []}}'))
    ask(venue)
    now_s += 40
    assert venue.time_ms() == START_MS + 45_500
    assert len(script.asked) == 1
    now_s += 40
    assert venue.time_ms() == START_MS + 5_500
    assert script.asked[1].endswith("/eur_usd/")


@pytest.mark.parametrize(
    ("name", "headers", "body"),
    [
        ("binance", {}, b'{"serverTime": 12}'),
        ("binance", {}, b"<html>"),
        ("kraken", {}, b'{"error": [], "result": {}}'),
        ("bitfinex", {}, b"[1]"),
        ("bitfinex", {"Date": "yesterday"}, b"[1]"),
    ],
)
def test_time__that_is_none__is_unavailable(
    open_answering: Callable[..., Any], name: str, headers: dict[str, str], body: bytes
) -> None:
    venue, _ = open_answering(name, lambda _: (200, headers, body))
    with pytest.raises(VenueUnavailable):
        venue.time_ms()


def test_call__wall_clock_set_back_by_an_hour__does_not_wait_for_it(
    open_answering: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    venue, _ = open_answering("kraken", lambda _: (200, {}, b'{"error": [], "result": {"BTCUSDT": []}}'))
    venue._client.enableRateLimit = True
    venue._client.lastRestRequestTimestamp = venue._client.milliseconds() + 3_600_000
    monkeypatch.setattr(time, "sleep", slept.append)
    ask(venue)
    assert 0 < sum(slept) < 2


def test_markets__symbol_that_is_missing__is_looked_for_again_the_next_time(
    open_answering: Callable[..., Any],
) -> None:
    listed = [{"market_symbol": "ethusd", "base_currency": "ETH", "counter_currency": "USD", "market_type": "SPOT"}]
    venue, script = open_answering("bitstamp", lambda _: (200, {}, json.dumps(listed).encode()))
    with pytest.raises(Misconfigured, match="bitstamp does not list BTC/USD"):
        next(venue.pages("BTC/USD", START_MS, at(1)))
    listed.append(listed[0] | {"base_currency": "BTC", "market_symbol": "btcusd"})
    script.answer = lambda url: (200, {}, json.dumps(listed if "markets" in url else {"data": {"ohlc": []}}).encode())
    assert next(venue.pages("BTC/USD", START_MS, at(1))).done == 1


def test_markets__two_symbols_in_turn__are_looked_up_once_each(open_answering: Callable[..., Any]) -> None:
    def answer(url: str) -> Answer:
        base = "ETH" if "ETH" in url else "BTC"
        listed = {"symbol": f"{base}USDC", "baseAsset": base, "quoteAsset": "USDC", "status": "TRADING", "filters": []}
        return 200, {}, json.dumps({"symbols": [listed]} if "exchangeInfo" in url else []).encode()

    venue, script = open_answering("binance", answer)
    for symbol in ("BTC/USDC", "ETH/USDC") * 2:
        next(venue.pages(symbol, START_MS, at(1)))
    assert sum(url.endswith("exchangeInfo") for url in script.asked) == 2


def test_markets__of_a_venue_of_unknown_habits__are_ccxts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = open_on(Market("bitvavo", [candle(0)]))
    venue._client.markets = None
    monkeypatch.setattr(venue._client, "load_markets", lambda *, reload: {SYMBOL: {"id": "BTC-USDT"}})
    assert len(next(venue.pages(SYMBOL, START_MS, at(1))).candles) == 1


def test_venue__name_that_nobody_knows__is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="mtgox"):
        Venue("mtgox")


def test_venue__of_unknown_habits__cannot_be_moved() -> None:
    with pytest.raises(Misconfigured, match="cannot move bitvavo: only binance, bitfinex, bitstamp"):
        Venue("bitvavo", base_url="http://127.0.0.1:9")


def test_venue__without_one_minute_candles__is_misconfigured() -> None:
    name = next(name for name in ccxt.exchanges if "1m" not in (getattr(ccxt, name)().timeframes or {}))
    with pytest.raises(Misconfigured, match="has no one-minute candles"):
        next(Venue(name).pages(SYMBOL, START_MS, at(1)))
