"""A model on recorded candles, as if it had served then: a track record for those who have only just begun.

What it gives is stored with the origin `backtest` and shown apart: nobody was served these forecasts, and nothing
proves that they were made before the market answered. Windows, labels and outputs come from what `evaluate` uses.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from app.candles.files import read_candles
from app.candles.venue import Venue
from app.errors import OracleError, StoreUnavailable
from app.features.realised import HORIZON_MINUTES, series_of
from app.features.variation import CANDLES_NEEDED
from app.inference.network import Network
from app.inference.release import ReleasedModel
from app.judging.scores import LARGEST_LN_VOL, forecasts_of
from app.steps.served import ServedFeed
from app.store.database import Database
from app.store.outcomes import Origin, Outcome
from app.training.datasets import Samples
from app.training.evaluate import network_outputs, usable_windows
from app.types import DAY_MS, MINUTE_MS, Candles, FloatArray
from app.wiring import Application, open_venue

log = logging.getLogger(__name__)

DAYS = 7
"""That a back-test in the background goes over: twenty pages of candles and a quarter of a second of work."""
_HORIZON_MS = HORIZON_MINUTES * MINUTE_MS
_STORED_AT_ONCE = 2_000
"""Nobody else can write to an SQLite file meanwhile."""
_LOOK_EVERY_S = 1.0
_ENDING_S = 5.0
"""How long the end waits for a back-test under way; it ends with the process."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a model would have said of the windows that candles allow, and what came of them."""

    feed: str
    model: ReleasedModel
    windows: Samples
    outputs: FloatArray
    """Raw outputs of the network, (n, 3)."""

    def outcomes(self) -> Iterator[Outcome]:
        """One for each window, oldest first."""
        said, past = forecasts_of(self.outputs), self.windows.past
        vol_annualised = np.exp(np.clip(self.outputs[:, 2], -LARGEST_LN_VOL, LARGEST_LN_VOL))
        columns = (
            self.windows.end_ms,
            said.p_high,
            said.score,
            said.high_said,
            vol_annualised,
            self.windows.volatility,
            past[60],
            past[240],
        )
        for end_ms, p_high, score, high_said, vol, realised, past_60, past_240 in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            yield Outcome(
                feed=self.feed,
                origin=Origin.BACKTEST,
                model_id=self.model.model_id,
                window_end_ms=end_ms,
                prediction_id=None,
                p_high=p_high,
                score=score,
                high_said=high_said,
                vol_annualised=vol,
                realised=realised,
                past_60=past_60,
                past_240=past_240,
                missing=None,
                judged_at_ms=end_ms + _HORIZON_MS,
            )


def backtest(
    candles: Candles, source: str, feed: str, model: ReleasedModel, start_ms: int | None, end_ms: int | None
) -> Backtest:
    """Every usable window of the candles that ends in ``[start_ms, end_ms)``, a minute apart.

    ``source`` says in errors whose candles they are. Raises `CandleFileInvalid` when they allow too few windows.
    """
    windows = usable_windows(series_of(candles), source, model, start_ms, end_ms)
    return Backtest(feed, model, windows, network_outputs(Network(model), windows.observations))


def backtest_of_file(path: Path, served: ServedFeed, end_ms: int, days: int) -> Backtest:
    """The last ``days`` of a recording whose hours have passed by ``end_ms``: later candles are not looked at."""
    start_ms = end_ms - _HORIZON_MS - days * DAY_MS
    candles = read_candles(path).between(start_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)
    return backtest(candles, str(path), served.feed.name, served.model, start_ms, None)


def backtest_of_venue(venue: Venue, served: ServedFeed, end_ms: int, days: int) -> Backtest:
    """The last ``days`` at one venue of the feed whose hours have passed by ``end_ms``. Raises `VenueUnavailable`."""
    start_ms = end_ms - _HORIZON_MS - days * DAY_MS
    pages = venue.pages(served.markets[venue.name], start_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)
    candles = Candles.from_rows([row for page in pages for row in page.candles.rows()])
    return backtest(candles, venue.name, served.feed.name, served.model, start_ms, None)


def store_backtest(database: Database, done: Backtest) -> int:
    """In the place of the feed's former back-test of that model; gives how many windows it has now."""
    with database.unit_of_work() as store:
        store.outcomes.clear_backtest(done.feed, done.model.model_id)
    rows, added = done.outcomes(), 0
    while part := list(islice(rows, _STORED_AT_ONCE)):
        with database.unit_of_work() as store:
            added += len(store.outcomes.add(part))
    return added


@contextmanager
def in_background(app: Application, recorded: Path | None = None, days: int = DAYS) -> Iterator[None]:
    """Back-test every feed once it has its first proved forecast, for which nobody then waits any longer.

    The candles are those of ``recorded``, else of the feed's first venue. What goes wrong is logged, and no more.
    """
    stopping = threading.Event()
    thread = threading.Thread(target=_fill, args=(app, recorded, days, stopping), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(_ENDING_S)


def _fill(app: Application, recorded: Path | None, days: int, stopping: threading.Event) -> None:
    waiting = dict(app.feeds)
    while waiting and not stopping.wait(_LOOK_EVERY_S):
        ready: list[str] = []
        with suppress(StoreUnavailable), app.database.unit_of_work(write=False) as store:
            ready = [name for name in waiting if store.predictions.latest(name) is not None]
        for name in ready:
            _fill_one(app, waiting.pop(name), recorded, days)


def _fill_one(app: Application, served: ServedFeed, recorded: Path | None, days: int) -> None:
    end_ms = app.clock.last_minute_ms()
    try:
        if recorded is not None:
            done = backtest_of_file(recorded, served, end_ms, days)
        else:
            with closing(open_venue(app.settings, next(iter(served.markets)))) as venue:
                done = backtest_of_venue(venue, served, end_ms, days)
        log.info("%s: back-test of %d windows stored", served.feed.name, store_backtest(app.database, done))
    except OracleError as error:
        log.warning("%s: no back-test: %s", served.feed.name, error)
