"""A year of forecasts for the simulation: the released network on simulated markets, minute by minute.

A hundred feeds share a tenth as many markets, each played from ten different days: that is a tenth of the work, and no
two feeds are alike at the same minute. Markets differ in how much they move; they do not move together, as real
ones do when it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.bench.capacity_model import DAY_MINUTES, Movement
from app.bench.inputs import LAST_MS
from app.features.realised import series_of
from app.features.variation import WINDOW_MINUTES, VariationSpec, quantise, variation_levels
from app.inference.network import Network
from app.inference.release import ReleasedModel
from app.proving.cores import usable_cores
from app.sim.market import SimulatedMarket
from app.types import MINUTE_MS, Candles, IntArray

Say = Callable[[str], None]
_SHARED_BY = 10
_WEEK_DAYS = 7
_CHUNK = 40_000
_MOVES_LIKE = 0.35
"""Deviation of the log of how much one market moves beside another."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """``ln_vol`` float32 and ``high`` bool, shapes (markets, minutes); a feed is a market from a day of its own on."""

    ln_vol: npt.NDArray[np.float32]
    high: npt.NDArray[np.bool_]
    market_of: IntArray
    shift_of: IntArray
    """Of each feed, in minutes. The year is a ring: a feed that begins later ends with the market's first days."""

    @property
    def minutes(self) -> int:
        return int(self.ln_vol.shape[1])

    def at(self, minute: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Of all feeds, shapes (feeds,)."""
        place = (minute + self.shift_of) % self.minutes
        return self.ln_vol[self.market_of, place], self.high[self.market_of, place]

    def movement(self) -> Movement:
        steps = np.diff(self.ln_vol, axis=1)
        flips = (self.high[:, 1:] != self.high[:, :-1]).mean() * DAY_MINUTES
        return Movement(float(steps.std()), float(flips))


def forecasts(model: ReleasedModel, feeds: int, days: int, seed: int, say: Say) -> Forecasts:
    markets = -(-feeds // _SHARED_BY)
    network = Network(model)
    spec = VariationSpec.from_manifest(model.manifest["observation"])
    done = 0

    def one(number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        nonlocal done
        made = _of_market(network, spec, seed + number, days)
        done += 1
        say(f"a year's forecasts, {done} of {markets} markets")
        return made

    with ThreadPoolExecutor(usable_cores()) as threads:
        made = list(threads.map(one, range(markets)))
    number = np.arange(feeds)
    weeks = max(1, days // (_SHARED_BY * _WEEK_DAYS))
    return Forecasts(
        ln_vol=np.stack([vol for vol, _ in made]),
        high=np.stack([high for _, high in made]),
        market_of=number // _SHARED_BY,
        shift_of=number % _SHARED_BY * weeks * _WEEK_DAYS * DAY_MINUTES,
    )


def _of_market(
    network: Network, spec: VariationSpec, seed: int, days: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    series = series_of(_candles(seed, days))
    ends = np.arange(WINDOW_MINUTES + 1, WINDOW_MINUTES + 1 + days * DAY_MINUTES)
    outputs = []
    for first in range(0, len(ends), _CHUNK):
        part = ends[first : first + _CHUNK]
        levels, _ = variation_levels(series.absolute[: part[-1]], part)
        outputs.append(network.outputs(quantise(levels, series.time_ms(part), spec)))
    said = np.concatenate(outputs)
    return said[:, 2].astype(np.float32), said[:, 1] > said[:, 0]


def _candles(seed: int, days: int) -> Candles:
    """Of a market that moves more or less than the others: its log price is stretched."""
    market = SimulatedMarket(seed)
    symbol = market.symbols[seed % len(market.symbols)]
    minutes = days * DAY_MINUTES + WINDOW_MINUTES + 1
    played = market.candles(symbol, LAST_MS - minutes * MINUTE_MS, LAST_MS)
    stretch = np.exp(_MOVES_LIKE * np.random.default_rng(seed).standard_normal())
    first = played.close[0]
    opened, high, low, close = (
        first * (column / first) ** stretch for column in (played.open, played.high, played.low, played.close)
    )
    return Candles(played.open_time_ms, opened, high, low, close, played.volume)
