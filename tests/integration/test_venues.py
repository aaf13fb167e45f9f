"""Six venues over HTTP: the simulated market's three, and canned servers that speak as the others do."""

from __future__ import annotations

import contextlib
import http.server
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.candles.recording import record
from app.candles.venue import Page, Venue
from app.clock import wall_ms
from app.errors import Misconfigured, VenueUnavailable
from app.processes import running
from app.types import MINUTE_MS, parse_time

NOW_MINUTE = wall_ms() // MINUTE_MS
"""The minute that is running: its candle is shown, but not closed."""
EMPTY = {NOW_MINUTE - 7, NOW_MINUTE - 320, NOW_MINUTE - 321}
"""Nothing is traded in these."""
AT = parse_time("2026-03-02T09:30:20Z")
CLOSED = parse_time("2026-03-02T09:30:00Z")

Query = dict[str, str]
Shown = tuple[int, float, float, float, float, float]
"""Open minute, open, high, low, close, volume."""


def shown(first: int, end: int) -> list[Shown]:
    """The market's candles, up to the running one; those of empty minutes have no volume."""
    minutes = range(first, min(end, NOW_MINUTE + 1))
    return [(minute, 100.25, 103.5, 99.5, 101.75, 0.0 if minute in EMPTY else 2.5) for minute in minutes]


def bitstamp(path: str, query: Query) -> Any:
    match path:
        case "/api/v2/markets/":
            return [
                {"market_symbol": "btcusd", "base_currency": "BTC", "counter_currency": "USD", "market_type": "SPOT"}
                | {"trading": "Enabled", "base_decimals": 8, "counter_decimals": 0},
                {"market_symbol": "btcusd-perp", "base_currency": "BTC", "counter_currency": "USD"}
                | {"market_type": "PERPETUAL", "base_decimals": 8, "counter_decimals": 0},
            ]
        case "/api/v2/ohlc/btcusd/":
            assert query["step"] == "60"
            limit = int(query["limit"])
            assert 1 <= limit <= 1_000
            end = int(query["end"]) // 60 + 1
            names = ("open", "high", "low", "close", "volume")
            rows = [
                {"timestamp": str(row[0] * 60)} | {name: str(value) for name, value in zip(names, row[1:], strict=True)}
                for row in shown(end - limit, end)
            ]
            return {"data": {"pair": "BTC/USD", "ohlc": rows}}
        case "/api/v2/eur_usd/":
            return {"buy": "1.1", "sell": "1.2"}
    return None


def okx(path: str, query: Query) -> Any:
    """Newest first, between two times that are not part of it."""
    match path:
        case "/api/v5/public/instruments":
            assert query == {"instType": "SPOT"}
            listed = {"instType": "SPOT", "instId": "BTC-USDT", "baseCcy": "BTC", "quoteCcy": "USDT", "state": "live"}
            return {"code": "0", "msg": "", "data": [listed]}
        case "/api/v5/market/candles" | "/api/v5/market/history-candles":
            older = path.endswith("history-candles")
            assert (query["instId"], query["bar"]) == ("BTC-USDT", "1m")
            assert int(query["limit"]) <= (100 if older else 300)
            first, end = int(query["before"]) // MINUTE_MS + 1, int(query["after"]) // MINUTE_MS
            assert older or first >= NOW_MINUTE - 1_440
            rows = [
                [str(row[0] * MINUTE_MS), *(str(value) for value in row[1:]), "0", "0", "1"]
                for row in reversed(shown(first, end))
            ]
            return {"code": "0", "msg": "", "data": rows[: int(query["limit"])]}
        case "/api/v5/public/time":
            return {"code": "0", "msg": "", "data": [{"ts": str(wall_ms())}]}
    return None


def bitfinex(path: str, query: Query) -> Any:
    """Open, close, high, low; no minute without a trade; the first so many from a time on."""
    if path.startswith("/v2/conf/"):
        details = [None, None, None, "0.0002", "2000.0", None, None, None, 0.2, 0.1, None, None]
        return [[["BTCUST", details], ["BTCUSD", details]], [["BTCF0:USTF0", details]], [], ["BTCUSD"]]
    match path:
        case "/v2/candles/trade:1m:tBTCUST/hist":
            assert query["sort"] == "1"
            first = int(query["start"]) // MINUTE_MS
            traded = [row for row in shown(first, NOW_MINUTE + 1) if row[5] > 0]
            rows = [[minute * MINUTE_MS, o, c, high, low, v] for minute, o, high, low, c, v in traded]
            return rows[: int(query["limit"])]
        case "/v2/platform/status":
            return [1]
    return None


PROTOCOLS = {"bitstamp": (bitstamp, "BTC/USD"), "okx": (okx, "BTC/USDT"), "bitfinex": (bitfinex, "BTC/USDT")}


