from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import ccxt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.clock import wall_ms
from app.sim.market import Market, SimulatedMarket
from app.sim.views import market_at
from app.types import MINUTE_MS, Candles, parse_time

SEED = 11
AT = parse_time("2026-03-02T09:30:00Z") + 20_000
STANDING = ("--seed", str(SEED), "--at", str(AT), "--speed", "1e-9")

OPTIONS = {"binance": {"fetchMarkets": {"types": ["spot"]}}}
"""Its other markets are at other addresses."""

Child = subprocess.Popen[str]
StartChild = Callable[..., Child]
Connect = Callable[..., Any]
MINUTE = AT // MINUTE_MS * MINUTE_MS


@pytest.fixture
def start_child() -> Iterator[StartChild]:
    """Starts ``python -m app.sim`` as a parent would, and sees to its end."""
    with ExitStack() as children:

        def start(*arguments: str) -> Child:
            command = [sys.executable, "-m", "app.sim", "--follow-stdin", *arguments]
            child = children.enter_context(subprocess.Popen(command, text=True, stdin=PIPE, stdout=PIPE, stderr=PIPE))
            children.callback(child.kill)
            return child

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """ccxt's own client of a venue, with only the base URL changed."""
    with ExitStack() as sessions:

        def connect_to(address: str, venue: str = "binance", **settings: Any) -> Any:
            usual = {"enableRateLimit": True, "timeout": 5_000, "options": OPTIONS.get(venue, {})}
            exchange = getattr(ccxt, venue)(usual | settings)
            point_at(exchange, f"{address}/{venue}")
            sessions.enter_context(closing(exchange.session))
            return exchange

        yield connect_to


@pytest.fixture(scope="module")
def standing_world() -> Iterator[str]:
    """The address of three venues whose clock stands still at `AT`, for more clients than ccxt's limiter could be."""
    command = [sys.executable, "-m", "app.sim", "--follow-stdin", *STANDING, "--clients", "100"]
    with subprocess.Popen(command, text=True, stdin=PIPE, stdout=PIPE) as child:
        yield address_of(child)
        child.kill()


@pytest.fixture
def standing(standing_world: str) -> Iterator[str]:
    """The same, without faults and with an empty book."""
    yield standing_world
    call(f"{standing_world}/faults", "DELETE")
    call(f"{standing_world}/requests", "DELETE")


@pytest.fixture
def exchange(standing: str, connect: Connect) -> Any:
    return connect(standing, enableRateLimit=False)


def point_at(exchange: Any, base: str) -> None:
    where = {"binance": ("public", f"{base}/api/v3"), "coinbase": ("rest", base), "kraken": ("public", base)}
    api, url = where[exchange.id]
    exchange.urls["api"][api] = url


