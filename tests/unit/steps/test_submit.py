from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.clock import Clock
from app.errors import ChainError, ChainUnavailable, Misconfigured, SimulationReverted, TransactionFailed
from app.inference.network import forecast_from
from app.metrics import Metrics
from app.steps.submit import ChainTarget, SubmitOutcome, SubmitStep
from app.store.database import Database
from app.types import MINUTE_MS, Prediction, Proof, Receipt, SignedTransaction, Status, Submission

VERIFIER, BATCH_VERIFIER = "0x" + "11" * 20, "0x" + "22" * 20
ACCEPTED = Receipt(succeeded=True, block_number=12, gas_used=345_678)
REVERTED = Receipt(succeeded=False, block_number=13, gas_used=600_000)
Proved = Callable[..., Prediction]


@dataclass
class ScriptedChain:
    """A chain that does what it is told; the real one has tests against anvil."""

    chain_id: int = 31337
    calls: list[str] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    receipts: list[Receipt | None] = field(default_factory=list)
    simulate_error: ChainError | None = None
    send_error: ChainError | None = None
    receipt_error: ChainError | None = None
    before_send: Callable[[], object] = lambda: None

    def simulate(self, verifier: str, proof: Proof) -> None:
        self._called("simulate", self.simulate_error)

    def sign(self, verifier: str, proof: Proof) -> SignedTransaction:
        self._called("sign", None)
        number = self.calls.count("sign")
        return SignedTransaction(self.chain_id, verifier, f"0x{number:064x}", bytes([number]) + proof.proof)

    def send(self, raw: bytes) -> None:
        self.before_send()
        self._called("send", self.send_error)
        self.sent.append(raw)

    def receipt(self, tx_hash: str) -> Receipt | None:
        self._called("receipt", self.receipt_error)
        return self.receipts.pop(0) if self.receipts else None

    def _called(self, name: str, error: ChainError | None) -> None:
        self.calls.append(name)
        if error is not None:
            raise error


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.steps.submit._RECEIPT_LAG_S", 0.05)
    monkeypatch.setattr("app.steps.submit._LOOK_EVERY_S", 0.001)


@pytest.fixture
def chain() -> ScriptedChain:
    return ScriptedChain()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make_step(
    sqlite_database: Database, metrics: Metrics, chain: ScriptedChain, window_end_ms: int
) -> Callable[[int], SubmitStep]:
    """A submitting step at so many milliseconds after the window's end."""

    def make(after_ms: int = 2_000) -> SubmitStep:
        clock = Clock(market_start_ms=window_end_ms + after_ms, speed=0)
        target: Any = ChainTarget(chain=chain, verifier=VERIFIER)  # type: ignore[arg-type]
        return SubmitStep(sqlite_database, clock, metrics, target)

    return make


@pytest.fixture
def step(make_step: Callable[..., SubmitStep]) -> SubmitStep:
    return make_step()


