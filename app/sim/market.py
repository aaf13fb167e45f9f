"""What a market is to the venue that shows it, and a simulated one.

The simulated market is made anew from its seed wherever somebody looks: a candle depends on (seed, symbol, minute)
alone, never on what was asked before, so a parent process, its child and a test all see the same market. The random
stream is NumPy's Philox, which may change between NumPy releases but not within one installation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from app.types import MINUTE_MS, Candles, FloatArray

DAY_MINUTES = 1_440
DAY_MS = DAY_MINUTES * MINUTE_MS

VENUES = ("binance", "coinbase", "kraken")
"""Whose protocols are spoken, by their names in ccxt."""

LISTED_MS = 1_502_942_400_000
"""2017-08-17T04:00:00Z: nothing was traded before, as on Binance."""

FOREVER_MS = 253_402_300_800_000
"""The year 10000: a simulated market does not end."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How a venue lists a symbol: its name as ccxt writes it, and how many decimals price and volume have."""

    symbol: str
    price_decimals: int
    volume_decimals: int


class Market(Protocol):
    """Closed one-minute candles of some symbols, for all of the market's time at once; the venue adds the clock."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """As ccxt writes them: ``BTC/USDT``."""

    def listing(self, symbol: str) -> Listing:
        """Raises `KeyError` for a symbol the market does not have; so do the others."""

    def span(self, symbol: str) -> tuple[int, int]:
        """First minute and the end (exclusive) of the last one, ms UTC."""

    def candles(self, symbol: str, start_ms: int, end_ms: int) -> Candles:
        """The candles with ``start_ms <= open_time < end_ms``."""


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The constants of one simulated symbol. Volatilities are of one-minute log returns; half-lives are in minutes."""

    level: float
    """The price that the market reverts to, in the quote currency."""
    minute_vol: float
    """Median volatility over the week."""
    volume: float
    """Median volume of a minute, in the base currency."""
    price_half_life: float = 30 * DAY_MINUTES
    fast_sd: float = 0.30
    fast_half_life: float = 90
    slow_sd: float = 0.40
    slow_half_life: float = 3 * DAY_MINUTES
    daily_swing: tuple[float, float] = (0.30, 0.08)
    """Amplitudes of the daily and the half-daily wave of log volatility."""
    daily_peak: tuple[int, int] = (15 * 60, 14 * 60 + 30)
    """Minutes of the UTC day at which these waves are highest: the American morning."""
    weekday_swing: tuple[float, ...] = (0.08, 0.12, 0.12, 0.12, 0.08, -0.30, -0.22)
    """Added to log volatility from Monday to Sunday."""
    jumps_per_day: float = 3.0
    jump_sd: float = 0.002


DYNAMICS: Mapping[Listing, Dynamics] = {
    Listing("BTC/USDT", 2, 5): Dynamics(level=80_000.0, minute_vol=0.000_47, volume=12.0),
    Listing("ETH/USDT", 2, 4): Dynamics(level=3_200.0, minute_vol=0.000_62, volume=250.0),
}


