"""The contracts put on a real chain of this machine: once, again, and after every interruption."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_utils.crypto import keccak

from app.chain.account import Account
from app.chain.anvil import KEY, running_anvil
from app.chain.attestation import feed_id
from app.chain.build import Build, lay_out
from app.chain.deploying import Terms, deploy, preview
from app.chain.deployment import Deployment, DeploymentPlan, ModelPlan, Parameters, read_deployment, require_deployment
from app.chain.operations import Operator, Patience
from app.chain.reading import ContractReader
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.chain.status import Finding, examine
from app.errors import BalanceTooLow, ChainError, Misconfigured, SimulationReverted
from app.inference.release import ReleasedModel
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.steps.deployment import model_plan, served_plans
from app.types import Keys, Prediction, iso
from app.wiring import Application, open_rpc

FEEDS = ("btc-usdt-4h", "eth-usdt-4h")
STEPS = 10
"""Transactions of the plan below."""
STRANGER = "0x" + "17" * 32
SEPOLIA = 11155111
DEPLOYER_MAKER = "0x3fAB184622Dc19b6109349B94811493BF2a45362"
DEPLOYER_BIRTH = (
    "0xf8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31ba02222222222222222222222"
    "222222222222222222222222222222222222222222a02222222222222222222222222222222222222222222222222222222222222222"
)
"""The transaction that makes the CREATE2 deployer on any chain, as in docs/deploying.md."""


@dataclass(frozen=True)
class Chain:
    """Anvil with its first account, and a folder for the record."""

    url: str
    rpc: Rpc
    account: Account
    folder: Path

    @property
    def sender(self) -> Sender:
        return Sender(self.rpc, self.account, FeeCaps.of_gwei(100, 2))

    def tell(self, method: str, *parameters: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = requests.post(self.url, json=body, timeout=10).json()
        assert "error" not in answer, answer
        return answer["result"]

    def sent(self) -> int:
        """Transactions of the account so far."""
        return self.sender.nonces()[0]


@pytest.fixture(scope="module")
def keys(settings: Settings, model: ReleasedModel) -> Keys:
    with ProverPool(1, Limits()) as pool:
        return pool.serving_keys(settings.var_dir, model.circuit)


@pytest.fixture(scope="module")
def build(settings: Settings) -> Build:
    return Build(settings.contracts_dir, settings.var_dir / "build")


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Chain]]:
    with ExitStack() as stack:

        def started(*arguments: str, key: str = KEY) -> Chain:
            url = stack.enter_context(running_anvil(settings.contracts_dir, *arguments))
            return Chain(url, Rpc([url]), Account.from_secret(key, None, "submitter"), tmp_path / "deployments")

        yield started


@pytest.fixture
def chain(start: Callable[..., Chain]) -> Chain:
    return start()


@pytest.fixture
def plan(model: ReleasedModel, keys: Keys) -> DeploymentPlan:
    """Both feeds of the released model. Its circuit stands in for the joint one too, whose keys take long to build."""
    joint = replace(keys, circuit=replace(keys.circuit, windows=10))
    owner = Account.from_secret(KEY, None, "submitter").address
    parameters = Parameters(owner=owner, delay=0, signers=(owner,), threshold=1)
    return DeploymentPlan(parameters, (model_plan(model, FEEDS, keys, joint),), FEEDS, reserve=4)


def put(chain: Chain, plan: DeploymentPlan, build: Build, **terms: Any) -> Deployment:
    return deploy(chain.rpc, chain.account, plan, build, chain.folder, Terms(**terms))


def look(chain: Chain, deployment: Deployment, plan: DeploymentPlan, build: Build) -> list[Finding]:
    return examine(chain.rpc, deployment, plan, lay_out(build, plan, chain.rpc.chain_id))


def test_first_run__puts_everything_on_the_chain_as_it_was_built(
    chain: Chain, plan: DeploymentPlan, build: Build
) -> None:
    made = put(chain, plan, build)
    findings = look(chain, made, plan, build)
    assert all(finding.holds for finding in findings), findings
    assert chain.sent() == STEPS
    assert read_deployment(chain.folder, 31337) == made
    assert set(made.feeds) == set(FEEDS)
    assert made.block == 3


def test_first_run__registers_the_model_with_its_hashes(
    chain: Chain, plan: DeploymentPlan, build: Build, model: ReleasedModel, keys: Keys
) -> None:
    made = put(chain, plan, build)
    reader = ContractReader(chain.rpc)
    pinned = reader.ask("ModelRegistry", made.registry, "model", bytes.fromhex(model.model_id))
    record = model.manifest["files"]["training.json"]
    assert [value.hex() for value in pinned[4:]] == [keys.srs_hash, keys.vk_hash, keys.vk_hash, record]
    assert pinned[2:4] == (10, 27)
    for feed in FEEDS:
        assert reader.ask("ModelRegistry", made.registry, "modelOf", keccak(text=feed)).hex() == model.model_id
        assert reader.ask("VolatilityOracle", made.oracle, "feedState", feed_id(feed)) == (0, 0, 4)


def test_second_run__sends_nothing(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    first = put(chain, plan, build)
    sent = chain.sent()
    assert put(chain, plan, build) == first
    assert chain.sent() == sent


def test_second_run__without_its_record__finds_everything_again(
    chain: Chain, plan: DeploymentPlan, build: Build
) -> None:
    first = put(chain, plan, build)
    sent = chain.sent()
    (chain.folder / "31337.json").unlink()
    assert put(chain, plan, build) == replace(first, block=0)
    assert chain.sent() == sent


@pytest.mark.parametrize("transactions", range(STEPS))
def test_interrupted_run__goes_on_where_it_stopped(
    chain: Chain, plan: DeploymentPlan, build: Build, monkeypatch: pytest.MonkeyPatch, transactions: int
) -> None:
    send, sent = Sender.send, []

    def interrupted(self: Sender, raw: bytes) -> None:
        send(self, raw)
        sent.append(raw)
        if len(sent) > transactions:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Sender, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(chain, plan, build)
    made = put(chain, plan, build)
    assert chain.sent() == STEPS
    assert all(finding.holds for finding in look(chain, made, plan, build))


def test_interrupted_run__whose_transaction_waits__waits_for_it(
    chain: Chain, plan: DeploymentPlan, build: Build
) -> None:
    chain.tell("evm_setAutomine", False)
    with pytest.raises(ChainError, match="is in no block"):
        put(chain, plan, build, patience=Patience(wait_s=0.1))
    later = threading.Timer(0.5, lambda: (chain.tell("evm_mine"), chain.tell("evm_setAutomine", True)))
    later.start()
    put(chain, plan, build)
    later.join()
    assert chain.sent() == STEPS


def test_transaction_that_waits_too_long__is_replaced_by_a_dearer_one(chain: Chain) -> None:
    chain.tell("evm_setAutomine", False)
    operator = Operator(chain.rpc, chain.sender, Patience(wait_s=20, replace_after_s=0.1))
    later = threading.Timer(1.0, lambda: chain.tell("evm_mine"))
    later.start()
    receipt = operator.send("send nothing", DEPLOYER_MAKER, b"")
    later.join()
    assert receipt.succeeded
    assert chain.sent() == 1
    mined = chain.rpc.ask(lambda eth: eth.get_transaction(receipt.tx_hash))  # type: ignore[arg-type]
    assert mined["maxFeePerGas"] > chain.rpc.ask(lambda eth: eth.get_block(0))["baseFeePerGas"] * 2 + 10**9


def test_code_that_was_changed__is_noticed(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    made = put(chain, plan, build)
    chain.tell("anvil_setCode", made.oracle, "0x60016000f3")
    differing = [finding.subject for finding in look(chain, made, plan, build) if not finding.holds]
    assert "VolatilityOracle" in differing
    with pytest.raises(ChainError, match=r"the code of VolatilityOracle .* is not what its build says"):
        put(chain, plan, build)


def test_immutable_that_was_changed__is_noticed(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    made = put(chain, plan, build)
    code = bytearray(ContractReader(chain.rpc).code(made.oracle))
    code[build.contracts["VolatilityOracle"].immutables["maxSkew"][0] + 31] ^= 1
    chain.tell("anvil_setCode", made.oracle, "0x" + code.hex())
    with pytest.raises(ChainError, match="is not what its build says"):
        put(chain, plan, build)


def test_status__of_another_build__says_so(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    made = put(chain, plan, build)
    other = replace(plan, parameters=replace(plan.parameters, max_skew=31))
    differing = {finding.subject for finding in look(chain, made, other, build) if not finding.holds}
    assert differing == {"VolatilityOracle", *(f"VolatilityFeed {feed}" for feed in FEEDS)}


def test_status__after_an_update__shows_the_newest_round(app: Application, confirmed: Prediction, build: Build) -> None:
    rpc = open_rpc(app.settings)
    deployment = require_deployment(app.settings.deployments, rpc.chain_id)
    plan = DeploymentPlan(deployment.parameters, served_plans(app.pipeline.feeds), tuple(deployment.feeds))
    findings = examine(rpc, deployment, plan, lay_out(build, plan, rpc.chain_id))
    assert all(finding.holds for finding in findings), findings
    newest = next(finding.detail for finding in findings if finding.subject == confirmed.feed)
    assert f"round 1, window to {iso(confirmed.window_end_ms)}" in newest
    assert f"volatility {confirmed.vol_annualised:.1%}" in newest


def test_status__of_a_frozen_model__says_so(
    chain: Chain, plan: DeploymentPlan, build: Build, model: ReleasedModel
) -> None:
    made = put(chain, plan, build)
    call(chain, made.registry, f"freeze(bytes32):{model.model_id}")
    findings = {finding.subject: finding for finding in look(chain, made, plan, build)}
    assert "FROZEN" in findings["btc-usdt-4h"].detail
    assert not findings["btc-usdt-4h"].holds
    with pytest.raises(ChainError, match="was frozen for good"):
        put(chain, plan, build)


def call(chain: Chain, to: str, function: str) -> None:
    """``name(type):argument in hex``."""
    signature, _, argument = function.partition(":")
    Operator(chain.rpc, chain.sender, Patience()).send(
        signature, to, keccak(text=signature)[:4] + bytes.fromhex(argument)
    )


def test_development_srs__on_a_real_chain__is_refused_before_anything_is_sent(
    start: Callable[..., Chain], plan: DeploymentPlan, build: Build
) -> None:
    chain = start("--chain-id", "1")
    with pytest.raises(Misconfigured, match="chain 1 is neither local nor a listed testnet"):
        put(chain, plan, build, testnets=(SEPOLIA,))
    assert chain.sent() == 0


def test_development_srs__on_a_listed_testnet__is_tolerated_with_a_warning(
    start: Callable[..., Chain], plan: DeploymentPlan, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    chain = start("--chain-id", str(SEPOLIA))
    with caplog.at_level(logging.WARNING):
        put(chain, plan, build, testnets=(SEPOLIA,))
    assert caplog.messages == [
        f"proofs on testnet {SEPOLIA} are made under a development SRS: they convince nobody but us"
    ]


def test_chain_without_create2_deployer__is_told_how_to_get_it(
    start: Callable[..., Chain], plan: DeploymentPlan, build: Build
) -> None:
    chain = start("--disable-default-create2-deployer")
    with pytest.raises(Misconfigured, match=r"has no CREATE2 deployer at 0x4e59.*docs/deploying\.md"):
        put(chain, plan, build)
    chain.tell("anvil_setBalance", DEPLOYER_MAKER, hex(10**16))
    chain.tell("eth_sendRawTransaction", DEPLOYER_BIRTH)
    chain.tell("evm_mine")
    put(chain, plan, build)


def test_poor_account__is_told_what_it_may_cost(
    start: Callable[..., Chain], plan: DeploymentPlan, build: Build
) -> None:
    chain = start(key=STRANGER)
    chain.tell("anvil_setBalance", chain.account.address, hex(10**16))
    with pytest.raises(BalanceTooLow, match=r"has 0\.01 ether, the deployment may cost 0\.0"):
        put(chain, plan, build)
    assert chain.sent() == 0


def test_preview__sends_and_writes_nothing(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    found = preview(chain.rpc, chain.account, plan, build, chain.folder)
    assert len(found.steps) == STEPS
    assert chain.sent() == 0
    assert not chain.folder.exists()


def test_preview__does_not_guess_too_little(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    found = preview(chain.rpc, chain.account, plan, build, chain.folder)
    before = chain.sender.balance_wei()
    put(chain, plan, build)
    assert before - chain.sender.balance_wei() <= found.cost_wei
    blocks = (chain.rpc.ask(lambda eth, number=number: eth.get_block(number)) for number in range(1, STEPS + 1))
    used = sum(block["gasUsed"] for block in blocks)
    assert used <= sum(step.gas for step in found.steps) <= 1.3 * used


def second(plan: DeploymentPlan) -> DeploymentPlan:
    """The plan with a newer model for the same feeds."""
    newer: ModelPlan = replace(plan.models[0], name="newer", model_id="ab" * 32)
    return replace(plan, models=(newer,))


def test_second_model__waits_for_the_delay_and_is_then_activated(
    chain: Chain, plan: DeploymentPlan, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    plan = replace(plan, parameters=replace(plan.parameters, delay=3600))
    made, reader = put(chain, plan, build), ContractReader(chain.rpc)

    def speaker() -> str:
        return str(reader.ask("ModelRegistry", made.registry, "modelOf", feed_id("btc-usdt-4h")).hex())

    with caplog.at_level(logging.WARNING):
        put(chain, second(plan), build)
    assert "model newer can be activated from" in caplog.text
    assert speaker() == plan.models[0].model_id
    chain.tell("evm_increaseTime", 3601)
    chain.tell("evm_mine")
    after = put(chain, second(plan), build)
    assert speaker() == "ab" * 32
    assert set(after.models) == {plan.models[0].model_id, "ab" * 32}
    assert all(finding.holds for finding in look(chain, after, second(plan), build))


def test_superseded_model__is_not_brought_back_and_a_warning_says_so(
    chain: Chain, plan: DeploymentPlan, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    put(chain, plan, build)
    put(chain, second(plan), build)
    sent = chain.sent()
    with caplog.at_level(logging.WARNING):
        put(chain, plan, build)
    assert "another model speaks for btc-usdt-4h, eth-usdt-4h by now" in caplog.text
    assert chain.sent() == sent


def test_model_registered_with_other_keys__is_not_taken_for_the_same(
    chain: Chain, plan: DeploymentPlan, build: Build
) -> None:
    put(chain, plan, build)
    other = replace(plan, models=(replace(plan.models[0], training_record="00" * 32),))
    with pytest.raises(Misconfigured, match="is registered with other keys"):
        put(chain, other, build)


def test_registered_model__takes_no_further_feed(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    put(chain, plan, build)
    more = replace(plan, models=(replace(plan.models[0], feeds=(*FEEDS, "sol-usdt-4h")),))
    with pytest.raises(Misconfigured, match="is registered without sol-usdt-4h"):
        put(chain, more, build)


def test_feed_without_a_model__is_refused(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    with pytest.raises(Misconfigured, match="no model of the plan speaks for sol-usdt-4h"):
        put(chain, replace(plan, feeds=("sol-usdt-4h",)), build)


def test_owner_who_does_not_deploy__is_told_what_to_send(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    owner = Account.from_secret(STRANGER, None, "submitter")
    chain.tell("anvil_setBalance", owner.address, hex(10**18))
    plan = replace(plan, parameters=replace(plan.parameters, owner=owner.address))
    made = put(chain, plan, build)
    assert [call.what.split()[0] for call in made.owner_calls] == ["propose", "activate"]
    assert not all(finding.holds for finding in look(chain, made, plan, build))
    operator = Operator(chain.rpc, Sender(chain.rpc, owner, FeeCaps.of_gwei(100, 2)), Patience())
    for due in made.owner_calls:
        operator.send(due.what, due.to, bytes.fromhex(due.data.removeprefix("0x")))
    after = put(chain, plan, build)
    assert after.owner_calls == ()
    assert all(finding.holds for finding in look(chain, after, plan, build))


def test_other_parameters__on_a_real_chain__need_to_be_asked_for(
    start: Callable[..., Chain], plan: DeploymentPlan, build: Build
) -> None:
    chain = start("--chain-id", str(SEPOLIA))
    first = put(chain, plan, build, testnets=(SEPOLIA,))
    other = replace(plan, parameters=replace(plan.parameters, max_skew=31))
    with pytest.raises(Misconfigured, match="--anew"):
        put(chain, other, build, testnets=(SEPOLIA,))
    assert put(chain, other, build, testnets=(SEPOLIA,), anew=True).oracle != first.oracle


def test_local_chain_that_forgot_everything__is_deployed_to_again(
    start: Callable[..., Chain], plan: DeploymentPlan, build: Build
) -> None:
    first = put(start(), plan, build)
    assert put(start(), plan, build) == first


def test_step_that_the_contract_refuses__is_not_sent(chain: Chain, plan: DeploymentPlan, build: Build) -> None:
    put(chain, plan, build)
    made = read_deployment(chain.folder, 31337)
    assert made is not None
    call(chain, made.registry, "freezeChanges():")
    sent = chain.sent()
    with pytest.raises(SimulationReverted, match=r"to propose model newer would be refused: ChangesAreFrozen\(\)"):
        put(chain, second(plan), build)
    assert chain.sent() == sent
