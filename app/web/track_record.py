"""How good a feed's forecasts were, over any stretch of time: what `evaluate` would say of the same windows.

Each process keeps the outcomes in memory and reads only those that are new, by their number; so any number of processes
on one database answer alike. All scores come from `app.judging`, whatever the origin of the windows.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from app.errors import BadInput
from app.features.realised import is_high
from app.inference.release import ReleasedModel
from app.judging.scores import DIGITS as SCORE_DIGITS
from app.judging.scores import (
    MODEL,
    PERSISTENCE,
    Forecasts,
    Metrics,
    calibration,
    metrics,
    points_above,
    realised_ln_vol,
    repeating,
)
from app.store.database import Database
from app.store.outcomes import Columns, Origin
from app.store.repository import Store
from app.types import DAY_MS, MINUTE_MS, BoolArray, FloatArray, IntArray, iso
from app.web.record_schemas import BaselinesOut, BinOut, DayOut, OutcomeOut, OutcomesOut, ScoresOut, TrackRecordOut

DIGITS = 4
"""After the point. `evaluate` runs the network and the service serves the circuit's outputs: in six digits their scores
differ now and then by one in the last, in four they hardly ever do."""
_SHOWN_WHOLE = 10
"""From this size on each further digit before the point costs one behind it: an R² can be large, and differ by as
much."""
_MEANS = ("stated", "observed")
_REMEMBERED = 256
_READ_AT_ONCE = 50_000
_LATE_MS = 2 * DAY_MS
"""Forecasts that end so long before the newest outcome are not looked for any more: what is not judged then has no
proof."""

_Key = tuple[str, Origin, str]
"""Feed, origin, model."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The outcomes of one key, ascending by window end."""

    looked_at: int
    """The store's last number when they were read."""
    version: int
    """Another one whenever something has changed."""
    columns: Columns


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows whose realised volatility is known, as `app.judging` takes them; an empty one has no scores."""

    columns: Columns

    @classmethod
    def of(cls, columns: Columns) -> _Windows:
        return cls(columns[np.isfinite(columns.realised)])

    @property
    def end_ms(self) -> IntArray:
        return self.columns.end_ms

    @property
    def high(self) -> BoolArray:
        return is_high(self.columns.realised)

    @property
    def ln_vol(self) -> FloatArray:
        return realised_ln_vol(self.columns.realised)

    @property
    def high_share(self) -> float | None:
        return shown(float(self.high.mean())) if len(self.columns) else None

    def forecasts(self) -> dict[str, Forecasts]:
        """The model's, and those of the past that repeats itself."""
        said = self.columns
        past = {60: said.past_60, 240: said.past_240}
        model = Forecasts(said.p_high, said.high_said, said.score, np.log(said.vol_annualised))
        return {MODEL: model} | {
            f"{PERSISTENCE}{minutes}": repeating(values, is_high(values)) for minutes, values in past.items()
        }

    def scores(self) -> dict[str, Metrics]:
        if not len(self.columns):
            return {name: dict.fromkeys(ScoresOut.model_fields) for name in self.forecasts()}
        return {name: metrics(said, self) for name, said in self.forecasts().items()}

    def points_above_persistence(self) -> float | None:
        """Accuracy points of the model above whichever persistence did better."""
        if not len(self.columns):
            return None
        accuracy = {name: float((said.high_said == self.high).mean()) for name, said in self.forecasts().items()}
        return shown(points_above(accuracy)[f"points_above_{PERSISTENCE}better"])


