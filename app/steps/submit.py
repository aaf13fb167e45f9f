"""A proof goes on chain: simulated, signed, its hash stored, sent, awaited."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from enum import StrEnum

from app.chain.verifier import Chain
from app.clock import Clock
from app.errors import ChainError, Misconfigured, SimulationReverted, TransactionFailed
from app.metrics import Metrics
from app.store.database import Database
from app.types import MINUTE_MS, Proof, Submission

log = logging.getLogger(__name__)

_SUBMIT_WITHIN_MS = 10 * MINUTE_MS
_RECEIPT_LAG_S = 3.0
"""A node counts a mined transaction's nonce as used before it shows the receipt: anvil by milliseconds."""
_LOOK_EVERY_S = 0.1


class SubmitOutcome(StrEnum):
    NO_CHAIN = "no-chain"
    IDLE = "idle"
    SENT = "sent"
    TAKEN = "taken"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    WOULD_REVERT = "would-revert"
    FORGOTTEN = "forgotten"
    CHAIN_UNAVAILABLE = "chain-unavailable"


@dataclass(frozen=True, slots=True)
class ChainTarget:
    chain: Chain
    verifier: str
    batch_verifier: str | None = None
    """Of proofs of several windows; none: they are not made."""

    def verifier_of(self, proof: Proof) -> str:
        """Raises `Misconfigured` for a proof of several windows when there is no verifier for those."""
        if not proof.members:
            return self.verifier
        if self.batch_verifier is None:
            raise Misconfigured("a proof of several windows waits for the chain: set VERIREGIME_BATCH_VERIFIER_ADDRESS")
        return self.batch_verifier


class SubmitStep:
    def __init__(self, database: Database, clock: Clock, metrics: Metrics, target: ChainTarget | None) -> None:
        self.target = target
        self._database = database
        self._clock = clock
        self._metrics = metrics

    def next(self) -> SubmitOutcome:
        """One step on chain: settle the oldest open transaction, else send the newest proof that was not sent."""
        if self.target is None:
            return SubmitOutcome.NO_CHAIN
        outcome = SubmitOutcome.CHAIN_UNAVAILABLE
        try:
            outcome = self._submit_step(self.target)
        except SimulationReverted as error:
            outcome = SubmitOutcome.WOULD_REVERT
            log.error("not submitted: %s", error)
        except ChainError as error:
            log.warning("chain: %s", error)
        finally:
            self._metrics.submissions.labels(outcome).inc()
        return outcome

    def _submit_step(self, target: ChainTarget) -> SubmitOutcome:
        with self._database.unit_of_work(write=False) as store:
            unsettled = store.submissions.unconfirmed(target.chain.chain_id)
            waiting = store.submissions.next_proved(self._clock.now_ms() - _SUBMIT_WITHIN_MS)
            found = store.predictions.proof(waiting) if waiting else None
        if unsettled is not None:
            return self._settle(target, unsettled)
        if waiting is None or found is None:
            return SubmitOutcome.IDLE
        proof, _ = found
        verifier = target.verifier_of(proof)
        target.chain.simulate(verifier, proof)
        signed = target.chain.sign(verifier, proof)
        with self._database.unit_of_work() as store:  # before it is sent: a crash from here on cannot lose it
            if not store.submissions.record(store.predictions.proved_with(waiting), signed, self._clock.now_ms()):
                return SubmitOutcome.TAKEN
        target.chain.send(signed.raw)
        return SubmitOutcome.SENT

    def _settle(self, target: ChainTarget, open_one: Submission) -> SubmitOutcome:
        receipt = target.chain.receipt(open_one.tx_hash)
        if receipt is None:
            try:
                target.chain.send(open_one.raw)
            except TransactionFailed as error:
                if _was_mined(target.chain, open_one.tx_hash):
                    return SubmitOutcome.PENDING
                log.warning("transaction %s is lost (%s): its proof will be sent anew", open_one.tx_hash, error)
                with self._database.unit_of_work() as store:
                    store.submissions.forget(open_one.tx_hash)
                return SubmitOutcome.FORGOTTEN
            return SubmitOutcome.PENDING
        with self._database.unit_of_work() as store:
            store.submissions.confirm(open_one.tx_hash, receipt)
        self._metrics.verify_gas.set(receipt.gas_used)
        log.info(
            "transaction %s in block %d: %s, %d gas",
            open_one.tx_hash,
            receipt.block_number,
            "accepted" if receipt.succeeded else "REVERTED",
            receipt.gas_used,
        )
        return SubmitOutcome.CONFIRMED if receipt.succeeded else SubmitOutcome.REVERTED


def _was_mined(chain: Chain, tx_hash: str) -> bool:
    """Whether the transaction that used up the nonce was ours after all."""
    give_up = time.monotonic() + _RECEIPT_LAG_S
    while chain.receipt(tx_hash) is None:
        if time.monotonic() > give_up:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
