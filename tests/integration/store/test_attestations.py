"""Attesters' answers, and the journal of an attester, on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import AlreadySigned
from app.store.attestations import enough
from app.store.database import Database
from app.store.tables import predictions, signed_commitments
from app.types import (
    Attestation,
    AttestationOutcome,
    AttesterSignature,
    Claim,
    ModelId,
    OracleAt,
    Prediction,
    PredictionId,
    Status,
)

ORACLE = OracleAt(31337, "0x" + "aa" * 20)
FEED, OTHER = "btc-usdt-4h", "eth-usdt-4h"
END_MS = 1_757_937_600_000
CLAIM = Claim(((FEED, END_MS),), ModelId("ab" * 32), b"\x01" * 32, joint=False)
JOINT = replace(CLAIM, windows=((OTHER, END_MS), (FEED, END_MS)), input_commitment=b"\x02" * 32, joint=True)


def answer(prediction: PredictionId, attester: str, signer: int | None = None, reason: str = "away") -> Attestation:
    signature = None if signer is None else AttesterSignature(f"0x{signer:040x}", bytes([signer]) * 32, b"\x02" * 32)
    return Attestation(
        prediction_id=prediction,
        attester=attester,
        outcome=AttestationOutcome.UNREACHABLE if signer is None else AttestationOutcome.SIGNED,
        signature=signature,
        reason=reason if signer is None else None,
        at_ms=1,
    )


def recorded(database: Database, prediction: PredictionId, *answers: Attestation) -> list[Attestation]:
    with database.unit_of_work() as store:
        store.attestations.record(answers, ORACLE)
    with database.unit_of_work(write=False) as store:
        return store.attestations.of(prediction, ORACLE)


def bound(database: Database) -> dict[tuple[str, int], str]:
    with database.unit_of_work(write=False) as store:
        rows = store.signed_commitments._connection.execute(signed_commitments.select())
        return {(row.feed, row.window_end_ms): row.input_commitment for row in rows}


def bind(database: Database, claim: Claim) -> None:
    with database.unit_of_work() as store:
        store.signed_commitments.bind(claim, 1)


@pytest.fixture
def proved(database: Database, predict: Callable[..., Prediction]) -> Callable[..., PredictionId]:
    def make(minute: int = 0, status: Status = Status.PROVED, feed: str = FEED) -> PredictionId:
        prediction = predict(minute, feed=feed)
        with database.unit_of_work() as store:
            change = predictions.update().where(predictions.c.id == prediction.id).values(status=status)
            store.attestations._connection.execute(change)
        return prediction.id

    return make


def test_record__answers_of_several_attesters__are_read_as_they_were(
    database: Database, proved: Callable[..., PredictionId]
) -> None:
    made = proved()
    answers = [answer(made, "http://a:1", signer=5), answer(made, "http://b:2")]
    assert recorded(database, made, *answers) == answers


def test_record__a_later_answer__takes_the_place_of_the_former(
    database: Database, proved: Callable[..., PredictionId]
) -> None:
    made = proved()
    recorded(database, made, answer(made, "http://a:1"))
    assert recorded(database, made, answer(made, "http://a:1", signer=5)) == [answer(made, "http://a:1", signer=5)]


def test_record__after_a_signature__nothing_takes_its_place(
    database: Database, proved: Callable[..., PredictionId]
) -> None:
    made = proved()
    recorded(database, made, answer(made, "http://a:1", signer=5))
    assert recorded(database, made, answer(made, "http://a:1")) == [answer(made, "http://a:1", signer=5)]


def test_of__another_oracle__has_answers_of_its_own(database: Database, proved: Callable[..., PredictionId]) -> None:
    made = proved()
    recorded(database, made, answer(made, "http://a:1", signer=5))
    with database.unit_of_work(write=False) as store:
        assert store.attestations.of(made, replace(ORACLE, chain_id=1)) == []
        assert store.attestations.of(made, replace(ORACLE, contract="0x" + "bb" * 20)) == []


def test_enough__more_signatures_than_wanted__gives_exactly_the_threshold_in_one_order() -> None:
    answers = [answer(PredictionId("x"), f"http://{n}", signer=n) for n in (3, 1, 2)]
    found = enough(answers, 2)
    assert [signature.signer[-1] for signature in found] == ["1", "2"]
    assert enough(answers[::-1], 2) == found


def test_enough__one_signer_behind_two_urls__counts_once() -> None:
    answers = [answer(PredictionId("x"), f"http://{n}", signer=7) for n in (1, 2)]
    assert enough(answers, 2) == []


def test_enough__a_signer_that_the_oracle_no_longer_knows__does_not_count() -> None:
    answers = [answer(PredictionId("x"), f"http://{n}", signer=n) for n in (1, 2)]
    kept = [f"0x{2:040x}"]
    assert enough(answers, 2, kept) == []
    assert [signature.signer for signature in enough(answers, 1, kept)] == kept


def test_newest_proved__of_each_feed__is_the_newest_one_only(
    database: Database, proved: Callable[..., PredictionId]
) -> None:
    proved(0)
    btc, eth = proved(2), proved(1, feed=OTHER)
    proved(3, status=Status.PROVING)
    with database.unit_of_work(write=False) as store:
        assert store.attestations.newest_proved([FEED, OTHER], END_MS) == [btc, eth]
        assert store.attestations.newest_proved([OTHER], END_MS) == [eth]
        assert store.attestations.newest_proved([FEED, OTHER], END_MS + 120_000) == [btc]
        assert store.attestations.newest_proved([FEED, OTHER], END_MS + 120_001) == []


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.CONFIRMED])
def test_newest_proved__the_newest_was_sent__leaves_older_ones_alone(
    database: Database, proved: Callable[..., PredictionId], status: Status
) -> None:
    proved(0)
    proved(1, status=status)
    with database.unit_of_work(write=False) as store:
        assert store.attestations.newest_proved([FEED], END_MS) == []


def test_bind__the_same_commitment_again__is_allowed(database: Database) -> None:
    bind(database, CLAIM)
    bind(database, CLAIM)
    assert bound(database) == {(FEED, END_MS): "01" * 32}


def test_bind__another_commitment_for_the_window__is_refused_and_the_first_stays(database: Database) -> None:
    bind(database, CLAIM)
    with pytest.raises(AlreadySigned, match=f"{FEED} at 2025-09-15T12:00:00Z: input commitment 0x{'01' * 32}"):
        bind(database, replace(CLAIM, input_commitment=b"\x03" * 32))
    assert bound(database) == {(FEED, END_MS): "01" * 32}


@pytest.mark.parametrize(
    "other",
    [
        replace(CLAIM, windows=((FEED, END_MS + 60_000),)),
        replace(CLAIM, windows=((OTHER, END_MS),)),
        replace(CLAIM, model_id=ModelId("cd" * 32)),
    ],
    ids=["window", "feed", "model"],
)
def test_bind__another_subject__is_free(database: Database, other: Claim) -> None:
    bind(database, CLAIM)
    bind(database, replace(other, input_commitment=b"\x03" * 32))


def test_bind__joint_claim_of_which_one_window_is_bound__binds_none(database: Database) -> None:
    bind(database, CLAIM)
    with pytest.raises(AlreadySigned):
        bind(database, JOINT)
    assert bound(database) == {(FEED, END_MS): "01" * 32}


def test_conflict__is_told_without_binding(database: Database) -> None:
    bind(database, CLAIM)
    with database.unit_of_work(write=False) as store:
        assert store.signed_commitments.conflict(CLAIM) is None
        assert FEED in (store.signed_commitments.conflict(JOINT) or "")
        assert store.signed_commitments.conflict(replace(JOINT, windows=((OTHER, END_MS),))) is None


def test_bind__by_many_at_once_through_two_databases__lets_one_commitment_through(
    database: Database, database_url: str, migrations: Path
) -> None:
    """As two processes would: each `Database` has connections of its own."""
    other = Database(database_url, migrations)
    done: dict[bytes, int] = {}
    start = threading.Barrier(8)

    def try_to_bind(number: int) -> None:
        commitment = bytes([number]) * 32
        windows = ((FEED, END_MS), (OTHER, END_MS))
        claim = Claim(windows if number % 2 else windows[::-1], CLAIM.model_id, commitment, joint=True)
        start.wait()
        try:
            bind((database, other)[number % 2], claim)
        except AlreadySigned:
            return
        done[commitment] = number

    threads = [threading.Thread(target=try_to_bind, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    (winner,) = done
    assert set(bound(database).values()) == {winner.hex()}