class TrackRecord:
    """Answers for one process; any thread may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[_Key, _Kept] = {}
        self._days: dict[tuple[_Key, int], tuple[tuple[int, int], DayOut]] = {}
        self._told: OrderedDict[tuple[_Key, int | None, int | None], tuple[int, TrackRecordOut]] = OrderedDict()
        self._versions = itertools.count(1)
        self._guard = threading.Lock()

    def record(
        self, feed: str, model: ReleasedModel, origin: Origin, start_ms: int | None = None, end_ms: int | None = None
    ) -> TrackRecordOut:
        """The record of the windows with ``start <= window_end < end``."""
        key = (feed, origin, str(model.model_id))
        with self._database.unit_of_work(write=False) as store:
            kept = self._current(store, key)
            pending = _pending(store, key, kept.columns, start_ms, end_ms)
        place = (key, start_ms, end_ms)
        with self._guard:
            version, told = self._told.get(place, (0, None))
        if told is None or version != kept.version:
            told = self._tell(key, model.name, kept.columns, start_ms, end_ms)
            with self._guard:
                self._told[place] = kept.version, told
                self._told.move_to_end(place)
                while len(self._told) > _REMEMBERED:
                    self._told.popitem(last=False)
        return told.model_copy(update={"pending": pending})

    def outcomes(
        self,
        feed: str,
        model_id: str,
        origin: Origin,
        start_ms: int | None,
        end_ms: int | None,
        *,
        step: int = 1,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> OutcomesOut:
        """A page of windows, oldest first, of those that end on a multiple of ``step`` minutes. Raises `BadInput`."""
        if cursor is not None and not (cursor.isdecimal() and cursor.isascii() and len(cursor) < 16):
            raise BadInput("cursor: pass the `next` of the page before, unchanged")
        after_ms = None if cursor is None else int(cursor)
        with self._database.unit_of_work(write=False) as store:
            found = store.outcomes.page(
                feed, origin, model_id, start_ms, end_ms, step=step, limit=limit + 1, after_ms=after_ms
            )
        page = found[:limit]
        more = str(page[-1].window_end_ms) if len(found) > limit else None
        return OutcomesOut(outcomes=[OutcomeOut.of(one) for one in page], next=more)

    def _current(self, store: Store, key: _Key) -> _Kept:
        """What is kept of a key, with what has come since. A back-test can be taken back, so it is counted as well."""
        with self._guard:
            kept = self._kept.get(key) or _Kept(-1, 0, Columns.none())
            last = store.outcomes.seq()
            if last == kept.looked_at:
                return kept
            columns = _with_new(store, key, kept.columns)
            if key[1] is Origin.BACKTEST and store.outcomes.count(*key) != len(columns):
                columns = _with_new(store, key, Columns.none())
            version = kept.version if columns is kept.columns else next(self._versions)
            self._kept[key] = _Kept(last, version, columns)
            return self._kept[key]

    def _tell(
        self, key: _Key, model_name: str, columns: Columns, start_ms: int | None, end_ms: int | None
    ) -> TrackRecordOut:
        first = 0 if start_ms is None else int(np.searchsorted(columns.end_ms, start_ms))
        last = len(columns) if end_ms is None else int(np.searchsorted(columns.end_ms, end_ms))
        part = columns[first : max(first, last)]
        windows = _Windows.of(part)
        scores = windows.scores()
        if start_ms is None and len(part):
            start_ms = int(part.end_ms[0])
        if end_ms is None and len(part):
            end_ms = int(part.end_ms[-1]) + MINUTE_MS
        bins = calibration(windows.columns.p_high, windows.high)
        return TrackRecordOut(
            feed=key[0],
            model_id=key[2],
            model_name=model_name,
            origin=key[1].value,
            start=None if start_ms is None else iso(start_ms),
            end=None if end_ms is None else iso(end_ms),
            windows=len(windows.columns),
            pending=0,
            left_out=len(part) - len(windows.columns),
            high_share=windows.high_share,
            model=_scores_out(scores[MODEL]),
            baselines=BaselinesOut(
                persistence_60=_scores_out(scores[f"{PERSISTENCE}60"]),
                persistence_240=_scores_out(scores[f"{PERSISTENCE}240"]),
            ),
            points_above_better_persistence=windows.points_above_persistence(),
            calibration=[BinOut.model_validate(row | {name: shown(row[name]) for name in _MEANS}) for row in bins],
            per_day=self._per_day(key, part, start_ms, end_ms),
        )

    def _per_day(self, key: _Key, part: Columns, start_ms: int | None, end_ms: int | None) -> list[DayOut]:
        """A row for each day; whole days are worked out again only when something of them has changed."""
        if not len(part) or start_ms is None or end_ms is None:
            return []
        numbers = part.end_ms // DAY_MS
        begins = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])).tolist()
        rows = []
        for begin, end in itertools.pairwise([*begins, len(part)]):
            number, day = int(numbers[begin]), part[begin:end]
            place, mark = (key, number), (len(day), int(day.seq.max()))
            kept = self._days.get(place)
            if kept is None or kept[0] != mark:
                kept = mark, _day(number, day)
                if start_ms <= number * DAY_MS and (number + 1) * DAY_MS <= end_ms:
                    self._days[place] = kept
            rows.append(kept[1])
        return rows


def shown(value: float | None) -> float | None:
    """A number of `evaluate` with the digits that are served, so that it is the same for proof and network."""
    if value is None:
        return None
    told = round(value, SCORE_DIGITS)  # as it is there: what was rounded twice may differ from what was rounded once
    size = abs(told)
    return round(told, DIGITS if size < _SHOWN_WHOLE else DIGITS - math.floor(math.log10(size)))


def _with_new(store: Store, key: _Key, known: Columns) -> Columns:
    while True:
        new = store.outcomes.since(*key, int(known.seq.max(initial=0)), _READ_AT_ONCE)
        if len(new):
            known = known.with_later(new)
        if len(new) < _READ_AT_ONCE:
            return known


def _pending(store: Store, key: _Key, columns: Columns, start_ms: int | None, end_ms: int | None) -> int:
    feed, origin, model_id = key
    if origin is not Origin.LIVE:
        return 0
    open_ms = int(columns.end_ms[-1]) - _LATE_MS if len(columns) else 0
    return store.outcomes.pending(feed, model_id, max(open_ms, start_ms or 0), end_ms)


def _scores_out(found: Metrics) -> ScoresOut:
    return ScoresOut(**{name: shown(value) for name, value in found.items()})


def _day(number: int, columns: Columns) -> DayOut:
    windows = _Windows.of(columns)
    scores = windows.scores()
    model = _scores_out(scores[MODEL])
    return DayOut(
        day=iso(number * DAY_MS)[:10],
        windows=len(windows.columns),
        high_share=windows.high_share,
        accuracy=model.accuracy,
        brier=model.brier,
        auc=model.auc,
        persistence_60=shown(scores[f"{PERSISTENCE}60"]["accuracy"]),
        persistence_240=shown(scores[f"{PERSISTENCE}240"]["accuracy"]),
    )