class SimulatedMarket:
    """BTC/USDT and ETH/USDT of a world that never was; two seeds are two worlds.

    Log price: an Ornstein-Uhlenbeck process around the log of ``level`` (Schwartz 1997, "The Stochastic Behavior of
    Commodity Prices", Journal of Finance 52, model 1), so that months of running stay near real prices; per minute
    the pull is a few hundred-thousandths of the distance, far below the noise.

    Log volatility: the sum of a constant, the seasons and two Ornstein-Uhlenbeck factors, one that forgets within
    hours and one that lasts for days (Alizadeh, Brandt and Diebold 2002, "Range-Based Estimation of Stochastic
    Volatility Models", Journal of Finance 57); the season multiplies the volatility by a short Fourier series of the
    minute of day (Andersen and Bollerslev 1997, "Intraday periodicity and volatility persistence in financial
    markets", Journal of Empirical Finance 4) and by a constant for the weekday.

    Jumps: Poisson arrivals with normal sizes (Merton 1976, "Option pricing when underlying stock returns are
    discontinuous", Journal of Financial Economics 3).

    High and low: extremes of a Brownian bridge from open to close, drawn by inverting their distribution (Glasserman
    2004, "Monte Carlo Methods in Financial Engineering", section 6.4), each on its own.

    Volume: log-normal around a power of the volatility (Clark 1973, "A Subordinated Stochastic Process Model with
    Finite Variance for Speculative Prices", Econometrica 41).
    """

    def __init__(self, seed: int = 0) -> None:
        self._series = {listing.symbol: _Series(seed, listing, dynamics) for listing, dynamics in DYNAMICS.items()}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._series)

    def listing(self, symbol: str) -> Listing:
        return self._series[symbol].listing

    def span(self, symbol: str) -> tuple[int, int]:
        self.listing(symbol)
        return LISTED_MS, FOREVER_MS

    def candles(self, symbol: str, start_ms: int, end_ms: int) -> Candles:
        series = self._series[symbol]
        start_ms = max(start_ms, LISTED_MS)
        if start_ms >= end_ms:
            return Candles.from_rows([])
        days = range(start_ms // DAY_MS, (end_ms - 1) // DAY_MS + 1)
        return join([series.day(day) for day in days]).between(start_ms, end_ms)


def join(parts: list[Candles]) -> Candles:
    """The candles of all parts, which must follow one another in time."""
    if not parts:
        return Candles.from_rows([])
    return Candles(
        np.concatenate([part.open_time_ms for part in parts]),
        np.concatenate([part.open for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.close for part in parts]),
        np.concatenate([part.volume for part in parts]),
    )


class _Series:
    """One symbol, made by the day; only the last few days are kept, so memory does not grow with running time."""

    def __init__(self, seed: int, listing: Listing, dynamics: Dynamics) -> None:
        self.listing = listing
        self._dynamics = dynamics
        digest = hashlib.sha256(f"{seed}|{listing.symbol}".encode()).digest()
        self._stream = int.from_bytes(digest[:8], "big")
        self._season = _daily_season(dynamics)
        self._normals = lru_cache(maxsize=4)(self._draw_normals)
        self._fast = _Reverting(dynamics.fast_half_life, self._fast_shocks)
        self._slow = _Reverting(dynamics.slow_half_life, self._slow_shocks)
        self._price = _Reverting(dynamics.price_half_life, self._returns)
        self.day = lru_cache(maxsize=16)(self._make_day)

    def _make_day(self, day: int) -> Candles:
        path = np.concatenate((self._price.path(day - 1)[-1:], self._price.path(day)))
        before, after = path[:-1], path[1:]
        vol = self._volatility(day)
        rng = self._rng(day, 2)
        up, down = rng.random((2, DAY_MINUTES))
        opening, close = self._to_tick(before), self._to_tick(after)
        return Candles(
            day * DAY_MS + np.arange(DAY_MINUTES, dtype=np.int64) * MINUTE_MS,
            opening,
            np.maximum.reduce([self._to_tick(_bridge_high(before, after, vol, up)), opening, close]),
            np.minimum.reduce([self._to_tick(-_bridge_high(-before, -after, vol, down)), opening, close]),
            close,
            self._volume(vol, rng.standard_normal(DAY_MINUTES)),
        )

    def _to_tick(self, log_price: FloatArray) -> FloatArray:
        return np.round(self._dynamics.level * np.exp(log_price), self.listing.price_decimals)

    def _volume(self, vol: FloatArray, noise: FloatArray) -> FloatArray:
        activity = (vol / self._dynamics.minute_vol) ** 1.2
        return np.round(self._dynamics.volume * activity * np.exp(0.6 * noise), self.listing.volume_decimals)

    def _volatility(self, day: int) -> FloatArray:
        dynamics = self._dynamics
        season = self._season + dynamics.weekday_swing[(day + 3) % 7]  # 1970-01-01 was a Thursday
        return dynamics.minute_vol * np.exp(season + self._fast.path(day) + self._slow.path(day))

    def _returns(self, day: int) -> FloatArray:
        rng = self._rng(day, 1)
        diffusion = self._volatility(day) * rng.standard_normal(DAY_MINUTES)
        arrivals = rng.poisson(self._dynamics.jumps_per_day / DAY_MINUTES, DAY_MINUTES)
        jumps = np.sqrt(arrivals) * self._dynamics.jump_sd * rng.standard_normal(DAY_MINUTES)
        return diffusion + jumps

    def _fast_shocks(self, day: int) -> FloatArray:
        fast, _ = self._normals(day)
        return self._dynamics.fast_sd * _unit_scale(self._dynamics.fast_half_life) * fast

    def _slow_shocks(self, day: int) -> FloatArray:
        _, slow = self._normals(day)
        return self._dynamics.slow_sd * _unit_scale(self._dynamics.slow_half_life) * slow

    def _draw_normals(self, day: int) -> tuple[FloatArray, FloatArray]:
        rng = self._rng(day, 0)
        return rng.standard_normal(DAY_MINUTES), rng.standard_normal(DAY_MINUTES)

    def _rng(self, day: int, purpose: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self._stream << 64 | day << 8 | purpose))


