"""The steps on a real store: a prover that answers what it is told, and as much of a chain as the submitter sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from app.chain.registry import Panel
from app.chain.rounds import Publication, Round
from app.chain.sender import Fees
from app.clock import Clock
from app.errors import ChainUnavailable, NonceUsed
from app.inference.network import forecast_from
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.steps.backlog import Backlog
from app.steps.prove import ProofStep, ProvingPolicy
from app.steps.publishing import OracleTarget, PublishingPolicy
from app.steps.served import ServedFeed
from app.steps.submit import SubmitStep
from app.store.database import Database
from app.types import (
    MINUTE_MS,
    Attestation,
    AttestationOutcome,
    AttesterSignature,
    Keys,
    OracleAt,
    Prediction,
    Proof,
    Receipt,
    SignedTransaction,
)

NETWORK_OUTPUTS = (0.25, 0.25, -1.0)
FEED = "btc-usdt-4h"
ORACLE = OracleAt(31337, "0x" + "11" * 20)
SIGNERS = tuple("0x" + f"{number:02x}" * 20 for number in (1, 2, 3))


class ScriptedPool:
    """Answers every proof with what it holds; the real pool has tests of its own."""

    def __init__(self, answer: Proof | Exception) -> None:
        self.answer = answer
        self.joint_answer: Proof | None = None
        """For keys of several windows, where it is another one."""
        self.asked: list[tuple[Keys, tuple[int, ...]]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.slots = 1
        self.patience_s = 30.0

    def stop(self) -> None:
        pass

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        self.asked.append((keys, tuple(observation)))
        self.meanwhile()
        answer = self.joint_answer if self.joint_answer and keys.circuit.windows > 1 else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The wall clock that leases go by: its one item is the time."""
    now = [1_000_000]
    monkeypatch.setattr("app.steps.prove.wall_ms", lambda: now[0])
    return now


@pytest.fixture
def policy() -> ProvingPolicy:
    return ProvingPolicy(owner="host:1", lease_ms=35_000, max_attempts=3)


@pytest.fixture
def predict(
    sqlite_database: Database, make_prediction: Callable[..., Prediction], model: ReleasedModel
) -> Callable[..., Prediction]:
    """Store a prediction whose network says low, on a tie."""

    def store_one(queued_at_ms: int = 0, **fields: object) -> Prediction:
        template = {"model_id": model.model_id, "network_outputs": NETWORK_OUTPUTS}
        made = make_prediction(**(template | fields))
        with sqlite_database.unit_of_work() as store:
            assert store.predictions.add(made, queued_at_ms)
        return made

    return store_one


@pytest.fixture
def circuit_says(model: ReleasedModel) -> Callable[[float], tuple[int, ...]]:
    """Outputs whose logit of high lies so many tolerances above what the network said."""

    def make(tolerances: float) -> tuple[int, ...]:
        low, high, ln_vol = NETWORK_OUTPUTS
        circuit = (low, high + tolerances * model.tolerance[1], ln_vol)
        return tuple(round(value * 2**model.output_scale) for value in circuit)

    return make


@pytest.fixture
def proof_off_by(
    make_proof: Callable[..., Proof], circuit_says: Callable[[float], tuple[int, ...]]
) -> Callable[..., Proof]:
    """A proof of windows whose circuits are so many tolerances off, one after another."""
    return lambda *tolerances: make_proof(instances=tuple(value for off in tolerances for value in circuit_says(off)))


@pytest.fixture
def pool(proof_off_by: Callable[..., Proof]) -> ScriptedPool:
    return ScriptedPool(proof_off_by(0.5))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def served(serve: Callable[..., ServedFeed]) -> ServedFeed:
    return serve()


@pytest.fixture
def backlog() -> Backlog:
    """One feed: a window a minute, and ten minutes to catch up."""
    return Backlog(catch_up_s=600, arrivals_per_s=1 / 60, windows_at_once=1)


@pytest.fixture
def step(
    sqlite_database: Database,
    served: ServedFeed,
    pool: Any,
    metrics: Metrics,
    policy: ProvingPolicy,
    backlog: Backlog,
    wall: list[int],
    window_end_ms: int,
) -> ProofStep:
    clock = Clock(market_start_ms=window_end_ms + 1_500, speed=0)
    return ProofStep({FEED: served}, sqlite_database, pool, clock, metrics, policy, backlog)


@pytest.fixture
def taken_over(sqlite_database: Database, policy: ProvingPolicy, wall: list[int]) -> Callable[[], None]:
    """Another prover leases what waits or has lapsed, as it would after the lease's end."""

    def take_over() -> None:
        with sqlite_database.unit_of_work() as store:
            later_ms = wall[0] + policy.lease_ms
            assert store.jobs.lease("other:2", later_ms, policy.lease_ms, policy.max_attempts)

    return take_over