def call(url: str, method: str = "GET", body: Any = None) -> Any:
    """What the world itself answers."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=5) as answer:
        said = answer.read()
    return json.loads(said) if said else None


def refusal(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=5)
    with closing(refused.value) as answer:
        return answer.code, answer.read().decode()


def address_of(child: Child) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:")
    return line.split()[-1]


@contextmanager
def misbehaving(standing: str, venue: str, kind: str) -> Iterator[None]:
    call(f"{standing}/faults", "POST", {"venue": venue, "kind": kind})
    yield
    call(f"{standing}/faults", "DELETE")


def ask_often(exchange: Any, times: int) -> None:
    for _ in range(times):
        exchange.fetch_time()


def fetch_all(exchange: Any, symbol: str, since: int, page: int = 1_000) -> list[list[float]]:
    """Until a page is not full."""
    found: list[list[float]] = []
    while True:
        candles = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=page)
        found += candles
        if len(candles) < page:
            return found
        since = candles[-1][0] + MINUTE_MS


def test_ccxt__load_markets__knows_symbols_and_precision(exchange: Any) -> None:
    markets = exchange.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    assert markets["BTC/USDT"]["active"]
    assert markets["BTC/USDT"]["spot"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["ETH/USDT"]["precision"]["amount"] == 0.0001


def test_ccxt__fetch_time__is_the_markets(exchange: Any) -> None:
    assert exchange.fetch_time() == AT


def test_ccxt__seven_days_by_pages__are_the_markets_own_candles(exchange: Any) -> None:
    start = MINUTE - 10_080 * MINUTE_MS
    fetched = fetch_all(exchange, "BTC/USDT", start)
    assert len(fetched) == 10_081
    assert fetched[:-1] == SimulatedMarket(SEED).candles("BTC/USDT", start, MINUTE).rows()


def test_ccxt__newest_candle__is_the_forming_one(exchange: Any) -> None:
    closed, forming = exchange.fetch_ohlcv("ETH/USDT", "1m", limit=2)
    [before, whole] = SimulatedMarket(SEED).candles("ETH/USDT", MINUTE - MINUTE_MS, MINUTE + MINUTE_MS).rows()
    assert closed == before
    assert forming[:2] == whole[:2]
    assert forming[5] == pytest.approx(whole[5] / 3, abs=1e-4)


def test_ccxt__hours__are_served_too(exchange: Any) -> None:
    candles = exchange.fetch_ohlcv("BTC/USDT", "1h", limit=48)
    assert len(candles) == 48
    assert candles[-1][0] == AT // (60 * MINUTE_MS) * 60 * MINUTE_MS


def test_ccxt__recorded_file__comes_back_to_the_last_bit(
    start_child: StartChild, connect: Connect, tmp_path: Path
) -> None:
    recorded = noisy_candles(2_500)
    path = tmp_path / "recorded.parquet"
    names = ("open_time", "open", "high", "low", "close", "volume")
    columns = (recorded.open_time_ms, recorded.open, recorded.high, recorded.low, recorded.close, recorded.volume)
    pa_parquet.write_table(pa.table(dict(zip(names, columns, strict=True))), path)
    end = int(recorded.open_time_ms[-1]) + MINUTE_MS
    child = start_child("--candles", str(path), "--symbol", "SOL/USDC", "--at", str(end), "--speed", "1e-9")
    fetched = fetch_all(connect(address_of(child)), "SOL/USDC", int(recorded.open_time_ms[0]))
    assert fetched == recorded.rows()


def test_ccxt__bad_requests__raise_what_the_real_venue_makes_them_raise(exchange: Any) -> None:
    with pytest.raises(ccxt.BadSymbol):
        exchange.fetch_ohlcv("DOGE/USDT")
    with pytest.raises(ccxt.BadSymbol):
        exchange.public_get_klines({"symbol": "DOGEUSDT", "interval": "1m"})
    with pytest.raises(ccxt.BadRequest):
        exchange.public_get_klines({"symbol": "BTCUSDT", "interval": "7m"})
    with pytest.raises(ccxt.BadRequest):
        exchange.public_get_klines({"symbol": "BTCUSDT"})


def test_ccxt__weight_used_up__is_told_to_back_off(start_child: StartChild, connect: Connect) -> None:
    exchange = connect(address_of(start_child(*STANDING, "--weight-limit", "1")))
    exchange.fetch_time()
    assert exchange.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "1"
    with pytest.raises(ccxt.DDoSProtection, match="-1003"):
        exchange.public_get_klines({"symbol": "BTCUSDT", "interval": "1m"})
    assert 1 <= int(exchange.last_response_headers["Retry-After"]) <= 60


def test_ccxt__unknown_path__is_not_found(exchange: Any) -> None:
    with pytest.raises(ccxt.ExchangeNotAvailable, match="404"):
        exchange.public_get_avgprice({"symbol": "BTCUSDT"})


def test_root__but_for_faults_and_requests__is_empty(standing: str) -> None:
    assert refusal(f"{standing}/api/v3/time")[0] == 404
    assert refusal(standing)[0] == 404


@pytest.mark.parametrize("venue", ["coinbase", "kraken"])
def test_plain_client__load_markets__knows_four_pairs_and_their_ticks(
    standing: str, connect: Connect, venue: str
) -> None:
    exchange = connect(standing, venue, enableRateLimit=False)
    markets = exchange.load_markets()
    assert set(markets) == {"BTC/USDT", "BTC/USD", "ETH/USDT", "ETH/USD"}
    assert all(market["spot"] and market["active"] for market in markets.values())
    assert markets["BTC/USD"]["precision"]["price"] == {"coinbase": 0.01, "kraken": 0.1}[venue]


@pytest.mark.parametrize("venue", ["coinbase", "kraken"])
def test_plain_client__fetch_time__is_the_markets_in_seconds(standing: str, connect: Connect, venue: str) -> None:
    assert connect(standing, venue, enableRateLimit=False).fetch_time() == AT


def test_coinbase__seven_days_by_pages__are_its_own_view_of_the_market(standing: str, connect: Connect) -> None:
    exchange = connect(standing, "coinbase", enableRateLimit=False)
    start = MINUTE - 10_080 * MINUTE_MS
    fetched = fetch_all(exchange, "BTC/USDT", start, page=300)
    assert fetched[:-1] == view("coinbase").candles("BTC/USDT", start, MINUTE).rows()


def test_kraken__seven_days__are_the_newest_720(standing: str, connect: Connect) -> None:
    exchange = connect(standing, "kraken", enableRateLimit=False)
    fetched = exchange.fetch_ohlcv("BTC/USD", "1m", since=MINUTE - 10_080 * MINUTE_MS)
    assert len(fetched) == 720
    assert fetched[:-1] == view("kraken").candles("BTC/USD", MINUTE - 719 * MINUTE_MS, MINUTE).rows()


def test_kraken__since__begins_with_that_minute(standing: str, connect: Connect) -> None:
    fetched = connect(standing, "kraken", enableRateLimit=False).fetch_ohlcv("ETH/USDT", since=MINUTE - 2 * MINUTE_MS)
    assert [row[0] for row in fetched] == [MINUTE - 2 * MINUTE_MS, MINUTE - MINUTE_MS, MINUTE]


@pytest.mark.parametrize(
    ("venue", "burst", "refused"), [("coinbase", 10, ccxt.RateLimitExceeded), ("kraken", 15, ccxt.DDoSProtection)]
)
def test_plain_client__without_its_limiter__is_told_to_slow_down(
    start_child: StartChild, connect: Connect, venue: str, burst: int, refused: type[Exception]
) -> None:
    exchange = connect(address_of(start_child(*STANDING)), venue, enableRateLimit=False)
    for _ in range(burst):
        exchange.fetch_time()
    with pytest.raises(refused):
        ask_often(exchange, 3 * burst)


def test_coinbase__with_ccxts_limiter__never_refuses(start_child: StartChild, connect: Connect) -> None:
    exchange = connect(address_of(start_child(*STANDING)), "coinbase")
    exchange.load_markets()
    assert len(fetch_all(exchange, "BTC/USD", MINUTE - 3_600 * MINUTE_MS, page=300)) == 3_601


def test_requests__every_answer__is_listed_until_cleared(standing: str, exchange: Any) -> None:
    exchange.load_markets()
    call(f"{standing}/requests", "DELETE")
    exchange.fetch_ohlcv("BTC/USDT", "1m", since=MINUTE - 5 * MINUTE_MS, limit=3)
    exchange.fetch_ohlcv("ETH/USDT", "1m", since=MINUTE + MINUTE_MS)
    bounds = {"from_ms": MINUTE - 5 * MINUTE_MS, "to_ms": MINUTE - 2 * MINUTE_MS, "candles": 3, "at_ms": AT}
    assert call(f"{standing}/requests") == [
        {"venue": "binance", "symbol": "BTC/USDT"} | bounds,
        {"venue": "binance", "symbol": "ETH/USDT", "from_ms": None, "to_ms": None, "candles": 0, "at_ms": AT},
    ]
    assert call(f"{standing}/requests", "DELETE") is None
    assert call(f"{standing}/requests") == []


def test_faults__over_http__come_and_go(standing: str, connect: Connect) -> None:
    faults = f"{standing}/faults"
    told = call(faults, "POST", {"venue": "kraken", "kind": "wrong-price", "from_ms": MINUTE - 2 * MINUTE_MS})
    usual = {"minutes": 10, "amount": 0.05}
    assert told == {"venue": "kraken", "kind": "wrong-price", "from_ms": MINUTE - 2 * MINUTE_MS} | usual
    other = call(faults, "POST", {"venue": "coinbase", "kind": "html"})
    assert other["from_ms"] == MINUTE
    assert call(faults) == [told, other]
    kraken = connect(standing, "kraken", enableRateLimit=False)
    wrong = [row[4] for row in kraken.fetch_ohlcv("BTC/USDT", since=MINUTE - 3 * MINUTE_MS)]
    right = view("kraken").candles("BTC/USDT", MINUTE - 3 * MINUTE_MS, MINUTE).close
    assert wrong[:3] == pytest.approx([right[0], 1.05 * right[1], 1.05 * right[2]], abs=0.1)
    call(f"{faults}?venue=kraken", "DELETE")
    assert call(faults) == [other]
    assert kraken.fetch_ohlcv("BTC/USDT", since=MINUTE - MINUTE_MS)[0][4] == right[2]


def test_faults__that_do_not_fit__are_refused_in_words(standing: str) -> None:
    faults = f"{standing}/faults"
    assert refusal(faults, "POST", b"{") == (400, '{"detail":"the body is not JSON"}')
    assert refusal(faults, "POST", b"[1]") == (400, '{"detail":"a fault is a JSON object with venue and kind"}')
    assert refusal(f"{faults}?venue=okx", "DELETE")[0] == 400


@pytest.mark.parametrize("venue", ["binance", "coinbase", "kraken"])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("rate-limit", ccxt.NetworkError),
        ("server-error", ccxt.ExchangeNotAvailable),
        ("timeout", ccxt.RequestTimeout),
    ],
)
def test_fault_of_requests__at_any_venue__is_what_ccxt_takes_it_for(
    standing: str, connect: Connect, venue: str, kind: str, error: type[Exception]
) -> None:
    exchange = connect(standing, venue, enableRateLimit=False, timeout=200)
    with misbehaving(standing, venue, kind), pytest.raises(error):
        exchange.fetch_time()
    assert exchange.fetch_time() == AT


@pytest.mark.parametrize("venue", ["binance", "coinbase", "kraken"])
def test_rate_limit__at_any_venue__is_429_and_says_how_long(standing: str, connect: Connect, venue: str) -> None:
    exchange = connect(standing, venue, enableRateLimit=False)
    with misbehaving(standing, venue, "rate-limit"), pytest.raises((ccxt.DDoSProtection, ccxt.RateLimitExceeded)):
        exchange.fetch_time()
    assert exchange.last_response_headers["Retry-After"] == "30"


def test_html__any_path__is_a_page_in_a_200_at_that_venue_alone(standing: str, exchange: Any) -> None:
    with misbehaving(standing, "kraken", "html"):
        with urllib.request.urlopen(f"{standing}/kraken/0/public/Time", timeout=5) as page:
            assert page.headers["Content-Type"].startswith("text/html")
            assert page.read().startswith(b"<!DOCTYPE html>")
        assert exchange.fetch_time() == AT


def test_timeout__time_over__hangs_up_without_a_word(standing: str) -> None:
    call(f"{standing}/faults", "POST", {"venue": "kraken", "kind": "timeout", "seconds": 0.2})
    port = int(standing.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /kraken/0/public/Time HTTP/1.1\r\nHost: x\r\n\r\n")
        asked = time.monotonic()
        assert client.recv(1) == b""
        assert 0.15 < time.monotonic() - asked < 2


def test_child__requests_held_by_a_timeout__do_not_keep_it(start_child: StartChild) -> None:
    child = start_child(*STANDING, "--fault", "coinbase:timeout:from=0")
    port = int(address_of(child).rpartition(":")[2])
    with ExitStack() as waiting:
        for _ in range(3):
            client = waiting.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET /coinbase/v2/time HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        told = time.monotonic()
        assert child.communicate(timeout=10) == ("", "")
        assert time.monotonic() - told < 1


def test_child__clock_of_the_parent__is_shared(start_child: StartChild, connect: Connect) -> None:
    wall_start = wall_ms() - 10_000
    child = start_child("--at", str(AT), "--wall-start-ms", str(wall_start), "--speed", "60")
    served = connect(address_of(child)).fetch_time()
    assert 0 <= AT + (wall_ms() - wall_start) * 60 - served < 60 * 2_000


def test_child__end_of_stdin__ends_it(start_child: StartChild) -> None:
    child = start_child(*STANDING)
    address_of(child)
    assert child.communicate(timeout=10) == ("", "")
    assert child.returncode == 0


def test_child__ctrl_c__is_left_to_the_parent_until_it_terminates(start_child: StartChild) -> None:
    child = start_child(*STANDING)
    address_of(child)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=10) == 0
    assert child.stderr is not None
    assert child.stderr.read() == ""


def test_child__port_in_use__is_one_line_and_exit_code_2(start_child: StartChild) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start_child("--port", str(port))
        assert child.communicate(timeout=10) == ("", f"port {port} is taken by another process\n")
        assert child.returncode == 2


def test_server__on_its_own__ends_quietly_at_ctrl_c() -> None:
    command = [sys.executable, "-m", "app.sim", *STANDING]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as server:
        address_of(server)
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=10) == ("", "")
        assert server.returncode == 0


def view(venue: str) -> Market:
    return market_at(venue, SimulatedMarket(SEED), SEED)


def noisy_candles(count: int) -> Candles:
    """Prices with every bit of a float in use, and a gap in the middle."""
    rng = np.random.default_rng(5)
    times = AT // MINUTE_MS * MINUTE_MS + np.arange(count) * MINUTE_MS
    times[count // 2 :] += 37 * MINUTE_MS
    corners = np.sort(100 + rng.random((count, 4)), axis=1)
    low, opening, close, high = (np.ascontiguousarray(column) for column in corners.T)
    return Candles(times, opening, high, low, close, rng.exponential(0.001, count))
