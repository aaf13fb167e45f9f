"""The oracle on a chain of its own for every test of this folder that asks for `chain`, with real proofs to publish.

One anvil serves them all: each test begins at the same block and the same time, by snapshot. Proofs are made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests
from eth_utils.crypto import keccak

from app.chain.abi import encode_call
from app.chain.account import Account
from app.chain.anvil import ATTESTER_KEYS, CHAIN_ID, KEY, running_anvil
from app.chain.attestation import feed_id, input_commitment, sign
from app.chain.build import Build
from app.chain.compiler import Contract, compile_project
from app.chain.deploying import deploy
from app.chain.deployment import Deployment, DeploymentPlan, Parameters
from app.chain.reverts import error_name, explain
from app.chain.rpc import Rpc
from app.clock import Clock, wall_ms
from app.features.variation import CANDLES_NEEDED, INPUTS, VariationSpec, observe
from app.inference.network import dequantise, forecast_from
from app.inference.release import ReleasedModel
from app.proving.pool import ProverPool
from app.settings import Settings
from app.sim.market import SimulatedMarket
from app.steps.deployment import model_plan
from app.store.database import Database
from app.types import (
    MINUTE_MS,
    Attestation,
    AttestationOutcome,
    AttesterSignature,
    Claim,
    Feed,
    Keys,
    ModelId,
    OracleAt,
    Prediction,
    Proof,
    Window,
)
from app.wiring import open_pool

FEED = "btc-usdt-4h"
FEEDS = tuple(f"{asset}-usdt-4h" for asset in ("btc", "eth", "sol", "xrp", "bnb", "ada", "ltc", "dot", "link", "avax"))
FIRST_END_MS = 1_757_937_600_000  # 2025-09-15T12:00:00Z
BEGINS_MS = FIRST_END_MS + 6 * MINUTE_MS
"""The chain's time at the beginning of each test: the first windows are some minutes old, and still taken."""
THRESHOLD = 2
RESERVED = 4
_PUBLISHED = "0x" + keccak(text="ForecastPublished(bytes32,uint64,bytes32,uint64,uint8,uint256,uint256)").hex()
_READ_GAS = 100_000_000
_MINED_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Publishable:
    """Windows with their proof: what an update is made of, signatures aside."""

    claim: Claim
    proof: Proof
    observations: tuple[tuple[int, ...], ...]

    @property
    def end_s(self) -> int:
        return self.claim.windows[0][1] // 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call would do: return ``data``, or revert with ``error``."""

    error: str | None
    words: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Mined:
    """What became of a transaction."""

    succeeded: bool
    tx_hash: str
    gas: int
    block: int
    contract: str | None


