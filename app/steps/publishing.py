"""Where updates go, when they are due, and the ways in which publishing one can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.chain.registry import OracleReader
from app.chain.rounds import Round, Rounds
from app.chain.sender import Sender
from app.types import OracleAt, Prediction


class SubmitOutcome(StrEnum):
    NO_CHAIN = "no-chain"
    NO_ACCOUNT = "no-account"
    """Updates are signed and served for anyone to send, but this installation does not pay for them."""
    IDLE = "idle"
    NOT_DUE = "not-due"
    SUPERSEDED = "superseded"
    PUBLISHED_BY_OTHERS = "published-by-others"
    WOULD_REVERT = "would-revert"
    FEES_TOO_HIGH = "fees-too-high"
    BALANCE_TOO_LOW = "balance-too-low"
    DRY_RUN = "dry-run"
    TAKEN = "taken"
    SENT = "sent"
    PENDING = "pending"
    REPLACED = "replaced"
    CANCELLED = "cancelled"
    INCLUDED = "included"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    REORGED = "reorged"
    FORGOTTEN = "forgotten"
    CHAIN_UNAVAILABLE = "chain-unavailable"
    WRONG_CHAIN = "wrong-chain"


@dataclass(frozen=True, slots=True)
class StepReport:
    """How the last step towards the chain ended that did something, kept for the API to tell."""

    outcome: StrEnum
    detail: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class OracleTarget:
    """The oracle contract that is published to, and the account that pays, if any."""

    oracle: OracleAt
    reader: OracleReader
    rounds: Rounds
    sender: Sender | None = None
    takes_joint_proofs: bool = True
    """Whether the models have a verifier for proofs of several windows there."""


@dataclass(frozen=True, slots=True)
class PublishingPolicy:
    """When an update is worth its gas, and how one that is on its way is looked after."""

    heartbeat_ms: int
    deviation: float
    """Share by which the volatility must have moved."""
    confirmations: int = 1
    replace_after_ms: int = 45_000
    low_balance_updates: int = 50
    dry_run: bool = False

    def due(self, prediction: Prediction, newest: Round | None) -> str | None:
        """Why a prediction is due on chain after its feed's newest round; none when it is not."""
        if newest is None:
            return "the feed's first round"
        if prediction.regime is not newest.regime:
            return f"the regime is {prediction.regime} after {newest.regime}"
        moved = abs(prediction.vol_annualised - newest.vol_annualised) / newest.vol_annualised
        if moved >= self.deviation:
            return f"the volatility moved by {moved:.1%}"
        age_ms = prediction.window_end_ms - newest.window_end_ms
        if age_ms >= self.heartbeat_ms:
            return f"the newest round is {age_ms / 1000:.0f} s older"
        return None
