"""The second schema, reached from a database that the first one filled, and left again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import sqlalchemy as sa

from app.inference.network import forecast_from
from app.store.database import Database
from app.types import (
    Attempt,
    AttemptOutcome,
    Candles,
    Disagreement,
    Prediction,
    Proof,
    SignedTransaction,
    Status,
)

Insert = Callable[..., None]
FORECAST = forecast_from((0, 1, -1))
GIVEN_UP = "its proof of several windows was given up in a downgrade"


def sent(number: int, sender: str = "0x" + "aa" * 20) -> SignedTransaction:
    return SignedTransaction(31337, "0x" + "11" * 20, sender, 7, f"0x{number:064x}", b"raw", 20, 2)


@pytest.fixture
def first_schema(at_revision: Callable[[str], Database]) -> Database:
    return at_revision("0001")


@pytest.fixture
def filled(
    first_schema: Database,
    insert: Insert,
    make_prediction: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
    former_row: Callable[[Prediction], dict[str, Any]],
) -> tuple[Prediction, Proof]:
    """A row in every table of the first schema, written as that version wrote it."""
    prediction, proof = make_prediction(status=Status.SUBMITTED), make_proof()
    rows: dict[str, dict[str, Any]] = {
        "candles": {
            "venue": "binance",
            "symbol": "BTC/USDT",
            "open_time_ms": 60_000,
            **dict.fromkeys(("open", "high", "low", "close"), 1.5),
            "volume": 2.0,
        },
        "predictions": former_row(prediction),
        "proof_jobs": {
            "prediction_id": prediction.id,
            "window_end_ms": prediction.window_end_ms,
            "state": "done",
            "attempts": 1,
            "wait_until_ms": 5,
        },
        "proofs": {
            "prediction_id": prediction.id,
            "proved_at_ms": 77,
            **{name: value for name, value in asdict(proof).items() if name not in ("commitment", "members", "slot")},
        },
        "submissions": {
            "prediction_id": prediction.id,
            "chain_id": 31337,
            "contract": "0x" + "11" * 20,
            "tx_hash": "0x" + "22" * 32,
            "raw_tx": b"raw",
            "state": "sent",
            "sent_at_ms": 9,
        },
    }
    for name, row in rows.items():
        insert(name, row)
    return prediction, proof


def rows_of(connection: sa.Connection, table: str) -> int:
    return connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_upgrade__of_a_filled_database__keeps_every_row(
    first_schema: Database, connection: sa.Connection, filled: tuple[Prediction, Proof]
) -> None:
    prediction, proof = filled
    first_schema.upgrade("0002")
    assert connection.execute(sa.text("SELECT state FROM submissions")).scalars().all() == ["sent"]
    first_schema.upgrade()
    with first_schema.unit_of_work(write=False) as store:
        assert store.predictions.get(prediction.id) == replace(prediction, status=Status.PROVED, quorum=1)
        assert store.predictions.proof(prediction.id) == (proof, 77)
        assert store.predictions.proved_with(prediction.id) == [prediction.id]
        assert store.candles.count("binance", "BTC/USDT", 0, 120_000) == 1
        assert store.jobs.waiting() == 0


def test_upgrade__of_a_filled_database__an_old_job_has_waited_for_an_unknown_time(
    first_schema: Database, connection: sa.Connection, filled: tuple[Prediction, Proof]
) -> None:
    connection.execute(sa.text("UPDATE proof_jobs SET state = 'queued', attempts = 0"))
    first_schema.upgrade()
    with first_schema.unit_of_work() as store:
        job = store.jobs.lease("me", 1_000_000, 1_000, 5)
    assert job is not None
    assert job.queue_seconds is None


def test_downgrade__of_an_upgraded_database__keeps_the_rows_of_the_first_schema(
    first_schema: Database, connection: sa.Connection, filled: tuple[Prediction, Proof]
) -> None:
    first_schema.upgrade("0002")
    first_schema.downgrade("0001")
    tables = ("candles", "predictions", "proof_jobs", "proofs", "submissions")
    assert [rows_of(connection, table) for table in tables] == [1] * 5
    assert not {"proof_attempts", "disagreements"} & set(sa.inspect(connection).get_table_names())


@pytest.fixture
def joint(
    database: Database,
    make_prediction: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
    make_candles: Callable[..., Candles],
) -> list[Prediction]:
    """Two predictions of one proof and one transaction; with a row in every table."""
    made = [make_prediction(feed=feed) for feed in ("btc-usdt-4h", "eth-usdt-4h")]
    ids = tuple(prediction.id for prediction in made)
    with database.unit_of_work() as store:
        store.candles.add("binance", "BTC/USDT", make_candles(3))
        for prediction in made:
            store.predictions.add(prediction)
        store.jobs.lease_together("me", 0, 1_000, made[0].model_id, least=2, most=2)
        for slot, prediction in enumerate(made):
            store.jobs.finish(prediction.id, "me", make_proof(members=ids, slot=slot), FORECAST, 77)
            store.attempts.add(
                Attempt(prediction.id, 1, AttemptOutcome.PROVED, None, "me", 2, None, 0.1, 0.2, 0.3, at_ms=5)
            )
            store.disagreements.add(Disagreement(prediction.id, prediction.feed, 5, "why", None), {"window": 1})
        assert store.submissions.record(ids, sent(1), 9)
    return made


def test_downgrade__with_a_joint_proof__fails_its_predictions_and_leaves_nothing_behind(
    database: Database, connection: sa.Connection, joint: list[Prediction]
) -> None:
    database.downgrade("0001")
    told = connection.execute(sa.text("SELECT status, failure FROM predictions")).all()
    assert [tuple(row) for row in told] == [("failed", GIVEN_UP)] * 2
    assert [rows_of(connection, table) for table in ("proofs", "submissions")] == [0, 0]


def test_downgrade__with_a_joint_proof__keeps_a_proof_of_one_window_and_its_transaction(
    database: Database,
    connection: sa.Connection,
    joint: list[Prediction],
    predict: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
) -> None:
    alone = predict(1)
    with database.unit_of_work() as store:
        store.jobs.lease("me", 0, 1_000, 5)
        store.jobs.finish(alone.id, "me", make_proof(), FORECAST, 77)
        assert store.submissions.record([alone.id], sent(2, sender="0x" + "bb" * 20), 9)
    database.downgrade("0001")
    for table in ("proofs", "submissions"):
        assert connection.execute(sa.text(f"SELECT prediction_id FROM {table}")).scalars().all() == [alone.id]


def test_upgrade__again_after_a_downgrade_with_a_joint_proof__says_why_they_failed(
    database: Database, joint: list[Prediction]
) -> None:
    database.downgrade("0001")
    database.upgrade()
    with database.unit_of_work(write=False) as store:
        found = [store.predictions.get(prediction.id) for prediction in joint]
        assert [(one.status, one.failure) for one in found if one] == [(Status.FAILED, GIVEN_UP)] * 2
        assert store.predictions.latest("btc-usdt-4h") is None
        assert store.jobs.waiting() == 0
