"""What is still to be done for a deployment: decided by what is on the chain, and by nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.chain.abi import encode_call
from app.chain.attestation import feed_id
from app.chain.build import CREATE2_DEPLOYER, Layout, Part
from app.chain.deployment import DeploymentPlan, ModelPlan
from app.chain.reading import ContractReader
from app.chain.registry import ModelState
from app.errors import ChainError, Misconfigured
from app.types import iso

log = logging.getLogger(__name__)

_NO_ADDRESS = "0x" + "00" * 20
_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction that is to be sent."""

    what: str
    """To go after "to"."""
    to: str
    data: bytes
    gas: int
    """About what it takes; the limit is estimated when it is sent."""
    part: Part | None = None
    """What it creates."""
    by_owner: bool = False
    """Whether only the owner can send it, and that is another account than ours."""


class Agenda:
    """The steps of one plan for one account."""

    def __init__(self, reader: ContractReader, plan: DeploymentPlan, layout: Layout, sender: str) -> None:
        self._reader = reader
        self._plan = plan
        self._layout = layout
        self._sender = sender

    def steps(self) -> Iterator[Step]:
        """Each is decided when it is asked for: taken one by one, the later ones see what the earlier ones did.

        Raises `ChainError` or `Misconfigured` where something is there that is not what was planned.
        """
        for part in self._layout.parts:
            yield from self._creation(part)
        for model in self._plan.models:
            yield from self._proposal(model)
            yield from self._activation(model)
        for feed in self._plan.feeds:
            yield from self._reservation(feed)

    def is_there(self, part: Part) -> bool:
        """Whether the contract is on the chain. Raises `ChainError` when something else is in its place."""
        code = self._reader.code(part.address)
        if code and code != part.runtime:
            raise ChainError(f"the code of {part.label} at {part.address} is not what its build says")
        return bool(code)

    def _creation(self, part: Part) -> Iterator[Step]:
        if not self.is_there(part):
            gas = 250_000 + 16 * len(part.calldata) + 200 * len(part.runtime)
            yield Step(f"create {part.label} at {part.address}", CREATE2_DEPLOYER, part.calldata, gas, part)

    def _proposal(self, model: ModelPlan) -> Iterator[Step]:
        if self._state(model) is not ModelState.UNKNOWN:
            self._require_same(model)
            return
        arguments = (self._entry(model), [feed_id(feed) for feed in model.feeds])
        yield self._registry_step("propose", model, 300_000 + 25_000 * len(model.feeds), *arguments)

    def _activation(self, model: ModelPlan) -> Iterator[Step]:
        state = self._state(model)
        if state is ModelState.ACTIVE:
            self._warn_if_superseded(model)
            return
        if state is ModelState.FROZEN:
            raise ChainError(f"model {model.name} was frozen for good: release another")
        now_s = self._reader.time_s()
        from_s = self._active_from(model, state, now_s)
        if from_s > now_s:
            log.warning("model %s can be activated from %s: deploy again then", model.name, iso(from_s * 1000))
            return
        yield self._registry_step("activate", model, 60_000 + 35_000 * len(model.feeds))

    def _warn_if_superseded(self, model: ModelPlan) -> None:
        model_id = bytes.fromhex(model.model_id)
        if lost := [feed for feed in model.feeds if self._registry("modelOf", feed_id(feed)) != model_id]:
            log.warning(
                "another model speaks for %s by now: to go back to %s, release it under another name",
                ", ".join(lost),
                model.name,
            )

    def _reservation(self, feed: str) -> Iterator[Step]:
        oracle = self._layout.oracle.address
        state = self._reader.ask("VolatilityOracle", oracle, "feedState", feed_id(feed))
        newest, _, reserved_up_to = state or (0, 0, 0)
        missing = self._plan.reserve - int(reserved_up_to)
        if newest or missing <= 0:  # a feed in use pays for its rounds itself
            return
        data = encode_call("VolatilityOracle", "reserve", feed_id(feed), missing)
        yield Step(f"reserve {missing} rounds of {feed}", oracle, data, 60_000 + 23_000 * missing)

    def _registry_step(self, function: str, model: ModelPlan, gas: int, *arguments: Any) -> Step:
        owner = self._registry("owner") or self._plan.parameters.owner
        data = encode_call("ModelRegistry", function, bytes.fromhex(model.model_id), *arguments)
        to, by_owner = self._layout.registry.address, owner.lower() != self._sender.lower()
        return Step(f"{function} model {model.name}", to, data, gas, by_owner=by_owner)

    def _state(self, model: ModelPlan) -> ModelState:
        return ModelState(self._registry("stateOf", bytes.fromhex(model.model_id)) or 0)

    def _active_from(self, model: ModelPlan, state: ModelState, now_s: int) -> int:
        if state is ModelState.PROPOSED:
            return int(self._registry("activeFrom", bytes.fromhex(model.model_id)))
        # Not proposed yet: a feed's first model does not wait.
        spoken_for = any(any(self._registry("modelOf", feed_id(feed)) or b"") for feed in model.feeds)
        return now_s + (self._plan.parameters.delay if spoken_for else 0)

    def _require_same(self, model: ModelPlan) -> None:
        """A registered model never changes: other keys or further feeds need another model."""
        model_id = bytes.fromhex(model.model_id)
        if self._registry("model", model_id) != self._entry(model):
            raise Misconfigured(
                f"model {model.name} is registered with other keys than those here, and its entry never changes: "
                "prove under the SRS that it was registered with, release it under another name, or deploy --anew"
            )
        registered = set(self._registry("feedsOf", model_id))
        if missing := [feed for feed in model.feeds if feed_id(feed) not in registered]:
            raise Misconfigured(
                f"model {model.name} is registered without {', '.join(missing)}, and takes no further feed: "
                "release it under another name"
            )

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

    def _registry(self, function: str, *arguments: Any) -> Any:
        return self._reader.ask("ModelRegistry", self._layout.registry.address, function, *arguments)
