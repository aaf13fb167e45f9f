"""The frozen values that travel between stages, and the units they carry.

Every stage takes one of these and returns the next; nothing is changed on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NewType
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
MINUTES_PER_YEAR = 525_600

SCALAR_FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""Order of the scalar field of BN254: circuit values are integers modulo this."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ModelId = NewType("ModelId", str)
"""SHA-256 (hex, no prefix) of a model's canonical manifest."""

PredictionId = NewType("PredictionId", str)
"""First 32 hex digits of SHA-256 of ``feed|window_end_ms|model_id``: the same everywhere."""


@dataclass(frozen=True, slots=True)
class Candles:
    """One-minute candles of one venue and symbol, ascending, without duplicates.

    ``open_time_ms`` is int64 of shape (n,), UTC and minute-aligned; the others are float64 of shape (n,), prices in the
    quote currency, volume in the base currency. Gaps are allowed: a missing minute is simply not there.
    """

    open_time_ms: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.open_time_ms)

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[float]]) -> Candles:
        """Rows of ``[open_time_ms, open, high, low, close, volume]``."""
        table = np.asarray(rows, dtype=np.float64).reshape(-1, 6)
        return cls(table[:, 0].astype(np.int64), *(np.ascontiguousarray(table[:, i]) for i in range(1, 6)))

    def rows(self) -> list[list[float]]:
        """The inverse of `from_rows`, with the time as an int."""
        columns = (self.open, self.high, self.low, self.close, self.volume)
        return [
            [int(t), *values]
            for t, *values in zip(self.open_time_ms.tolist(), *(column.tolist() for column in columns), strict=True)
        ]

    def between(self, start_ms: int, end_ms: int) -> Candles:
        """The candles with ``start_ms <= open_time < end_ms``."""
        first, last = np.searchsorted(self.open_time_ms, [start_ms, end_ms])
        return self.part(slice(int(first), int(last)))

    def part(self, which: slice | BoolArray) -> Candles:
        """Those of a slice, or those that a mask of shape (n,) is true for."""
        return Candles(
            self.open_time_ms[which],
            self.open[which],
            self.high[which],
            self.low[which],
            self.close[which],
            self.volume[which],
        )

    def digest(self) -> str:
        """SHA-256 (hex) over the rows, each six little-endian float64 in the order of `from_rows`.

        A millisecond time is far below 2**53, so the float holds it exactly.
        """
        table = np.column_stack(
            (
                self.open_time_ms.astype(np.float64),
                self.open,
                self.high,
                self.low,
                self.close,
                self.volume,
            )
        )
        return hashlib.sha256(table.astype("<f8").tobytes()).hexdigest()


CandlesByVenue = Mapping[str, Candles]


@dataclass(frozen=True, slots=True)
class Feed:
    """Symbol × horizon, such as ``btc-usdt-4h``."""

    name: str
    symbol: str
    """As ccxt writes it: ``BTC/USDT``."""
    horizon_minutes: int = 240


class Regime(StrEnum):
    LOW = "low"
    HIGH = "high"


class Status(StrEnum):
    """States of a prediction; each change is one transaction."""

    PREDICTED = "predicted"
    PROVING = "proving"
    PROVED = "proved"
    SUBMITTED = "submitted"
    CONFIRMED = "confirmed"
    FAILED = "failed"


PROVED_STATES = (Status.PROVED, Status.SUBMITTED, Status.CONFIRMED)
"""The states in which a verified proof stands behind the numbers."""


Markets = Mapping[str, str]
"""What is traded at each venue, as ccxt writes it: ``{"binance": "BTC/USDT", "kraken": "BTC/USD"}``."""