@dataclass
class Player:
    """Speaks a venue's protocol until ``trouble`` takes over for requests whose path holds ``troubled``."""

    url: str
    protocol: Callable[[str, Query], Any]
    asked: list[str] = field(default_factory=list)
    troubled: str = ""
    trouble: Callable[[http.server.BaseHTTPRequestHandler], None] | None = None


@contextlib.contextmanager
def serving(protocol: Callable[[str, Query], Any]) -> Iterator[Player]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            player.asked.append(url.path)
            if player.trouble is not None and player.troubled in url.path:
                with contextlib.suppress(OSError):
                    player.trouble(self)
                self.close_connection = True
                return
            said = player.protocol(url.path, {name: values[0] for name, values in parse_qs(url.query).items()})
            send(self, 404 if said is None else 200, json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            """Silent."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that gave up is none."""

    with Server(("127.0.0.1", 0), Handler) as server:
        player = Player(f"http://127.0.0.1:{server.server_port}", protocol)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield player
        server.shutdown()
        thread.join()


def send(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextlib.contextmanager
def opened(name: str, url: str, timeout_s: float = 5) -> Iterator[Venue]:
    with contextlib.closing(Venue(name, base_url=url, timeout_s=timeout_s)) as venue:
        # The pace of the real venue is nothing to wait for here, but Coinbase is played with its limit.
        venue._client.enableRateLimit = name == "coinbase"
        yield venue


@pytest.fixture(params=sorted(PROTOCOLS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def player(name: str) -> Iterator[Player]:
    with serving(PROTOCOLS[name][0]) as playing:
        yield playing


@pytest.fixture
def fetch(name: str, player: Player) -> Iterator[Callable[..., list[Page]]]:
    """The pages of the newest minutes of the venue's market."""
    with contextlib.ExitStack() as stack:

        def fetched(minutes: int, timeout_s: float = 5) -> list[Page]:
            venue = stack.enter_context(opened(name, player.url, timeout_s))
            end_ms = NOW_MINUTE * MINUTE_MS
            return list(venue.pages(PROTOCOLS[name][1], end_ms - minutes * MINUTE_MS, end_ms))

        yield fetched


def test_pages__of_a_long_stretch__are_the_venues_traded_minutes_up_to_the_running_one(
    name: str, player: Player, fetch: Callable[..., list[Page]]
) -> None:
    minutes = {"bitstamp": 2_500, "okx": 1_500, "bitfinex": 2_500}[name]
    pages = fetch(minutes)
    found = [row for page in pages for row in page.candles.rows()]
    expected = [minute for minute in range(NOW_MINUTE - minutes, NOW_MINUTE) if minute not in EMPTY]
    assert [row[0] for row in found] == [minute * MINUTE_MS for minute in expected]
    assert {tuple(row[1:]) for row in found} == {(100.25, 103.5, 99.5, 101.75, 2.5)}
    assert pages[-1].done == pages[-1].total == minutes
    lists = [path for path in player.asked if any(part in path for part in ("markets", "instruments", "conf"))]
    assert len(lists) == 1
    assert len(player.asked) == 1 + len(pages) == 1 + {"bitstamp": 3, "okx": 8, "bitfinex": 3}[name]


def test_pages__symbol_that_is_no_spot_market__is_not_listed(name: str, player: Player) -> None:
    with opened(name, player.url) as venue, pytest.raises(Misconfigured, match=f"{name} does not list BTC/USD:USD"):
        next(venue.pages("BTC/USD:USD", 0, MINUTE_MS))


def test_time__of_the_venue__is_that_of_its_own_clock(name: str, player: Player) -> None:
    with opened(name, player.url) as venue:
        assert abs(venue.time_ms() - wall_ms()) < 1_500


@pytest.mark.parametrize(
    "in_17_s", [lambda: "17", lambda: formatdate(time.time() + 17, usegmt=True)], ids=["seconds", "date"]
)
def test_pages__venue_that_is_asked_too_often__says_for_how_long_it_wants_to_rest(
    player: Player, fetch: Callable[..., list[Page]], in_17_s: Callable[[], str]
) -> None:
    retry_after = in_17_s()
    player.trouble = lambda handler: send(handler, 429, b'{"code": "50011"}', Retry_After=retry_after)
    with pytest.raises(VenueUnavailable, match="asks us to slow down") as caught:
        fetch(10)
    assert 15 <= (caught.value.retry_after_s or 0) <= 18


def trickled_body(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    trickle(handler, b"[")


def trickled_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    trickle(handler, b"x")


def trickled_chunk_sizes(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    trickle(handler, b"0")


def endless_continues(handler: http.server.BaseHTTPRequestHandler) -> None:
    trickle(handler, b"HTTP/1.1 100 Continue\r\n\r\n")


def silence(handler: http.server.BaseHTTPRequestHandler) -> None:
    trickle(handler, b"")


def trickle(handler: http.server.BaseHTTPRequestHandler, byte: bytes) -> None:
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        handler.wfile.write(byte)
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["okx"])
@pytest.mark.parametrize("trouble", [trickled_body, trickled_headers, trickled_chunk_sizes, endless_continues, silence])
def test_pages__answer_that_never_ends__is_given_up_at_the_time_limit(
    player: Player,
    fetch: Callable[..., list[Page]],
    trouble: Callable[[http.server.BaseHTTPRequestHandler], None],
) -> None:
    player.trouble, player.troubled = trouble, "candles"
    began = time.monotonic()
    with pytest.raises(VenueUnavailable, match=r"okx cannot be reached for the candles .* longer than 0\.3 s"):
        fetch(10, timeout_s=0.3)
    assert time.monotonic() - began < 0.8


def huge(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"[" * 2**20)


def half(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[[")


def not_http(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\0" * 100)


@pytest.mark.parametrize("troubled", ["", "c"], ids=["from the start", "candles alone"])
@pytest.mark.parametrize(
    "trouble",
    [
        lambda handler: send(handler, 200, b"<html>maintenance</html>", Content_Type="text/html"),
        lambda handler: send(handler, 502, b"<html>bad gateway</html>", Content_Type="text/html"),
        lambda handler: send(handler, 200, b"", Content_Encoding="gzip"),
        lambda handler: send(handler, 200, b"plain", Content_Encoding="gzip"),
        lambda handler: send(handler, 200, b"null"),
        lambda handler: send(handler, 200, b"{}" if "1m" in handler.path or "ohlc" in handler.path else b"[]"),
        huge,
        half,
        not_http,
        lambda handler: handler.connection.close(),
    ],
    ids=["html", "502", "no gzip", "not gzip", "null", "empty", "huge", "half", "not http", "hung up"],
)
def test_pages__answer_of_another_kind__is_unavailable_and_heals(
    name: str,
    player: Player,
    trouble: Callable[[http.server.BaseHTTPRequestHandler], None],
    troubled: str,
) -> None:
    symbol, end_ms = PROTOCOLS[name][1], NOW_MINUTE * MINUTE_MS
    player.trouble, player.troubled = trouble, {"bitstamp": "ohlc"}.get(name, "candles") if troubled else ""
    with opened(name, player.url) as venue:
        for _ in range(2):
            with pytest.raises(VenueUnavailable, match=f"^{name} "):
                list(venue.pages(symbol, end_ms - 5 * MINUTE_MS, end_ms))
        player.trouble = None
        assert len(next(venue.pages(symbol, end_ms - 5 * MINUTE_MS, end_ms)).candles) == 5


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>maintenance</html>", "error page"),
        (200, b"[]", "error page"),
        (200, b'{"symbols": []}', "error page"),
        (502, b"<html>bad gateway</html>", "502"),
        (429, b'{"code": -1003, "msg": "Too many requests."}', "slow down"),
        (400, b'{"code": -1100, "msg": "Illegal characters."}', "refused"),
        (400, b'{"code": -1121, "msg": "Invalid symbol."}', "does not list BTC/USDT"),
    ],
)
def test_binance__something_else_in_place_of_markets__is_told_with_the_reason(
    status: int, body: bytes, words: str
) -> None:
    with serving(lambda *_: None) as player, opened("binance", player.url) as venue:
        player.trouble = lambda handler: send(handler, status, body)
        with pytest.raises((VenueUnavailable, Misconfigured), match=words):
            next(venue.pages("BTC/USDT", CLOSED - MINUTE_MS, CLOSED))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>maintenance</html>", "no candles"),
        (b'{"a": 1}', "no candles"),
        (b"[[1, 2]]", "no candles"),
        (b'[[0, "1", "1", "1", "1", "1", 0, "0", 0, "0", "0", "0"]]', "no candles"),
        (b'[[9000000000000, "5", "4", "3", "2", "1", 0, "0", 0, "0", "0", "0"]]', "impossible"),
        (b'[[9000000000000, "1", "1", "1", "NaN", "1", 0, "0", 0, "0", "0", "0"]]', "impossible|not six numbers"),
        (b'[[9000000000007, "1", "1", "1", "1", "1", 0, "0", 0, "0", "0", "0"]]', "impossible"),
    ],
)
def test_binance__candles_that_are_none__never_reach_the_store(market: str, body: bytes, words: str) -> None:
    with serving(lambda *_: None) as player, opened("binance", f"{market}/binance") as venue:
        list(venue.pages("BTC/USDT", CLOSED - MINUTE_MS, CLOSED))  # the list of markets is known from here on
        venue._point_at(player.url)
        player.trouble = lambda handler: send(handler, 200, body)
        with pytest.raises(VenueUnavailable, match=words):
            list(venue.pages("BTC/USDT", CLOSED - 10 * MINUTE_MS, CLOSED))


def test_recording__of_the_last_minutes__is_made_from_any_of_them(name: str, player: Player, tmp_path: Path) -> None:
    start_ms = (NOW_MINUTE - 400) * MINUTE_MS
    with opened(name, player.url) as venue:
        made = record(tmp_path / "btc.parquet", venue, PROTOCOLS[name][1], start_ms, None)
    expected = [minute * MINUTE_MS for minute in range(NOW_MINUTE - 400, NOW_MINUTE) if minute not in EMPTY]
    assert made.candles.open_time_ms.tolist()[: len(expected)] == expected
    assert "2 gaps, 3 minutes missing" in made.summary()


@pytest.fixture(scope="module")
def market() -> Iterator[str]:
    """The simulated market; its clock stands still."""
    command = [sys.executable, "-m", "app.sim", "--follow-stdin", "--seed", "3", "--at", str(AT), "--speed", "1e-9"]
    with running(command, announces="listening on ") as url:
        yield url


@pytest.mark.parametrize(
    ("venue_name", "symbol", "had", "pages"),
    [("binance", "BTC/USDT", 2_500, 3), ("coinbase", "BTC/USDT", 2_500, 9), ("kraken", "BTC/USD", 719, 1)],
)
def test_simulated_venue__stretch_of_history__comes_in_as_few_pages_as_it_allows(
    market: str, venue_name: str, symbol: str, had: int, pages: int
) -> None:
    with opened(venue_name, f"{market}/{venue_name}") as venue:
        found = list(venue.pages(symbol, CLOSED - 2_500 * MINUTE_MS, CLOSED))
    times = [time_ms for page in found for time_ms in page.candles.open_time_ms.tolist()]
    assert len(found) == pages
    assert times == list(range(CLOSED - had * MINUTE_MS, CLOSED, MINUTE_MS))
    assert found[-1].done == found[-1].total == 2_500


@pytest.mark.parametrize(("venue_name", "step_ms"), [("binance", 1), ("coinbase", 1_000), ("kraken", 1_000)])
def test_simulated_venue__time__is_the_markets_to_its_resolution(market: str, venue_name: str, step_ms: int) -> None:
    with opened(venue_name, f"{market}/{venue_name}") as venue:
        assert abs(venue.time_ms() - AT) <= step_ms / 2


@pytest.mark.parametrize("venue_name", ["binance", "coinbase", "kraken"])
def test_simulated_venue__symbol_that_it_does_not_list__is_named(market: str, venue_name: str) -> None:
    with (
        opened(venue_name, f"{market}/{venue_name}") as venue,
        pytest.raises(Misconfigured, match=f"{venue_name} does not list DOGE/USDT"),
    ):
        next(venue.pages("DOGE/USDT", 0, CLOSED))


def test_recording__from_kraken__says_that_only_its_last_hours_are_to_be_had(market: str, tmp_path: Path) -> None:
    said: list[str] = []
    with opened("kraken", f"{market}/kraken") as venue:
        made = record(tmp_path / "btc.parquet", venue, "BTC/USD", CLOSED - 1_000 * MINUTE_MS, None, say=said.append)
    assert said == ["kraken shows no more than its last 12 hours: nothing before 2026-03-01T21:30:00Z is to be had"]
    assert len(made.candles) == 719
    assert "kraken has nothing from 2026-03-01T16:50:00Z to 2026-03-01T21:31:00Z" in made.summary()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, b"<html><head><title>503 Service", "its list of markets: HTTP 503"),
        (400, b'{"error": "slow"}', 'its list of markets: HTTP 400 {"error": "slow"}'),
    ],
)
def test_reason__shows_neither_the_address_nor_a_page(player: Player, status: int, body: bytes, words: str) -> None:
    player.trouble = lambda handler: send(handler, status, body)
    address = player.url.replace("http://", "http://name:password@")
    with opened("kraken", address) as venue, pytest.raises(VenueUnavailable) as caught:
        list(venue.pages("BTC/USDT", 0, MINUTE_MS))
    assert str(caught.value).endswith(words)


def test_reason__nobody_listens__says_so_without_the_address() -> None:
    with opened("kraken", "http://name:password@127.0.0.1:9") as venue, pytest.raises(VenueUnavailable) as caught:
        list(venue.pages("BTC/USDT", 0, MINUTE_MS))
    assert str(caught.value) == "kraken cannot be reached for its list of markets: Connection refused"
