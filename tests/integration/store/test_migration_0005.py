"""The fifth schema, reached from a filled database of the fourth, and left again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from app.store.database import Database
from app.store.outcomes import Origin, Outcome
from app.types import MINUTE_MS, EventKind, Prediction

MINUTES = (2, 0, 3, 1)
"""Of the windows, in the order in which they were written."""
NEW = {"events", "outcomes", "standings"}
Dump = Callable[[], dict[str, list[str]]]


@pytest.fixture
def fourth_schema(at_revision: Callable[[str], Database]) -> Database:
    return at_revision("0004")


@pytest.fixture
def filled(
    fourth_schema: Database,
    insert: Callable[..., None],
    make_prediction: Callable[..., Prediction],
    fourth_row: Callable[[Prediction], dict[str, Any]],
    window_end_ms: int,
) -> list[Prediction]:
    """Predictions with their jobs as the fourth version wrote them; given back oldest window first."""
    made = [make_prediction(window_end_ms=window_end_ms + minute * MINUTE_MS) for minute in MINUTES]
    insert("predictions", *map(fourth_row, made))
    job = {"state": "queued", "attempts": 0, "wait_until_ms": 0}
    insert("proof_jobs", *({"prediction_id": one.id, "window_end_ms": one.window_end_ms, **job} for one in made))
    return sorted(made, key=lambda one: one.window_end_ms)


@pytest.fixture
def fourth_row(former_row: Callable[[Prediction], dict[str, Any]]) -> Callable[[Prediction], dict[str, Any]]:
    def row(prediction: Prediction) -> dict[str, Any]:
        fields = former_row(prediction)
        del fields["venues"]
        sources = prediction.sources
        return fields | {
            "markets": dict(sources.markets),
            "left_out": None,
            "candles_as_of": sources.as_of,
            "quorum": prediction.quorum,
        }

    return row


def test_upgrade__of_a_filled_database__keeps_predictions_and_numbers_them_in_the_order_of_windows(
    fourth_schema: Database, filled: list[Prediction]
) -> None:
    fourth_schema.upgrade("0005")
    with fourth_schema.unit_of_work() as store:
        assert store.predictions.arrivals(filled[0].feed, None, None, 10) == list(enumerate(filled, start=1))
        assert store.jobs.waiting() == len(filled)
        assert (store.events.last(), store.events.oldest(), store.outcomes.seq()) == (0, None, 0)


def test_upgraded__what_arrives_then__has_the_next_numbers(
    fourth_schema: Database, filled: list[Prediction], make_prediction: Callable[..., Prediction], window_end_ms: int
) -> None:
    fourth_schema.upgrade("0005")
    late = make_prediction(window_end_ms=window_end_ms - MINUTE_MS)
    with fourth_schema.unit_of_work() as store:
        assert store.predictions.add(late)
    with fourth_schema.unit_of_work(write=False) as store:
        assert store.predictions.arrivals(late.feed, None, None, 10, len(filled)) == [(len(filled) + 1, late)]
        assert [(one.seq, one.kind) for one in store.events.after(0, 10)] == [(1, EventKind.PREDICTION)]


@pytest.mark.usefixtures("filled")
def test_downgrade__of_an_upgraded_database__is_as_before(fourth_schema: Database, everything: Dump) -> None:
    before = everything()
    fourth_schema.upgrade("0005")
    fourth_schema.downgrade("0004")
    assert everything() == before


def test_downgrade__with_events_outcomes_and_standings__leaves_the_rest_and_can_be_upgraded_again(
    database: Database, connection: sa.Connection, everything: Dump, predict: Callable[..., Prediction]
) -> None:
    made = [predict(minute) for minute in MINUTES]
    with database.unit_of_work() as store:
        store.outcomes.add([outcome_of(made[0])])
        store.standings.put("host:1", {"market": "live"}, 5)
    before = {name: rows for name, rows in everything().items() if name in ("proof_jobs", "candles")}
    database.downgrade("0004")
    assert not NEW & set(sa.inspect(connection).get_table_names())
    assert {name: everything()[name] for name in before} == before
    database.upgrade()
    with database.unit_of_work(write=False) as store:
        in_order = sorted(made, key=lambda one: one.window_end_ms)
        assert store.predictions.arrivals(made[0].feed, None, None, 10) == list(enumerate(in_order, start=1))
        assert (store.events.last(), store.outcomes.seq(), store.standings.newest()) == (0, 0, None)


def outcome_of(prediction: Prediction) -> Outcome:
    return Outcome(
        feed=prediction.feed,
        origin=Origin.LIVE,
        model_id=prediction.model_id,
        window_end_ms=prediction.window_end_ms,
        prediction_id=prediction.id,
        p_high=prediction.p_high,
        score=-0.8,
        high_said=True,
        vol_annualised=prediction.vol_annualised,
        realised=0.0004,
        past_60=0.0003,
        past_240=0.0005,
        missing=None,
        judged_at_ms=9,
    )
