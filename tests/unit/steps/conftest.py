"""The proving step on a real store, with a prover that answers what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.clock import Clock
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.steps.backlog import Backlog
from app.steps.prove import ProofStep, ProvingPolicy
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import Keys, Prediction, Proof

NETWORK_OUTPUTS = (0.25, 0.25, -1.0)
FEED = "btc-usdt-4h"


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