@pytest.fixture
def proved(
    sqlite_database: Database,
    make_prediction: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
    window_end_ms: int,
) -> Proved:
    def prove(minute: int = 0) -> Prediction:
        made = make_prediction(window_end_ms=window_end_ms + minute * MINUTE_MS)
        with sqlite_database.unit_of_work() as store:
            store.predictions.add(made)
            store.jobs.lease("me", 0, 1_000, 5)
            assert store.jobs.finish(made.id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
        return made

    return prove


def unconfirmed(database: Database) -> Submission | None:
    with database.unit_of_work(write=False) as store:
        return store.submissions.unconfirmed(31337)


def status(database: Database, prediction: Prediction) -> Status:
    with database.unit_of_work(write=False) as store:
        found = store.predictions.get(prediction.id)
    assert found is not None
    return found.status


def test_next__no_chain__says_so(sqlite_database: Database, metrics: Metrics, proved: Proved) -> None:
    proved()
    assert SubmitStep(sqlite_database, Clock(), metrics, None).next() is SubmitOutcome.NO_CHAIN


def test_next__nothing_proved__is_idle(step: SubmitStep, chain: ScriptedChain) -> None:
    assert (step.next(), chain.calls) == (SubmitOutcome.IDLE, [])


def test_next__a_proof_waits__is_simulated_signed_and_sent(
    step: SubmitStep, chain: ScriptedChain, proved: Proved
) -> None:
    proved()
    assert (step.next(), chain.calls) == (SubmitOutcome.SENT, ["simulate", "sign", "send"])


def test_next__a_proof_waits__is_stored_before_it_is_sent(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    made = proved()
    seen: list[Submission | None] = []
    chain.before_send = lambda: seen.append(unconfirmed(sqlite_database))
    step.next()
    assert [(one.prediction_id, one.raw) for one in seen if one] == [(made.id, chain.sent[0])]


def test_next__another_process_was_first__sends_nothing(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    made, sign = proved(), chain.sign

    def sign_too_late(verifier: str, proof: Proof) -> SignedTransaction:
        with sqlite_database.unit_of_work() as store:
            assert store.submissions.record(
                [made.id], SignedTransaction(chain.chain_id, verifier, "0x" + "ab" * 32, b""), 1
            )
        return sign(verifier, proof)

    chain.sign = sign_too_late  # type: ignore[method-assign]
    assert step.next() is SubmitOutcome.TAKEN
    assert chain.sent == []


def test_next__several_proofs_wait__sends_the_newest(
    make_step: Callable[..., SubmitStep], proved: Proved, sqlite_database: Database
) -> None:
    older, newer = proved(0), proved(1)
    make_step(after_ms=2 * MINUTE_MS).next()
    assert (status(sqlite_database, older), status(sqlite_database, newer)) == (Status.PROVED, Status.SUBMITTED)


@pytest.mark.parametrize(
    ("after_ms", "outcome"), [(10 * MINUTE_MS - 1, SubmitOutcome.SENT), (10 * MINUTE_MS, SubmitOutcome.IDLE)]
)
def test_next__proof_of_a_window_ten_minutes_old__is_no_longer_sent(
    make_step: Callable[..., SubmitStep], proved: Proved, after_ms: int, outcome: SubmitOutcome
) -> None:
    proved()
    assert make_step(after_ms).next() is outcome


def test_next__chain_would_refuse__stores_and_sends_nothing(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    made = proved()
    chain.simulate_error = SimulationReverted()
    assert (step.next(), chain.calls) == (SubmitOutcome.WOULD_REVERT, ["simulate"])
    assert (status(sqlite_database, made), unconfirmed(sqlite_database)) == (Status.PROVED, None)


def test_next__chain_away_at_simulation__stores_nothing(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    proved()
    chain.simulate_error = ChainUnavailable()
    assert (step.next(), unconfirmed(sqlite_database)) == (SubmitOutcome.CHAIN_UNAVAILABLE, None)


def test_next__chain_away_at_sending__keeps_the_stored_transaction(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    made = proved()
    chain.send_error = ChainUnavailable()
    assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
    kept = unconfirmed(sqlite_database)
    assert kept is not None
    assert kept.prediction_id == made.id


def test_next__after_a_sending_that_failed__sends_the_same_bytes(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    proved()
    chain.send_error = ChainUnavailable()
    step.next()
    kept = unconfirmed(sqlite_database)
    chain.send_error = None
    assert step.next() is SubmitOutcome.PENDING
    assert kept is not None
    assert (chain.sent, chain.calls.count("sign")) == ([kept.raw], 1)


def test_next__sent_but_not_in_a_block__is_pending(step: SubmitStep, proved: Proved) -> None:
    proved()
    assert [step.next(), step.next()] == [SubmitOutcome.SENT, SubmitOutcome.PENDING]


def test_next__one_transaction_open__sends_no_other(
    make_step: Callable[..., SubmitStep], chain: ScriptedChain, proved: Proved
) -> None:
    proved(0)
    step = make_step(after_ms=2 * MINUTE_MS)
    step.next()
    proved(1)
    step.next()
    assert chain.calls.count("sign") == 1


def test_next__accepted__is_confirmed_and_its_gas_told(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database, metrics: Metrics
) -> None:
    made = proved()
    step.next()
    chain.receipts = [ACCEPTED]
    assert (step.next(), status(sqlite_database, made)) == (SubmitOutcome.CONFIRMED, Status.CONFIRMED)
    assert metrics.registry.get_sample_value("veriregime_verify_gas") == 345_678


def test_next__after_a_confirmation__is_idle(step: SubmitStep, chain: ScriptedChain, proved: Proved) -> None:
    proved()
    step.next()
    chain.receipts = [ACCEPTED]
    step.next()
    assert step.next() is SubmitOutcome.IDLE


def test_next__reverted__says_so_and_does_not_try_again(step: SubmitStep, chain: ScriptedChain, proved: Proved) -> None:
    proved()
    step.next()
    chain.receipts = [REVERTED]
    assert [step.next(), step.next()] == [SubmitOutcome.REVERTED, SubmitOutcome.IDLE]


def test_next__chain_will_never_take_it__is_forgotten(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    made = proved()
    step.next()
    chain.send_error = TransactionFailed("nonce too low")
    assert step.next() is SubmitOutcome.FORGOTTEN
    assert (status(sqlite_database, made), unconfirmed(sqlite_database)) == (Status.PROVED, None)


def test_next__after_a_forgotten_transaction__signs_and_sends_anew(
    step: SubmitStep, chain: ScriptedChain, proved: Proved
) -> None:
    proved()
    step.next()
    chain.send_error = TransactionFailed("nonce too low")
    step.next()
    chain.send_error = None
    assert step.next() is SubmitOutcome.SENT
    assert chain.sent[0] != chain.sent[1]


def test_next__mined_between_two_questions__is_not_forgotten(
    step: SubmitStep, chain: ScriptedChain, proved: Proved
) -> None:
    proved()
    step.next()
    chain.send_error = TransactionFailed("nonce too low")
    chain.receipts = [None, ACCEPTED, ACCEPTED]
    assert [step.next(), step.next()] == [SubmitOutcome.PENDING, SubmitOutcome.CONFIRMED]


def test_next__mined_but_its_receipt_shows_late__is_not_forgotten(
    step: SubmitStep, chain: ScriptedChain, proved: Proved
) -> None:
    proved()
    step.next()
    chain.send_error = TransactionFailed("nonce too low")
    chain.receipts = [None, None, None, None, ACCEPTED, ACCEPTED]
    assert [step.next(), step.next()] == [SubmitOutcome.PENDING, SubmitOutcome.CONFIRMED]


def test_next__chain_away_when_asked_for_the_receipt__keeps_the_transaction_open(
    step: SubmitStep, chain: ScriptedChain, proved: Proved, sqlite_database: Database
) -> None:
    proved()
    step.next()
    chain.receipt_error = ChainUnavailable()
    assert step.next() is SubmitOutcome.CHAIN_UNAVAILABLE
    assert unconfirmed(sqlite_database) is not None


def test_next__every_end__is_counted(step: SubmitStep, chain: ScriptedChain, proved: Proved, metrics: Metrics) -> None:
    step.next()
    proved()
    chain.simulate_error = SimulationReverted()
    step.next()
    chain.simulate_error = None
    step.next()
    counted = {
        outcome: metrics.registry.get_sample_value("veriregime_submissions_total", {"outcome": outcome})
        for outcome in ("idle", "would-revert", "sent", "pending")
    }
    assert counted == {"idle": 1, "would-revert": 1, "sent": 1, "pending": None}


@pytest.fixture
def joint(
    sqlite_database: Database, make_prediction: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> list[Prediction]:
    """Two predictions of one proof."""
    made = [make_prediction(feed=feed) for feed in ("btc-usdt-4h", "eth-usdt-4h")]
    members = (*(prediction.id for prediction in made), None)
    with sqlite_database.unit_of_work() as store:
        for prediction in made:
            store.predictions.add(prediction)
        store.jobs.lease_together("me", 0, 1_000, made[0].model_id, least=2, most=3)
        for slot, prediction in enumerate(made):
            proof = make_proof(instances=tuple(range(9)), members=members, slot=slot)
            assert store.jobs.finish(prediction.id, "me", proof, forecast_from((0, 1, -1)), 77)
    return made


def test_next__a_joint_proof__goes_once_to_the_verifier_of_such_proofs(
    step: SubmitStep, chain: ScriptedChain, joint: list[Prediction], sqlite_database: Database
) -> None:
    step.target = replace(step.target, batch_verifier=BATCH_VERIFIER) if step.target else None
    assert step.next() is SubmitOutcome.SENT
    with sqlite_database.unit_of_work(write=False) as store:
        sent = store.submissions.of([prediction.id for prediction in joint])
    assert {(one.contract, one.raw) for one in sent.values()} == {(BATCH_VERIFIER, chain.sent[0])}
    assert [status(sqlite_database, prediction) for prediction in joint] == [Status.SUBMITTED] * 2


def test_next__a_joint_proof_accepted__confirms_both_and_is_idle_then(
    step: SubmitStep, chain: ScriptedChain, joint: list[Prediction], sqlite_database: Database
) -> None:
    step.target = replace(step.target, batch_verifier=BATCH_VERIFIER) if step.target else None
    step.next()
    chain.receipts = [ACCEPTED]
    assert [step.next(), step.next()] == [SubmitOutcome.CONFIRMED, SubmitOutcome.IDLE]
    assert [status(sqlite_database, prediction) for prediction in joint] == [Status.CONFIRMED] * 2
    assert chain.calls.count("sign") == 1


def test_next__a_joint_proof_lost_on_the_way__is_sent_anew_for_both(
    step: SubmitStep, chain: ScriptedChain, joint: list[Prediction], sqlite_database: Database
) -> None:
    step.target = replace(step.target, batch_verifier=BATCH_VERIFIER) if step.target else None
    step.next()
    chain.send_error = TransactionFailed("nonce too low")
    outcomes = [step.next()]
    chain.send_error = None
    assert [*outcomes, step.next()] == [SubmitOutcome.FORGOTTEN, SubmitOutcome.SENT]
    assert [status(sqlite_database, prediction) for prediction in joint] == [Status.SUBMITTED] * 2


@pytest.mark.usefixtures("joint")
def test_next__a_joint_proof_without_a_verifier_for_it__says_what_to_set(step: SubmitStep) -> None:
    with pytest.raises(Misconfigured, match="VERIREGIME_BATCH_VERIFIER_ADDRESS"):
        step.next()
