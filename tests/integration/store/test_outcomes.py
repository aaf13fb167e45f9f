"""What became of forecasts, on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.store.database import Database
from app.store.outcomes import Columns, Origin, Outcome
from app.types import MINUTE_MS, ModelId, Prediction, Status

FEED, OTHER_FEED = "btc-usdt-4h", "eth-usdt-4h"
MODEL, OTHER_MODEL = ModelId("ab" * 32), ModelId("cd" * 32)
END_MS = 1_757_937_600_000
Predict = Callable[..., Prediction]


def outcome(minute: int = 0, **fields: object) -> Outcome:
    template = Outcome(
        feed=FEED,
        origin=Origin.BACKTEST,
        model_id=MODEL,
        window_end_ms=END_MS + minute * MINUTE_MS,
        prediction_id=None,
        p_high=0.1 + 0.2,
        score=-1 / 3,
        high_said=False,
        vol_annualised=0.36,
        realised=0.0004,
        past_60=0.0003,
        past_240=0.0005,
        missing=None,
        judged_at_ms=END_MS,
    )
    return replace(template, **fields)


def missing(minute: int) -> Outcome:
    return outcome(minute, realised=None, past_60=None, past_240=None, missing="nobody knows")


def of(prediction: Prediction) -> Outcome:
    return outcome(
        feed=prediction.feed,
        origin=Origin.LIVE,
        model_id=prediction.model_id,
        window_end_ms=prediction.window_end_ms,
        prediction_id=prediction.id,
    )


def add(database: Database, *rows: Outcome) -> list[Outcome]:
    with database.unit_of_work() as store:
        return store.outcomes.add(rows)


def since(database: Database, seq: int = 0, limit: int = 100, model: str = MODEL) -> Columns:
    with database.unit_of_work(write=False) as store:
        return store.outcomes.since(FEED, Origin.BACKTEST, model, seq, limit)


def minutes(columns: Columns) -> list[int]:
    return [(end - END_MS) // MINUTE_MS for end in columns.end_ms.tolist()]


def test_add__again__keeps_the_first_and_says_what_is_new(database: Database) -> None:
    first, later = outcome(0), outcome(1)
    assert add(database, first) == [first]
    assert add(database, outcome(0, p_high=0.9), later) == [later]
    with database.unit_of_work(write=False) as store:
        page = store.outcomes.page(FEED, Origin.BACKTEST, MODEL, None, None, step=1, limit=10)
        assert (page, store.outcomes.seq()) == ([first, later], 2)


@pytest.mark.parametrize("other", [{"origin": Origin.LIVE}, {"model_id": OTHER_MODEL}, {"feed": OTHER_FEED}])
def test_add__another_origin_model_or_feed__is_another_outcome(database: Database, other: dict[str, object]) -> None:
    assert len(add(database, outcome(), outcome(), missing(1))) == 2
    assert len(add(database, outcome(**other))) == 1
    assert minutes(since(database)) == [0, 1]


def test_since__number__gives_what_came_after_it_in_that_order(database: Database) -> None:
    add(database, outcome(5), missing(3))
    add(database, outcome(4, high_said=True), outcome(0, model_id=OTHER_MODEL))
    first = since(database, limit=2)
    assert (minutes(first), first.seq.tolist()) == ([5, 3], [1, 2])
    assert [str(value) for value in first.realised.tolist()] == ["0.0004", "nan"]
    rest = since(database, seq=2)
    assert (minutes(rest), rest.high_said.tolist(), rest.score.tolist()) == ([4], [True], [-1 / 3])
    assert minutes(first.with_later(rest)) == [3, 4, 5]
    assert len(since(database, seq=3)) == 0


def test_since__read_while_others_add__misses_nothing(database: Database) -> None:
    """Whoever has a number sees all before it: otherwise a reader that goes on from there would lose rows."""

    def keep_adding(first: int) -> None:
        for minute in range(first, first + 20, 2):
            add(database, outcome(minute))

    writers = [threading.Thread(target=keep_adding, args=(first,)) for first in (0, 1)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    while len(seen) < 20:
        alive = any(writer.is_alive() for writer in writers)
        seen += (new := since(database, seq=len(seen), limit=3)).seq.tolist()
        assert alive or len(new)
    for writer in writers:
        writer.join()
    assert seen == list(range(1, 21))


def test_due__proved_and_not_judged__oldest_first(database: Database, predict: Predict) -> None:
    newest, oldest = predict(2, status=Status.CONFIRMED), predict(0, status=Status.PROVED)
    predict(1, status=Status.FAILED)
    predict(3, status=Status.PROVED)
    add(database, of(predict(1, status=Status.PROVED, model_id=OTHER_MODEL)))
    with database.unit_of_work(write=False) as store:
        due = store.outcomes.due(FEED, 0, END_MS + 2 * MINUTE_MS, 10)
        assert [one.prediction_id for one in due] == [oldest.id, newest.id]
        assert (due[0].markets, due[0].quorum, due[0].high_said) == (oldest.sources.markets, 2, True)
        assert store.outcomes.due(FEED, END_MS + MINUTE_MS, END_MS + 2 * MINUTE_MS, 10) == due[1:]
        assert store.outcomes.due(FEED, 0, END_MS + 2 * MINUTE_MS, 1) == due[:1]
        assert store.outcomes.pending(FEED, MODEL, END_MS, None) == 3
        assert store.outcomes.pending(FEED, MODEL, END_MS + MINUTE_MS, END_MS + 3 * MINUTE_MS) == 1


def test_of__predictions__are_those_that_were_judged(database: Database, predict: Predict) -> None:
    judged, waiting = predict(0), predict(1)
    add(database, of(judged))
    with database.unit_of_work(write=False) as store:
        assert store.outcomes.of([judged.id, waiting.id]) == {judged.id: of(judged)}


def test_page__steps_and_bounds__hold(database: Database) -> None:
    add(database, *(outcome(minute) for minute in range(12)))
    with database.unit_of_work(write=False) as store:

        def page(start: int | None, end: int | None, step: int, limit: int, after: int | None = None) -> list[int]:
            times = [None if minute is None else END_MS + minute * MINUTE_MS for minute in (start, end, after)]
            found = store.outcomes.page(
                FEED, Origin.BACKTEST, MODEL, times[0], times[1], step=step, limit=limit, after_ms=times[2]
            )
            return [(one.window_end_ms - END_MS) // MINUTE_MS for one in found]

        assert page(3, 9, 1, 3) == [3, 4, 5]
        assert page(3, 9, 1, 9, after=5) == [6, 7, 8]
        assert page(None, None, 5, 9) == [0, 5, 10]


def test_clear_backtest__leaves_the_rest_and_is_noticed(database: Database, predict: Predict) -> None:
    live = of(predict(0))
    add(database, outcome(0), outcome(1), outcome(0, model_id=OTHER_MODEL))
    add(database, live)
    with database.unit_of_work() as store:
        before = store.outcomes.seq()
        assert store.outcomes.clear_backtest(FEED, MODEL) == 2
        assert store.outcomes.seq() > before
        assert store.outcomes.count(FEED, Origin.BACKTEST, MODEL) == 0
        assert store.outcomes.count(FEED, Origin.BACKTEST, OTHER_MODEL) == 1
        assert store.outcomes.count(FEED, Origin.LIVE, MODEL) == 1


def test_with_later__window_that_is_there_twice__is_the_later_one(database: Database) -> None:
    add(database, outcome(0), outcome(2))
    known = since(database)
    with database.unit_of_work() as store:
        store.outcomes.clear_backtest(FEED, MODEL)
    add(database, outcome(2, p_high=0.75), outcome(1))
    joined = known.with_later(since(database, seq=2))
    assert (minutes(joined), joined.p_high.tolist()) == ([0, 1, 2], [0.1 + 0.2, 0.1 + 0.2, 0.75])
