"""A proved and signed prediction as what goes on chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.chain.attestation import input_commitment
from app.chain.registry import Panel
from app.chain.updates import SUBMIT_GAS, SUBMIT_JOINT_GAS, update_calldata
from app.steps.update import Update, claim_of, ready_update
from app.store.database import Database
from app.types import Claim, OracleAt, Prediction, Status

SIGNERS = tuple("0x" + f"{number:02x}" * 20 for number in (1, 2, 3))


@pytest.fixture
def ready(sqlite_database: Database, oracle_reader: Any) -> Callable[..., Update | None]:
    def make(prediction: Prediction, threshold: int = 2, oracle: OracleAt = oracle_reader.oracle) -> Update | None:
        with sqlite_database.unit_of_work(write=False) as store:
            return ready_update(store, prediction, oracle, Panel(oracle_reader.signers, threshold))

    return make


def test_ready_update__enough_signed__is_the_call_with_no_signature_more_than_wanted(
    ready: Callable[..., Update | None], attested: Callable[..., Prediction], sqlite_database: Database
) -> None:
    made = attested(signers=SIGNERS)
    update = ready(made)
    with sqlite_database.unit_of_work(write=False) as store:
        found = store.predictions.proof(made.id)
    assert found is not None
    assert update is not None
    proof, signatures = found[0], update.signatures
    commitment = input_commitment(proof.proof)
    claim = Claim(((made.feed, made.window_end_ms),), made.model_id, commitment, joint=False)
    assert [one.signer for one in signatures] == list(SIGNERS[:2])
    assert update == Update(claim, signatures, (made,), update_calldata(claim, proof, signatures), SUBMIT_GAS)


@pytest.mark.parametrize(("signers", "threshold"), [(0, 1), (1, 2), (2, 3)])
def test_ready_update__too_few_signed__is_none(
    ready: Callable[..., Update | None], attested: Callable[..., Prediction], signers: int, threshold: int
) -> None:
    assert ready(attested(signers=SIGNERS[:signers]), threshold) is None


def test_ready_update__of_another_oracle__is_none(
    ready: Callable[..., Update | None], attested: Callable[..., Prediction]
) -> None:
    assert ready(attested(), oracle=OracleAt(1, "0x" + "11" * 20)) is None


def test_ready_update__a_signer_who_was_removed__does_not_count(
    ready: Callable[..., Update | None], attested: Callable[..., Prediction], oracle_reader: Any
) -> None:
    made = attested(signers=SIGNERS)
    oracle_reader.signers = SIGNERS[1:]
    update = ready(made)
    assert update is not None
    assert [one.signer for one in update.signatures] == list(SIGNERS[1:])


@pytest.mark.parametrize("asked", [0, 1])
def test_ready_update__of_either_window_of_a_joint_proof__carries_both_in_the_order_of_the_proof(
    ready: Callable[..., Update | None], make_joint: Callable[[], list[Prediction]], asked: int
) -> None:
    made = make_joint()
    update = ready(made[asked])
    assert update is not None
    assert (update.claim.joint, update.gas) == (True, SUBMIT_JOINT_GAS)
    assert update.claim.windows == tuple((one.feed, one.window_end_ms) for one in made)
    assert {one.id for one in update.carried} == {one.id for one in made}


def test_ready_update__a_window_that_was_proved_again_alone__is_in_the_claim_but_not_carried(
    ready: Callable[..., Update | None],
    make_joint: Callable[[], list[Prediction]],
    sqlite_database: Database,
    make_proof: Callable[..., Any],
) -> None:
    kept, other = make_joint()
    with sqlite_database.unit_of_work() as store:
        connection: Any = store.predictions._connection
        connection.exec_driver_sql(
            "UPDATE proofs SET proof = ?, members = NULL WHERE prediction_id = ?", (b"", other.id)
        )
    update = ready(kept)
    assert update is not None
    assert ([one.id for one in update.carried], len(update.claim.windows)) == ([kept.id], 2)


def test_claim_of__a_joint_proof_with_one_place_taken__is_joint_still(
    sqlite_database: Database, attested: Callable[..., Prediction], make_proof: Callable[..., Any]
) -> None:
    made = attested()
    assert made.status is Status.PROVED
    with sqlite_database.unit_of_work(write=False) as store:
        claim = claim_of(store, made, make_proof(members=(made.id, None)))
    assert (claim.joint, claim.windows) == (True, ((made.feed, made.window_end_ms),))
