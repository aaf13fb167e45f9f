"""What publishing costs: whole updates with signatures, sent to the contracts on a chain of the benchmark's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.bench.inputs import LAST_MS, Windows, in_groups, market_windows
from app.chain.account import Account
from app.chain.anvil import ATTESTER_KEYS, KEY, running_anvil
from app.chain.attestation import input_commitment, sign
from app.chain.build import Build
from app.chain.deploying import deploy
from app.chain.deployment import Deployment, DeploymentPlan, ModelPlan, Parameters
from app.chain.gas import transaction_gas
from app.chain.rpc import Rpc
from app.chain.updates import gas_limit, update_calldata
from app.features.variation import VariationSpec
from app.inference.release import ReleasedModel
from app.proving.pool import ProverPool
from app.steps.deployment import model_plan
from app.types import MINUTE_MS, Claim, Keys, ModelId, OracleAt, PredictionId, Proof

FEEDS = ("btc-usdt-4h", *(f"asset{number}-usdt-4h" for number in range(2, 11)))
_RESERVED = 8
_ROUNDS = 2
"""Updates per row: the first round of a feed, and one after it."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one update costs. Of ``windows`` in one proof, with as many ``signatures`` as the oracle wants."""

    windows: int
    signatures: int
    reserved: bool
    """Whether its rounds' storage was paid for ahead."""
    calldata_bytes: int
    first_gas: int
    """Of each feed's first update."""
    gas: int
    """Of the one after it: what every further one costs."""

    @property
    def gas_per_window(self) -> float:
        return self.gas / self.windows


CASES = ((1, 1, True), (1, 2, True), (1, 3, True), (1, 1, False), (10, 1, True), (10, 3, True), (10, 1, False))
"""Windows, signatures, reserved."""


def bench_oracle(
    model: ReleasedModel, pool: ProverPool, keys: Keys, joint_keys: Keys, contracts_dir: Path, cache_dir: Path
) -> dict[str, Any]:
    """Every case, with real proofs of simulated windows. Raises `ChainError` when an update is not accepted."""
    spec = VariationSpec.from_manifest(model.manifest["observation"])
    windows = market_windows(spec, _ROUNDS * len(FEEDS))
    proofs = {1: _single_proofs(pool, keys, windows), len(FEEDS): _joint_proofs(pool, joint_keys, windows)}
    plan = model_plan(model, FEEDS, keys, joint_keys)
    with ExitStack() as stack:
        start_s = LAST_MS // 1000 + 60
        rpc_url = stack.enter_context(running_anvil(contracts_dir, "--timestamp", str(start_s)))
        place = _Place(rpc_url, plan, Build(contracts_dir, cache_dir / "build"), cache_dir / "deployments")
        updates = [place.measure(*case, proofs[case[0]]) for case in CASES]
    return {
        "model": model.name,
        "updates": [asdict(one) | {"gas_per_window": one.gas_per_window} for one in updates],
    }


def _single_proofs(pool: ProverPool, keys: Keys, windows: Windows) -> list[Proof]:
    return [pool.prove(keys, values) for values in windows.at_scale(windows.spec.input_scale)[:_ROUNDS].tolist()]


def _joint_proofs(pool: ProverPool, keys: Keys, windows: Windows) -> list[Proof]:
    members = tuple(PredictionId(feed) for feed in FEEDS)
    rows = in_groups(windows.at_scale(windows.spec.input_scale).tolist(), keys.circuit.windows)
    return [replace(pool.prove(keys, values), members=members) for values in rows]


class _Place:
    """One anvil; each case has contracts of its own on it."""

    def __init__(self, rpc_url: str, plan: ModelPlan, build: Build, records: Path) -> None:
        self._rpc_url = rpc_url
        self._rpc = Rpc([rpc_url])
        self._plan = plan
        self._build = build
        self._records = records

    def measure(self, windows: int, signatures: int, reserved: bool, proofs: Sequence[Proof]) -> Update:
        deployment = self._deployed(windows, signatures, reserved)
        costs = [
            (len(calldata), transaction_gas(self._rpc_url, KEY, deployment.oracle, calldata, limit))
            for calldata, limit in self._updates(deployment, windows, signatures, proofs)
        ]
        return Update(
            windows=windows,
            signatures=signatures,
            reserved=reserved,
            calldata_bytes=costs[-1][0],
            first_gas=costs[0][1],
            gas=costs[-1][1],
        )

    def _updates(
        self, deployment: Deployment, windows: int, signatures: int, proofs: Sequence[Proof]
    ) -> Iterator[tuple[bytes, int]]:
        oracle = OracleAt(deployment.chain_id, deployment.oracle)
        attesters = [Account.from_secret(key, None, "attester") for key in ATTESTER_KEYS[:signatures]]
        for number, proof in enumerate(proofs):
            end_ms = LAST_MS + (number - len(proofs) + 1) * MINUTE_MS
            claim = Claim(
                windows=tuple((feed, end_ms) for feed in FEEDS[:windows]),
                model_id=ModelId(self._plan.model_id),
                input_commitment=input_commitment(proof.proof),
                joint=windows > 1,
            )
            signed = [sign(attester, oracle, claim) for attester in attesters]
            yield update_calldata(claim, proof, signed), gas_limit(claim)

    def _deployed(self, windows: int, signatures: int, reserved: bool) -> Deployment:
        account = Account.from_secret(KEY, None, "submitter")
        signers = tuple(Account.from_secret(key, None, "attester").address for key in ATTESTER_KEYS)
        parameters = Parameters(
            owner=account.address,
            delay=0,
            signers=signers,
            threshold=signatures,
            salt=f"{windows} {signatures} {reserved}",
        )
        reserve = _RESERVED if reserved else 0
        plan = DeploymentPlan(parameters, (self._plan,), feeds=FEEDS[:windows], reserve=reserve)
        return deploy(self._rpc, account, plan, self._build, self._records)