class _Reverting:
    """A process that forgets half of its distance from zero in every half-life, driven by each day's shocks.

    ``x[t] = f x[t-1] + shock[t]`` with ``f = 2^(-1/half_life)``, the exact discretisation of an Ornstein-Uhlenbeck
    process. Its state at midnight is the sum of past days' shocks, each faded by its age. Ten half-lives are summed:
    that needs no beginning of time, and what is older has faded to a thousandth.
    """

    def __init__(self, half_life: float, shocks: Callable[[int], FloatArray]) -> None:
        self._shocks = shocks
        self._fade = 0.5 ** (np.arange(1, DAY_MINUTES + 1) / half_life)
        self._days = math.ceil(10 * half_life / DAY_MINUTES)
        self._sum_of = lru_cache(maxsize=1_024)(self._sum_of_day)
        self._state_at_end_of = lru_cache(maxsize=32)(self._sum_of_days)

    def path(self, day: int) -> FloatArray:
        """The process at the end of each minute of the day, shape (1440,)."""
        return self._run(self._state_at_end_of(day - 1), day)

    def _sum_of_days(self, day: int) -> float:
        state = 0.0
        for past in range(day - self._days + 1, day + 1):
            state = state * float(self._fade[-1]) + self._sum_of(past)
        return state

    def _sum_of_day(self, day: int) -> float:
        return float(self._run(0.0, day)[-1])

    def _run(self, state: float, day: int) -> FloatArray:
        path: FloatArray = self._fade * (state + np.cumsum(self._shocks(day) / self._fade))
        return path


def _unit_scale(half_life: float) -> float:
    """Standard deviation of the shocks that give a reverting process a standard deviation of one."""
    return math.sqrt(1 - 0.25 ** (1 / half_life))


def _daily_season(dynamics: Dynamics) -> FloatArray:
    """Log multiplier of volatility for each minute of the UTC day, shape (1440,), mean zero."""
    minute = np.arange(DAY_MINUTES)
    season = np.zeros(DAY_MINUTES)
    for times, swing, peak in zip((1, 2), dynamics.daily_swing, dynamics.daily_peak, strict=True):
        season += swing * np.cos(2 * np.pi * times * (minute - peak) / DAY_MINUTES)
    return season


def _bridge_high(before: FloatArray, after: FloatArray, vol: FloatArray, uniform: FloatArray) -> FloatArray:
    """Highest point of a Brownian bridge of standard deviation ``vol`` between two log prices."""
    span = np.sqrt((after - before) ** 2 - 2 * vol**2 * np.log1p(-uniform))
    highest: FloatArray = (before + after + span) / 2
    return highest