@dataclass(frozen=True, slots=True)
class Window:
    """The minutes a forecast looks at: up to ``end_ms``, exclusive, all closed."""

    feed: Feed
    end_ms: int
    candles: CandlesByVenue
    quorum: int = 1
    """How many venues must have a minute's return for it to be known."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the candles of a window came from."""

    markets: Markets
    """Of the venues that stand behind it."""
    left_out: Mapping[str, str]
    """Venues of the feed that do not, each with the reason."""
    as_of: int
    """State of the candle store that the window was read from: it can be read again as it was."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The integer input vector of a window, at the circuit's input scale."""

    feed: Feed
    window_end_ms: int
    values: tuple[int, ...]
    quorum: int
    candles_sha256: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the network says about the next hours: two logits and the log of annualised volatility."""

    regime: Regime
    p_high: float
    vol_annualised: float
    outputs: tuple[float, ...]
    """Raw outputs ``(logit_low, logit_high, ln vol_annualised)``."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified proof and the outputs that it proves, of one window or of several."""

    proof: bytes
    instances: tuple[int, ...]
    """Public outputs as signed integers at the model's output scale, window after window."""
    commitment: bytes
    """KZG commitment of the inputs: the first 64 bytes of the proof, x‖y big-endian."""
    vk_hash: str
    srs_hash: str
    witness_seconds: float
    prove_seconds: float
    verify_seconds: float
    members: tuple[PredictionId | None, ...] = ()
    """Whose windows it proves together, None in an empty place; () for a proof of one window alone."""
    slot: int = 0
    """Place among the members of the prediction that this proof is read for."""

    @property
    def outputs(self) -> tuple[int, ...]:
        """The public outputs of the window at ``slot``."""
        each = len(self.instances) // max(1, len(self.members))
        return self.instances[self.slot * each : (self.slot + 1) * each]


def prediction_id(feed: str, window_end_ms: int, model_id: ModelId) -> PredictionId:
    key = f"{feed}|{window_end_ms}|{model_id}"
    return PredictionId(hashlib.sha256(key.encode()).hexdigest()[:32])


def iso(time_ms: int) -> str:
    """UTC time as ``2025-09-15T12:00:00Z``, with milliseconds only where there are some."""
    stamp = datetime.fromtimestamp(time_ms / 1000, UTC)
    text = stamp.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{time_ms % 1000:03d}Z" if time_ms % 1000 else f"{text}Z"


