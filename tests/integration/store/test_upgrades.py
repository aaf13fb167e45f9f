"""A database as the first released schema wrote it, brought to the newest and back; and every step, with rows."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.errors import SchemaUnknown
from app.settings import asset
from app.store.database import Database
from app.types import Prediction, Proof, Status, TransactionState

REVISIONS = sorted(path.name[:4] for path in asset("migrations").glob("versions/0*.py"))
STEPS = list(itertools.pairwise(REVISIONS))
STATES = ("predicted", "proved", "submitted", "confirmed", "submitted", "failed")
"""Of the predictions, minute by minute; the second of the submitted ones has reverted."""
SENT = {2: "sent", 3: "confirmed", 4: "reverted"}
CHAIN_ID, VERIFIER = 31337, "0x" + "11" * 20
BROKEN = """
from alembic import op

revision, down_revision = "0099", "{head}"
branch_labels = depends_on = None


def upgrade():
    op.execute("CREATE TABLE half_made (id INTEGER)")
    op.execute("UPDATE predictions SET status = 'broken'")
    op.execute("SELECT nonsense FROM nowhere")


def downgrade():
    pass
"""
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def first_release(
    at_revision: Callable[[str], Database],
    insert: Callable[..., None],
    make_prediction: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
    former_row: Callable[[Prediction], dict[str, Any]],
    window_end_ms: int,
) -> Database:
    """Rows in every table of 0001, in every state that there was."""
    database = at_revision("0001")
    made = [
        make_prediction(
            window_end_ms=window_end_ms + 60_000 * minute,
            status=Status(state),
            failure="no prover" if state == "failed" else None,
        )
        for minute, state in enumerate(STATES)
    ]
    candle = {"symbol": "BTC/USDT", "open": 1 / 3, "high": 0.5, "low": 0.1, "close": 0.2 + 0.1, "volume": 7.0}
    opened = [{"open_time_ms": window_end_ms - 60_000 * minute} for minute in range(1, 4)]
    insert("candles", *({"venue": venue} | candle | at for venue in ("binance", "kraken") for at in opened))
    insert("predictions", *map(former_row, made))
    insert("proof_jobs", *(_job(one, state) for one, state in zip(made, STATES, strict=True)))
    insert("proofs", *(_proof(made[minute], make_proof()) for minute in (1, 2, 3, 4)))
    insert("submissions", *(_submission(made[minute], state, minute) for minute, state in SENT.items()))
    return database


def _job(prediction: Prediction, state: str) -> dict[str, Any]:
    job = {"prediction_id": prediction.id, "window_end_ms": prediction.window_end_ms, "attempts": 1, "wait_until_ms": 5}
    jobs = {"predicted": "leased", "failed": "failed"}
    return job | {"state": jobs.get(state, "done"), "owner": "host:1" if state == "predicted" else None}


def _proof(prediction: Prediction, proof: Proof) -> dict[str, Any]:
    names = ("proof", "vk_hash", "srs_hash", "witness_seconds", "prove_seconds", "verify_seconds")
    row = {name: getattr(proof, name) for name in names}
    return row | {"prediction_id": prediction.id, "instances": list(proof.instances), "proved_at_ms": 77}


def _submission(prediction: Prediction, state: str, number: int) -> dict[str, Any]:
    mined = state != "sent"
    return {
        "prediction_id": prediction.id,
        "chain_id": CHAIN_ID,
        "contract": VERIFIER,
        "tx_hash": f"0x{number:064x}",
        "raw_tx": bytes([number]) * 5,
        "state": state,
        "block_number": 12 if mined else None,
        "gas_used": 345_678 if mined else None,
        "sent_at_ms": 9,
    }


@pytest.fixture
def rows(connection: sa.Connection) -> Callable[[], Rows]:
    """Every row of every table but alembic's, by its primary key."""

    def read() -> Rows:
        found = sa.MetaData()
        found.reflect(connection)
        return {
            table.name: [
                dict(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
            ]
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }

    return read


def test_first_release__brought_to_the_newest_schema__has_every_row_and_value_that_it_had(
    first_release: Database, rows: Callable[[], Rows]
) -> None:
    before = rows()
    first_release.upgrade()
    after = rows()
    for name in ("candles", "predictions", "proof_jobs", "proofs"):
        kept = set(before[name][0]) - {"venues"} if name == "predictions" else set(before[name][0])
        assert _only(after[name], kept - {"status"}) == _only(before[name], kept - {"status"})
    assert [row["status"] for row in _by_window(after)] == [
        "proved" if state == "submitted" and minute == 2 else state for minute, state in enumerate(STATES)
    ]
    moved = {row["prediction_id"]: row for row in after["submissions"] + after["former_submissions"]}
    transactions = {row["tx_hash"]: row for row in after["transactions"] + after["former_submissions"]}
    assert [moved[row["prediction_id"]]["tx_hash"] for row in before["submissions"]] == [
        row["tx_hash"] for row in before["submissions"]
    ]
    told = {"chain_id", "contract", "raw_tx", "state", "block_number", "gas_used", "sent_at_ms"}
    assert _only([transactions[row["tx_hash"]] for row in before["submissions"]], told) == _only(
        before["submissions"], told
    )


def test_first_release__brought_to_the_newest_schema__new_columns_have_their_stated_values(
    first_release: Database, rows: Callable[[], Rows]
) -> None:
    first_release.upgrade()
    after = rows()
    new = {
        "quorum": 1,
        "left_out": None,
        "candles_as_of": 1,
        "markets": dict.fromkeys(("binance", "kraken"), "BTC/USDT"),
    }
    assert _only(after["predictions"], set(new)) == [new] * len(STATES)
    assert [row["seq"] for row in _by_window(after)] == list(range(1, len(STATES) + 1))
    assert _only(after["candles"], {"revision", "seq"}) == [{"revision": 0, "seq": 1}] * 6
    assert _only(after["proofs"], {"slot", "members"}) == [{"slot": 0, "members": None}] * 4
    assert {row["queued_at_ms"] for row in after["proof_jobs"]} == {0}
    assert {row["ours"] for row in after["submissions"]} == {True}


def test_first_release__brought_to_the_newest_schema__is_read_and_worked_on_by_this_version(
    first_release: Database, window_end_ms: int
) -> None:
    first_release.upgrade()
    with first_release.unit_of_work() as store:
        history = store.predictions.history("btc-usdt-4h", None, None, 10)
        assert [one.status for one in reversed(history)][:2] == [Status.PREDICTED, Status.PROVED]
        proved = store.predictions.latest("btc-usdt-4h")
        assert proved is not None
        assert store.predictions.proof(proved.id) is not None
        assert store.submissions.of([one.id for one in history])[history[-4].id].state is TransactionState.CONFIRMED
        assert store.candles.count("binance", "BTC/USDT", 0, window_end_ms) == 3
        job = store.jobs.lease("me", 1_000_000, 1_000, 5)
        assert job is not None
        assert job.prediction_id == history[-1].id


def test_first_release__there_and_back__is_as_it_was(
    first_release: Database, everything: Callable[[], dict[str, list[str]]]
) -> None:
    before = everything()
    first_release.upgrade()
    first_release.downgrade("0001")
    after = everything()
    assert after.pop("alembic_version") == before.pop("alembic_version")
    assert after == before


@pytest.mark.parametrize(("lower", "upper"), STEPS)
def test_step__with_rows_in_every_table__goes_up_and_back_without_losing_any(
    at_revision: Callable[[str], Database],
    fill: Callable[[], None],
    everything: Callable[[], dict[str, list[str]]],
    lower: str,
    upper: str,
) -> None:
    database = at_revision(lower)
    fill()
    before = everything()
    assert all(before.values())
    database.upgrade(upper)
    database.downgrade(lower)
    assert everything() == before


@pytest.mark.parametrize(("lower", "upper"), STEPS)
def test_step__down_from_a_schema_with_rows_in_every_table__leaves_what_the_older_one_can_tell(
    at_revision: Callable[[str], Database], fill: Callable[[], None], rows: Callable[[], Rows], lower: str, upper: str
) -> None:
    database = at_revision(upper)
    fill()
    before = rows()
    database.downgrade(lower)
    after = rows()
    for name in set(before) & set(after) - {"counters"}:
        assert len(after[name]) == len(before[name])


@pytest.fixture
def with_a_broken_revision(
    database_url: str, migrations: Path, database: Database, tmp_path: Path
) -> Iterator[tuple[Database, str]]:
    """A version whose newest migration fails in the middle, and the revision before it."""
    shutil.copytree(migrations, tmp_path / "migrations")
    head = database.revisions()[1]
    assert head is not None
    (tmp_path / "migrations/versions/0099_broken.py").write_text(BROKEN.format(head=head))
    opened = Database(database_url, tmp_path / "migrations")
    yield opened, head
    opened.close()


def test_upgrade__that_fails_in_the_middle__leaves_the_database_as_it_was(
    with_a_broken_revision: tuple[Database, str],
    predict: Callable[..., Prediction],
    everything: Callable[[], dict[str, list[str]]],
) -> None:
    predict()
    broken, _ = with_a_broken_revision
    before = everything()
    with pytest.raises(Exception, match="nowhere"):
        broken.upgrade()
    assert everything() == before


def test_upgrade__of_a_new_database_that_fails_at_the_last_step__leaves_no_table(
    empty_database: Database, connection: sa.Connection, migrations: Path, tmp_path: Path, database_url: str
) -> None:
    shutil.copytree(migrations, tmp_path / "migrations")
    (tmp_path / "migrations/versions/0099_broken.py").write_text(BROKEN.format(head=empty_database.revisions()[1]))
    broken = Database(database_url, tmp_path / "migrations")
    with pytest.raises(Exception, match="nowhere"):
        broken.upgrade()
    broken.close()
    assert sa.inspect(connection).get_table_names() == []


def test_schema_of_a_newer_version__is_refused_in_a_line_and_nothing_is_touched(
    database: Database, connection: sa.Connection, everything: Callable[[], dict[str, list[str]]]
) -> None:
    connection.execute(sa.text("UPDATE alembic_version SET version_num = '0123'"))
    before = everything()
    for use in (database.upgrade, lambda: database.downgrade("0001")):
        with pytest.raises(SchemaUnknown, match="has schema 0123, which this version does not know: run the newer"):
            use()
    assert everything() == before
    assert database.revisions()[0] == "0123"
    assert not database.knows("0123")


def test_upgrade__while_another_process_writes__waits_for_it(
    first_release: Database, database_url: str, migrations: Path
) -> None:
    upgraded = threading.Thread(target=first_release.upgrade)
    other = Database(database_url, migrations)
    with other.one_write() as connection:
        connection.execute(sa.text("UPDATE predictions SET failure = 'late' WHERE status = 'failed'"))
        upgraded.start()
        upgraded.join(0.2)
        assert upgraded.is_alive()
    upgraded.join()
    with other.one_look() as connection:
        told = connection.execute(sa.text("SELECT failure, quorum FROM predictions WHERE status = 'failed'")).one()
    other.close()
    assert tuple(told) == ("late", 1)


def _only(found: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in sorted(names)} for row in found]


def _by_window(found: Rows) -> list[dict[str, Any]]:
    return sorted(found["predictions"], key=lambda row: row["window_end_ms"])
