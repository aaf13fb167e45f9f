"""The track record of a handful of windows, whose scores can be told by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.errors import BadInput
from app.inference.release import ReleasedModel
from app.judging import scores
from app.store.database import Database
from app.store.outcomes import Origin, Outcome
from app.types import DAY_MS, MINUTE_MS, ModelId, Prediction, Status, parse_time
from app.web.record_schemas import OutcomeOut, TrackRecordOut
from app.web.track_record import TrackRecord, shown

FEED = "btc-usdt-4h"
LOW, HIGH = 0.0004, 0.0006
START_MS = parse_time("2025-09-15T23:58:00Z")
YEAR = math.sqrt(525_600)


@pytest.fixture
def outcome(model: ReleasedModel) -> Callable[..., Outcome]:
    def make(minute: int, p_high: float, realised: float | None, **fields: object) -> Outcome:
        template = Outcome(
            feed=FEED,
            origin=Origin.BACKTEST,
            model_id=model.model_id,
            window_end_ms=START_MS + minute * MINUTE_MS,
            prediction_id=None,
            p_high=p_high,
            score=math.log(p_high / (1 - p_high)),
            high_said=p_high > 0.5,
            vol_annualised=LOW * YEAR,
            realised=realised,
            past_60=HIGH,
            past_240=LOW,
            missing=None if realised else "a minute is missing",
            judged_at_ms=0,
        )
        return replace(template, **fields)

    return make


@pytest.fixture
def four(outcome: Callable[..., Outcome]) -> list[Outcome]:
    """Two windows on each of two days: three that are named rightly, and a fifth that nobody can judge."""
    said = [(0, 0.9, HIGH), (1, 0.2, LOW), (2, 0.6, LOW), (3, 0.7, HIGH), (4, 0.5, None)]
    return [outcome(*one) for one in said]


@pytest.fixture
def add(sqlite_database: Database) -> Callable[[list[Outcome]], None]:
    def add_all(rows: list[Outcome]) -> None:
        with sqlite_database.unit_of_work() as store:
            store.outcomes.add(rows)

    return add_all


@pytest.fixture
def record(sqlite_database: Database) -> TrackRecord:
    return TrackRecord(sqlite_database)


@pytest.fixture
def told(record: TrackRecord, model: ReleasedModel) -> Callable[..., TrackRecordOut]:
    def tell(start: int | None = None, end: int | None = None, origin: Origin = Origin.BACKTEST) -> TrackRecordOut:
        times = [None if minute is None else START_MS + minute * MINUTE_MS for minute in (start, end)]
        return record.record(FEED, model, origin, *times)

    return tell


def test_record__hand_counted(
    four: list[Outcome], add: Callable[..., None], told: Callable[..., TrackRecordOut], model: ReleasedModel
) -> None:
    add(four)
    found = told()
    assert (found.windows, found.left_out, found.pending, found.high_share) == (4, 1, 0, 0.5)
    assert (found.model_id, found.model_name, found.origin) == (model.model_id, model.name, "backtest")
    assert (found.start, found.end) == ("2025-09-15T23:58:00Z", "2025-09-16T00:03:00Z")
    assert found.model.accuracy == 0.75
    assert found.model.auc == 1, "every high window scored above every low one"
    assert found.model.brier == 0.125, "(0.01 + 0.04 + 0.36 + 0.09) / 4"
    error = math.log(HIGH / LOW)
    assert found.model.r2_log_vol == pytest.approx(1 - 2 * error**2 / (4 * (error / 2) ** 2), abs=1e-4)
    assert (found.baselines.persistence_60.accuracy, found.baselines.persistence_240.accuracy) == (0.5, 0.5)
    assert found.points_above_better_persistence == 25
    full = [(one.start, one.windows, one.stated, one.observed) for one in found.calibration if one.windows]
    assert full == [(0.2, 1, 0.2, 0), (0.6, 1, 0.6, 0), (0.7, 1, 0.7, 1), (0.9, 1, 0.9, 1)]


def test_record__days__are_apart(
    four: list[Outcome], add: Callable[..., None], told: Callable[..., TrackRecordOut]
) -> None:
    add(four)
    first, second = told().per_day
    assert (first.day, first.windows, first.accuracy, first.persistence_60) == ("2025-09-15", 2, 1, 0.5)
    assert (second.day, second.windows, second.accuracy, second.brier) == ("2025-09-16", 2, 0.5, 0.225)


def test_record__stretch_of_time__is_of_its_windows_only(
    four: list[Outcome], add: Callable[..., None], told: Callable[..., TrackRecordOut]
) -> None:
    add(four)
    found = told(1, 3)
    assert (found.windows, found.model.accuracy, found.model.auc) == (2, 0.5, None)
    assert [day.windows for day in found.per_day] == [1, 1]
    assert [day.windows for day in told().per_day] == [2, 2], "a part of a day is not kept for the whole"


@pytest.mark.parametrize("bounds", [(100, None), (None, 0), (3, 1)])
def test_record__nothing_in_it__has_no_numbers(
    four: list[Outcome],
    add: Callable[..., None],
    told: Callable[..., TrackRecordOut],
    bounds: tuple[int | None, int | None],
) -> None:
    add(four)
    found = told(*bounds)
    assert (found.windows, found.per_day, found.high_share, found.model.brier) == (0, [], None, None)
    assert found.points_above_better_persistence is None
    assert len(found.calibration) == 10
    assert told(origin=Origin.LIVE).start is None


def test_record__outcomes_that_come_later__are_added_wherever_they_belong(
    four: list[Outcome],
    add: Callable[..., None],
    told: Callable[..., TrackRecordOut],
    outcome: Callable[..., Outcome],
    model: ReleasedModel,
    sqlite_database: Database,
) -> None:
    add(four[2:])
    before = told()
    assert [day.day for day in before.per_day] == ["2025-09-16"]
    add(four[:2])
    after = told()
    assert after.windows == 4
    assert [day.day for day in after.per_day] == ["2025-09-15", "2025-09-16"]
    add([outcome(5, 0.1, LOW)])
    assert told().per_day[1].windows == 3
    assert told() == TrackRecord(sqlite_database).record(FEED, model, Origin.BACKTEST), "as any other process tells it"


def test_record__what_has_not_changed__is_not_read_or_scored_again(
    four: list[Outcome],
    add: Callable[..., None],
    told: Callable[..., TrackRecordOut],
    outcome: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(four)
    around = (-2 * DAY_MS // MINUTE_MS, 2 * DAY_MS // MINUTE_MS)
    told(*around)
    scored: list[int] = []

    def counting(said: scores.Forecasts, realised: scores.Realised) -> scores.Metrics:
        scored.append(len(said))
        return scores.metrics(said, realised)

    monkeypatch.setattr("app.web.track_record.metrics", counting)
    told(*around)
    assert scored == []
    add([outcome(6, 0.1, LOW)])
    told(*around)
    assert scored == [5] * 3 + [3] * 3, "the whole, and the day it fell on, each for the model and two baselines"


def test_record__backtest_taken_back__is_gone(
    four: list[Outcome],
    add: Callable[..., None],
    told: Callable[..., TrackRecordOut],
    sqlite_database: Database,
    model: ReleasedModel,
) -> None:
    add(four)
    assert told().windows == 4
    with sqlite_database.unit_of_work() as store:
        store.outcomes.clear_backtest(FEED, model.model_id)
    add([replace(four[1], p_high=0.9, high_said=True), replace(four[0], window_end_ms=START_MS + 9 * MINUTE_MS)])
    found = told()
    assert (found.windows, found.model.accuracy) == (2, 0.5)


def test_record__proved_and_not_judged__is_pending(
    told: Callable[..., TrackRecordOut],
    make_prediction: Callable[..., Prediction],
    sqlite_database: Database,
    model: ReleasedModel,
    outcome: Callable[..., Outcome],
) -> None:
    made = [
        make_prediction(window_end_ms=START_MS + minute * MINUTE_MS, model_id=model_id, status=Status.PROVED)
        for minute, model_id in ((0, model.model_id), (1, model.model_id), (2, model.model_id), (3, ModelId("ee" * 32)))
    ]
    with sqlite_database.unit_of_work() as store:
        for one in made:
            store.predictions.add(one)
        judged = outcome(0, 0.9, HIGH, origin=Origin.LIVE, prediction_id=made[0].id)
        store.outcomes.add([judged])
    found = told(origin=Origin.LIVE)
    assert (found.windows, found.pending) == (1, 2)
    assert told(2, origin=Origin.LIVE).pending == 1


def test_outcomes__pages__follow_one_another(
    four: list[Outcome], add: Callable[..., None], record: TrackRecord, model: ReleasedModel
) -> None:
    add(four)
    cursor, seen = None, []
    while not seen or cursor:
        page = record.outcomes(FEED, model.model_id, Origin.BACKTEST, None, None, limit=2, cursor=cursor)
        seen += page.outcomes
        cursor = page.next
    assert seen == [OutcomeOut.of(one) for one in four]
    assert (seen[2].regime, seen[2].realised_regime, seen[2].right) == ("high", "low", False)
    assert seen[2].realised_vol_annualised == pytest.approx(LOW * YEAR)
    assert (seen[4].right, seen[4].missing) == (None, "a minute is missing")


@pytest.mark.parametrize("cursor", ["", "-1", "x", "9" * 40, "¹"])
def test_outcomes__cursor_of_somebody_else__is_refused(record: TrackRecord, cursor: str) -> None:
    with pytest.raises(BadInput, match="cursor"):
        record.outcomes(FEED, "ab", Origin.LIVE, None, None, cursor=cursor)


def test_record__as_json__has_the_agreed_names(
    four: list[Outcome], add: Callable[..., None], told: Callable[..., TrackRecordOut]
) -> None:
    add(four)
    body = told().model_dump(mode="json", by_alias=True)
    assert set(body["calibration"][0]) == {"from", "to", "windows", "stated", "observed"}
    names = ["accuracy", "auc", "balanced_accuracy", "brier", "ece", "f1", "qlike", "r2_log_vol"]
    assert sorted(body["model"]) == sorted(body["baselines"]["persistence_240"]) == names


@pytest.mark.parametrize(
    ("value", "expected"), [(0.12345678, 0.1235), (-9.99996, -10.0), (41.127499, 41.127), (-1234.5678, -1234.6), (0, 0)]
)
def test_shown__digits__are_fewer_where_a_number_is_large(value: float, expected: float) -> None:
    assert shown(value) == expected
    assert shown(None) is None


def test_shown__half_a_digit__is_rounded_as_evaluates_number_is() -> None:
    value = 0.12344951  # 0.12345 in evaluate's six digits
    assert shown(value) == round(round(value, scores.DIGITS), 4) == shown(round(value, scores.DIGITS))
    assert np.sign(shown(-value) or 0) == -1
