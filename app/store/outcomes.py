"""What became of forecasts: each beside the volatility that its hours then had, once, in the order it was found out.

Every write takes the next numbers of a counter, ``seq``, whose row is locked until the transaction ends. So whoever has
read all rows up to a number has nothing to look for but those after it. Rows of a back-test are no forecasts that
anybody was served, and are kept apart by their origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import chain
from typing import Any, cast

import numpy as np
import sqlalchemy as sa

from app.store.counters import hold, last, take
from app.store.tables import outcomes, predictions
from app.types import MINUTE_MS, PROVED_STATES, BoolArray, FloatArray, IntArray, ModelId, PredictionId, Regime

_COUNTER = "outcomes"
_IDS_AT_ONCE = 500
_UNKNOWN = -1.0
"""Stands for NULL on the way into an array: no deviation is negative."""


class Origin(StrEnum):
    LIVE = "live"
    """Forecast before it was known, and proved."""
    BACKTEST = "backtest"
    """Forecast afterwards, from recorded candles."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A forecast and what came of it. Deviations are population deviations of one-minute log returns."""

    feed: str
    origin: Origin
    model_id: ModelId
    window_end_ms: int
    prediction_id: PredictionId | None
    """None for a back-test."""
    p_high: float
    score: float
    """Logit of high minus logit of low."""
    high_said: bool
    vol_annualised: float
    """As forecast."""
    realised: float | None
    """Deviation over the horizon after the window's end; None where it cannot be told."""
    past_60: float | None
    """Of the hour before the window's end."""
    past_240: float | None
    missing: str | None
    """Why there is no realised volatility."""
    judged_at_ms: int
    """Market time."""


@dataclass(frozen=True, slots=True)
class Due:
    """A proved prediction that no outcome is stored for, as far as judging it needs to know it."""

    prediction_id: PredictionId
    feed: str
    model_id: ModelId
    window_end_ms: int
    high_said: bool
    p_high: float
    vol_annualised: float
    quorum: int
    markets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Outcomes of one feed, origin and model as arrays of shape (n,); ``realised`` is NaN where it is not known.

    ``seq`` and ``end_ms`` are int64, ``high_said`` bool, all others float64.
    """

    seq: IntArray
    end_ms: IntArray
    p_high: FloatArray
    score: FloatArray
    high_said: BoolArray
    vol_annualised: FloatArray
    realised: FloatArray
    past_60: FloatArray
    past_240: FloatArray

    def __len__(self) -> int:
        return len(self.end_ms)

    def __getitem__(self, part: slice | IntArray | BoolArray) -> Columns:
        """Some of the outcomes."""
        return Columns(*(getattr(self, field.name)[part] for field in fields(self)))

    @classmethod
    def none(cls) -> Columns:
        """No outcomes."""
        return _columns_of(np.empty((0, 9)))

    def with_later(self, later: Columns) -> Columns:
        """Both, ascending by window end; of a window that is there twice, the one that came later."""
        both = Columns(*(np.concatenate([getattr(self, f.name), getattr(later, f.name)]) for f in fields(self)))
        if (both.end_ms[1:] > both.end_ms[:-1]).all():
            return both
        order = np.lexsort((both.seq, both.end_ms))
        return both[order[np.append(np.diff(both.end_ms[order]) > 0, True)]]


class Outcomes:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, rows: Sequence[Outcome]) -> list[Outcome]:
        """Store those whose window has no outcome yet, in this order; gives them. All are of one feed and origin."""
        if not rows:
            return []
        hold(self._connection, _COUNTER)
        there = self._stored(rows)
        new = list({key: row for row in rows if (key := (row.model_id, row.window_end_ms)) not in there}.values())
        if new:
            first = take(self._connection, _COUNTER, len(new)) - len(new) + 1
            numbered = [_values(row) | {"seq": first + place} for place, row in enumerate(new)]
            self._connection.execute(sa.insert(outcomes), numbered)
        return new

    def due(self, feed: str, after_ms: int, before_ms: int, limit: int) -> list[Due]:
        """Proved predictions with ``after_ms <= window_end <= before_ms`` and no outcome, oldest first."""
        names = ("id", "feed", "model_id", "window_end_ms", "regime", "p_high", "vol_annualised", "quorum", "markets")
        query = (
            sa.select(*(predictions.c[name] for name in names))
            .where(*_unjudged(feed), predictions.c.window_end_ms.between(after_ms, before_ms))
            .order_by(predictions.c.window_end_ms, predictions.c.id)
            .limit(limit)
        )
        return [_due(row) for row in self._connection.execute(query)]

    def pending(self, feed: str, model_id: str, start_ms: int, end_ms: int | None) -> int:
        """How many proved predictions of a model with ``start <= window_end < end`` have no outcome yet."""
        wanted = [*_unjudged(feed), predictions.c.model_id == model_id, predictions.c.window_end_ms >= start_ms]
        if end_ms is not None:
            wanted.append(predictions.c.window_end_ms < end_ms)
        return self._count(predictions, *wanted)

    def of(self, prediction_ids: Sequence[str]) -> dict[str, Outcome]:
        """The outcomes of these predictions, of those that have one."""
        found: dict[str, Outcome] = {}
        for first in range(0, len(prediction_ids), _IDS_AT_ONCE):
            asked = outcomes.c.prediction_id.in_(prediction_ids[first : first + _IDS_AT_ONCE])
            rows = self._connection.execute(sa.select(outcomes).where(asked))
            found |= {row.prediction_id: _outcome(row) for row in rows}
        return found

    def page(
        self,
        feed: str,
        origin: Origin,
        model_id: str,
        start_ms: int | None,
        end_ms: int | None,
        *,
        step: int,
        limit: int,
        after_ms: int | None = None,
    ) -> list[Outcome]:
        """Oldest window first, with ``start <= window_end < end``, after the window that ended at ``after_ms``.

        Only windows that end on a multiple of ``step`` minutes.
        """
        end = outcomes.c.window_end_ms
        bounds = ((start_ms, end.__ge__), (end_ms, end.__lt__), (after_ms, end.__gt__))
        wanted = [*_of(feed, origin, model_id), *(compare(time) for time, compare in bounds if time is not None)]
        if step > 1:
            wanted.append(end % (step * MINUTE_MS) == 0)
        rows = self._connection.execute(sa.select(outcomes).where(*wanted).order_by(end).limit(limit))
        return [_outcome(row) for row in rows]

    def since(self, feed: str, origin: Origin, model_id: str, seq: int, limit: int) -> Columns:
        """The outcomes after the number ``seq`` in the order they came, at most ``limit``: fast enough for a year's."""
        known = (sa.func.coalesce(outcomes.c[name], _UNKNOWN) for name in ("realised", "past_60", "past_240"))
        names = ("seq", "window_end_ms", "p_high", "score", "high_said", "vol_annualised")
        query = (
            sa.select(*(outcomes.c[name] for name in names), *known)
            .where(*_of(feed, origin, model_id), outcomes.c.seq > seq)
            .order_by(outcomes.c.seq)
            .limit(limit)
        )
        return _columns(self._connection.execute(query))

    def seq(self) -> int:
        """The last number that was given out: while it stays, nothing has changed."""
        return last(self._connection, _COUNTER)

    def count(self, feed: str, origin: Origin, model_id: str) -> int:
        return self._count(outcomes, *_of(feed, origin, model_id))

    def clear_backtest(self, feed: str, model_id: str) -> int:
        """Forget a back-test; gives how many windows it had. It takes a number, so that readers notice."""
        take(self._connection, _COUNTER)
        return self._connection.execute(sa.delete(outcomes).where(*_of(feed, Origin.BACKTEST, model_id))).rowcount

    def _stored(self, rows: Sequence[Outcome]) -> set[tuple[str, int]]:
        """(model, window end) of what is there between the first and the last of these windows."""
        ends = [row.window_end_ms for row in rows]
        query = sa.select(outcomes.c.model_id, outcomes.c.window_end_ms).where(
            outcomes.c.feed == rows[0].feed,
            outcomes.c.origin == rows[0].origin,
            outcomes.c.model_id.in_({row.model_id for row in rows}),
            outcomes.c.window_end_ms.between(min(ends), max(ends)),
        )
        return {(row.model_id, row.window_end_ms) for row in self._connection.execute(query)}

    def _count(self, table: sa.Table, *wanted: sa.ColumnElement[bool]) -> int:
        return self._connection.execute(sa.select(sa.func.count()).select_from(table).where(*wanted)).scalar_one()