class SmallChain:
    """A sender on a chain of its own: a pool of transactions, and blocks that can be taken back."""

    address = "0x" + "aa" * 20

    def __init__(self) -> None:
        self.blocks = [f"0x{number:064x}" for number in range(100)]
        self.first_nonce = 5
        self.balance = 10**18
        self.troubles: dict[str, Exception] = {}  # by the method that raises them
        self.calls: list[str] = []
        self.signed: list[SignedTransaction] = []
        self.sent: list[SignedTransaction] = []
        self.pool: list[SignedTransaction] = []
        self.mined: dict[str, tuple[SignedTransaction, Receipt]] = {}
        self.hidden_for = 0  # questions, for which receipts do not show yet
        self.before_send: Callable[[], object] = lambda: None

    def mine(self, signed: SignedTransaction, *, succeeded: bool = True) -> None:
        """A block with this transaction."""
        self.blocks.append(f"0x{len(self.blocks):02x}{len(self.calls):062x}")
        receipt = Receipt(succeeded, len(self.blocks) - 1, self.blocks[-1], 501_234, signed.tx_hash)
        self.mined[signed.tx_hash] = signed, receipt
        self.pool = [one for one in self.pool if one.nonce != signed.nonce]

    def pass_blocks(self, count: int) -> None:
        self.blocks += [f"0x{len(self.blocks) + number:064x}" for number in range(count)]

    def reorganise(self, depth: int, *, lost: bool = False) -> None:
        """The last blocks are others now, without their transactions: back in the pool, unless they are lost."""
        first = len(self.blocks) - depth
        gone = [signed for signed, receipt in self.mined.values() if receipt.block_number >= first]
        self.mined = {tx_hash: pair for tx_hash, pair in self.mined.items() if pair[0] not in gone}
        self.pool += [] if lost else gone
        self.blocks[first:] = [f"0xfeed{number:060x}" for number in range(first, len(self.blocks))]

    def fees(self, above: SignedTransaction | None = None) -> Fees:
        self._called("fees")
        return Fees(20, 2) if above is None else Fees(above.max_fee_wei * 2, above.max_tip_wei * 2)

    def require_funds(self, gas: int, fees: Fees) -> int:
        self._called("require_funds")
        return self.balance

    def sign(self, to: str, calldata: bytes, gas: int, nonce: int, fees: Fees) -> SignedTransaction:
        self._called("sign")
        number = len(self.signed) + 1
        tx_hash, raw = f"0x{number:064x}", b"%d:" % number + calldata
        terms = nonce, tx_hash, raw, fees.max_fee_wei, fees.max_tip_wei
        made = SignedTransaction(ORACLE.chain_id, to, self.address, *terms)
        self.signed.append(made)
        return made

    def again(self, signed: SignedTransaction, fees: Fees) -> SignedTransaction:
        return self.sign(signed.contract, signed.raw.partition(b":")[2], 0, signed.nonce, fees)

    def nothing(self, signed: SignedTransaction, fees: Fees) -> SignedTransaction:
        return self.sign(self.address, b"", 21_000, signed.nonce, fees)

    def send(self, raw: bytes) -> None:
        self.before_send()
        self._called("send")
        (signed,) = (one for one in self.signed if one.raw == raw)
        if signed.nonce < self.nonces()[0]:
            raise NonceUsed("nonce too low")
        self.sent.append(signed)
        self.pool = [*(one for one in self.pool if one.nonce != signed.nonce), signed]

    def knows(self, tx_hash: str) -> bool:
        self._called("knows")
        return tx_hash in self.mined or any(one.tx_hash == tx_hash for one in self.pool)

    def receipt(self, tx_hash: str) -> Receipt | None:
        self._called("receipt")
        if self.hidden_for:
            self.hidden_for -= 1
            return None
        return self.mined[tx_hash][1] if tx_hash in self.mined else None

    def block_hash(self, number: int) -> str | None:
        self._called("block_hash")
        return self.blocks[number] if number < len(self.blocks) else None

    def head(self) -> int:
        self._called("head")
        return len(self.blocks) - 1

    def nonces(self) -> tuple[int, int]:
        mined = max((signed.nonce + 1 for signed, _ in self.mined.values()), default=self.first_nonce)
        return mined, max([mined, *(one.nonce + 1 for one in self.pool)])

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.troubles:
            raise self.troubles[name]