class Chain:
    """Anvil with the deployed oracle, asked without any of the code that is tested."""

    def __init__(self, url: str, deployment: Deployment) -> None:
        self.url = url
        self.deployment = deployment
        self.oracle = OracleAt(CHAIN_ID, deployment.oracle)
        self.owner = deployment.parameters.owner

    def request(self, method: str, *params: Any) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: dict[str, Any] = requests.post(self.url, json=body, timeout=30).json()
        return answer

    def ask(self, method: str, *params: Any) -> Any:
        answer = self.request(method, *params)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> Answer:
        """Asked of the block that comes next."""
        terms = {"from": sender or self.owner, "to": to, "data": "0x" + data.hex(), "gas": hex(_READ_GAS)}
        answer = self.request("eth_call", terms, "pending")
        if "error" not in answer:
            return Answer(None, "", bytes.fromhex(answer["result"][2:]))
        data = answer["error"].get("data") or "0x"
        return Answer(error_name(data) or "unknown", explain(data), bytes.fromhex(data[2:]))

    def send(self, to: str | None, data: bytes, *, sender: str | None = None, gas: int = 10_000_000) -> Mined:
        """A transaction of an account that anvil holds the key of, in a block at once."""
        terms = {"from": sender or self.owner, "data": "0x" + data.hex(), "gas": hex(gas)}
        return self.mined(self.ask("eth_sendTransaction", terms | ({"to": to} if to else {})))

    def mined(self, tx_hash: str) -> Mined:
        give_up = time.monotonic() + _MINED_WITHIN_S
        while (receipt := self.ask("eth_getTransactionReceipt", tx_hash)) is None:
            assert time.monotonic() < give_up, f"{tx_hash} is in no block"
            time.sleep(0.01)
        return Mined(
            succeeded=receipt["status"] == "0x1",
            tx_hash=tx_hash,
            gas=int(receipt["gasUsed"], 16),
            block=int(receipt["blockNumber"], 16),
            contract=receipt["contractAddress"],
        )

    def create(self, contract: Contract, arguments: bytes = b"") -> str:
        made = self.send(None, bytes.fromhex(contract.bytecode[2:]) + arguments)
        assert made.succeeded
        assert made.contract is not None
        return made.contract

    def owned(self, contract: str, address: str, function: str, *arguments: Any) -> None:
        """A call that only the owner may make."""
        assert self.send(address, encode_call(contract, function, *arguments)).succeeded

    def require(self, threshold: int) -> None:
        """From now on so many of the attesters must sign."""
        signers = self.deployment.parameters.signers
        self.owned("AttesterSet", self.deployment.attester_set, "propose", signers, threshold)
        self.owned("AttesterSet", self.deployment.attester_set, "activate")

    def published(self, feed: str = FEED) -> list[tuple[int, str]]:
        """Of every round of a feed: end of its window in ms, and hash of the transaction that made it."""
        wanted = {
            "address": self.oracle.contract,
            "fromBlock": "0x0",
            "topics": [_PUBLISHED, "0x" + feed_id(feed).hex()],
        }
        found = self.ask("eth_getLogs", wanted)
        return [(int(entry["topics"][2], 16) * 1000, entry["transactionHash"]) for entry in found]

    def mine(self, blocks: int = 1) -> None:
        self.ask("anvil_mine", hex(blocks))

    def pass_time(self, seconds: int) -> None:
        self.ask("evm_increaseTime", seconds)
        self.mine()

    def time_s(self) -> int:
        return int(self.ask("eth_getBlockByNumber", "pending", False)["timestamp"], 16)

    def begin(self, time_ms: int) -> None:
        """Settings that a snapshot does not hold."""
        self.ask("anvil_dropAllTransactions")
        self.ask("evm_setAutomine", True)
        self.ask("anvil_setNextBlockBaseFeePerGas", hex(10**9))
        self.ask("evm_setTime", time_ms // 1000)


@pytest.fixture(scope="session")
def prover(settings: Settings) -> Iterator[ProverPool]:
    with open_pool(settings) as pool:
        yield pool


@pytest.fixture(scope="session")
def keys(prover: ProverPool, settings: Settings, model: ReleasedModel) -> Keys:
    return prover.serving_keys(settings.var_dir, model.circuit)


@pytest.fixture(scope="session")
def joint_keys(prover: ProverPool, settings: Settings, model: ReleasedModel) -> Keys:
    assert model.batch is not None
    return prover.serving_keys(settings.var_dir, model.batch)


@pytest.fixture(scope="session")
def observe_at(model: ReleasedModel) -> Callable[[int, int], tuple[int, ...]]:
    """What a simulated market of a seed looked like at a minute after `FIRST_END_MS`."""
    spec = VariationSpec.from_manifest(model.manifest["observation"])

    def observed(seed: int, minute: int) -> tuple[int, ...]:
        end_ms = FIRST_END_MS + minute * MINUTE_MS
        candles = SimulatedMarket(seed).candles("BTC/USDT", end_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)
        return observe(Window(Feed(FEED, "BTC/USDT"), end_ms, {"simulated": candles}), spec).values

    return observed


@pytest.fixture(scope="session")
def windows(
    prover: ProverPool, keys: Keys, model: ReleasedModel, observe_at: Callable[[int, int], tuple[int, ...]]
) -> list[Publishable]:
    """Three minutes in a row, each proved."""
    made = []
    for minute in range(3):
        observation = observe_at(0, minute)
        proof = prover.prove(keys, observation)
        made.append(Publishable(_claim(model, (FEED,), minute, proof), proof, (observation,)))
    return made


@pytest.fixture(scope="session")
def ten_feeds(
    prover: ProverPool, joint_keys: Keys, model: ReleasedModel, observe_at: Callable[[int, int], tuple[int, ...]]
) -> Publishable:
    """One minute of ten feeds, each of a market of its own, in one proof."""
    observations = tuple(observe_at(seed, 0) for seed in range(len(FEEDS)))
    values = [value for observation in observations for value in observation]
    proof = prover.prove(joint_keys, values + [0] * (joint_keys.circuit.windows * INPUTS - len(values)))
    claim = _claim(model, FEEDS, 0, proof)
    return Publishable(replace(claim, joint=True), proof, observations)


def _claim(model: ReleasedModel, feeds: tuple[str, ...], minute: int, proof: Proof) -> Claim:
    end_ms = FIRST_END_MS + minute * MINUTE_MS
    return Claim(
        windows=tuple((feed, end_ms) for feed in feeds),
        model_id=ModelId(model.model_id),
        input_commitment=input_commitment(proof.proof),
        joint=False,
    )


@pytest.fixture(scope="session")
def attesters() -> list[Account]:
    return [Account.from_secret(key, None, "attester") for key in ATTESTER_KEYS]


@pytest.fixture(scope="session")
def signatures(attesters: list[Account]) -> Callable[..., list[AttesterSignature]]:
    """Of the first attesters over a claim, for an oracle."""

    def made(claim: Claim, oracle: OracleAt, count: int = THRESHOLD) -> list[AttesterSignature]:
        return [sign(attester, oracle, claim) for attester in attesters[:count]]

    return made


@pytest.fixture(scope="session")
def build(settings: Settings) -> Build:
    return Build(settings.contracts_dir, settings.var_dir / "build")


@pytest.fixture(scope="session")
def _deployed(
    settings: Settings,
    build: Build,
    model: ReleasedModel,
    keys: Keys,
    joint_keys: Keys,
    attesters: list[Account],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Chain]:
    owner = Account.from_secret(KEY, None, "submitter")
    signers = tuple(attester.address for attester in attesters)
    plan = DeploymentPlan(
        parameters=Parameters(owner=owner.address, delay=0, signers=signers, threshold=THRESHOLD),
        models=(model_plan(model, FEEDS, keys, joint_keys),),
        feeds=(FEED,),
        reserve=RESERVED,
    )
    with running_anvil(settings.contracts_dir, "--timestamp", str(BEGINS_MS // 1000)) as url:
        yield Chain(url, deploy(Rpc([url]), owner, plan, build, tmp_path_factory.mktemp("deployments")))


@pytest.fixture
def chain(_deployed: Chain) -> Iterator[Chain]:
    """As it was when the oracle had just been deployed."""
    snapshot = _deployed.ask("evm_snapshot")
    _deployed.begin(BEGINS_MS)
    yield _deployed
    _deployed.ask("anvil_dropAllTransactions")
    assert _deployed.ask("evm_revert", snapshot)


@pytest.fixture
def clock(chain: Chain) -> Clock:
    """The chain's time, as the service sees it."""
    return Clock(market_start_ms=chain.time_s() * 1000, wall_start_ms=wall_ms())


@pytest.fixture
def store_signed(
    chain: Chain,
    windows: list[Publishable],
    signatures: Callable[..., list[AttesterSignature]],
    model: ReleasedModel,
    make_prediction: Callable[..., Prediction],
) -> Callable[[Database, int], Prediction]:
    """Puts a window with its proof and signatures into a store, as the service has it before it submits."""

    def store_it(database: Database, number: int) -> Prediction:
        made = windows[number]
        ((feed, end_ms),) = made.claim.windows
        prediction = make_prediction(
            feed=feed, window_end_ms=end_ms, model_id=made.claim.model_id, observation=made.observations[0]
        )
        forecast = forecast_from(dequantise(made.proof.outputs, model.output_scale))
        answers = [
            Attestation(prediction.id, one.signer, AttestationOutcome.SIGNED, one, None, end_ms)
            for one in signatures(made.claim, chain.oracle)
        ]
        with database.unit_of_work() as store:
            assert store.predictions.add(prediction)
            store.jobs.lease("me", 0, 1_000, 5)
            assert store.jobs.finish(prediction.id, "me", made.proof, forecast, end_ms + 1_000)
            store.attestations.record(answers, chain.oracle)
        return prediction

    return store_it


@pytest.fixture(scope="session")
def harnesses(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Contract]:
    """Contracts for tests alone, compiled beside the project's sources."""
    real, folder = settings.contracts_dir, tmp_path_factory.mktemp("contracts")
    for name in ("node_modules", "foundry.toml"):
        (folder / name).symlink_to(real / name)
    (folder / "src").mkdir()
    for part in (real / "src").iterdir():
        (folder / "src" / part.name).symlink_to(part)
    reader = (real / "test" / "consumers" / "ChainlinkReader.sol").read_text()
    (folder / "src" / "ChainlinkReader.sol").write_text(reader.replace('"../../src/', '"./'))
    (folder / "src" / "OutputsHarness.sol").write_text(_OUTPUTS_HARNESS)
    return compile_project(folder, ["ChainlinkReader", "OutputsHarness"], settings.var_dir / "build")


_OUTPUTS_HARNESS = """// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Outputs} from "./libraries/Outputs.sol";

contract OutputsHarness {
    function decode(uint256[] calldata outputs, uint8 scale)
        external
        pure
        returns (bool[] memory high, uint256[] memory probabilities, uint256[] memory volatilities)
    {
        uint256 places = outputs.length / Outputs.PER_WINDOW;
        high = new bool[](places);
        probabilities = new uint256[](places);
        volatilities = new uint256[](places);
        for (uint256 i = 0; i < places; ++i) {
            Outputs.Decoded memory decoded = Outputs.decode(outputs, i, scale);
            high[i] = uint8(decoded.regime) == 1;
            (probabilities[i], volatilities[i]) = (decoded.probabilityHigh, decoded.volatility);
        }
    }
}
"""
