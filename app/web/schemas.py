"""What the API answers, as pydantic models: the OpenAPI document is made from these."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from app.audit.bundle import instance_word
from app.clock import Clock
from app.features.realised import THRESHOLD
from app.steps.standing import Said, TickReport
from app.store.outcomes import Outcome
from app.types import MINUTES_PER_YEAR, Attempt, Attestation, Disagreement, Prediction, Proof, Submission, iso

MOST_GAPS = 100


def annualised(deviation: float) -> float:
    """Of one-minute log returns."""
    return deviation * math.sqrt(MINUTES_PER_YEAR)


class ProofOut(BaseModel):
    proof: str = Field(description="halo2 proof, 0x hex; its first 64 bytes are the input commitment")
    instances: list[str] = Field(description="public outputs as the contract takes them: 32-byte words")
    commitment: str = Field(description="KZG commitment of the observation, x‖y big-endian")
    vk_hash: str
    srs_hash: str
    srs_development: bool = Field(description="true: whoever made the SRS can forge proofs")
    slot: int = Field(description="place of this forecast among the windows that the proof proves together")
    members: list[str | None] = Field(description="predictions of a joint proof, null in an empty place; else empty")
    witness_seconds: float
    prove_seconds: float
    verify_seconds: float
    proved_at: str

    @classmethod
    def of(cls, proof: Proof, proved_at_ms: int, *, srs_development: bool) -> ProofOut:
        return cls(
            proof="0x" + proof.proof.hex(),
            instances=[instance_word(value) for value in proof.instances],
            commitment="0x" + proof.commitment.hex(),
            vk_hash=proof.vk_hash,
            srs_hash=proof.srs_hash,
            srs_development=srs_development,
            slot=proof.slot,
            members=list(proof.members),
            witness_seconds=proof.witness_seconds,
            prove_seconds=proof.prove_seconds,
            verify_seconds=proof.verify_seconds,
            proved_at=iso(proved_at_ms),
        )


class AttemptOut(BaseModel):
    """One try at a proof; seconds as far as it came."""

    attempt: int
    outcome: Literal["proved", "disagreed", "timed-out", "out-of-memory", "died", "unavailable", "error", "shed"]
    reason: str | None
    prover: str
    windows: int = Field(description="how many were proved together")
    queue_seconds: float | None
    witness_seconds: float | None
    prove_seconds: float | None
    verify_seconds: float | None
    at: str

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptOut:
        return cls(
            attempt=attempt.number,
            outcome=attempt.outcome.value,
            reason=attempt.reason,
            prover=attempt.owner,
            windows=attempt.windows,
            queue_seconds=attempt.queue_seconds,
            witness_seconds=attempt.witness_seconds,
            prove_seconds=attempt.prove_seconds,
            verify_seconds=attempt.verify_seconds,
            at=iso(attempt.at_ms),
        )


class AlarmOut(BaseModel):
    """Network and circuit said different things; such a forecast is never served."""

    prediction_id: str
    window_end: str
    reason: str

    @classmethod
    def of(cls, found: Disagreement) -> AlarmOut:
        return cls(prediction_id=found.prediction_id, window_end=iso(found.window_end_ms), reason=found.reason)


class AttestationOut(BaseModel):
    """What one attester answered about a forecast."""

    attester: str = Field(description="host it was asked at, or own")
    outcome: Literal["signed", "refused", "unreachable", "invalid"]
    signer: str | None
    reason: str | None = Field(description="why it did not sign")
    at: str

    @classmethod
    def of(cls, found: Attestation) -> AttestationOut:
        return cls(
            attester=found.host,
            outcome=found.outcome.value,
            signer=found.signature.signer if found.signature else None,
            reason=found.reason,
            at=iso(found.at_ms),
        )


class OnchainOut(BaseModel):
    chain_id: int
    contract: str = Field(description="the oracle")
    tx_hash: str
    state: Literal["sent", "included", "confirmed", "reverted"]
    block_number: int | None
    gas_used: int | None
    ours: bool = Field(description="false: somebody else relayed it")

    @classmethod
    def of(cls, submission: Submission) -> OnchainOut:
        return cls(
            chain_id=submission.chain_id,
            contract=submission.contract,
            tx_hash=submission.tx_hash,
            state=submission.state.value,
            block_number=submission.block_number,
            gas_used=submission.gas_used,
            ours=submission.ours,
        )


class JudgementOut(BaseModel):
    """What the market did in the hours that a forecast was for."""

    realised_vol_annualised: float | None = Field(description="as a fraction of 1 per year; null: it cannot be told")
    realised_regime: Literal["low", "high"] | None
    right: bool | None = Field(description="whether the regime was forecast")
    missing: str | None = Field(description="why it cannot be told")
    judged_at: str

    @classmethod
    def of(cls, outcome: Outcome) -> JudgementOut:
        said: dict[str, Any] = {"missing": outcome.missing, "judged_at": iso(outcome.judged_at_ms)}
        if outcome.realised is None:
            return cls(realised_vol_annualised=None, realised_regime=None, right=None, **said)
        high = outcome.realised >= THRESHOLD
        return cls(
            realised_vol_annualised=annualised(outcome.realised),
            realised_regime="high" if high else "low",
            right=high == outcome.high_said,
            **said,
        )


class PredictionOut(BaseModel):
    feed: str
    id: str
    window_end: str = Field(description="end of the window, UTC, exclusive")
    age_seconds: float = Field(description="market time since the window's end, when this was answered")
    regime: Literal["low", "high"]
    p_high: float = Field(description="probability of the high regime over the horizon")
    vol_annualised: float = Field(description="forecast volatility over the horizon, as a fraction of 1 per year")
    model_id: str
    status: Literal["predicted", "proving", "proved", "submitted", "confirmed", "failed"]
    failure: str | None = Field(default=None, description="why it was given up")
    predicted_at: str = Field(description="market time")
    prove_seconds: float | None = Field(default=None, description="null until it is proved")
    venues: dict[str, str] = Field(description="the venues that stood behind it, with what was read there")
    left_out: dict[str, str] = Field(description="venues of the feed that did not, with the reason")
    quorum: int = Field(description="how many venues must have a minute for it to count")
    proof: ProofOut | None = None
    observation: list[int] | None = None
    attempts: list[AttemptOut] | None = None
    attestations: list[AttestationOut] | None = None
    calldata: str | None = Field(
        default=None, description="calldata for the oracle that anyone may send, once enough attesters signed"
    )
    onchain: OnchainOut | None = Field(default=None, description="null unless it was sent to the chain")
    outcome: JudgementOut | None = Field(default=None, description="null until the hours it is for have passed")

    @classmethod
    def of(cls, prediction: Prediction, clock: Clock, **extra: Any) -> PredictionOut:
        return cls(
            feed=prediction.feed,
            id=prediction.id,
            window_end=iso(prediction.window_end_ms),
            age_seconds=round((clock.now_ms() - prediction.window_end_ms) / 1000, 3),
            regime=prediction.regime.value,
            p_high=prediction.p_high,
            vol_annualised=prediction.vol_annualised,
            model_id=prediction.model_id,
            status=prediction.status.value,
            failure=prediction.failure,
            predicted_at=iso(prediction.predicted_at_ms),
            venues=dict(prediction.sources.markets),
            left_out=dict(prediction.sources.left_out),
            quorum=prediction.quorum,
            **extra,
        )


class HistoryOut(BaseModel):
    predictions: list[PredictionOut]
    next: str | None = Field(
        description="`cursor` of what comes next: null when there is nothing older; by arrival never null, as more may "
        "come"
    )


class VenueOut(BaseModel):
    """One venue of a feed: how it stands, and what is stored of it."""

    venue: str
    symbol: str = Field(description="what is read there")
    state: Literal["unknown", "loading", "fresh", "late", "resting", "off-time", "left-out"] = Field(
        description="resting: it failed or asked us to slow down; off-time: its clock is too far from ours; "
        "left-out: it answers, but is far from the other venues"
    )
    reason: str | None = Field(description="why it is not fresh, or is left out")
    rests_until: str | None = Field(description="it is not asked before; wall clock")
    clock_skew_seconds: float | None = Field(description="its clock minus this machine's; null while it is not known")
    last_candle: str | None = Field(description="open time of the newest closed candle")
    gaps: list[tuple[str, str]] = Field(
        description="stretches without a candle in the last seven days, the newest hundred: first missing minute, "
        "first one there again"
    )
    missing_minutes: int = Field(description="minutes without a candle in the last seven days")
    revisions: int = Field(description="candles of the last seven days that the venue changed afterwards")


class SrsOut(BaseModel):
    sha256: str
    development: bool = Field(description="true: whoever made it can forge proofs")


class StepOut(BaseModel):
    """How the last thing that was done ended."""

    outcome: str
    detail: str
    at: str


def step_out(said: Said | None) -> StepOut | None:
    return StepOut(outcome=said.outcome, detail=said.detail, at=iso(said.at_ms)) if said else None


class ChainOut(BaseModel):
    chain_id: int
    oracle: str = Field(description="address of VolatilityOracle")
    feed_id: str = Field(description="keccak256 of the feed's name: what contracts call it")
    signers: list[str] = Field(description="attesters that the oracle knows")
    threshold: int | None = Field(description="how many of them must sign; null while the chain is away")
    sender: str | None = Field(description="account that pays for updates; null: somebody else has to send them")
    attesting: StepOut | None
    publishing: StepOut | None
    registry: str | None = Field(description="address of ModelRegistry; null while the chain is away")
    verifier: str | None = Field(description="contract that checks this model's proofs; null while the chain is away")
    joint_verifier: str | None = Field(description="the same for proofs of several windows; null where there is none")
    rpc_url: str | None = Field(description="JSON-RPC endpoint that anyone may use, as the operator says")
    explorer_url: str | None = Field(description="block explorer")


class PipelineOut(BaseModel):
    alive: bool = Field(description="whether one has been heard of in the last half minute")
    seen: str | None = Field(description="when the newest one was last heard of; wall clock")


class WindowOut(BaseModel):
    feed: str
    window_end: str


class UpdateOut(BaseModel):
    """A call that anyone may send: the oracle trusts proof and signatures, not the sender."""

    chain_id: int
    contract: str = Field(description="the oracle: send the call there")
    calldata: str = Field(description="of submit(...), or of submitJoint(...) for several feeds in one proof")
    gas: int = Field(description="gas limit that is enough")
    windows: list[WindowOut] = Field(description="what it publishes, in the order of the proof")
    model_id: str
    signers: list[str]
    published: bool = Field(description="true: it is on the chain already, and would be refused")
    expires: str = Field(description="the oracle takes it until then")


class TickOut(BaseModel):
    """How the last tick went."""

    outcome: Literal["predicted", "already-predicted", "skipped", "failed"]
    reason: str | None = Field(description="of a skipped tick: no-quorum, window-incomplete")
    detail: str
    window_end: str
    at: str

    @classmethod
    def of(cls, report: TickReport) -> TickOut:
        return cls(
            outcome=report.outcome.value,
            reason=report.reason,
            detail=report.detail,
            window_end=iso(report.window_end_ms),
            at=iso(report.at_ms),
        )


class FeedOut(BaseModel):
    feed: str
    symbol: str
    horizon_minutes: int
    cadence_seconds: int
    model_id: str
    model_name: str
    market: Literal["live", "simulated", "recorded"]
    market_time: str
    market_speed: float = Field(description="market seconds per second; 1 but for simulated markets")
    pipeline: PipelineOut = Field(description="the processes that make forecasts")
    venues: list[VenueOut]
    quorum: int = Field(description="how many venues must have a minute for it to count")
    clock_skew_seconds: float | None = Field(description="median of the venues' clocks minus this machine's")
    srs: SrsOut
    chain: ChainOut | None
    last_tick: TickOut | None
    alarms: list[AlarmOut] = Field(description="disagreements that nobody has looked at, newest first")


class FeedsOut(BaseModel):
    feeds: list[FeedOut]


_Row = Annotated[
    tuple[int, float, float, float, float, float],
    # Not as a tuple: what reads OpenAPI documents seldom knows those.
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 6, "maxItems": 6}),
]


class CandlesOut(BaseModel):
    venue: str
    symbol: str
    step_seconds: int
    candles: list[_Row] = Field(description="open time in ms UTC, open, high, low, close, volume")


class ModelOut(BaseModel):
    model_id: str
    name: str
    manifest: dict[str, Any]


class VerdictOut(BaseModel):
    holds: bool
    failed: str | None = Field(description="the first check that does not hold")
    reason: str | None
    checks: list[str] = Field(description="the checks that hold, in order")
    signers: list[str] = Field(description="attesters whose signatures hold; whom to trust is the reader's to say")
    venues: list[str] = Field(description="whose candles it was recomputed from; empty when it does not hold")
    quorum: int | None = Field(description="how many of them must have a minute; null when it does not hold")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str


class HealthOut(BaseModel):
    status: Literal["ok"]


class ReadyOut(BaseModel):
    ready: bool
    feeds: dict[str, float | None] = Field(description="age in seconds of each feed's newest proved forecast")
    prover_process_ids: list[int]
    proof_jobs_waiting: int
    alarms: int = Field(description="disagreements of network and circuit that nobody has looked at")
    clock_skew_seconds: float | None = Field(description="median of the venues' clocks minus this machine's")
    attesting: StepOut | None = Field(description="how the last collection of signatures ended; null without a chain")
    publishing: StepOut | None = Field(description="how the last step towards the chain ended")