def parse_time(text: str) -> int:
    """Milliseconds of an ISO 8601 time (UTC unless it says otherwise) or of a plain epoch in milliseconds.

    Raises `ValueError` with a sentence for people.
    """
    if text.isdigit() and len(text) == 13:
        return int(text)
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write it like 2025-09-15T12:00:00Z") from None
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    return round(stamp.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Circuit:
    """A compiled circuit on disk, with the hashes its manifest states (SHA-256, hex)."""

    compiled: Path
    settings: Path
    compiled_sha256: str
    logrows: int
    input_scale: int
    proof_bytes: int
    """Length of every proof of this circuit. ezkl's verifier ignores trailing bytes; we do not."""
    windows: int = 1
    """How many observations one proof takes, one after another; its outputs follow in the same order."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Proving and verifying key of one circuit under one SRS."""

    circuit: Circuit
    srs: Path
    srs_hash: str
    srs_is_development: bool
    vk: Path
    vk_hash: str
    pk: Path
    verifier_sol: Path
    """The generated Solidity verifier, beside the keys."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A forecast of one window as it is stored and served.

    ``regime``, ``p_high`` and ``vol_annualised`` are the network's until the proof is verified, and from then on what
    the circuit's own outputs say.
    """

    id: PredictionId
    feed: str
    window_end_ms: int
    model_id: ModelId
    status: Status
    failure: str | None
    regime: Regime
    p_high: float
    vol_annualised: float
    network_outputs: tuple[float, ...]
    observation: tuple[int, ...]
    quorum: int
    sources: Sources
    candles_sha256: str
    predicted_at_ms: int


@dataclass(frozen=True, slots=True)
class ProofJob:
    """What a prover needs to know of a prediction."""

    prediction_id: PredictionId
    feed: str
    window_end_ms: int
    model_id: ModelId
    observation: tuple[int, ...]
    network_outputs: tuple[float, ...]
    attempt: int
    queue_seconds: float | None
    """How long it waited; None when that is not known."""


class AttemptOutcome(StrEnum):
    """How one try at a proof ended."""

    PROVED = "proved"
    DISAGREED = "disagreed"
    TIMED_OUT = "timed-out"
    OUT_OF_MEMORY = "out-of-memory"
    DIED = "died"
    UNAVAILABLE = "unavailable"
    ERROR = "error"
    SHED = "shed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at the proof of one window, with what it took in seconds where it came that far."""

    prediction_id: PredictionId
    number: int
    outcome: AttemptOutcome
    reason: str | None
    owner: str
    windows: int
    """How many were proved together."""
    queue_seconds: float | None
    witness_seconds: float | None
    prove_seconds: float | None
    verify_seconds: float | None
    at_ms: int
    """Wall clock."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A window where network and circuit said different things; an alarm until somebody has looked at it."""

    prediction_id: PredictionId
    feed: str
    window_end_ms: int
    reason: str
    cleared_at_ms: int | None


class JobState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class OracleAt:
    """An oracle contract on a chain: the domain that its attesters sign for."""

    chain_id: int
    contract: str
    """Checksum address."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What attesters sign: the proof with this commitment is about these windows, in this order."""

    windows: tuple[tuple[str, int], ...]
    """(feed, window end in ms), in the order of the proof's places."""
    model_id: ModelId
    input_commitment: bytes
    """keccak256 of the first 64 bytes of the proof."""
    joint: bool
    """Whether the proof is one of several windows, even if only one of its places is taken."""


@dataclass(frozen=True, slots=True)
class AttesterSignature:
    """A signature over a claim, in the compact form of EIP-2098."""

    signer: str
    """Checksum address."""
    r: bytes
    vs: bytes


class AttestationOutcome(StrEnum):
    """What an attester answered."""

    SIGNED = "signed"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    INVALID = "invalid"
    """It answered with something that is no signature of a known attester over this claim."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """One attester's answer about one prediction."""

    prediction_id: PredictionId
    attester: str
    """Its URL, or `own`."""
    outcome: AttestationOutcome
    signature: AttesterSignature | None
    reason: str | None
    at_ms: int
    """Wall clock."""

    @property
    def host(self) -> str:
        """What may be shown of the attester's URL: it may hold a password."""
        return urlsplit(self.attester).netloc.rpartition("@")[2] or self.attester


class TransactionState(StrEnum):
    """Where a transaction stands, as far as we have seen."""

    SENT = "sent"
    """Stored, and handed to an endpoint unless we were interrupted just then."""
    INCLUDED = "included"
    """In a block that is not deep enough yet."""
    CONFIRMED = "confirmed"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Ready to send; sending it twice is the same as once."""

    chain_id: int
    contract: str
    sender: str
    nonce: int
    tx_hash: str
    raw: bytes
    max_fee_wei: int
    """Per gas."""
    max_tip_wei: int


@dataclass(frozen=True, slots=True)
class Receipt:
    succeeded: bool
    block_number: int
    block_hash: str
    gas_used: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that was stored; several of one sender and nonce are attempts at the same thing."""

    signed: SignedTransaction
    state: TransactionState
    block_number: int | None
    block_hash: str | None
    gas_used: int | None
    sent_at_ms: int
    """Wall clock."""


@dataclass(frozen=True, slots=True)
class Submission:
    """How a prediction comes onto a chain: by a transaction of ours, or of somebody else's (then `ours` is false)."""

    prediction_id: PredictionId
    chain_id: int
    contract: str
    tx_hash: str
    state: TransactionState
    block_number: int | None
    gas_used: int | None
    ours: bool


@dataclass(frozen=True, slots=True)
class VenueRest:
    """Why and until when a venue is left alone."""

    venue: str
    failures: int
    """In a row."""
    until_ms: int
    """Wall clock, as `since_ms`."""
    reason: str
    since_ms: int
    """Of the first failure."""


class EventKind(StrEnum):
    """What can happen to a prediction."""

    PREDICTION = "prediction"
    PROOF = "proof"
    FAILURE = "failure"
    """It is given up."""
    ATTESTATION = "attestation"
    TRANSACTION = "transaction"
    ROUND = "round"
    """It is on the chain for good."""
    OUTCOME = "outcome"
    """It has met its realised volatility."""


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    """Without gaps, in the order in which transactions were committed."""
    kind: EventKind
    feed: str
    data: str
    """JSON, as it is sent."""