def _unjudged(feed: str) -> tuple[sa.ColumnElement[bool], ...]:
    judged = sa.exists().where(
        outcomes.c.feed == predictions.c.feed,
        outcomes.c.origin == Origin.LIVE,
        outcomes.c.model_id == predictions.c.model_id,
        outcomes.c.window_end_ms == predictions.c.window_end_ms,
    )
    return predictions.c.feed == feed, predictions.c.status.in_(PROVED_STATES), ~judged


def _of(feed: str, origin: Origin, model_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return outcomes.c.feed == feed, outcomes.c.origin == origin, outcomes.c.model_id == model_id


def _values(row: Outcome) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _due(row: sa.Row[Any]) -> Due:
    return Due(
        prediction_id=PredictionId(row.id),
        feed=row.feed,
        model_id=ModelId(row.model_id),
        window_end_ms=row.window_end_ms,
        high_said=row.regime == Regime.HIGH,
        p_high=row.p_high,
        vol_annualised=row.vol_annualised,
        quorum=row.quorum,
        markets=row.markets,
    )


def _outcome(row: sa.Row[Any]) -> Outcome:
    return Outcome(
        feed=row.feed,
        origin=Origin(row.origin),
        model_id=ModelId(row.model_id),
        window_end_ms=row.window_end_ms,
        prediction_id=row.prediction_id,
        p_high=row.p_high,
        score=row.score,
        high_said=row.high_said,
        vol_annualised=row.vol_annualised,
        realised=row.realised,
        past_60=row.past_60,
        past_240=row.past_240,
        missing=row.missing,
        judged_at_ms=row.judged_at_ms,
    )


def _columns(found: sa.CursorResult[Any]) -> Columns:
    """Straight from the driver: a year of row objects would take seconds."""
    rows = cast(Iterable[tuple[float, ...]], found.cursor)
    table = np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(-1, len(fields(Columns)))
    found.close()
    return _columns_of(table)


def _columns_of(table: FloatArray) -> Columns:
    """Of rows in the order of the fields, with `_UNKNOWN` for NULL."""
    seq, end_ms, p_high, score, high_said, vol_annualised, *deviations = (
        np.ascontiguousarray(part) for part in table.T
    )
    realised, past_60, past_240 = (np.where(part < 0, np.nan, part) for part in deviations)
    return Columns(
        seq=seq.astype(np.int64),
        end_ms=end_ms.astype(np.int64),
        p_high=p_high,
        score=score,
        high_said=high_said > 0,
        vol_annualised=vol_annualised,
        realised=realised,
        past_60=past_60,
        past_240=past_240,
    )