class ScriptedRounds:
    """An oracle that has the rounds it is given, and takes every update unless told otherwise."""

    oracle = ORACLE

    def __init__(self) -> None:
        self.rounds: dict[str, Round] = {}
        self.published: dict[int, Publication] = {}
        """By window end."""
        self.simulated: list[tuple[bytes, int, str]] = []
        self.refuses: Exception | None = None

    def newest(self, feed: str) -> Round | None:
        return self.rounds.get(feed)

    def simulate(self, calldata: bytes, gas: int, sender: str) -> None:
        self.simulated.append((calldata, gas, sender))
        if self.refuses:
            raise self.refuses

    def publication(self, feed: str, window_end_ms: int) -> Publication | None:
        return self.published.get(window_end_ms)


class ScriptedReader:
    """Two of three must sign; windows are taken for 15 minutes."""

    oracle = ORACLE

    def __init__(self) -> None:
        self.signers = SIGNERS
        self.away = False

    def panel(self) -> Panel:
        if self.away:
            raise ChainUnavailable("nobody answers")
        return Panel(self.signers, 2)

    def submission_limit_s(self) -> int:
        return 900


@pytest.fixture
def chain() -> SmallChain:
    return SmallChain()


@pytest.fixture
def rounds() -> ScriptedRounds:
    return ScriptedRounds()


@pytest.fixture
def oracle_reader() -> ScriptedReader:
    return ScriptedReader()


@pytest.fixture
def target(chain: Any, rounds: Any, oracle_reader: Any) -> OracleTarget:
    return OracleTarget(ORACLE, oracle_reader, rounds, chain)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The wall clock in ms and the monotonic one in s, as the submitter sees them; waiting lets time pass."""
    now: dict[str, float] = {"wall_ms": 1_000_000, "monotonic_s": 50.0}

    def sleep(seconds: float) -> None:
        now["monotonic_s"] += seconds

    clock = SimpleNamespace(monotonic=lambda: now["monotonic_s"], sleep=sleep)
    for module in ("submit", "settle"):
        monkeypatch.setattr(f"app.steps.{module}.wall_ms", lambda: int(now["wall_ms"]))
        monkeypatch.setattr(f"app.steps.{module}.time", clock)
    return now


@pytest.fixture
def make_submit(
    sqlite_database: Database,
    metrics: Metrics,
    target: OracleTarget,
    window_end_ms: int,
    times: dict[str, float],
) -> Callable[..., SubmitStep]:
    """A submitting step at so many milliseconds after the window's end, with another policy or target if given."""

    def make(after_ms: int = 2_000, target: OracleTarget | None = target, **policy: Any) -> SubmitStep:
        clock = Clock(market_start_ms=window_end_ms + after_ms, speed=0)
        whole = PublishingPolicy(**{"heartbeat_ms": 60 * MINUTE_MS, "deviation": 0.05, **policy})
        return SubmitStep([FEED, "eth-usdt-4h"], sqlite_database, clock, metrics, target, whole)

    return make


@pytest.fixture
def attested(
    sqlite_database: Database, predict: Callable[..., Prediction], make_proof: Callable[..., Proof], window_end_ms: int
) -> Callable[..., Prediction]:
    """A stored prediction, so many minutes after the first window, with its proof and signatures."""

    def make(minute: int = 0, feed: str = FEED, signers: Sequence[str] = SIGNERS[:2]) -> Prediction:
        made = predict(feed=feed, window_end_ms=window_end_ms + minute * MINUTE_MS)
        with sqlite_database.unit_of_work() as store:
            job = store.jobs.lease("me", 0, 1_000, 5)
            assert job is not None
            assert store.jobs.finish(made.id, "me", make_proof(), forecast_from((0, 1, -1)), 77)
            store.attestations.record([_signed_by(signer, made) for signer in signers], ORACLE)
            found = store.predictions.get(made.id)
        assert found is not None
        return found

    return make


@pytest.fixture
def make_joint(
    sqlite_database: Database, predict: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> Callable[[], list[Prediction]]:
    """Two feeds' windows of one proof with three places, signed for."""

    def make() -> list[Prediction]:
        made = [predict(feed=feed) for feed in (FEED, "eth-usdt-4h")]
        members = (*(one.id for one in made), None)
        with sqlite_database.unit_of_work() as store:
            store.jobs.lease_together("me", 0, 1_000, made[0].model_id, least=2, most=3)
            for slot, one in enumerate(made):
                proof = make_proof(instances=(-1, 0, 1) * 3, members=members, slot=slot)
                assert store.jobs.finish(one.id, "me", proof, forecast_from((0, 1, -1)), 77)
                store.attestations.record([_signed_by(signer, one) for signer in SIGNERS[:2]], ORACLE)
            return [found for found in (store.predictions.get(one.id) for one in made) if found]

    return make


def _signed_by(signer: str, prediction: Prediction) -> Attestation:
    signature = AttesterSignature(signer, b"\1" * 32, b"\2" * 32)
    return Attestation(prediction.id, signer, AttestationOutcome.SIGNED, signature, None, at_ms=5)
