"""Fixtures for every test. Unit tests have no network: a socket there is a bug."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_socket import disable_socket, enable_socket

from app.inference.release import ReleasedModel, load_models
from app.types import MINUTE_MS, Candles

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT.parent / "shared" / "data"
WINDOW_END_MS = 1_757_937_600_000  # 2025-09-15T12:00:00Z, a Monday


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if "unit" in request.path.relative_to(ROOT / "tests").parts:
        disable_socket(allow_unix_socket=True)
        yield
        enable_socket()
    else:
        yield


@pytest.fixture(scope="session")
def models() -> dict[str, ReleasedModel]:
    return load_models(ROOT / "models")


@pytest.fixture(scope="session")
def model(models: dict[str, ReleasedModel]) -> ReleasedModel:
    return models["btc-usdt-4h-v1"]


@pytest.fixture(scope="session")
def recorded_btc() -> Path:
    """Recorded candles that are not part of the project."""
    path = RECORDED / "btcusdt_1m_binance.parquet"
    if not path.is_file():
        pytest.skip(f"recorded candles are not at {path.parent}")
    return path


def make_candles(minutes: int, end_ms: int = WINDOW_END_MS, seed: int = 0, level: float = 100_000.0) -> Candles:
    """A random walk with volatility that changes from hour to hour; the last candle closes at ``end_ms``."""
    rng = np.random.default_rng(seed)
    sigma = np.repeat(0.0005 * np.exp(0.5 * rng.normal(size=minutes // 60 + 1)), 60)[:minutes]
    close = np.round(level * np.exp(np.cumsum(sigma * rng.normal(size=minutes))), 2)
    opened = np.append(level, close[:-1])
    return Candles(
        open_time_ms=end_ms - MINUTE_MS * np.arange(minutes, 0, -1, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) + 0.5,
        low=np.minimum(opened, close) - 0.5,
        close=close,
        volume=np.round(rng.gamma(2.0, 5.0, size=minutes), 5),
    )
