"""Looks over a deployment: is what stands on the chain what was built and recorded, and how is it doing?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from app.chain.attestation import feed_id
from app.chain.build import Layout, code_keccak256
from app.chain.deployment import Deployment, DeploymentPlan
from app.chain.reading import ContractReader
from app.chain.registry import ModelState
from app.chain.rpc import Rpc
from app.errors import ChainError, ChainUnavailable
from app.types import iso

_WAD = 10**18
_NOBODY = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    holds: bool
    """Whether it is as it should be."""
    detail: str


def examine(rpc: Rpc, deployment: Deployment, plan: DeploymentPlan, layout: Layout) -> list[Finding]:
    """One finding for each contract, model and feed, and for who is in charge.

    ``plan`` and ``layout`` are what this installation would deploy with the recorded parameters. Raises
    `ChainUnavailable` when no endpoint answers.
    """
    look = _Look(ContractReader(rpc), deployment, plan, layout)
    parts = {"contracts": look.contracts, "control": look.control, "models": look.models, "feeds": look.feeds}
    return [finding for subject, part in parts.items() for finding in _guarded(subject, part())]


def _guarded(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """A contract that answers nonsense is a finding too, and the last of its part."""
    try:
        yield from findings
    except ChainUnavailable:
        raise
    except ChainError as error:
        yield Finding(subject, False, str(error))


class _Look:
    def __init__(self, reader: ContractReader, deployment: Deployment, plan: DeploymentPlan, layout: Layout) -> None:
        self._reader = reader
        self._deployment = deployment
        self._plan = plan
        self._parts = {part.label: part for part in layout.parts}

    def contracts(self) -> Iterator[Finding]:
        for label, placed in self._deployment.contracts.items():
            code, part = self._reader.code(placed.address), self._parts.get(label)
            if not code:
                yield Finding(label, False, f"there is no code at {placed.address}")
            elif code_keccak256(code) != placed.code_keccak256:
                yield Finding(label, False, f"the code at {placed.address} is not what was deployed")
            elif part is None:
                yield Finding(label, True, f"{placed.address}, as recorded; nothing here builds it any more")
            elif (part.address, part.code_keccak256) != (placed.address, placed.code_keccak256):
                yield Finding(label, False, f"{placed.address} is of another build than the one here")
            else:
                yield Finding(label, True, f"{placed.address}, its code is the build's")

    def control(self) -> Iterator[Finding]:
        places = {"ModelRegistry": self._deployment.registry, "AttesterSet": self._deployment.attester_set}
        for contract, address in places.items():
            owner = self._reader.ask(contract, address, "owner")
            if owner is None:
                yield Finding(f"owner of {contract}", False, f"nobody answers at {address}")
                continue
            pending = self._reader.ask(contract, address, "pendingOwner")
            offered = f", offered to {to_checksum_address(pending)}" if pending != _NOBODY else ""
            yield Finding(f"owner of {contract}", True, f"{to_checksum_address(owner)}{offered}")
        yield self._signers()

    def models(self) -> Iterator[Finding]:
        for model_id, model in self._deployment.models.items():
            state = ModelState(self._registry("stateOf", bytes.fromhex(model_id)) or 0)
            if state is ModelState.UNKNOWN:
                yield Finding(f"model {model.name}", False, "not proposed yet: the owner has to")
            elif state is ModelState.PROPOSED:
                since = iso(1000 * int(self._registry("activeFrom", bytes.fromhex(model_id))))
                yield Finding(f"model {model.name}", True, f"proposed, can be activated from {since}")
            elif self._pinned(model_id) != (model.srs_hash, model.vk_hash, model.joint_vk_hash or "00" * 32):
                yield Finding(f"model {model.name}", False, "the registry pins other keys than were recorded")
            else:
                yield Finding(f"model {model.name}", True, f"{state.name.lower()}, vk {model.vk_hash[:16]}…")
        yield from self._keys_here()

    def feeds(self) -> Iterator[Finding]:
        names = {model_id: model.name for model_id, model in self._deployment.models.items()}
        for feed in self._deployment.feeds:
            speaker = bytes(self._registry("modelOf", feed_id(feed)) or b"").hex()
            if speaker not in names:
                what = f"model {speaker[:16]}…, which is not recorded" if speaker.strip("0") else "no model"
                yield Finding(feed, False, f"{what} speaks for it")
                continue
            frozen = ModelState(self._registry("stateOf", bytes.fromhex(speaker)) or 0) is ModelState.FROZEN
            ended = ", which was FROZEN: its forecasts are not read as fresh" if frozen else ""
            yield Finding(feed, not frozen, f"model {names[speaker]}{ended}; {self._newest(feed)}")

    def _keys_here(self) -> Iterator[Finding]:
        """Models of this installation that are not deployed, or with other keys."""
        for model in self._plan.models:
            there = self._deployment.models.get(model.model_id)
            if there is None:
                yield Finding(f"model {model.name}", False, "released here and not deployed: `contracts deploy`")
            elif there.vk_hash != model.keys.vk_hash:
                words = f"is deployed with vk {there.vk_hash[:16]}…, the keys here have {model.keys.vk_hash[:16]}…"
                yield Finding(f"model {model.name}", False, f"{words}: proofs made here would be refused")

    def _newest(self, feed: str) -> str:
        state = self._oracle("feedState", feed_id(feed))
        if state is None:
            return "nobody answers for the oracle"
        newest, window_end_s, reserved_up_to = state
        if not newest:
            return f"nothing published yet, {reserved_up_to} rounds reserved"
        volatility = self._oracle("forecastUnsafe", feed_id(feed))[5] / _WAD
        age_s = self._reader.time_s() - window_end_s
        return f"round {newest}, window to {iso(1000 * window_end_s)} ({age_s} s ago), volatility {volatility:.1%}"

    def _signers(self) -> Finding:
        signers, threshold, proposed = (self._attesters(name) for name in ("signers", "threshold", "proposed"))
        if signers is None:
            return Finding("attesters", False, f"nobody answers at {self._deployment.attester_set}")
        detail = f"{threshold} of {len(signers)}: {', '.join(to_checksum_address(signer) for signer in signers)}"
        if proposed[2]:
            detail += f"; another set is proposed, for {iso(1000 * proposed[2])} or later"
        return Finding("attesters", True, detail)

    def _pinned(self, model_id: str) -> tuple[str, str, str]:
        entry = self._registry("model", bytes.fromhex(model_id))
        return entry[4].hex(), entry[5].hex(), entry[6].hex()

    def _registry(self, function: str, *arguments: Any) -> Any:
        return self._reader.ask("ModelRegistry", self._deployment.registry, function, *arguments)

    def _attesters(self, function: str) -> Any:
        return self._reader.ask("AttesterSet", self._deployment.attester_set, function)

    def _oracle(self, function: str, *arguments: Any) -> Any:
        return self._reader.ask("VolatilityOracle", self._deployment.oracle, function, *arguments)
