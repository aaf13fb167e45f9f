"""Attempts at proofs, and windows where network and circuit disagreed, as they come back from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.store.database import Database
from app.types import Attempt, AttemptOutcome, Disagreement, Prediction, PredictionId

Predict = Callable[..., Prediction]
WINDOW = {"candles": {"binance": [[60_000, 0.1 + 0.2, 1e-300, 1e300, 1 / 3, 0.0]]}, "observation": [-384, 0], "slot": 1}


def attempt(prediction: Prediction, **fields: object) -> Attempt:
    template = Attempt(
        prediction_id=prediction.id,
        number=2,
        outcome=AttemptOutcome.PROVED,
        reason=None,
        owner="host:1",
        windows=10,
        queue_seconds=1 / 3,
        witness_seconds=0.01,
        prove_seconds=0.2,
        verify_seconds=1e-9,
        at_ms=1_757_937_600_123,
    )
    return replace(template, **fields)  # type: ignore[arg-type]


def add(database: Database, *made: Attempt) -> None:
    with database.unit_of_work() as store:
        for one in made:
            store.attempts.add(one)


def of(database: Database, prediction: Prediction) -> list[Attempt]:
    with database.unit_of_work(write=False) as store:
        return store.attempts.of(prediction.id)


def test_attempts__of_a_prediction_never_tried__are_none(database: Database, predict: Predict) -> None:
    assert of(database, predict()) == []


@pytest.mark.parametrize("outcome", AttemptOutcome, ids=str)
def test_attempt__of_any_outcome__comes_back_as_it_was(
    database: Database, predict: Predict, outcome: AttemptOutcome
) -> None:
    made = attempt(predict(), outcome=outcome)
    add(database, made)
    assert of(database, predict(1)) == []
    with database.unit_of_work(write=False) as store:
        assert store.attempts.of(made.prediction_id) == [made]


def test_attempt__without_any_seconds__comes_back_as_it_was(database: Database, predict: Predict) -> None:
    prediction = predict()
    bare = {"queue_seconds": None, "witness_seconds": None, "prove_seconds": None, "verify_seconds": None}
    made = attempt(prediction, number=0, outcome=AttemptOutcome.SHED, reason="shed: ü " * 100, **bare)
    add(database, made)
    assert of(database, prediction) == [made]


def test_attempts__of_one_prediction__are_in_the_order_in_which_they_came(database: Database, predict: Predict) -> None:
    prediction, other = predict(0), predict(1)
    made = [attempt(prediction, number=number, at_ms=1_000 - number) for number in (1, 2, 3)]
    for one in made:
        add(database, one, attempt(other, number=one.number))
    assert of(database, prediction) == made


def disagreement(prediction: Prediction, reason: str = "3.0 tolerances apart") -> Disagreement:
    return Disagreement(prediction.id, prediction.feed, prediction.window_end_ms, reason, cleared_at_ms=None)


@pytest.fixture
def alarm(database: Database, predict: Predict) -> Callable[..., Disagreement]:
    """Raise the alarm of a window so many minutes after the first."""

    def raise_one(minute: int = 0, **fields: object) -> Disagreement:
        found = disagreement(predict(minute, **fields))
        with database.unit_of_work() as store:
            store.disagreements.add(found, WINDOW)
        return found

    return raise_one


def open_alarms(database: Database, feed: str | None = None) -> list[Disagreement]:
    with database.unit_of_work(write=False) as store:
        return store.disagreements.open(feed)


def clear(database: Database, found: Disagreement, now_ms: int = 99) -> bool:
    with database.unit_of_work() as store:
        return store.disagreements.clear(found.prediction_id, now_ms)


def window(database: Database, prediction_id: PredictionId) -> dict[str, object] | None:
    with database.unit_of_work(write=False) as store:
        return store.disagreements.window(prediction_id)


def test_disagreement__raised__is_open_and_its_window_kept_exactly(
    database: Database, alarm: Callable[..., Disagreement]
) -> None:
    found = alarm()
    assert open_alarms(database) == [found]
    assert window(database, found.prediction_id) == WINDOW


def test_disagreement__a_second_time__keeps_the_first(database: Database, alarm: Callable[..., Disagreement]) -> None:
    first = alarm()
    with database.unit_of_work() as store:
        store.disagreements.add(replace(first, reason="another"), {"another": True})
    assert (open_alarms(database), window(database, first.prediction_id)) == ([first], WINDOW)


def test_disagreement__a_second_time_after_it_was_cleared__stays_cleared(
    database: Database, alarm: Callable[..., Disagreement]
) -> None:
    found = alarm()
    clear(database, found)
    with database.unit_of_work() as store:
        store.disagreements.add(found, WINDOW)
    assert open_alarms(database) == []


def test_open__several__are_newest_first_and_of_the_feed_asked_for(
    database: Database, alarm: Callable[..., Disagreement]
) -> None:
    old, new, other = alarm(0), alarm(5), alarm(3, feed="eth-usdt-4h")
    assert open_alarms(database) == [new, other, old]
    assert open_alarms(database, old.feed) == [new, old]


def test_clear__ends_the_alarm_and_keeps_the_window(database: Database, alarm: Callable[..., Disagreement]) -> None:
    found = alarm()
    assert clear(database, found, now_ms=99)
    assert open_alarms(database) == []
    assert window(database, found.prediction_id) == WINDOW
    with database.unit_of_work(write=False) as store:
        assert store.disagreements.all() == [replace(found, cleared_at_ms=99)]


def test_clear__what_is_cleared_already__changes_nothing(
    database: Database, alarm: Callable[..., Disagreement]
) -> None:
    found = alarm()
    clear(database, found, now_ms=99)
    assert not clear(database, found, now_ms=100)
    with database.unit_of_work(write=False) as store:
        assert [one.cleared_at_ms for one in store.disagreements.all()] == [99]


def test_clear__without_an_alarm__is_refused(database: Database, predict: Predict) -> None:
    assert not clear(database, disagreement(predict()))


def test_window__without_an_alarm__is_none(database: Database, predict: Predict) -> None:
    assert window(database, predict().id) is None
