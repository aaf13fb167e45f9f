"""Puts a deployment on a chain, and goes on where an earlier run stopped.

What is to be done follows from what is on the chain (`app.chain.agenda`), so a run that was interrupted anywhere is
simply started again. The record is written after each step.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from app.chain.account import Account
from app.chain.agenda import Agenda, Step
from app.chain.build import CREATE2_DEPLOYER, CREATE2_DEPLOYER_CODE, Build, Layout, lay_out
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
from app.chain.operations import Operator, Patience
from app.chain.reading import ContractReader
from app.chain.rpc import Rpc
from app.chain.sender import FeeCaps, Sender
from app.errors import BalanceTooLow, Misconfigured

log = logging.getLogger(__name__)

_ETHER = 10**18
_DEFAULT_CAPS = FeeCaps.of_gwei(100, 2)
_DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which a deployment is made."""

    caps: FeeCaps = _DEFAULT_CAPS
    testnets: tuple[int, ...] = ()
    """Chain ids besides local ones where a development SRS is tolerated."""
    anew: bool = False
    """Whether an earlier deployment of other contracts or parameters is left to itself."""
    patience: Patience = _DEFAULT_PATIENCE


DEFAULT_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do."""

    layout: Layout
    steps: tuple[Step, ...]
    cost_wei: int
    """At most, at the fees of now, for the steps that are not the owner's."""
    balance_wei: int


def deploy(
    rpc: Rpc, account: Account, plan: DeploymentPlan, build: Build, folder: Path, terms: Terms = DEFAULT_TERMS
) -> Deployment:
    """Put everything of the plan on the chain that is not there yet, and record it in ``folder``.

    Raises `Misconfigured` when the chain lacks what is needed, the keys come from a development SRS on a real chain, or
    the chain has another deployment; `BalanceTooLow`; `SimulationReverted`, `TransactionFailed` or another `ChainError`
    when the chain does not take a transaction. After any of them it can be called again.
    """
    run = _Run(rpc, account, plan, build, folder, terms)
    run.settle()
    found = run.preview()
    if found.balance_wei < found.cost_wei:
        raise BalanceTooLow(
            f"the account {account.address} has {found.balance_wei / _ETHER:.6g} ether, the deployment may cost "
            f"{found.cost_wei / _ETHER:.6g}: send it some"
        )
    return run.carry_out()


def preview(
    rpc: Rpc, account: Account, plan: DeploymentPlan, build: Build, folder: Path, terms: Terms = DEFAULT_TERMS
) -> Preview:
    """What `deploy` would do; nothing is sent or written. Raises like it, but not for lack of funds."""
    return _Run(rpc, account, plan, build, folder, terms).preview()


def recorded_here(rpc: Rpc, folder: Path) -> Deployment | None:
    """The chain's record; none where it is of an earlier life of a local chain, which forgot everything."""
    found, reader = read_deployment(folder, rpc.chain_id), ContractReader(rpc)
    if found is None or rpc.chain_id not in LOCAL_CHAINS:
        return found
    return found if any(reader.code(placed.address) for placed in found.contracts.values()) else None


class _Run:
    def __init__(
        self, rpc: Rpc, account: Account, plan: DeploymentPlan, build: Build, folder: Path, terms: Terms
    ) -> None:
        _require_models(plan)
        self._plan, self._folder, self._chain_id = plan, folder, rpc.chain_id
        self._warn_or_refuse(terms.testnets)
        self._sender = Sender(rpc, account, terms.caps)
        self._operator = Operator(rpc, self._sender, terms.patience)
        reader = ContractReader(rpc)
        _require_create2(reader, self._chain_id)
        self._layout = lay_out(build, plan, self._chain_id)
        self._record = self._beginning(recorded_here(rpc, folder), terms.anew)
        self._agenda = Agenda(reader, plan, self._layout, account.address)

    def preview(self) -> Preview:
        steps = tuple(self._agenda.steps())
        gas = sum(step.gas for step in steps if not step.by_owner)
        cost_wei = gas * self._sender.fees().max_fee_wei if gas else 0
        return Preview(self._layout, steps, cost_wei, self._sender.balance_wei())

    def settle(self) -> None:
        """What an interrupted run had sent counts before anything is decided."""
        self._operator.settle()

    def carry_out(self) -> Deployment:
        self._note(*(part.label for part in self._layout.parts if self._agenda.is_there(part)))
        owner_calls = []
        for step in self._agenda.steps():
            if step.by_owner:
                owner_calls.append(OwnerCall(step.what, step.to, "0x" + step.data.hex()))
            else:
                self._take(step)
        self._record = replace(self._record, owner_calls=tuple(owner_calls))
        write_deployment(self._folder, self._record)
        return self._record

    def _warn_or_refuse(self, testnets: tuple[int, ...]) -> None:
        every = (keys for model in self._plan.models for keys in model.all_keys)
        for warning in {refuse_development_srs(keys, self._chain_id, testnets) for keys in every} - {None}:
            log.warning("%s", warning)

    def _beginning(self, known: Deployment | None, anew: bool) -> Deployment:
        """The record before this run: nothing where what is there is not what is planned."""
        oracle = self._layout.oracle.address
        if known is not None and known.has_core and known.oracle == oracle:
            return known
        if known is not None and known.has_core and not anew and self._chain_id not in LOCAL_CHAINS:
            raise Misconfigured(
                f"chain {self._chain_id} has an oracle at {known.oracle} from other contracts or parameters, these "
                f"would give {oracle}: use what it was deployed with, or make another with --anew"
            )
        return Deployment(self._chain_id, self._sender.address, self._plan.parameters)

    def _take(self, step: Step) -> None:
        receipt = self._operator.send(step.what, step.to, step.data)
        if step.part is None:
            return
        part = step.part
        # An endpoint may lag behind the one that had the receipt.
        self._operator.patiently(lambda: self._agenda.is_there(part), f"there is no code at {part.address}")
        if part is self._layout.oracle:
            self._record = replace(self._record, block=receipt.block_number)
        self._note(part.label)

    def _note(self, *labels: str) -> None:
        """Write down that these parts are there, and what follows from that."""
        parts = {part.label: part for part in self._layout.parts}
        placed = {label: Placed(parts[label].address, parts[label].code_keccak256) for label in labels}
        contracts = {**self._record.contracts, **placed}
        there = {contract.address for contract in contracts.values()}
        feeds = {feed: part.address for feed, part in self._layout.feeds.items() if part.address in there}
        models = {model.model_id: self._deployed(model) for model in self._plan.models}
        verified = {
            id_: model for id_, model in models.items() if {model.verifier, model.joint_verifier} <= {None, *there}
        }
        self._record = replace(
            self._record,
            contracts=contracts,
            feeds={**self._record.feeds, **feeds},
            models={**self._record.models, **verified},
        )
        write_deployment(self._folder, self._record)

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


def _require_models(plan: DeploymentPlan) -> None:
    served = {feed for model in plan.models for feed in model.feeds}
    if missing := [feed for feed in plan.feeds if feed not in served]:
        raise Misconfigured(f"no model of the plan speaks for {', '.join(missing)}")


def _require_create2(reader: ContractReader, chain_id: int) -> None:
    if reader.code(CREATE2_DEPLOYER) != CREATE2_DEPLOYER_CODE:
        raise Misconfigured(
            f"chain {chain_id} has no CREATE2 deployer at {CREATE2_DEPLOYER}, which gives contracts the same address "
            "on every run: docs/deploying.md says how anyone can put it there"
        )
