"""What the service says, as frozen values. Times are UTC, volatilities a fraction of 1 per year, hex begins with 0x.

A field that the service has not sent, because it was not asked for or is older than this package, has its default; what
a newer one sends in addition is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError

from app.client.errors import UnexpectedAnswer
from app.types import Regime, Status

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified halo2 proof. Its first 64 bytes are the commitment to the inputs."""

    proof: str
    instances: tuple[str, ...]
    """Public outputs as the contract takes them: 32-byte words."""
    commitment: str
    vk_hash: str
    srs_hash: str
    srs_development: bool
    """True: whoever made the SRS can forge proofs."""
    slot: int
    """Place of this forecast among the windows that the proof proves together."""
    members: tuple[str | None, ...]
    """Predictions of a joint proof, None in an empty place; else empty."""
    witness_seconds: float
    prove_seconds: float
    verify_seconds: float
    proved_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a proof; seconds as far as it came."""

    attempt: int
    outcome: str
    reason: str | None
    prover: str
    windows: int
    queue_seconds: float | None
    witness_seconds: float | None
    prove_seconds: float | None
    verify_seconds: float | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Attestation:
    """What one attester answered; ``signer`` is its account if it signed, ``reason`` why it did not."""

    attester: str
    outcome: str
    signer: str | None
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Onchain:
    """The transaction that publishes a forecast."""

    chain_id: int
    contract: str
    tx_hash: str
    state: str
    """``sent``, ``included``, ``confirmed`` or ``reverted``."""
    block_number: int | None
    gas_used: int | None
    ours: bool
    """False: somebody else relayed it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a forecast, known once its horizon has passed."""

    realised_vol_annualised: float | None
    realised_regime: Regime | None
    right: bool | None
    missing: str | None
    """Why it cannot be told."""
    judged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast of the hours after ``window_end``, with as much of its evidence as was asked for."""

    feed: str
    id: str
    window_end: datetime
    age_seconds: float
    """Market time since the window's end, at the moment of the answer."""
    regime: Regime
    p_high: float
    """Probability of the high regime."""
    vol_annualised: float
    model_id: str
    status: Status
    venues: Mapping[str, str]
    """Those that stood behind it, with what was read there."""
    left_out: Mapping[str, str]
    """Venues of the feed that did not, with the reason."""
    quorum: int
    failure: str | None = None
    predicted_at: datetime | None = None
    prove_seconds: float | None = None
    proof: Proof | None = None
    observation: tuple[int, ...] | None = None
    attempts: tuple[Attempt, ...] | None = None
    attestations: tuple[Attestation, ...] | None = None
    calldata: str | None = None
    """Of a call to the oracle that anyone may send, once enough attesters have signed."""
    onchain: Onchain | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some forecasts of a feed. Pass ``next`` to go on; None: there are no more."""

    predictions: tuple[Forecast, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Venue:
    """How a venue of a feed stands."""

    venue: str
    symbol: str
    state: str
    reason: str | None
    rests_until: datetime | None
    clock_skew_seconds: float | None
    last_candle: datetime | None
    missing_minutes: int
    """Of the last seven days."""


@dataclass(frozen=True, slots=True)
class Srs:
    sha256: str
    development: bool
    """True: whoever made it can forge proofs."""


@dataclass(frozen=True, slots=True)
class Step:
    """How the last thing that was done ended."""

    outcome: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the feed is published."""

    chain_id: int
    oracle: str
    feed_id: str
    """keccak256 of the feed's name: what contracts call it."""
    signers: tuple[str, ...]
    threshold: int | None
    sender: str | None
    attesting: Step | None
    publishing: Step | None
    rpc_url: str | None = None
    """A JSON-RPC endpoint for everybody."""
    explorer_url: str | None = None
    registry: str | None = None
    verifier: str | None = None
    joint_verifier: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """How the last tick went: ``predicted``, ``already-predicted``, ``skipped`` or ``failed``."""

    outcome: str
    reason: str | None
    detail: str
    window_end: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Alarm:
    """Network and circuit said different things of this window; such a forecast is never served."""

    prediction_id: str
    window_end: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Whether some process makes forecasts, and when one was last heard of."""

    alive: bool
    seen: datetime | None


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed: its model, venues and chain, and how the last tick went."""

    feed: str
    symbol: str
    horizon_minutes: int
    cadence_seconds: int
    model_id: str
    model_name: str
    market: Literal["live", "simulated", "recorded"]
    market_time: datetime
    venues: tuple[Venue, ...]
    quorum: int
    clock_skew_seconds: float | None
    srs: Srs
    chain: Chain | None
    last_tick: Tick | None
    alarms: tuple[Alarm, ...]
    market_speed: float = 1.0
    """Market seconds per second of the clock on the wall."""
    pipeline: Pipeline | None = None


