"""Puts a deployment on a chain, and goes on where an earlier run stopped.

What is to be done follows from what is on the chain alone, step by step, so a run that was interrupted anywhere is
simply started again. The record is written after each step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from web3.exceptions import ContractLogicError

from app.chain.abi import encode_call
from app.chain.account import Account
from app.chain.attestation import feed_id
from app.chain.build import CREATE2_DEPLOYER, CREATE2_DEPLOYER_CODE, Build, Layout, Part, code_keccak256, lay_out
from app.chain.deployment import (
    LOCAL_CHAINS,
    DeployedModel,
    Deployment,
    DeploymentPlan,
    ModelPlan,
    OwnerCall,
    Placed,
    read_deployment,
    refuse_development_srs,
    write_deployment,
)
from app.chain.reading import ContractReader, revert_reason
from app.chain.registry import ModelState
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.errors import BalanceTooLow, ChainError, FeesTooHigh, Misconfigured, SimulationReverted, TransactionFailed
from app.types import Receipt, SignedTransaction, iso

log = logging.getLogger(__name__)

_ETHER = 10**18
_GAS_MARGIN = 1.2
_POLL_S = 0.01, 2.0
_NO_ADDRESS = "0x" + "00" * 20
_NO_HASH = bytes(32)
DEFAULT_CAPS = FeeCaps.of_gwei(100, 2)


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction that is to be sent."""

    what: str
    to: str
    data: bytes
    gas: int
    """About what it takes; the limit is estimated when it is sent."""
    part: Part | None = None
    """What it creates."""
    by_owner: bool = False
    """Whether only the owner can send it, and the deploying account is not the owner."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do."""

    layout: Layout
    steps: tuple[Step, ...]
    cost_wei: int
    """At most, at the fees of now, for the steps that are not the owner's."""
    balance_wei: int


def deploy(
    rpc: Rpc,
    account: Account,
    plan: DeploymentPlan,
    build: Build,
    folder: Path,
    *,
    caps: FeeCaps = DEFAULT_CAPS,
    testnets: tuple[int, ...] = (),
    anew: bool = False,
    wait_s: float = 300,
    replace_after_s: float = 45,
) -> Deployment:
    """Put everything of the plan on the chain that is not there yet, and record it in ``folder``.

    ``anew`` leaves an earlier deployment of other contracts or parameters to itself. Raises `Misconfigured` when the
    chain lacks what is needed, the keys come from a development SRS on a real chain, or the chain has another
    deployment; `BalanceTooLow`; `TransactionFailed`; another `ChainError` when the chain does not take a transaction
    within ``wait_s``. After any of them it can be called again.
    """
    run = _Run(rpc, account, plan, build, folder, Patience(wait_s, replace_after_s), caps)
    run.refuse(testnets, anew)
    preview = run.preview()
    if preview.balance_wei < preview.cost_wei:
        raise BalanceTooLow(
            f"the account {account.address} has {preview.balance_wei / _ETHER:.6g} ether, the deployment may cost "
            f"{preview.cost_wei / _ETHER:.6g}: send it some"
        )
    return run.carry_out()


def preview(
    rpc: Rpc,
    account: Account,
    plan: DeploymentPlan,
    build: Build,
    folder: Path,
    *,
    caps: FeeCaps = DEFAULT_CAPS,
    testnets: tuple[int, ...] = (),
    anew: bool = False,
) -> Preview:
    """What `deploy` would do. Raises like it, but for lack of funds."""
    run = _Run(rpc, account, plan, build, folder, Patience(0, 0), caps)
    run.refuse(testnets, anew)
    return run.preview()


