from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import PIPE
from typing import Any

import ccxt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.clock import wall_ms
from app.sim.market import SimulatedMarket
from app.types import MINUTE_MS, Candles, parse_time

SEED = 11
AT = parse_time("2026-03-02T09:30:00Z") + 20_000
STANDING = ("--seed", str(SEED), "--at", str(AT), "--speed", "1e-9")

Child = subprocess.Popen[str]
StartChild = Callable[..., Child]


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
def connect() -> Iterator[Callable[[Child], Any]]:
    """ccxt's own binance, with only the base URL changed."""
    with ExitStack() as sessions:

        def connect_to(child: Child) -> Any:
            exchange = ccxt.binance({"enableRateLimit": True, "options": {"fetchMarkets": {"types": ["spot"]}}})
            exchange.urls["api"]["public"] = address_of(child) + "/api/v3"
            sessions.enter_context(closing(exchange.session))
            return exchange

        yield connect_to


@pytest.fixture
def exchange(start_child: StartChild, connect: Callable[[Child], Any]) -> Any:
    """A simulated market whose clock stands still at `AT`."""
    return connect(start_child(*STANDING))


def address_of(child: Child) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:")
    return line.split()[-1]


def fetch_all(exchange: Any, symbol: str, since: int) -> list[list[float]]:
    """Pages of 1000, until one is not full."""
    found: list[list[float]] = []
    while True:
        candles = exchange.fetch_ohlcv(symbol, "1m", since=since, limit=1_000)
        found += candles
        if len(candles) < 1_000:
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
    minute = AT // MINUTE_MS * MINUTE_MS
    start = minute - 10_080 * MINUTE_MS
    fetched = fetch_all(exchange, "BTC/USDT", start)
    assert len(fetched) == 10_081
    assert fetched[:-1] == SimulatedMarket(SEED).candles("BTC/USDT", start, minute).rows()


def test_ccxt__newest_candle__is_the_forming_one(exchange: Any) -> None:
    minute = AT // MINUTE_MS * MINUTE_MS
    closed, forming = exchange.fetch_ohlcv("ETH/USDT", "1m", limit=2)
    [before, whole] = SimulatedMarket(SEED).candles("ETH/USDT", minute - MINUTE_MS, minute + MINUTE_MS).rows()
    assert closed == before
    assert forming[:2] == whole[:2]
    assert forming[5] == pytest.approx(whole[5] / 3, abs=1e-4)


def test_ccxt__hours__are_served_too(exchange: Any) -> None:
    candles = exchange.fetch_ohlcv("BTC/USDT", "1h", limit=48)
    assert len(candles) == 48
    assert candles[-1][0] == AT // (60 * MINUTE_MS) * 60 * MINUTE_MS


def test_ccxt__recorded_file__comes_back_to_the_last_bit(
    start_child: StartChild, connect: Callable[[Child], Any], tmp_path: Path
) -> None:
    recorded = noisy_candles(2_500)
    path = tmp_path / "recorded.parquet"
    names = ("open_time", "open", "high", "low", "close", "volume")
    columns = (recorded.open_time_ms, recorded.open, recorded.high, recorded.low, recorded.close, recorded.volume)
    pa_parquet.write_table(pa.table(dict(zip(names, columns, strict=True))), path)
    end = int(recorded.open_time_ms[-1]) + MINUTE_MS
    child = start_child("--candles", str(path), "--symbol", "SOL/USDC", "--at", str(end), "--speed", "1e-9")
    fetched = fetch_all(connect(child), "SOL/USDC", int(recorded.open_time_ms[0]))
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


def test_ccxt__weight_used_up__is_told_to_back_off(start_child: StartChild, connect: Callable[[Child], Any]) -> None:
    exchange = connect(start_child(*STANDING, "--weight-limit", "1"))
    exchange.fetch_time()
    assert exchange.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "1"
    with pytest.raises(ccxt.DDoSProtection, match="-1003"):
        exchange.public_get_klines({"symbol": "BTCUSDT", "interval": "1m"})
    assert 1 <= int(exchange.last_response_headers["Retry-After"]) <= 60


def test_ccxt__unknown_path__is_not_found(exchange: Any) -> None:
    with pytest.raises(ccxt.ExchangeNotAvailable, match="404"):
        exchange.public_get_avgprice({"symbol": "BTCUSDT"})


def test_child__clock_of_the_parent__is_shared(start_child: StartChild, connect: Callable[[Child], Any]) -> None:
    wall_start = wall_ms() - 10_000
    child = start_child("--at", str(AT), "--wall-start-ms", str(wall_start), "--speed", "60")
    served = connect(child).fetch_time()
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


def noisy_candles(count: int) -> Candles:
    """Prices with every bit of a float in use, and a gap in the middle."""
    rng = np.random.default_rng(5)
    times = AT // MINUTE_MS * MINUTE_MS + np.arange(count) * MINUTE_MS
    times[count // 2 :] += 37 * MINUTE_MS
    corners = np.sort(100 + rng.random((count, 4)), axis=1)
    low, opening, close, high = (np.ascontiguousarray(column) for column in corners.T)
    return Candles(times, opening, high, low, close, rng.exponential(0.001, count))
