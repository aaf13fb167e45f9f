from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from app.inference.network import forecast_from
from app.store.database import Database
from app.store.old_predictions import JUDGED_WITHIN_MS
from app.store.outcomes import Origin, Outcome
from app.store.retention import old_predictions, prune_predictions
from app.types import (
    Attempt,
    AttemptOutcome,
    Attestation,
    AttestationOutcome,
    Disagreement,
    ModelId,
    OracleAt,
    Prediction,
    Proof,
    Receipt,
    SignedTransaction,
)

CHAIN_ID, ORACLE, SENDER = 31337, "0x" + "11" * 20, "0x" + "aa" * 20
Settled = Callable[[int], Prediction]


def signed(nonce: int) -> SignedTransaction:
    return SignedTransaction(CHAIN_ID, ORACLE, SENDER, nonce, f"0x{nonce:064x}", b"raw", 20, 2)


def receipt(nonce: int) -> Receipt:
    return Receipt(True, 12, "0x" + "12" * 32, 500_000, signed(nonce).tx_hash)


def outcome_of(prediction: Prediction) -> Outcome:
    return Outcome(
        feed=prediction.feed,
        origin=Origin.LIVE,
        model_id=ModelId(prediction.model_id),
        window_end_ms=prediction.window_end_ms,
        prediction_id=prediction.id,
        p_high=0.5,
        score=0.0,
        high_said=True,
        vol_annualised=0.4,
        realised=0.1,
        past_60=None,
        past_240=None,
        missing=None,
        judged_at_ms=1,
    )


@pytest.fixture
def settled(
    database: Database, predict: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> Callable[..., Prediction]:
    """A prediction of a minute with something in every table that hangs on it, judged and on the chain."""

    def make(minute: int, feed: str = "btc-usdt-4h", *, judged: bool = True, mined: bool = True) -> Prediction:
        one = predict(minute, feed=feed)
        with database.unit_of_work() as store:
            job = store.jobs.lease("me", 0, 1_000, 5)
            assert job is not None
            store.jobs.finish(one.id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
            store.attempts.add(Attempt(one.id, 1, AttemptOutcome.PROVED, None, "me", 1, None, None, None, None, 5))
            refused = Attestation(one.id, "own", AttestationOutcome.REFUSED, None, "why", 5)
            store.attestations.record([refused], OracleAt(CHAIN_ID, ORACLE))
            assert store.submissions.record([one.id], signed(minute), 9)
            if mined:
                store.submissions.include(signed(minute), receipt(minute))
                store.submissions.settle(signed(minute), receipt(minute))
            if judged:
                store.outcomes.add([outcome_of(one)])
        return one

    return make


@pytest.fixture
def sizes(connection: sa.Connection) -> Callable[[], dict[str, int]]:
    """How many rows each table has that has something to do with predictions."""

    def count() -> dict[str, int]:
        found = sa.MetaData()
        found.reflect(connection)
        without = {"alembic_version", "counters", "candles"}
        sizes = {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in found.tables.items()
            if name not in without
        }
        return {name: rows for name, rows in sizes.items() if rows}

    return count


def test_prune__of_what_is_past_its_time__takes_all_that_hangs_on_it_but_the_outcome(
    database: Database, settled: Settled, sizes: Callable[[], dict[str, int]]
) -> None:
    kept = settled(3)
    after_one = sizes()
    for minute in range(3):
        settled(minute)
    assert prune_predictions(database, kept.window_end_ms) == 3
    assert sizes() == after_one | {"outcomes": 4}
    with database.unit_of_work(write=False) as store:
        assert store.predictions.latest(kept.feed, proved=False) is not None
        assert len(store.outcomes.page(kept.feed, Origin.LIVE, kept.model_id, None, None, step=1, limit=9)) == 4


def test_prune__outcome_that_stays__is_no_longer_of_a_prediction(database: Database, settled: Settled) -> None:
    gone = settled(0)
    prune_predictions(database, gone.window_end_ms + 1)
    with database.unit_of_work(write=False) as store:
        (left,) = store.outcomes.page(gone.feed, Origin.LIVE, gone.model_id, None, None, step=1, limit=9)
        assert (left.prediction_id, left.realised) == (None, 0.1)
        assert store.outcomes.due(gone.feed, 0, gone.window_end_ms, 9) == []


def test_prune__without_anything_old__deletes_nothing(
    database: Database, settled: Settled, sizes: Callable[[], dict[str, int]]
) -> None:
    oldest = settled(0)
    before = sizes()
    assert prune_predictions(database, oldest.window_end_ms) == 0
    assert prune_predictions(database, 0) == 0
    assert sizes() == before


def test_prune__many_windows_of_several_feeds__goes_through_all_of_them_in_slices(
    database: Database, predict: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.old_predictions._AT_ONCE", 4)
    for minute in (0, 1, 5, 6, 500):
        for feed in ("btc-usdt-4h", "eth-usdt-4h"):
            last = predict(minute, feed=feed)
    told: list[int] = []
    assert old_predictions(database, last.window_end_ms) == 8
    assert prune_predictions(database, last.window_end_ms, told.append) == 8
    assert told == [4, 8]
    with database.unit_of_work(write=False) as store:
        assert [one.window_end_ms for one in store.predictions.history(last.feed, None, None, 9)] == [
            last.window_end_ms
        ]


def test_prune__transaction_under_way__keeps_its_window_and_goes_on_behind_it(
    database: Database, settled: Callable[..., Prediction]
) -> None:
    settled(0)
    under_way = settled(1, mined=False)
    assert old_predictions(database, under_way.window_end_ms + 60_000) == 1
    assert prune_predictions(database, under_way.window_end_ms + 60_000) == 1
    with database.unit_of_work(write=False) as store:
        assert store.predictions.get(under_way.id) is not None
        assert len(store.submissions.sent(CHAIN_ID, SENDER)) == 1


def test_prune__open_alarm__keeps_the_whole_window_until_somebody_has_looked(
    database: Database, predict: Callable[..., Prediction]
) -> None:
    alarming, beside = predict(0), predict(0, feed="eth-usdt-4h")
    found = Disagreement(alarming.id, alarming.feed, alarming.window_end_ms, "why", None)
    with database.unit_of_work() as store:
        store.disagreements.add(found, {"candles": []})
    assert prune_predictions(database, alarming.window_end_ms + 1) == 0
    with database.unit_of_work() as store:
        store.disagreements.clear(alarming.id, 5)
    assert prune_predictions(database, beside.window_end_ms + 1) == 2


def test_prune__not_judged_yet__waits_for_that_but_not_for_ever(
    database: Database, settled: Callable[..., Prediction]
) -> None:
    unjudged = settled(0, judged=False)
    assert prune_predictions(database, unjudged.window_end_ms + JUDGED_WITHIN_MS) == 0
    assert prune_predictions(database, unjudged.window_end_ms + JUDGED_WITHIN_MS + 1) == 1
