"""What the API answers, as pydantic models: the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.audit.bundle import instance_word
from app.clock import Clock
from app.pipeline import TickReport
from app.types import Attempt, Disagreement, Prediction, Proof, Submission, iso


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


class OnchainOut(BaseModel):
    chain_id: int
    contract: str
    tx_hash: str
    state: str
    block_number: int | None
    gas_used: int | None

    @classmethod
    def of(cls, submission: Submission) -> OnchainOut:
        return cls(
            chain_id=submission.chain_id,
            contract=submission.contract,
            tx_hash=submission.tx_hash,
            state=submission.state,
            block_number=submission.block_number,
            gas_used=submission.gas_used,
        )


class PredictionOut(BaseModel):
    feed: str
    id: str
    window_end: str = Field(description="end of the window, UTC, exclusive")
    age_seconds: float = Field(description="market time since the window's end")
    regime: Literal["low", "high"]
    p_high: float = Field(description="probability of the high regime over the horizon")
    vol_annualised: float = Field(description="forecast volatility over the horizon, as a fraction of 1 per year")
    model_id: str
    status: Literal["predicted", "proving", "proved", "submitted", "confirmed", "failed"]
    failure: str | None = None
    prove_seconds: float | None = None
    proof: ProofOut | None = None
    observation: list[int] | None = None
    attempts: list[AttemptOut] | None = None
    calldata: str | None = Field(default=None, description="calldata of verifyProof(bytes,uint256[])")
    onchain: OnchainOut | None = None

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
            **extra,
        )


class HistoryOut(BaseModel):
    predictions: list[PredictionOut]
    next: str | None = Field(description="cursor of the next, older page")


class VenueOut(BaseModel):
    venue: str
    last_candle: str | None = Field(description="open time of the newest closed candle")
    gaps: list[tuple[str, str]] = Field(
        description="stretches without a candle in the last seven days: first missing minute, first one there again"
    )
    missing_minutes: int = Field(description="minutes without a candle in the last seven days")


class SrsOut(BaseModel):
    sha256: str
    development: bool = Field(description="true: whoever made it can forge proofs")


class ChainOut(BaseModel):
    chain_id: int
    verifier: str
    batch_verifier: str | None = Field(description="of proofs of several windows")


class TickOut(BaseModel):
    outcome: str
    detail: str
    window_end: str
    at: str

    @classmethod
    def of(cls, report: TickReport) -> TickOut:
        return cls(
            outcome=report.outcome,
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
    venues: list[VenueOut]
    srs: SrsOut
    chain: ChainOut | None
    last_tick: TickOut | None
    alarms: list[AlarmOut] = Field(description="disagreements that nobody has looked at, newest first")


class FeedsOut(BaseModel):
    feeds: list[FeedOut]


class CandlesOut(BaseModel):
    venue: str
    step_seconds: int
    candles: list[tuple[int, float, float, float, float, float]] = Field(
        description="open time in ms UTC, open, high, low, close, volume"
    )


class ModelOut(BaseModel):
    model_id: str
    name: str
    manifest: dict[str, Any]


class VerdictOut(BaseModel):
    holds: bool
    failed: str | None = Field(description="the first check that does not hold")
    reason: str | None
    checks: list[str] = Field(description="the checks that hold, in order")


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
