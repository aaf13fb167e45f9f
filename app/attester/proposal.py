"""What an attester is asked, and the two ways in which it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from app.features.variation import VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel
from app.types import AttesterSignature, Claim, Feed, Keys, ModelId, OracleAt, Window


@dataclass(frozen=True, slots=True)
class ProposedWindow:
    feed: str
    window_end_ms: int
    values: tuple[int, ...]
    """The observation that the proof commits to, at the circuit's input scale."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A service asks: sign that the proof with this input commitment is about these windows."""

    oracle: OracleAt
    model_id: ModelId
    windows: tuple[ProposedWindow, ...]
    """In the order of the proof's places; exactly one unless the proof is a joint one."""
    joint: bool
    input_commitment: bytes

    @property
    def claim(self) -> Claim:
        return Claim(
            windows=tuple((window.feed, window.window_end_ms) for window in self.windows),
            model_id=self.model_id,
            input_commitment=self.input_commitment,
            joint=self.joint,
        )


class Refusal(StrEnum):
    """Why nothing was signed; in the order in which an attester looks."""

    BUSY = "busy"
    OTHER_ORACLE = "other-oracle"
    UNKNOWN_FEED = "unknown-feed"
    UNKNOWN_MODEL = "unknown-model"
    NO_JOINT_CIRCUIT = "no-joint-circuit"
    IMPOSSIBLE_INPUTS = "impossible-inputs"
    REGISTRY_UNREACHABLE = "registry-unreachable"
    MODEL_NOT_REGISTERED = "model-not-registered"
    MODEL_FROZEN = "model-frozen"
    KEYS_DIFFER = "keys-differ"
    WINDOW_NOT_CLOSED = "window-not-closed"
    WINDOW_TOO_OLD = "window-too-old"
    ALREADY_SIGNED = "already-signed"
    MARKET_INCOMPLETE = "market-incomplete"
    INPUTS_DIFFER = "inputs-differ"
    FORECAST_DIFFERS = "forecast-differs"
    PROVER_UNAVAILABLE = "prover-unavailable"
    COMMITMENT_DIFFERS = "commitment-differs"


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Refusal
    detail: str
    retry_after_s: int | None = None
    """When the same question may have another answer; none when it will not."""


@dataclass(frozen=True, slots=True)
class Signed:
    signature: AttesterSignature


@dataclass(frozen=True, slots=True)
class AttestedFeed:
    """A feed with everything that is needed to judge a proposal about it."""

    feed: Feed
    model: ReleasedModel
    spec: VariationSpec
    network: Network
    keys: Keys
    batch_keys: Keys | None
    """Of the model's circuit for several windows, where joint proofs are attested."""
    collect: Callable[[int], Window]
    """The window that ends at a time, from venues of our own. Raises `VenueUnavailable`."""

    @property
    def all_keys(self) -> tuple[Keys, ...]:
        return (self.keys,) if self.batch_keys is None else (self.keys, self.batch_keys)