@dataclass(frozen=True, slots=True)
class Feeds:
    feeds: tuple[Feed, ...]


@dataclass(frozen=True, slots=True)
class PublishedWindow:
    feed: str
    window_end: datetime


@dataclass(frozen=True, slots=True)
class Update:
    """A call that anyone may send to ``contract``: the oracle trusts proof and signatures, not the sender."""

    chain_id: int
    contract: str
    calldata: str
    gas: int
    """A limit that is enough."""
    windows: tuple[PublishedWindow, ...]
    model_id: str
    signers: tuple[str, ...]
    published: bool
    """True: it is on the chain already, and would be refused."""
    expires: datetime


@dataclass(frozen=True, slots=True)
class Scores:
    """How well forecasts did; None where that cannot be told."""

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    f1: float | None = None
    auc: float | None = None
    brier: float | None = None
    ece: float | None = None
    r2_log_vol: float | None = None
    qlike: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Of the forecasts with a probability in [lower, upper): what they stated in the mean, how often it was so."""

    lower: Annotated[float, Field(validation_alias="from")]
    upper: Annotated[float, Field(validation_alias="to")]
    windows: int
    stated: float | None
    observed: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """Scores of one day; the two persistences are their accuracies."""

    day: str
    windows: int
    high_share: float | None = None
    accuracy: float | None = None
    brier: float | None = None
    auc: float | None = None
    persistence_60: float | None = None
    persistence_240: float | None = None


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """Forecasts against what came, and against persistence of the last 60 and 240 minutes (``baselines``)."""

    feed: str
    model_id: str
    model_name: str
    origin: Literal["live", "backtest"]
    start: datetime | None
    end: datetime | None
    windows: int
    pending: int
    """Forecasts whose horizon has not passed."""
    left_out: int
    high_share: float | None
    model: Scores
    baselines: Mapping[str, Scores]
    points_above_better_persistence: float | None
    calibration: tuple[CalibrationBin, ...]
    per_day: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a bundle holds. ``failed`` names the first check that does not, ``checks`` those that do, in order."""

    holds: bool
    failed: str | None
    reason: str | None
    checks: tuple[str, ...]
    signers: tuple[str, ...] = ()
    """Attesters whose signatures hold; whom to trust is yours to say."""
    venues: tuple[str, ...] = ()
    quorum: int | None = None
    srs_development: bool | None = None
    """True: whoever made the SRS behind the proof can forge one. None: this was not told."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened, as `/v1/stream` tells it; ``id`` is where to resume after it."""

    id: int
    kind: str
    """``prediction``, ``proof``, ``failure``, ``attestation``, ``transaction``, ``round`` or ``outcome``; or ``reset``:
    what came before is no longer kept, so read the state anew."""
    data: Mapping[str, Any]


def read(form: type[T], body: bytes, what: str) -> T:
    """The value in a JSON answer to ``what``. Raises `UnexpectedAnswer` naming the first field that is not in form."""
    try:
        found: T = _adapter(cast(Any, form)).validate_json(body)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise UnexpectedAnswer(f"{what}: {place}: {first['msg']}: is the service of this version?") from None


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)