def recorded_here(rpc: Rpc, folder: Path) -> Deployment | None:
    """The chain's record; none where it is of an earlier life of a local chain, which forgot everything."""
    found, reader = read_deployment(folder, rpc.chain_id), ContractReader(rpc)
    if found is None or rpc.chain_id not in LOCAL_CHAINS:
        return found
    return found if any(reader.code(placed.address) for placed in found.contracts.values()) else None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transaction may take, and when it is offered again with higher fees. Seconds."""

    wait_s: float
    replace_after_s: float


class _Run:
    def __init__(
        self,
        rpc: Rpc,
        account: Account,
        plan: DeploymentPlan,
        build: Build,
        folder: Path,
        patience: Patience,
        caps: FeeCaps,
    ) -> None:
        self._rpc, self._plan, self._folder, self._patience = rpc, plan, folder, patience
        self._sender = Sender(rpc, account, caps)
        self._reader = ContractReader(rpc)
        self._layout = lay_out(build, plan, rpc.chain_id)
        self._known = recorded_here(rpc, folder)
        self._record = self._beginning()
        self._nonce = 0

    def refuse(self, testnets: tuple[int, ...], anew: bool) -> None:
        """Whatever speaks against a deployment before anything is sent."""
        chain_id = self._rpc.chain_id
        served = {feed for model in self._plan.models for feed in model.feeds}
        if missing := [feed for feed in self._plan.feeds if feed not in served]:
            raise Misconfigured(f"no model of the plan speaks for {', '.join(missing)}")
        for keys in {keys.vk_hash: keys for model in self._plan.models for keys in model.all_keys}.values():
            if warning := refuse_development_srs(keys, chain_id, testnets):
                log.warning(warning)
        if self._reader.code(CREATE2_DEPLOYER) != CREATE2_DEPLOYER_CODE:
            raise Misconfigured(
                f"chain {chain_id} has no CREATE2 deployer at {CREATE2_DEPLOYER}, by which contracts get the same "
                "address on every run: docs/deploying.md says how anyone can put it there"
            )
        if self._known and self._known.has_core and not anew and self._known.oracle != self._layout.oracle.address:
            raise Misconfigured(
                f"chain {chain_id} has an oracle at {self._known.oracle} from other contracts or parameters, these "
                f"would give {self._layout.oracle.address}: use what it was deployed with, or --anew"
            )

    def preview(self) -> Preview:
        steps = tuple(self._steps())
        gas = sum(step.gas for step in steps if not step.by_owner)
        cost_wei = gas * self._sender.fees().max_fee_wei if gas else 0
        return Preview(self._layout, steps, cost_wei, self._sender.balance_wei())

    def carry_out(self) -> Deployment:
        owner_calls: list[OwnerCall] = []
        settled = False
        for step in self._steps():
            if step.by_owner:
                owner_calls.append(OwnerCall(step.what, step.to, "0x" + step.data.hex()))
                continue
            if not settled:
                self._nonce, settled = self._settled_nonce(), True
            self._take(step)
        self._write(owner_calls=tuple(owner_calls))
        return self._record

    def _beginning(self) -> Deployment:
        """The record of what is known to be there before this run: nothing if these are other contracts."""
        known = self._known
        if known is None or not known.has_core or known.oracle != self._layout.oracle.address:
            return Deployment(self._rpc.chain_id, self._sender.address, self._plan.parameters)
        return known

    def _steps(self) -> Iterator[Step]:
        """What is to be done, decided as it is asked for: each step is looked at after the one before was taken."""
        for part in self._layout.parts:
            yield from self._creation(part)
        for model in self._plan.models:
            yield from self._proposal(model)
            yield from self._activation(model)
        for feed in self._plan.feeds:
            yield from self._reservation(feed)

    def _creation(self, part: Part) -> Iterator[Step]:
        code = self._reader.code(part.address)
        if code:
            self._place(part, code)
            return
        gas = 250_000 + 16 * len(part.calldata) + 200 * len(part.runtime)
        yield Step(f"create {part.label} at {part.address}", CREATE2_DEPLOYER, part.calldata, gas, part)

    def _proposal(self, model: ModelPlan) -> Iterator[Step]:
        if self._state(model) is not ModelState.UNKNOWN:
            self._require_same(model)
            return
        arguments = (bytes.fromhex(model.model_id), self._entry(model), [feed_id(feed) for feed in model.feeds])
        gas = 300_000 + 25_000 * len(model.feeds)
        yield self._owner_step(f"propose model {model.name}", "propose", arguments, gas)

    def _activation(self, model: ModelPlan) -> Iterator[Step]:
        state = self._state(model)
        if state is ModelState.ACTIVE:
            return
        if state is ModelState.FROZEN:
            raise ChainError(f"model {model.name} was frozen on chain {self._rpc.chain_id} for good: release another")
        now_s = self._reader.time_s()
        from_s = self._active_from(model, state, now_s)
        if from_s > now_s:
            log.warning("model %s can be activated from %s: deploy again then", model.name, iso(from_s * 1000))
            return
        gas = 60_000 + 35_000 * len(model.feeds)
        yield self._owner_step(f"activate model {model.name}", "activate", (bytes.fromhex(model.model_id),), gas)

    def _reservation(self, feed: str) -> Iterator[Step]:
        oracle = self._layout.oracle.address
        state = self._reader.ask("VolatilityOracle", oracle, "feedState", feed_id(feed))
        round_, _, reserved_up_to = state or (0, 0, 0)
        missing = self._plan.reserve - int(reserved_up_to)
        # A feed that is in use pays for its own rounds.
        if round_ or missing <= 0:
            return
        data = encode_call("VolatilityOracle", "reserve", feed_id(feed), missing)
        yield Step(f"reserve {missing} rounds of {feed}", oracle, data, 60_000 + 23_000 * missing)

    def _owner_step(self, what: str, function: str, arguments: tuple[Any, ...], gas: int) -> Step:
        registry = self._layout.registry.address
        owner = self._reader.ask("ModelRegistry", registry, "owner")
        by_owner = (owner or self._plan.parameters.owner.lower()) != self._sender.address.lower()
        return Step(what, registry, encode_call("ModelRegistry", function, *arguments), gas, by_owner=by_owner)

    def _state(self, model: ModelPlan) -> ModelState:
        registry = self._layout.registry.address
        return ModelState(self._reader.ask("ModelRegistry", registry, "stateOf", bytes.fromhex(model.model_id)) or 0)

    def _active_from(self, model: ModelPlan, state: ModelState, now_s: int) -> int:
        registry = self._layout.registry.address
        if state is ModelState.PROPOSED:
            return int(self._reader.ask("ModelRegistry", registry, "activeFrom", bytes.fromhex(model.model_id)))
        # Not proposed yet: a feed's first model does not wait.
        spoken_for = (self._reader.ask("ModelRegistry", registry, "modelOf", feed_id(feed)) for feed in model.feeds)
        waits = any(other and any(other) for other in spoken_for)
        return now_s + (self._plan.parameters.delay if waits else 0)

    def _entry(self, model: ModelPlan) -> tuple[Any, ...]:
        """What is pinned of a model, as the registry takes and gives it."""
        joint = model.joint_keys
        return (
            self._layout.verifiers[model.keys.vk_hash].address.lower(),
            self._layout.verifiers[joint.vk_hash].address.lower() if joint else _NO_ADDRESS,
            joint.circuit.windows if joint else 0,
            model.output_scale,
            bytes.fromhex(model.keys.srs_hash),
            bytes.fromhex(model.keys.vk_hash),
            bytes.fromhex(joint.vk_hash) if joint else _NO_HASH,
            bytes.fromhex(model.training_record),
        )

    def _require_same(self, model: ModelPlan) -> None:
        """A registered model never changes: other keys or further feeds need another model."""
        registry, model_id = self._layout.registry.address, bytes.fromhex(model.model_id)
        if self._reader.ask("ModelRegistry", registry, "model", model_id) != self._entry(model):
            raise Misconfigured(
                f"model {model.name} is registered with other keys than those here, and its entry never changes: "
                "prove under the SRS it was registered with, release it under another name, or deploy --anew"
            )
        registered = set(self._reader.ask("ModelRegistry", registry, "feedsOf", model_id))
        if missing := [feed for feed in model.feeds if feed_id(feed) not in registered]:
            raise Misconfigured(
                f"model {model.name} is registered without {', '.join(missing)}, and takes no further feed: "
                "release it under another name"
            )

    def _take(self, step: Step) -> None:
        receipt = self._sent(step)
        log.info("%s: done for %s gas in %s", step.what, f"{receipt.gas_used:,}", receipt.tx_hash)
        if step.part:
            part = step.part
            code = self._patiently(lambda: self._reader.code(part.address), f"the code at {part.address}")
            if part is self._layout.oracle:
                self._record = replace(self._record, block=receipt.block_number)
            self._place(part, code)

    def _place(self, part: Part, code: bytes) -> None:
        """Note a contract that is there. Raises `ChainError` when it is not what its build says."""
        if code != part.runtime:
            raise ChainError(f"the code of {part.label} at {part.address} is not what its build says")
        placed = Placed(part.address, code_keccak256(code))
        if self._record.contracts.get(part.label) != placed:
            self._write(contracts={**self._record.contracts, part.label: placed})

    def _write(self, **changes: Any) -> None:
        record = replace(self._record, **changes)
        there = {placed.address for placed in record.contracts.values()}
        feeds = {feed: part.address for feed, part in self._layout.feeds.items() if part.address in there}
        models = {model.model_id: self._deployed(model) for model in self._plan.models if self._verifiers_in(there, model)}
        self._record = replace(record, feeds={**record.feeds, **feeds}, models={**record.models, **models})
        write_deployment(self._folder, self._record)

    def _verifiers_in(self, there: set[str], model: ModelPlan) -> bool:
        return all(self._layout.verifiers[keys.vk_hash].address in there for keys in model.all_keys)

    def _deployed(self, model: ModelPlan) -> DeployedModel:
        joint = model.joint_keys
        return DeployedModel(
            name=model.name,
            feeds=model.feeds,
            output_scale=model.output_scale,
            verifier=self._layout.verifiers[model.keys.vk_hash].address,
            joint_verifier=self._layout.verifiers[joint.vk_hash].address if joint else None,
            joint_windows=joint.circuit.windows if joint else 0,
            srs_hash=model.keys.srs_hash,
            vk_hash=model.keys.vk_hash,
            joint_vk_hash=joint.vk_hash if joint else None,
            training_record=model.training_record,
        )
